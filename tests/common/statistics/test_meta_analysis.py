"""Random-effects meta-analysis: metafor's published results, statsmodels, and REML by a direct optimiser."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize_scalar
from scored_patients import Floats, code, known, patients
from statsmodels.stats.meta_analysis import combine_effects

from fedescc.common.statistics.meta_analysis import pool_aucs, random_effects
from fedescc.common.statistics.roc import auc, delong_variance, probability

# Colditz et al., JAMA 271 (1994) 698 (metafor's dat.bcg): cases and others, vaccinated and not.
BCG = [
    (4, 119, 11, 128),
    (6, 300, 29, 274),
    (3, 228, 11, 209),
    (62, 13536, 248, 12619),
    (33, 5036, 47, 5761),
    (180, 1361, 372, 1079),
    (8, 2537, 10, 619),
    (505, 87886, 499, 87892),
    (29, 7470, 45, 7232),
    (17, 1699, 65, 1600),
    (186, 50448, 141, 27197),
    (5, 2493, 3, 2338),
    (27, 16886, 29, 17825),
]


def log_risk_ratios() -> tuple[Floats, Floats]:
    a, b, c, d = np.array(BCG, dtype=np.float64).T
    return np.log(a / (a + b)) - np.log(c / (c + d)), 1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)


@st.composite
def studies(draw: st.DrawFn, at_least: int = 2) -> tuple[Floats, Floats]:
    k = draw(st.integers(at_least, 9))
    effects = draw(st.lists(st.integers(-300, 300), min_size=k, max_size=k))
    errors = draw(st.lists(st.integers(5, 150), min_size=k, max_size=k))
    return np.array(effects) / 100, (np.array(errors) / 100) ** 2


def restricted_loss(tau2: float, y: Floats, v: Floats) -> float:
    """-2 log of the restricted likelihood, as Viechtbauer 2005 writes it, without constants."""
    w = 1 / (v + tau2)
    mean = np.sum(w * y) / np.sum(w)
    return float(-np.log(w).sum() + np.log(w.sum()) + np.sum(w * (y - mean) ** 2))


def statsmodels_effects(y: Floats, v: Floats):
    """Its analysis, which divides by the heterogeneity even where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return combine_effects(y, v, method_re="dl")


def reml_directly(y: Floats, v: Floats) -> float:
    """The best of 0 and of bounded searches from many starts."""
    ends = np.concatenate([[0.0], np.geomspace(1e-8, 1.0, 25) * (np.ptp(y) ** 2 + 1e-6) * len(y)])
    found = [
        minimize_scalar(restricted_loss, bounds=pair, args=(y, v), method="bounded", options={"xatol": 1e-12}).x
        for pair in pairwise(ends)
    ]
    return float(min([0.0, *found], key=lambda tau2: restricted_loss(tau2, y, v)))


def test_bcg_trials_give_metafors_results() -> None:
    """rma(yi, vi, test="knha"): Viechtbauer, J. Stat. Softw. 36 (2010), and metafor's manual."""
    found = known(random_effects(*log_risk_ratios()))
    assert found.studies == 13
    assert found.mean == pytest.approx(-0.7145, abs=5e-5)
    assert found.tau2 == pytest.approx(0.3132, abs=5e-5)
    assert found.standard_error == pytest.approx(0.1808, abs=5e-5)
    assert found.ci95 == pytest.approx((-1.1084, -0.3206), abs=5e-5)
    assert found.q == pytest.approx(152.2330, abs=5e-5)
    assert found.i2 == pytest.approx(0.9212, abs=5e-5)
    assert found.q_p < 1e-4


@settings(max_examples=60, deadline=None)
@given(studies())
def test_reml_is_the_direct_optimisers(drawn: tuple[Floats, Floats]) -> None:
    y, v = drawn
    found = known(random_effects(y, v)).tau2
    direct = reml_directly(y, v)
    assert restricted_loss(found, y, v) <= restricted_loss(direct, y, v) + 1e-9
    if found > 0 and direct > 0 and abs(found - direct) > 1e-5 * (1 + direct):  # as good, and elsewhere: two peaks
        assert restricted_loss(found, y, v) == pytest.approx(restricted_loss(direct, y, v), abs=1e-9)


@given(studies(), st.integers(1, 100))
def test_reml_of_equal_variances_has_a_closed_form(drawn: tuple[Floats, Floats], error: int) -> None:
    """The sample variance less the sampling variance, or 0."""
    y, variance = drawn[0], (error / 100) ** 2
    expected = max(0.0, float(y.var(ddof=1)) - variance)
    assert known(random_effects(y, np.full(y.size, variance))).tau2 == pytest.approx(expected, abs=1e-12)


@given(st.integers(-300, 300), st.integers(1, 100), st.integers(1, 100))
def test_reml_of_two_studies_has_a_closed_form(gap: int, first: int, second: int) -> None:
    v = np.array([first, second]) / 100
    expected = max(0.0, ((gap / 100) ** 2 - v.sum()) / 2)
    assert known(random_effects([0.0, gap / 100], v)).tau2 == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("y", "v", "highest", "other"),
    [
        ([0.2, -0.1, -4.5, -2.2], [0.095, 0.012, 1.572, 6.8], 4.0834, 0.0),
        ([0.5, 0.5, 5.9], [0.033, 0.447, 4.731], 0.0, 3.9445),
        ([-3.3, -6.2, -3.9, -1.9, -2.0], [1.65, 0.884, 27.368, 0.002, 0.006], 3.2051, 0.0055),
    ],
)
def test_of_two_peaks_the_higher_is_taken(y: list[float], v: list[float], highest: float, other: float) -> None:
    """Where precise studies agree and others do not, a search from one side ends at the wrong peak."""
    found = known(random_effects(y, v)).tau2
    assert found == pytest.approx(highest, rel=0.02, abs=1e-9)
    data = np.array(y), np.array(v)
    for peak in (found, other):
        around = [restricted_loss(max(0.0, peak * scale), *data) for scale in (0.7, 1.4)]
        assert restricted_loss(peak, *data) <= min(around)
    assert restricted_loss(found, *data) < restricted_loss(other, *data)


@settings(deadline=None)
@given(studies())
def test_heterogeneity_is_that_of_statsmodels(drawn: tuple[Floats, Floats]) -> None:
    y, v = drawn
    found, theirs = known(random_effects(y, v)), statsmodels_effects(y, v)
    assert found.q == pytest.approx(theirs.q, rel=1e-9, abs=1e-9)
    assert found.q_p == pytest.approx(stats.chi2.sf(found.q, len(y) - 1), rel=1e-9)
    assert found.i2 == pytest.approx(max(0.0, theirs.i2) if theirs.q > 0 else 0.0, abs=1e-9)


@settings(deadline=None)
@given(studies())
def test_mean_and_hartung_knapp_error_are_those_of_statsmodels(drawn: tuple[Floats, Floats]) -> None:
    """Its fixed-effect analysis with our tau² in the variances, whose scaled variance is Hartung and Knapp's."""
    y, v = drawn
    found = known(random_effects(y, v))
    theirs = statsmodels_effects(y, v + found.tau2)
    assert found.mean == pytest.approx(theirs.mean_effect_fe, abs=1e-12)
    plain = theirs.sd_eff_w_fe
    assert found.standard_error == pytest.approx(max(plain, theirs.sd_eff_w_fe_hksj), abs=1e-12)
    half = stats.t.ppf(0.975, len(y) - 1) * found.standard_error
    assert found.ci95 == pytest.approx((found.mean - half, found.mean + half), rel=1e-9)


@given(studies(at_least=3))
def test_prediction_is_higgins_with_k_less_two_degrees_of_freedom(drawn: tuple[Floats, Floats]) -> None:
    found = known(random_effects(*drawn))
    low, high = known(found.prediction95)
    half = stats.t.ppf(0.975, found.studies - 2) * math.sqrt(found.tau2 + found.standard_error**2)
    assert (low, high) == pytest.approx((found.mean - half, found.mean + half), rel=1e-9)
    assert low < found.ci95[0] < found.ci95[1] < high


@given(studies(), st.randoms(use_true_random=False))
def test_order_of_studies_does_not_matter(drawn: tuple[Floats, Floats], random) -> None:
    y, v = drawn
    order = list(range(y.size))
    random.shuffle(order)
    found, other = known(random_effects(y, v)), known(random_effects(y[order], v[order]))
    assert restricted_loss(other.tau2, y, v) == pytest.approx(restricted_loss(found.tau2, y, v), abs=1e-9)
    assert (other.q, other.i2) == pytest.approx((found.q, found.i2), abs=1e-9)


@given(studies(), st.integers(-5, 5), st.sampled_from([0.5, 2.0, 8.0]))
def test_shift_and_scale_carry_over(drawn: tuple[Floats, Floats], shift: int, scale: float) -> None:
    y, v = drawn
    found, moved = known(random_effects(y, v)), known(random_effects(scale * y + shift, scale**2 * v))
    assert restricted_loss(moved.tau2 / scale**2, y, v) == pytest.approx(restricted_loss(found.tau2, y, v), abs=1e-8)
    assert moved.i2 == pytest.approx(found.i2, abs=1e-9)


def test_studies_that_agree_have_no_variance_between_them_and_an_interval_still() -> None:
    """Unscaled, Hartung and Knapp's error would be 0: certainty out of three small studies."""
    found = known(random_effects([0.4, 0.4, 0.4], [0.09, 0.09, 0.09]))
    assert (found.tau2, found.i2, found.q_p) == (0.0, 0.0, 1.0)
    assert found.q == pytest.approx(0.0, abs=1e-20)
    assert found.standard_error == pytest.approx(0.3 / math.sqrt(3), abs=1e-12)


def test_interval_covers_the_mean_of_few_uneven_sites() -> None:
    """Five sites, between-site SD .3, no smaller than their errors: what the docstring says; 400 repeats, SE .014."""
    rng = np.random.default_rng(9)
    errors = np.array([0.2, 0.25, 0.35, 0.4, 0.5])
    covered = predicted = 0
    for _ in range(400):
        effects = 1.5 + rng.normal(0, 0.3, 5) + rng.normal(0, errors)
        found = known(random_effects(effects, errors**2))
        covered += found.ci95[0] <= 1.5 <= found.ci95[1]
        low, high = known(found.prediction95)
        predicted += low <= 1.5 + rng.normal(0, 0.3) <= high
    assert 0.93 <= covered / 400 <= 0.995
    assert 0.87 <= predicted / 400 <= 0.95


def test_one_study_is_no_meta_analysis_and_two_predict_nothing() -> None:
    assert random_effects([], []).reason == "fewer-than-two-studies"
    assert random_effects([0.1], [0.2]).reason == "fewer-than-two-studies"
    two = known(random_effects([0.1, 0.9], [0.2, 0.1]))
    assert two.prediction95.reason == "fewer-than-three-studies"
    assert two.ci95[1] - two.ci95[0] == pytest.approx(2 * 12.706204736 * two.standard_error, rel=1e-9)


@pytest.mark.parametrize(
    ("estimates", "variances"),
    [
        ([0.1, 0.2], [0.1]),
        ([[0.1, 0.2]], [[0.1, 0.2]]),
        (0.1, 0.2),
        ([0.1, math.nan], [0.1, 0.1]),
        ([0.1, math.inf], [0.1, 0.1]),
        ([0.1, 1e7], [0.1, 0.1]),
        ([0.1, 0.2], [0.1, 0.0]),
        ([0.1, 0.2], [0.1, -0.1]),
        ([0.1, 0.2], [0.1, math.nan]),
        ([0.1, 0.2], [0.1, 1e-13]),
        ([0.1, 0.2], [0.1, 1e13]),
    ],
)
def test_bad_estimates_are_refused(estimates: list[float], variances: list[float]) -> None:
    assert code(lambda: random_effects(estimates, variances)) == "bad-estimates"


@settings(max_examples=50)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=6),
    st.lists(st.floats(-12, 12).map(lambda power: 10.0**power), min_size=6, max_size=6),
)
def test_every_accepted_input_gives_finite_results(y: list[float], v: list[float]) -> None:
    found = known(random_effects(y, v[: len(y)]))
    assert np.isfinite([found.mean, found.standard_error, *found.ci95, found.tau2, found.q, found.q_p, found.i2]).all()
    assert found.tau2 >= 0
    assert 0 <= found.i2 <= 1
    assert found.standard_error > 0


def test_aucs_are_pooled_as_logits() -> None:
    """Delta method: the variance of a logit is that of the AUC over (A (1 - A))²."""
    areas, variances = np.array([0.7, 0.8, 0.85]), np.array([0.002, 0.004, 0.003])
    logits = np.log(areas / (1 - areas))
    expected = known(random_effects(logits, variances / (areas * (1 - areas)) ** 2))
    found = known(pool_aucs(areas, variances))
    assert found.effects.mean == pytest.approx(expected.mean, abs=1e-12)
    assert found.effects.tau2 == pytest.approx(expected.tau2, abs=1e-12)
    assert found.auc == pytest.approx(1 / (1 + math.exp(-expected.mean)), abs=1e-12)
    assert found.ci95 == pytest.approx(probability(expected.ci95).tolist(), abs=1e-12)
    assert known(found.prediction95) == pytest.approx(probability(known(expected.prediction95)).tolist(), abs=1e-12)
    assert found.left_out == ()


def test_sites_alike_pool_to_their_common_auc() -> None:
    rng, areas, variances = np.random.default_rng(4), [], []
    for n in (120, 70, 50, 35, 25):
        y, s = patients(rng, n, gap=1.3)
        areas.append(known(auc(y, s)))
        variances.append(known(delong_variance(y, s)))
    found = known(pool_aucs(areas, variances))
    assert found.ci95[0] < 0.5 * (1 + math.erf(1.3 / 2)) < found.ci95[1]
    assert min(areas) < found.auc < max(areas)


def test_areas_without_a_logit_are_left_out_by_position() -> None:
    found = known(pool_aucs([1.0, 0.7, 0.8, 0.9, 0.0], [0.0, 0.01, 0.01, 0.0, 0.01]))
    assert found.left_out == (0, 3, 4)
    assert found.effects == known(pool_aucs([0.7, 0.8], [0.01, 0.01])).effects
    assert found.prediction95.reason == "fewer-than-three-studies"
    assert pool_aucs([1.0, 0.7], [0.0, 0.01]).reason == "fewer-than-two-studies"


def test_an_extreme_site_costs_only_itself() -> None:
    found = known(pool_aucs([1 - 1e-12, 0.7, 0.8, 0.75], [1e-3, 0.01, 0.01, 1e-300]))
    assert found.left_out == (0, 3)


@pytest.mark.parametrize(
    ("areas", "variances"),
    [
        ([0.7, 1.1], [0.01, 0.01]),
        ([0.7, -0.1], [0.01, 0.01]),
        ([0.7, math.nan], [0.01, 0.01]),
        ([0.7, 0.8], [0.01, -0.01]),
        ([0.7, 0.8], [0.01, math.inf]),
        ([0.7, 0.8], [0.01]),
    ],
)
def test_impossible_aucs_are_refused(areas: list[float], variances: list[float]) -> None:
    assert code(lambda: pool_aucs(areas, variances)) == "bad-estimates"

"""ROC analysis against pROC's published values, scikit-learn, and the definitions written out."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored_patients import Floats, Labels, known, patients, tied_scores
from sklearn.metrics import roc_auc_score, roc_curve

from fedescc.common.errors import Refusal
from fedescc.common.statistics.roc import (
    ClassHistogram,
    Estimate,
    auc,
    called_positive,
    class_missing,
    delong_interval,
    delong_variance,
    edges_of,
    histogram_auc,
    histogram_delong_variance,
    logit_interval,
    paired_delong,
    roc_curve_from_histogram,
    score_histogram,
    too_few,
)


def delong_by_definition(y: Labels, s: Floats) -> float:
    """DeLong 1988, equations for V10 and V01, over all pairs."""
    wins = (s[y][:, None] > s[~y]) + 0.5 * (s[y][:, None] == s[~y])
    v10, v01 = wins.mean(axis=1), wins.mean(axis=0)
    return float(v10.var(ddof=1) / v10.size + v01.var(ddof=1) / v01.size)


@pytest.mark.real_data
def test_asah_areas_and_variances_are_those_of_proc(asah: dict[str, Floats]) -> None:
    """pROC prints seven digits of an area, enough to tell how many of the 41 · 72 pairs are won."""
    published = {
        "s100b": (0.7313686, 2159.0, 0.00266868245717244),
        "ndka": (0.6119580, 1806.5, 0.0031908105493913),
        "wfns": (0.8236789, 2431.5, 0.00146991470882363),
    }
    for predictor, (area, wins, variance) in published.items():
        found = known(auc(asah["poor"], asah[predictor]))
        assert found == pytest.approx(area, abs=5e-8)
        assert found == pytest.approx(wins / (41 * 72), abs=1e-15)
        assert known(delong_variance(asah["poor"], asah[predictor])) == pytest.approx(variance, rel=1e-12)


@pytest.mark.real_data
def test_asah_interval_is_that_of_proc(asah: dict[str, Floats]) -> None:
    area, variance = auc(asah["poor"], asah["s100b"]), delong_variance(asah["poor"], asah["s100b"])
    assert delong_interval(area, variance).value == pytest.approx((0.6301, 0.8326), abs=5e-5)


@pytest.mark.real_data
def test_asah_paired_comparison_is_that_of_proc(asah: dict[str, Floats]) -> None:
    """roc.test(wfns, s100b) prints Z = 2.209, p-value = 0.02718."""
    found = paired_delong(asah["poor"], asah["wfns"], asah["s100b"]).value
    assert found is not None
    assert found.z == pytest.approx(2.209, abs=5e-4)
    assert found.p == pytest.approx(0.02718, abs=5e-6)
    assert found.difference == pytest.approx(0.8236789 - 0.7313686, abs=1e-7)


@given(tied_scores())
def test_auc_is_that_of_scikit_learn(sample: tuple[Labels, Floats]) -> None:
    y, s = sample
    assert known(auc(y, s)) == pytest.approx(roc_auc_score(y, s), abs=1e-12)


@given(tied_scores())
def test_variance_is_delongs_over_all_pairs(sample: tuple[Labels, Floats]) -> None:
    y, s = sample
    assert known(delong_variance(y, s)) == pytest.approx(delong_by_definition(y, s), abs=1e-12)


@given(tied_scores(), st.floats(0.1, 10), st.floats(-5, 5))
def test_only_ranks_count_and_reversal_mirrors(sample: tuple[Labels, Floats], a: float, b: float) -> None:
    y, s = sample
    assert known(auc(y, a * s + b)) == known(auc(y, s))
    assert known(auc(y, -s)) == pytest.approx(1 - known(auc(y, s)), abs=1e-12)
    assert known(delong_variance(y, -s)) == pytest.approx(known(delong_variance(y, s)), abs=1e-12)


def test_million_patients_need_no_pairs() -> None:
    """All pairs would need 2 · 10^11 comparisons; under the binormal model AUC = Φ(gap / √2)."""
    rng = np.random.default_rng(0)
    y, s = patients(rng, 1_000_000, gap=1.0)
    se = math.sqrt(known(delong_variance(y, s)))
    assert known(auc(y, s)) == pytest.approx(0.5 * (1 + math.erf(0.5)), abs=4 * se)
    assert se < 0.001


def test_paired_test_holds_its_level_and_ignores_order() -> None:
    """Two equally good scores: about 5 % of p-values fall under .05 (SE .01 at 400 repeats)."""
    rng = np.random.default_rng(7)
    rejected = 0
    for _ in range(400):
        y, first = patients(rng, 150, gap=1.0)
        second = first + rng.normal(size=y.size) * 0.8
        third = first + rng.normal(size=y.size) * 0.8
        found, swapped = paired_delong(y, second, third).value, paired_delong(y, third, second).value
        assert found is not None
        assert swapped is not None
        assert (swapped.z, swapped.p) == pytest.approx((-found.z, found.p), abs=1e-12)
        rejected += found.p < 0.05
    assert 0.02 <= rejected / 400 <= 0.09


def test_paired_variance_counts_the_correlation() -> None:
    y, s = patients(np.random.default_rng(3), 200, gap=1.0)
    noisy = s + 0.1 * np.random.default_rng(4).normal(size=y.size)
    found = paired_delong(y, s, noisy).value
    assert found is not None
    unpaired = math.sqrt(known(delong_variance(y, s)) + known(delong_variance(y, noisy)))
    assert found.standard_error < 0.3 * unpaired
    assert found.difference == pytest.approx(known(auc(y, s)) - known(auc(y, noisy)), abs=1e-12)


def test_logit_interval_written_out() -> None:
    low, high = logit_interval(Estimate(0.8), Estimate(0.0016)).value or (0.0, 0.0)
    half = 1.959963984540054 * 0.04 / (0.8 * 0.2)
    assert math.log(low / (1 - low)) == pytest.approx(math.log(4) - half)
    assert math.log(high / (1 - high)) == pytest.approx(math.log(4) + half)


@given(st.floats(1e-6, 1 - 1e-6), st.floats(1e-8, 0.25))
def test_logit_interval_stays_inside_and_holds_the_area(area: float, variance: float) -> None:
    low, high = logit_interval(Estimate(area), Estimate(variance)).value or (1.0, 0.0)
    assert 0 <= low < area < high <= 1


def test_plain_interval_is_cut_to_one() -> None:
    assert delong_interval(Estimate(0.98), Estimate(0.01)).value == pytest.approx((0.78400360, 1.0))


@pytest.mark.parametrize(
    ("y", "s", "area", "variance"),
    [
        ([], [], "no-patients", "no-patients"),
        ([1, 1, 1], [1, 2, 3], "one-class", "one-class"),
        ([0, 0, 0], [1, 2, 3], "one-class", "one-class"),
        ([1, 0, 0], [1, 2, 3], None, "fewer-than-two-per-class"),
    ],
)
def test_degenerate_samples_give_a_reason(y: list[int], s: list[float], area: str | None, variance: str) -> None:
    edges = [1.5, 2.5]
    assert auc(y, s).reason == area
    assert delong_variance(y, s).reason == variance
    assert paired_delong(y, s, s).reason == variance
    assert logit_interval(auc(y, s), delong_variance(y, s)).reason == variance
    assert delong_interval(auc(y, s), delong_variance(y, s)).reason == variance
    histogram = score_histogram(y, s, edges)
    assert histogram_auc(histogram).reason == area
    assert histogram_delong_variance(histogram).reason == variance
    assert roc_curve_from_histogram(histogram, edges).reason == area


@pytest.mark.parametrize(("s", "area"), [([1, 2, 3, 4], 1.0), ([4, 3, 2, 1], 0.0), ([5, 5, 5, 5], 0.5)])
def test_perfect_and_constant_scores_have_no_interval(s: list[float], area: float) -> None:
    y = [0, 0, 1, 1]
    assert known(auc(y, s)) == area
    assert known(delong_variance(y, s)) == 0.0
    assert delong_interval(auc(y, s), delong_variance(y, s)).reason == "zero-variance"
    reason = "zero-variance" if area == 0.5 else "auc-at-boundary"
    assert logit_interval(auc(y, s), delong_variance(y, s)).reason == reason
    assert paired_delong(y, s, s).reason == "zero-variance"


@pytest.mark.parametrize(
    ("y", "s", "code"),
    [
        ([0, 1], [0.1], "length-mismatch"),
        ([[0, 1]], [[0.1, 0.2]], "length-mismatch"),
        ([0, 2], [0.1, 0.2], "labels-not-binary"),
        ([0.0, math.nan], [0.1, 0.2], "labels-not-binary"),
        ([0, 1], [0.1, math.nan], "scores-not-finite"),
        ([0, 1], [0.1, math.inf], "scores-not-finite"),
    ],
)
def test_bad_input_is_refused(y: list[float], s: list[float], code: str) -> None:
    with pytest.raises(Refusal) as caught:
        auc(y, s)
    assert caught.value.code == code


@pytest.mark.parametrize("arguments", [(None, None), (0.5, "reason"), (math.nan, None), (math.inf, None)])
def test_an_estimate_is_a_finite_value_or_a_reason(arguments: tuple[float | None, str | None]) -> None:
    with pytest.raises(ValueError, match="an estimate"):
        Estimate(*arguments)


def test_bins_are_closed_below_and_open_at_both_ends() -> None:
    histogram = score_histogram([0, 0, 1, 1, 1, 0], [-9.0, 1.0, 1.0, 1.5, 2.0, 9.0], edges=[1.0, 2.0])
    assert histogram.negatives.tolist() == [1, 1, 1]
    assert histogram.positives.tolist() == [0, 2, 1]
    assert histogram.negatives.dtype == np.int64


@given(tied_scores(at_least=4), st.integers(1, 7))
def test_histograms_of_sites_add_to_the_pooled_one(sample: tuple[Labels, Floats], cut: int) -> None:
    y, s = sample
    edges = np.array([-2.0, 0.0, 3.0])
    summed = score_histogram(y[:cut], s[:cut], edges) + score_histogram(y[cut:], s[cut:], edges)
    pooled = score_histogram(y, s, edges)
    assert summed.negatives.tolist() == pooled.negatives.tolist()
    assert summed.positives.tolist() == pooled.positives.tolist()


@given(tied_scores())
def test_histogram_with_an_edge_at_every_score_is_exact(sample: tuple[Labels, Floats]) -> None:
    y, s = sample
    histogram = score_histogram(y, s, np.arange(-4, 5))
    assert known(histogram_auc(histogram)) == pytest.approx(known(auc(y, s)), abs=1e-12)
    assert known(histogram_delong_variance(histogram)) == pytest.approx(known(delong_variance(y, s)), abs=1e-12)


@given(tied_scores())
def test_histogram_curve_is_that_of_scikit_learn(sample: tuple[Labels, Floats]) -> None:
    y, s = sample
    edges = np.arange(-3, 5)
    curve = roc_curve_from_histogram(score_histogram(y, s, edges), edges).value
    assert curve is not None
    fpr, tpr, thresholds = roc_curve(y, s, drop_intermediate=False)
    assert curve.thresholds.tolist() == edges[::-1].tolist()
    assert (curve.false_positive_rate[[0, -1]].tolist(), curve.true_positive_rate[[0, -1]].tolist()) == (
        [0, 1],
        [0, 1],
    )
    for at, x, y_ in zip(curve.thresholds, curve.false_positive_rate[1:], curve.true_positive_rate[1:], strict=False):
        same = np.flatnonzero(thresholds >= at)[-1]
        assert (x, y_) == (fpr[same], tpr[same])
    area = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
    assert area == pytest.approx(known(histogram_auc(score_histogram(y, s, edges))), abs=1e-12)


def test_malformed_histograms_and_edges_are_refused() -> None:
    ok = ClassHistogram(np.array([1, 2]), np.array([3, 4]))
    refused = {
        "bad-histogram": [
            lambda: ClassHistogram(np.array([1, 2]), np.array([3])),
            lambda: ClassHistogram(np.array([1, -2]), np.array([3, 4])),
            lambda: ClassHistogram(np.array([1.5, 2]), np.array([3, 4])),
            lambda: ok + ClassHistogram(np.array([1]), np.array([3])),
            lambda: roc_curve_from_histogram(ok, [0.1, 0.2]),
            lambda: roc_curve_from_histogram(ok, []),
            lambda: edges_of(ok, [0.1, 0.2]),
        ],
        "bad-edges": [
            lambda: score_histogram([0], [0.5], [0.2, 0.2]),
            lambda: score_histogram([0], [0.5], [0.3, math.inf]),
        ],
    }
    for code, attempts in refused.items():
        for attempt in attempts:
            with pytest.raises(Refusal) as caught:
                attempt()
            assert caught.value.code == code


def test_patients_called_positive_are_counted_from_nobody_to_everybody() -> None:
    false_positives, true_positives = called_positive(ClassHistogram(np.array([5, 2, 1]), np.array([0, 3, 4])))
    assert false_positives.tolist() == [0, 1, 3, 8]
    assert true_positives.tolist() == [0, 4, 7, 7]


@pytest.mark.parametrize(
    ("negatives", "positives", "ranks", "varies"),
    [
        (0, 0, "no-patients", "no-patients"),
        (0, 3, "one-class", "one-class"),
        (3, 0, "one-class", "one-class"),
        (1, 3, None, "fewer-than-two-per-class"),
        (2, 2, None, None),
    ],
)
def test_reasons_for_too_few_patients(negatives: int, positives: int, ranks: str | None, varies: str | None) -> None:
    assert class_missing(ClassHistogram(np.array([negatives]), np.array([positives]))) == ranks
    assert too_few(negatives, positives, at_least=2) == varies


def test_edges_come_back_as_floats() -> None:
    edges = edges_of(ClassHistogram(np.array([1, 2]), np.array([3, 4])), [1])
    assert (edges.tolist(), edges.dtype) == ([1.0], np.float64)

"""Logistic recalibration against statsmodels and scikit-learn, pooled and split over sites."""

import math
import warnings
from functools import reduce
from operator import add

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from fedescc.common.errors import Refusal
from fedescc.common.statistics.newton import MAX_EVALUATIONS, NewtonFit
from fedescc.common.statistics.recalibration import (
    IN_THE_LARGE,
    SLOPE_MODEL,
    newton_step,
    recalibrate,
    recalibration_terms,
)
from fedescc.common.statistics.roc import Estimate

Labels = NDArray[np.bool_]
Floats = NDArray[np.float64]


def cohort(seed: int, n: int = 300, intercept: float = 0.4, slope: float = 0.6) -> tuple[Labels, Floats]:
    """A model whose true recalibration is intercept + slope · logit."""
    rng = np.random.default_rng(seed)
    logit = 2.0 * rng.normal(size=n) - 0.3
    return rng.random(n) < 1 / (1 + np.exp(-(intercept + slope * logit))), logit


def known(estimate: Estimate[float]) -> float:
    assert estimate.value is not None, estimate.reason
    return estimate.value


def federated(fit: NewtonFit, sites: list[tuple[Labels, Floats]]) -> NewtonFit:
    while fit.outcome is None:
        fit = newton_step(reduce(add, (recalibration_terms(y, z, fit.coefficients) for y, z in sites)), fit)
    return fit


def glm(y: Labels, logit: Floats) -> tuple[float, float, float]:
    """Pooled fits of statsmodels: intercept with the logit as offset; intercept and slope of the slope model."""
    ones = np.ones_like(logit)
    family = sm.families.Binomial()
    large = sm.GLM(y.astype(float), ones, family=family, offset=logit).fit(tol=1e-12)
    slope = sm.GLM(y.astype(float), np.column_stack([ones, logit]), family=family).fit(tol=1e-12)
    return large.params[0], slope.params[0], slope.params[1]


@pytest.mark.parametrize("seed", range(5))
def test_one_site_equals_statsmodels(seed: int) -> None:
    y, logit = cohort(seed)
    large, _, slope = glm(y, logit)
    found = recalibrate(y, logit)
    assert known(found.intercept) == pytest.approx(large, abs=1e-6)
    assert known(found.slope) == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize("cuts", [(100, 200), (3, 5), (0, 299), (150,)])
def test_split_over_sites_equals_the_pooled_fit(cuts: tuple[int, ...]) -> None:
    """Sites of 3 patients, of 2, of none: only the sums count."""
    y, logit = cohort(9)
    sites = list(zip(np.split(y, cuts), np.split(logit, cuts), strict=True))
    large, intercept, slope = glm(y, logit)
    assert federated(IN_THE_LARGE, sites).coefficients == pytest.approx((large,), abs=1e-6)
    assert federated(SLOPE_MODEL, sites).coefficients == pytest.approx((intercept, slope), abs=1e-6)
    assert federated(SLOPE_MODEL, sites).estimate().value == pytest.approx(known(recalibrate(y, logit).slope))


def test_slope_equals_scikit_learn_without_penalty() -> None:
    y, logit = cohort(4)
    model = LogisticRegression(C=math.inf, tol=1e-10, max_iter=1000).fit(logit[:, None], y)
    assert known(recalibrate(y, logit).slope) == pytest.approx(model.coef_[0, 0], abs=1e-6)


def test_true_recalibration_is_found_in_a_large_sample() -> None:
    """SE of the slope is about .01 at 100 000 patients."""
    y, logit = cohort(1, n=100_000, intercept=0.0, slope=0.5)
    assert known(recalibrate(y, logit).slope) == pytest.approx(0.5, abs=0.03)
    perfect = cohort(2, n=100_000, intercept=0.0, slope=1.0)
    assert known(recalibrate(*perfect).intercept) == pytest.approx(0.0, abs=0.04)
    assert known(recalibrate(*perfect).slope) == pytest.approx(1.0, abs=0.04)


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 20.0, 1e4])
def test_slope_scales_inversely_with_the_logits(scale: float) -> None:
    """An overconfident model's logits are a multiple; the fit follows, however large."""
    y, logit = cohort(6)
    assert known(recalibrate(y, logit * scale).slope) == pytest.approx(known(recalibrate(y, logit).slope) / scale)


@pytest.mark.parametrize("shift", [-40.0, -3.0, 5.0, 200.0])
def test_intercept_undoes_a_shift_of_all_logits(shift: float) -> None:
    y, logit = cohort(7)
    expected = known(recalibrate(y, logit).intercept) - shift
    assert known(recalibrate(y, logit + shift).intercept) == pytest.approx(expected, abs=1e-6)


def test_calibration_in_the_large_balances_observed_and_expected() -> None:
    y, logit = cohort(8)
    intercept = known(recalibrate(y, logit).intercept)
    assert np.sum(1 / (1 + np.exp(-(logit + intercept)))) == pytest.approx(y.sum(), abs=1e-6)


@pytest.mark.parametrize("coefficients", [(0.3,), (0.2, -0.7), (0.0, 1.5)])
def test_gradient_and_hessian_are_the_derivatives_of_the_loss(coefficients: tuple[float, ...]) -> None:
    """Central differences; and the loss is the negative log-likelihood."""
    y, logit = cohort(3, n=60)
    terms = recalibration_terms(y, logit, coefficients)
    linear = logit + coefficients[0] if len(coefficients) == 1 else coefficients[0] + coefficients[1] * logit
    p = 1 / (1 + np.exp(-linear))
    assert terms.log_loss == pytest.approx(-np.log(np.where(y, p, 1 - p)).sum(), rel=1e-12)
    assert (terms.n, terms.n_pos) == (60, y.sum())
    for k in range(len(coefficients)):
        up, down = (
            recalibration_terms(y, logit, tuple(c + h * (j == k) for j, c in enumerate(coefficients)))
            for h in (1e-5, -1e-5)
        )
        assert terms.gradient[k] == pytest.approx((up.log_loss - down.log_loss) / 2e-5, rel=1e-6, abs=1e-6)
        assert terms.hessian[k] == pytest.approx((up.gradient - down.gradient) / 2e-5, rel=1e-6, abs=1e-6)


def test_terms_stay_finite_at_extreme_logits() -> None:
    terms = recalibration_terms([1, 0, 1, 0], [800.0, 800.0, -800.0, -800.0], (0.0,))
    assert terms.log_loss == pytest.approx(1600.0)
    assert terms.gradient.tolist() == pytest.approx([0.0])
    assert np.isfinite(terms.hessian).all()


def test_intercept_crosses_a_plateau_of_confident_mistakes() -> None:
    """10 positives and 85 negatives at logit -L, 5 negatives at +L: σ(a - L) · 95 = 5, so a = L - log 18."""
    y = np.r_[np.ones(10), np.zeros(90)]
    for confidence in (30.0, 300.0):
        logit = confidence * np.r_[-np.ones(10), np.ones(5), -np.ones(85)]
        assert known(recalibrate(y, logit).intercept) == pytest.approx(confidence - math.log(18), abs=1e-6)


@pytest.mark.parametrize(
    ("y", "logit", "intercept", "slope"),
    [
        ([], [], "no-patients", "no-patients"),
        ([1, 1, 1], [0.1, 0.5, 0.2], "one-class", "one-class"),
        ([0, 0], [0.1, 0.5], "one-class", "one-class"),
        ([0, 1, 1], [0.7, 0.7, 0.7], None, "zero-variance"),
        ([0, 1, 1], [0.0, 0.0, 0.0], None, "zero-variance"),
        ([0, 0, 1, 1], [-2.0, -1.0, 1.0, 2.0], None, "separated"),
        ([1, 1, 0, 0], [-2.0, -1.0, 1.0, 2.0], None, "separated"),
        ([0, 0, 0, 1, 1], [-2.0, -1.0, 0.0, 0.0, 3.0], None, "separated"),
        ([0, 0, 0, 1, 1], [2.0, 3.0, 4.0, 4.0, 7.0], None, "separated"),
        ([0, 0, 1, 1], [-2000.0, -2000.0, 2000.0, 2000.0], "saturated", "separated"),
    ],
)
def test_what_has_no_maximum_has_a_reason(y: list[int], logit: list[float], intercept: str | None, slope: str) -> None:
    found = recalibrate(y, logit)
    assert found.intercept.reason == intercept
    assert found.slope.reason == slope


def test_separation_of_every_site_but_not_of_the_pool_converges() -> None:
    """Two sites whose own slopes do not exist still have a common one."""
    sites = [
        (np.array([False, False, True, True]), np.array([-2.0, -1.0, 0.5, 1.0])),
        (np.array([False, False, True, True]), np.array([0.0, 0.8, 1.5, 2.0])),
    ]
    for y, logit in sites:
        assert recalibrate(y, logit).slope.reason == "separated"
    pooled = glm(*(np.concatenate(part) for part in zip(*sites, strict=True)))
    assert federated(SLOPE_MODEL, sites).coefficients == pytest.approx(pooled[1:], abs=1e-6)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.booleans(), st.floats(-30, 30)), max_size=25),
    st.sampled_from([IN_THE_LARGE, SLOPE_MODEL]),
)
def test_every_fit_ends_with_a_stationary_point_or_a_reason(rows: list[tuple[bool, float]], start: NewtonFit) -> None:
    y, logit = np.array([r[0] for r in rows], dtype=bool), np.array([r[1] for r in rows])
    fit = federated(start, [(y, logit)])
    assert fit.evaluations <= MAX_EVALUATIONS
    if fit.outcome == "converged":
        terms = recalibration_terms(y, logit, fit.coefficients)
        assert np.abs(terms.gradient).max() <= 1e-6 * max(1.0, np.abs(logit).max()) * len(rows)
        assert fit.estimate().value == fit.coefficients[-1]
    else:
        assert fit.estimate().value is None
        assert fit.estimate().reason == fit.outcome


def test_a_step_that_raises_the_loss_is_halved() -> None:
    y, logit = cohort(5)
    best = federated(SLOPE_MODEL, [(y, logit)])
    anchor = recalibration_terms(y, logit, best.coefficients)
    overshot = NewtonFit((8.0, -4.0), None, 3, best.coefficients, anchor.log_loss)
    halved = newton_step(recalibration_terms(y, logit, overshot.coefficients), overshot)
    assert halved.coefficients == pytest.approx(((8.0 + best.coefficients[0]) / 2, (-4.0 + best.coefficients[1]) / 2))
    assert (halved.evaluations, halved.anchor) == (4, best.coefficients)


def test_evaluations_are_bounded_and_an_ended_fit_stays() -> None:
    y, logit = cohort(5)
    terms = recalibration_terms(y, logit, (0.0, 0.0))
    last = newton_step(terms, NewtonFit((0.0, 0.0), evaluations=MAX_EVALUATIONS - 1))
    assert last.outcome == "not-converged"
    assert newton_step(terms, last) is last
    assert SLOPE_MODEL.estimate().reason == "not-converged"


def test_a_typical_fit_needs_few_rounds() -> None:
    """Each evaluation is a message to every site."""
    sites = [cohort(seed, n=60) for seed in range(4)]
    assert federated(IN_THE_LARGE, sites).evaluations <= 6
    assert federated(SLOPE_MODEL, sites).evaluations <= 8


def test_mismatched_or_bad_coefficients_are_refused() -> None:
    y, logit = cohort(1, n=20)
    one, two = recalibration_terms(y, logit, (0.0,)), recalibration_terms(y, logit, (0.0, 1.0))
    attempts = [
        lambda: one + two,
        lambda: newton_step(one, SLOPE_MODEL),
        lambda: recalibration_terms(y, logit, ()),
        lambda: recalibration_terms(y, logit, (0.0, 0.0, 0.0)),
        lambda: recalibration_terms(y, logit, (math.nan,)),
    ]
    for attempt in attempts:
        with pytest.raises(Refusal) as caught:
            attempt()
        assert caught.value.code == "bad-coefficients"


def test_no_warning_escapes_on_hard_data() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recalibrate([0, 1, 0, 1], [1e6, -1e6, 3.0, 4.0])


def test_complete_separation_is_seen_within_a_few_rounds() -> None:
    """A total loss below log 2 proves it; waiting for the slope to overflow would cost some forty messages."""
    fit = federated(SLOPE_MODEL, [(np.array([False, True]), np.array([-1.0, 1.0]))])
    assert fit.outcome == "separated"
    assert fit.evaluations <= 4

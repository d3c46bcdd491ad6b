"""Expected intervals: published sample sizes, standard errors of simulated patients, and other libraries' formulas."""

import math

import numpy as np
import pytest
from binormal_scores import drawn
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedescc.common.statistics.meta_analysis import random_effects
from fedescc.common.statistics.roc import Z95, auc, delong_variance
from fedescc.server.planning.binormal import Binormal
from fedescc.server.planning.precision import (
    auc_interval,
    auc_variance,
    observed_expected_interval,
    prediction_interval,
    slope_error,
    slope_interval,
)


def hanley_mcneil(area, positives, negatives):
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)
    return math.sqrt((area * (1 - area) + spread) / (positives * negatives))


def test_patients_for_an_auc_interval_of_a_tenth_are_those_of_pmvalsampsize():
    """Prevalence .018 and C .8 need 4252 patients for a 95 % interval .1 wide (Riley et al. 2021; pmvalsampsize)."""

    def variance(patients):
        positives = 0.018 * patients
        return auc_variance(0.8, positives, patients - positives).value

    assert 2 * 1.96 * math.sqrt(variance(4252)) <= 0.1 < 2 * 1.96 * math.sqrt(variance(4251))


def test_the_error_of_hanley_and_mcneils_own_example_is_near_theirs():
    """AUC .893 from 51 diseased and 58 normal: SE .032 (Radiology 143 (1982) 29)."""
    assert hanley_mcneil(0.893, 51, 58) == pytest.approx(0.032, abs=0.001)
    assert math.sqrt(auc_variance(0.893, 51, 58).value) == pytest.approx(0.032, abs=0.001)


@given(st.floats(0.55, 0.95), st.integers(2, 200))
def test_with_classes_of_one_size_it_is_hanley_and_mcneils_formula(area, size):
    assert auc_variance(area, size, size).value == pytest.approx(hanley_mcneil(area, size, size) ** 2, rel=1e-9)


@pytest.mark.parametrize(("area", "prevalence", "patients"), [(0.75, 0.3, 300), (0.85, 0.3, 300), (0.7, 0.5, 100)])
def test_delongs_variance_of_such_patients_is_as_expected(area, prevalence, patients):
    score = Binormal(area, prevalence)
    found = [delong_variance(*drawn(score, patients, seed)).value for seed in range(80)]
    expected = auc_variance(area, round(patients * prevalence), round(patients * (1 - prevalence))).value
    assert math.sqrt(np.mean(found)) == pytest.approx(math.sqrt(expected), rel=0.06)


def test_the_spread_of_simulated_aucs_is_as_expected():
    found = [auc(*drawn(Binormal(0.75, 0.3), 300, seed)).value for seed in range(600)]
    assert np.std(found) == pytest.approx(math.sqrt(auc_variance(0.75, 90, 210).value), rel=0.1)


def test_more_patients_narrow_the_interval_and_one_class_has_none():
    widths = [np.diff(auc_interval(0.75, n, 2 * n).value)[0] for n in (5, 20, 80, 320)]
    assert widths == sorted(widths, reverse=True)
    assert auc_interval(0.75, 0, 30).reason == "one-class"


def test_patients_for_a_calibration_slope_are_those_of_pmvalsampsize():
    """Log odds N(-5, 2.5), slope interval .2 wide: its test expects 4501, of 1000 simulated patients."""

    def patients(values, weights):
        score = Binormal(0.8, 0.018)
        object.__setattr__(score, "log_odds", (values, weights))
        return slope_error(score, 1).value ** 2 / (0.2 / (2 * 1.96)) ** 2

    nodes, weights = np.polynomial.hermite_e.hermegauss(96)
    exact = patients(-5 + 2.5 * nodes, weights / weights.sum())
    assert exact == pytest.approx(4501, rel=0.02)
    simulated = np.random.default_rng(5).normal(-5, 2.5, 1_000_000)
    assert patients(simulated, np.full(len(simulated), 1e-6)) == pytest.approx(exact, rel=0.005)


def test_the_slopes_error_is_that_of_simulated_logistic_fits():
    from sklearn.linear_model import LogisticRegression

    score, slopes = Binormal(0.75, 0.3), []
    for seed in range(150):
        y, odds = drawn(score, 400, seed)
        slopes.append(LogisticRegression(C=1e10).fit(odds[:, None], y).coef_[0, 0])
    assert np.std(slopes) == pytest.approx(slope_error(score, 400).value, rel=0.15)


def test_a_slopes_interval_is_around_one():
    low, high = slope_interval(Binormal(0.75, 0.3), 400).value
    assert (low + high) / 2 == pytest.approx(1)
    assert (high - low) / 2 == pytest.approx(Z95 * slope_error(Binormal(0.75, 0.3), 400).value)
    assert slope_interval(Binormal(0.75, 0.3), 0).reason == "no-patients"


def test_patients_for_observed_by_expected_are_those_of_pmvalsampsize():
    """Prevalence .018, an O/E interval 1 wide: 905 patients."""
    widths = [np.diff(observed_expected_interval(0.018, n).value)[0] for n in (900, 910)]
    assert widths[0] > 1 > widths[1]
    assert observed_expected_interval(0.2, 0).reason == "no-patients"


@pytest.mark.parametrize("tau", [0.0, 0.2, 0.5])
def test_equal_sites_give_the_prediction_interval_by_hand(tau):
    of_logit = auc_variance(0.75, 30, 70).value / (0.75 * 0.25) ** 2
    half = stats.t.ppf(0.975, 3) * math.sqrt(tau**2 + (of_logit + tau**2) / 5)
    centre = math.log(3)
    low, high = prediction_interval(0.75, [(30, 70)] * 5, tau).value
    assert low == pytest.approx(1 / (1 + math.exp(-(centre - half))))
    assert high == pytest.approx(1 / (1 + math.exp(-(centre + half))))


def test_without_spread_it_is_the_meta_analysis_of_equal_sites():
    classes = [(30, 70), (12, 40), (50, 90), (20, 20)]
    variances = [auc_variance(0.8, *pair).value / (0.8 * 0.2) ** 2 for pair in classes]
    found = random_effects([math.log(4)] * 4, variances).value.prediction95.value
    expected = [1 / (1 + math.exp(-end)) for end in found]
    assert prediction_interval(0.8, classes, 0.0).value == pytest.approx(expected, rel=1e-9)


def test_spread_between_sites_widens_it_and_two_sites_have_none():
    widths = [np.diff(prediction_interval(0.75, [(30, 70)] * 5, tau).value)[0] for tau in (0, 0.1, 0.3, 0.5)]
    assert widths == sorted(widths)
    assert prediction_interval(0.75, [(30, 70)] * 2, 0.1).reason == "fewer-than-three-sites"
    assert prediction_interval(0.75, [(30, 70), (0, 5), (4, 9)], 0.1).reason == "fewer-than-three-sites"

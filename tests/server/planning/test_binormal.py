"""An assumed score: its AUC, calibration, thresholds and R2, against simulation and independent integration."""

import numpy as np
import pytest
from binormal_scores import drawn
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from fedescc.common.errors import Refusal
from fedescc.common.statistics.roc import auc
from fedescc.server.planning.binormal import Binormal

AUCS = st.floats(0.52, 0.98)
SHARES = st.floats(0.03, 0.97)


def test_a_sample_has_the_assumed_auc_and_is_calibrated():
    score = Binormal(0.78, 0.3)
    y, odds = drawn(score, 200_000)
    assert auc(y, odds).value == pytest.approx(0.78, abs=0.003)
    near = np.abs(odds + 1) < 0.05
    assert y[near].mean() == pytest.approx(1 / (1 + np.e), abs=0.02)


@given(AUCS, SHARES)
def test_the_auc_follows_from_the_separation(area, prevalence):
    score = Binormal(area, prevalence)
    assert stats.norm.cdf(score.separation / np.sqrt(2)) == pytest.approx(area, abs=1e-9)


@given(AUCS, SHARES)
def test_the_mean_risk_is_the_prevalence(area, prevalence):
    values, weights = Binormal(area, prevalence).log_odds
    assert weights.sum() == pytest.approx(1)
    assert np.sum(weights / (1 + np.exp(-values))) == pytest.approx(prevalence, abs=1e-6)


@given(AUCS, SHARES, st.floats(0.05, 0.95))
def test_a_threshold_of_a_wanted_rate_has_it(area, prevalence, wanted):
    score = Binormal(area, prevalence)
    assert score.sensitivity(score.at_sensitivity(wanted)) == pytest.approx(wanted, abs=1e-9)
    assert score.specificity(score.at_specificity(wanted)) == pytest.approx(wanted, abs=1e-9)


@given(AUCS, SHARES)
def test_no_threshold_beats_youdens_or_that_of_least_cost(area, prevalence):
    score = Binormal(area, prevalence)
    others = score.youden + np.linspace(-3, 3, 61)

    def index(threshold):
        return score.sensitivity(threshold) + score.specificity(threshold)

    def cost(threshold):
        missed, alarms = 1 - score.sensitivity(threshold), 1 - score.specificity(threshold)
        return 5 * prevalence * missed + (1 - prevalence) * alarms

    assert all(index(score.youden) >= index(other) - 1e-12 for other in others)
    assert all(cost(score.least_cost(5, 1)) <= cost(other) + 1e-12 for other in others)


@pytest.mark.parametrize(("area", "prevalence"), [(0.6, 0.1), (0.75, 0.3), (0.9, 0.5), (0.97, 0.02)])
def test_r2_is_that_of_adaptive_integration(area, prevalence):
    score = Binormal(area, prevalence)
    centre, sd = np.log(prevalence / (1 - prevalence)), score.separation

    def expected(sign):
        density = stats.norm(centre + sign * sd**2 / 2, sd)
        return integrate.quad(
            lambda odds: -np.logaddexp(0, -sign * odds) * density.pdf(odds), centre - 12 * sd, centre + 12 * sd
        )[0]

    model = prevalence * expected(1) + (1 - prevalence) * expected(-1)
    null = prevalence * np.log(prevalence) + (1 - prevalence) * np.log(1 - prevalence)
    assert score.cox_snell == pytest.approx(1 - np.exp(-2 * (model - null)), abs=1e-6)


@pytest.mark.parametrize(("area", "prevalence"), [(0.5, 0.3), (1, 0.3), (0.4, 0.3), (0.8, 0), (0.8, 1), (np.nan, 0.3)])
def test_what_cannot_be_is_refused(area, prevalence):
    with pytest.raises(Refusal, match="bad-assumption"):
        Binormal(area, prevalence)

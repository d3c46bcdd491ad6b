"""Riley's minimum sample size: the published examples, the formulas by hand, and what simulation finds of shrinkage."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from fedescc.common.errors import Refusal
from fedescc.server.planning.binormal import Binormal
from fedescc.server.planning.sample_size import expected_shrinkage, minimum_sample_size


def test_the_published_example_with_an_r2():
    """pmsampsize: R2 .288, 24 parameters, prevalence .174: 623, 662, 221; 662 in all, EPP 4.8."""
    found = minimum_sample_size(24, 0.288, 0.174)
    assert (found.shrinkage, found.optimism, found.risk, found.patients) == (623, 662, 221, 662)
    assert found.events_per_parameter == pytest.approx(4.8, abs=0.005)


def test_the_published_example_with_a_c_statistic():
    """pmsampsize: C .89 instead of an R2, which it gets by simulation and we by integration: 615, 660, 221."""
    found = minimum_sample_size(24, Binormal(0.89, 0.174).cox_snell, 0.174)
    assert (found.shrinkage, found.optimism, found.risk, found.patients) == (615, 660, 221, 660)


def test_every_criterion_by_hand():
    found = minimum_sample_size(10, 0.1, 0.3)
    log_null = 0.3 * math.log(0.3) + 0.7 * math.log(0.7)
    wanted = 0.1 / (0.1 + 0.05 * (1 - math.exp(2 * log_null)))
    assert found.shrinkage == math.ceil(10 / ((0.9 - 1) * math.log(1 - 0.1 / 0.9)))
    assert found.optimism == math.ceil(10 / ((wanted - 1) * math.log(1 - 0.1 / wanted)))
    assert found.risk == math.ceil(1.96**2 * 0.3 * 0.7 / 0.05**2)
    assert found.patients == max(found.shrinkage, found.optimism, found.risk)


@given(st.integers(1, 60), st.floats(0.6, 0.9), st.floats(0.1, 0.6))
def test_more_parameters_need_more_patients_and_a_stronger_signal_fewer(parameters, area, prevalence):
    r2 = Binormal(area, prevalence).cox_snell
    found = minimum_sample_size(parameters, r2, prevalence)
    assert minimum_sample_size(parameters + 5, r2, prevalence).patients >= found.patients
    stronger = Binormal(area + 0.05, prevalence).cox_snell
    assert minimum_sample_size(parameters, stronger, prevalence).shrinkage <= found.shrinkage


@given(st.integers(1, 60), st.floats(0.6, 0.9))
def test_the_minimum_has_the_shrinkage_that_it_was_asked_for(parameters, area):
    r2 = Binormal(area, 0.3).cox_snell
    found = minimum_sample_size(parameters, r2, 0.3)
    assert expected_shrinkage(found.shrinkage, parameters, r2) >= 0.9 - 1e-9
    assert found.shrinkage == 1 or expected_shrinkage(found.shrinkage - 1, parameters, r2) < 0.9 + 1e-9


def test_simulated_regressions_shrink_as_expected():
    """The slope of a fit's scores in new patients is what Riley's formula foretells from their R2 in new patients."""
    from sklearn.linear_model import LogisticRegression

    rng, slopes, losses = np.random.default_rng(3), [], []
    truth = np.array([0.8, 0.6, *[0.0] * 8])

    def patients(number):
        x = rng.normal(size=(number, 10))
        return x, rng.random(number) < 1 / (1 + np.exp(-(x @ truth - 0.8)))

    new, y_new = patients(20_000)
    for _ in range(60):
        scores = (new @ LogisticRegression(C=1e10, max_iter=500).fit(*patients(200)).coef_[0])[:, None]
        again = LogisticRegression(C=1e10).fit(scores, y_new)
        slopes.append(again.coef_[0, 0])
        losses.append(log_loss(y_new, again.predict_proba(scores)[:, 1]))
    null = log_loss(y_new, np.full(len(y_new), y_new.mean()))
    r2 = 1 - math.exp(-2 * (null - np.mean(losses)))
    assert np.mean(slopes) == pytest.approx(expected_shrinkage(200, 10, r2), abs=0.05)


def test_few_patients_shrink_towards_the_r2_and_many_not_at_all():
    found = [expected_shrinkage(patients, 30, 0.1) for patients in (1, 20, 200, 2000, 10**7)]
    assert found == sorted(found)
    assert found[0] == pytest.approx(0.1, abs=1e-6)
    assert found[-1] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("parameters", "r2", "prevalence"),
    [(0, 0.1, 0.3), (5, 0.0, 0.3), (5, 0.8, 0.3), (5, 0.1, 0.0), (5, 0.1, 1.0), (5, math.nan, 0.3)],
)
def test_what_cannot_be_is_refused(parameters, r2, prevalence):
    with pytest.raises(Refusal, match="bad-assumption"):
        minimum_sample_size(parameters, r2, prevalence)

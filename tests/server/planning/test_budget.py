"""Epsilon of the planned rounds: reference values, the analytic Gaussian mechanism, and what cannot be told."""

import math

import pytest
from scipy import optimize, stats

from fedescc.common.errors import Refusal
from fedescc.common.federation import Training
from fedescc.server.planning.budget import epsilon, training_cost


def test_the_reference_values_are_reproduced():
    """Noise 1.5, rate .04, delta 1e-5: RDP 7.32911117143 at 2250 steps, PRV 6.7773957 at 2249."""
    assert epsilon(1.5, 0.04, 2250, 1e-5)[1] == pytest.approx(7.32911117143, abs=1e-9)
    assert epsilon(1.5, 0.04, 2249, 1e-5)[0] == pytest.approx(6.7773957, abs=1e-6)


@pytest.mark.parametrize(("noise", "steps"), [(2.0, 1), (20.0, 100)])
def test_without_sampling_it_is_the_analytic_gaussian_mechanism(noise, steps):
    """Balle & Wang (ICML 2018): delta of Gaussian noise, in closed form; steps add up as one of less noise."""
    mu = math.sqrt(steps) / noise

    def delta(value):
        return stats.norm.cdf(mu / 2 - value / mu) - math.exp(value) * stats.norm.cdf(-mu / 2 - value / mu)

    exact = optimize.brentq(lambda value: delta(value) - 1e-5, 0, 50)
    prv, rdp = epsilon(noise, 1.0, steps, 1e-5)
    assert exact - 1e-3 <= prv <= exact + 0.03
    assert prv < rdp


def test_rate_and_steps_are_those_of_the_settings():
    training = Training(batch_size=8, local_epochs=2)
    cost = training_cost(200, 12, training, 1.5, 1e-5)
    assert (cost.sampling_rate, cost.steps) == (0.04, 12 * 2 * 25)
    assert (cost.epsilon, cost.epsilon_rdp) == epsilon(1.5, 0.04, 600, 1e-5)
    updates = Training.model_validate({"batch_size": 8, "local_updates": 7})
    assert training_cost(200, 12, updates, 1.5, 1e-5).steps == 84


def test_a_site_smaller_than_a_batch_draws_everybody():
    cost = training_cost(5, 2, Training(batch_size=8, local_epochs=1), 5.0, 1e-5)
    assert (cost.sampling_rate, cost.steps) == (1.0, 2)


def test_smaller_sites_pay_more_and_noise_makes_it_cheaper():
    training = Training(batch_size=8)
    by_size = [training_cost(n, 12, training, 1.5, 1e-5).epsilon for n in (40, 80, 160)]
    by_noise = [training_cost(80, 12, training, noise, 1e-5).epsilon for noise in (1, 2, 4)]
    assert by_size == sorted(by_size, reverse=True)
    assert by_noise == sorted(by_noise, reverse=True)


@pytest.mark.parametrize(
    ("noise", "rate", "steps", "delta"),
    [
        (0.0, 0.04, 10, 1e-5),
        (-1.0, 0.04, 10, 1e-5),
        (math.nan, 0.04, 10, 1e-5),
        (math.inf, 0.04, 10, 1e-5),
        (0.5, 1.0, 600, 1e-5),  # epsilon over 1000
        (1.5, 0.04, 10, 0.0),
        (1.5, 0.04, 10, 1.0),
        (1.5, 0.04, 10, math.nan),
        (1.5, 0.0, 10, 1e-5),
        (1.5, 1.1, 10, 1e-5),
        (1.5, 0.04, 0, 1e-5),
        (1.5, 0.04, 10**9, 1e-5),
    ],
)
def test_no_epsilon_is_told_that_cannot_be_computed(noise, rate, steps, delta):
    with pytest.raises(Refusal, match="bad-budget"):
        epsilon(noise, rate, steps, delta)


def test_a_site_without_training_patients_has_none():
    with pytest.raises(Refusal, match="bad-budget"):
        training_cost(0, 12, Training(), 1.5, 1e-5)

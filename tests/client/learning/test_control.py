"""SCAFFOLD's controls: option II of the paper, and what a schedule makes of it."""

import numpy as np
import pytest

from fedescc.client.learning.control import next_control, split_control
from fedescc.common.errors import Refusal


def test_at_one_rate_it_is_the_papers_option_two() -> None:
    own, server, delta = (np.array(values, np.float32) for values in ([1, 2], [3, 5], [-0.4, 0.2]))
    steps, rate = 4, 0.1
    expected = own - server + -delta / (steps * rate)
    assert next_control(own, server, delta, steps * rate) == pytest.approx(expected, abs=1e-6)


def test_under_a_schedule_it_is_the_mean_gradient_weighted_by_the_rates() -> None:
    rng = np.random.default_rng(0)
    own, server = rng.normal(size=(2, 3)).astype(np.float32)
    gradients, rates = rng.normal(size=(5, 3)), rng.uniform(0.01, 0.1, 5)
    delta = -(rates[:, None] * (gradients + server - own)).sum(axis=0)
    after = next_control(own, server, delta.astype(np.float32), float(rates.sum()))
    assert after == pytest.approx(np.average(gradients, axis=0, weights=rates), abs=1e-5)
    assert after.dtype == np.float32


def test_without_a_step_the_control_stays() -> None:
    own = np.array([1, 2], np.float32)
    assert next_control(own, own + 1, np.zeros(2, np.float32), 0.0) is own


def test_weights_and_control_are_the_two_halves() -> None:
    weights, control = split_control(np.arange(6, dtype=np.float32))
    assert (weights.tolist(), control.tolist()) == ([0, 1, 2], [3, 4, 5])


@pytest.mark.parametrize("received", [np.zeros(5, np.float32), np.zeros((2, 2), np.float32)])
def test_halves_of_unequal_size_are_refused(received: np.ndarray) -> None:
    with pytest.raises(Refusal, match="wrong-parameters"):
        split_control(received)

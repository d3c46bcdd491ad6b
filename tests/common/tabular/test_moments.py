"""Moments are whole numbers of steps of the declared range."""

import numpy as np
import pytest

from fedescc.common.errors import Refusal
from fedescc.common.protocol import NumericVariable
from fedescc.common.tabular.moments import STEPS, contradictory, hide_small, in_steps, mean_and_sd, moment_table

AGE = NumericVariable(type="numeric", unit="years", range=(0, 128), available_at="baseline")
SHIFTED = NumericVariable(type="numeric", unit="mm", range=(-5, 15), available_at="baseline")


def table(values: list[float], rows: list[int] | None = None) -> np.ndarray:
    chosen = np.arange(len(values)) if rows is None else np.array(rows)
    return moment_table({"age": AGE}, {"age": np.array(values, float)}, chosen)


def test_moments_by_hand() -> None:
    unit = STEPS // 128
    assert table([1, 3, np.nan]).ravel().tolist() == [2, 4 * unit, 10 * unit**2]
    assert table([1, 3, np.nan, 99], [1, 2]).ravel().tolist() == [1, 3 * unit, 9 * unit**2]


def test_mean_and_sd_are_in_the_variables_unit_also_below_zero() -> None:
    moments = moment_table({"x": SHIFTED}, {"x": np.array([-4.0, 0.0, 10.0])}, np.arange(3))[:, 0]
    mean, sd = mean_and_sd(SHIFTED, moments)
    assert mean == pytest.approx(2, abs=20 / STEPS)
    assert sd == pytest.approx(np.std([-4, 0, 10]), abs=20 / STEPS)


def test_equal_values_have_no_spread_at_all() -> None:
    assert mean_and_sd(AGE, table([33.3] * 7)[:, 0])[1] == 0


def test_sums_over_too_few_patients_are_hidden_and_no_others() -> None:
    moments = np.array([[4, 5, 0], [40, 50, 0], [400, 500, 0]])
    assert hide_small(moments, 5).tolist() == [[0, 5, 0], [0, 50, 0], [0, 500, 0]]


@pytest.mark.parametrize("value", [-0.5, 128.5, np.inf])
def test_values_outside_the_declared_range_are_refused(value: float) -> None:
    with pytest.raises(Refusal, match="age") as refusal:
        in_steps("age", AGE, np.array([50, value]))
    assert refusal.value.code == "value-out-of-range"


@pytest.mark.parametrize(
    "moments",
    [
        [1, STEPS + 1, STEPS],  # a value above the range
        [2, 10, 10 * STEPS + 1],  # squares larger than the range allows
        [2, 10, 49],  # less than the square of the mean: no variance is negative
        [0, 1, 1],  # a sum of nobody
        [1, 2**62, 2**62],  # would overflow
    ],
)
def test_moments_that_nobody_can_have_are_found(moments: list[int]) -> None:
    assert contradictory(np.array(moments, np.int64).reshape(3, 1))


def test_real_moments_are_not_contradictory() -> None:
    assert not contradictory(table([0, 128, 64.123, 128]))
    assert not contradictory(table([np.nan]))

"""The p% rule: from a sum, the second largest contributor must not come near the largest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedescc.common.disclosure.dominance import dominated

VALUES = st.lists(st.floats(0, 1e6), min_size=2, max_size=30).map(np.array)


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([100, 50, 9], 10, True),  # 159 - 50 = 109: the largest to within 9
        ([100, 50, 10], 10, False),  # to within 10
        ([100, 50, 10], 11, True),
        ([1000, 1, 1, 1, 1], 10, True),
        ([5, 5, 5, 5, 5], 10, False),
        ([7], 10, True),  # the sum is the value
        ([7, 3], 10, True),  # either takes off the own value
        ([0, 0, 0], 10, False),  # nothing to come near to
        ([], 10, False),
        ([1000, 1, 1], 0, False),  # lifted
    ],
)
def test_the_rule_by_hand(values: list[float], percent: float, expected: bool) -> None:
    assert dominated(np.array(values, float), percent) is expected


@given(VALUES, st.floats(0.5, 100))
def test_a_sum_that_passes_leaves_the_second_largest_further_off_than_p_percent(
    values: np.ndarray, percent: float
) -> None:
    """The attack itself: the second largest contributor takes the own value off the sum."""
    largest, second = np.sort(values)[::-1][:2]
    guess = values.sum() - second
    if not dominated(values, percent) and largest > 0:
        assert guess - largest >= percent / 100 * largest - 1e-6 * largest


@given(VALUES, st.floats(1e-3, 1e3))
def test_the_unit_does_not_matter(values: np.ndarray, unit: float) -> None:
    whole = np.rint(values)
    assert dominated(whole, 10) is dominated(whole * 2.0 ** round(np.log2(unit)), 10)

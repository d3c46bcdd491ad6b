"""Counts of categories leave without any small cell, shown or computable."""

import itertools
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedescc.common.tabular.levels import count_levels, governed_levels

COUNTS = st.lists(st.integers(0, 60), min_size=2, max_size=7)


def test_patients_are_counted_by_category_and_the_missing_are_not() -> None:
    assert count_levels(np.array([0, 2, 2, -1, 2], np.int16), 4).tolist() == [1, 0, 3, 0]
    assert count_levels(np.zeros(0, np.int16), 2).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("counts", "shown"),
    [
        ([40, 30, 0], [40, 30, 0]),  # nothing to hide
        ([40, 30, 2], [5, 30, 0]),  # 2 alone could be subtracted: the first shown is told as the minimum
        ([40, 3, 2], [40, 0, 0]),  # 5 hidden together are enough
        ([6, 2], [0, 0]),  # the minimum would leave 3 unaccounted for
        ([4, 3], [0, 0]),
        ([3, 0], [0, 0]),
        ([8, 2], [5, 0]),
        ([2, 40, 50], [0, 5, 50]),
    ],
)
def test_what_is_shown_by_hand(counts: list[int], shown: list[int]) -> None:
    assert governed_levels(np.array(counts), 5).tolist() == shown


@given(COUNTS, st.integers(1, 12))
def test_no_small_cell_leaves_and_none_can_be_subtracted(counts: list[int], minimum: int) -> None:
    shown = governed_levels(np.array(counts), minimum)
    assert all(cell == 0 or cell >= minimum for cell in shown)
    assert (shown <= counts).all()
    short = sum(counts) - shown.sum()
    assert short == 0 or short >= minimum or not shown.any()


@pytest.mark.parametrize(("minimum", "categories"), [(4, 2), (4, 3), (4, 4), (5, 2), (5, 3)])
def test_who_knows_the_rule_and_the_total_cannot_compute_a_hidden_count(minimum: int, categories: int) -> None:
    told, most = defaultdict(list), 13 if categories == 4 else 22
    for counts in itertools.product(range(most + 1), repeat=categories):
        if sum(counts) <= most:  # so that every table of that total is looked at
            told[(*governed_levels(np.array(counts), minimum).tolist(), sum(counts))].append(counts)
    assert len(told) > most
    for (*shown, _), possible in told.items():
        for cell in zip(*possible, strict=True):
            assert not any(shown) or not any(0 < n < minimum for n in cell) or len(set(cell)) > 1, possible


@given(COUNTS)
def test_frequent_categories_stay_known_to_be_frequent(counts: list[int]) -> None:
    shown = governed_levels(np.array(counts), 5)
    assert all(cell >= 5 for cell, count in zip(shown, counts, strict=True) if count >= 10)

"""Counts by category: no cell of few, none that could be subtracted, and all patients in the sum."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedescc.client.acquisition.cells import category_cells, last_vendors


def codes(*counts):
    """Patients of each level, the last count those of unknown level."""
    return np.repeat([*range(len(counts) - 1), -1], counts).astype(np.int8)


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ((20, 10, 0, 0), [20, 10, 0, 0, 0]),
        ((20, 0, 0, 7), [20, 0, 0, 7, 0]),
        ((20, 3, 4, 0), [20, 0, 0, 0, 7]),  # together enough
        ((20, 9, 2, 0), [20, 0, 0, 0, 11]),  # the smaller one joins them
        ((20, 0, 0, 1), [0, 0, 0, 0, 21]),
        ((3, 3, 3, 3), [0, 0, 0, 0, 12]),
    ],
)
def test_small_cells_are_merged_by_hand(counts, told):
    assert category_cells(codes(*counts), 3, 5).tolist() == told


@given(st.lists(st.integers(0, 30), min_size=2, max_size=8), st.integers(1, 9))
def test_nothing_that_is_told_or_left_over_is_small(counts, minimum):
    patients = codes(*counts)
    if len(patients) < minimum:
        return
    told = category_cells(patients, len(counts) - 1, minimum)
    assert told.sum() == len(patients)
    assert all(cell == 0 or cell >= minimum for cell in told)
    assert all(shown in (0, true) for shown, true in zip(told[:-1], counts, strict=True))


def test_a_code_beyond_the_levels_counts_as_unknown():
    assert category_cells(np.array([0, 0, 9, 9, -1], np.int8), 2, 2).tolist() == [2, 0, 3, 0]


def test_the_last_time_points_vendor_counts_and_nobody_knows_the_rest():
    table = np.array([[0, 1], [2, -1], [3, 4]], np.int8)
    assert last_vendors(table, np.array([2, 1])).tolist() == [4, -1]
    assert last_vendors(None, np.array([0, 1])).tolist() == [-1, -1]
    assert last_vendors(np.zeros((3, 0), np.int8), np.array([0])).tolist() == [-1]

"""Whatever union of groups is told, what counts and what does not is none or at least the minimum."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedescc.common.disclosure.groups import (
    Rule,
    cells_of,
    class_units,
    classes_told,
    counted,
    one_group,
    safe_cells,
    smallest,
    told_pairs,
)

NAN = float("nan")


@st.composite
def columns(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Values, some missing, and the group of each."""
    n = draw(st.integers(0, 60))
    present = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    groups = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    values = np.where(np.array(present, bool), np.arange(n, dtype=float), NAN)
    return values, np.array(groups, np.intp)


@given(columns(), st.integers(1, 8))
def test_in_every_union_of_groups_nobody_or_enough_count_and_are_left_out(
    column: tuple[np.ndarray, np.ndarray], minimum: int
) -> None:
    values, groups = column
    counting = counted(values, groups, Rule(minimum))
    assert not counting[np.isnan(values)].any()
    for union in itertools.chain.from_iterable(itertools.combinations(range(4), k) for k in range(5)):
        inside = np.isin(groups, union)
        members = [np.count_nonzero(groups == group) for group in union]
        told, left = int(counting[inside].sum()), int((~counting[inside]).sum())
        assert told == 0 or told >= minimum
        if not any(0 < n < minimum for n in members):
            assert left == 0 or left >= minimum


def test_where_one_is_missing_as_many_more_as_make_up_the_minimum_are_left_out() -> None:
    values = np.array([1.0, NAN, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    assert np.flatnonzero(~counted(values, one_group(8), Rule(3))).tolist() == [0, 1, 2]
    assert np.flatnonzero(~counted(values, one_group(8), Rule(3, rest=False))).tolist() == [1]
    assert counted(values[2:], one_group(6), Rule(3)).all()
    assert not counted(values[:4], one_group(4), Rule(3)).any()  # 3 have a value; 2 would be left


def test_a_minimum_of_one_counts_everything_even_an_outlier() -> None:
    assert counted(np.array([1e6, 0, NAN, 1]), one_group(4), Rule(1, percent=10)).tolist() == [True, True, False, True]


def test_a_dominated_sum_or_sum_of_squares_counts_nobody() -> None:
    values = np.array([40.0, 1, 1, 1, 1, 1])
    assert counted(values, one_group(6), Rule(3)).all()
    assert counted(values, one_group(6), Rule(3, percent=5)).all() == np.False_  # squares: 4 of 1600
    assert not counted(np.array([400.0, 1, 1, 1, 1, 1]), one_group(6), Rule(3, percent=5)).any()
    assert counted(np.array([4.0, 3, 1, 1, 1, 2]), one_group(6), Rule(3, percent=10)).all()


def test_a_group_with_few_of_a_class_is_one_cell() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 0, 0, 0, 1], np.int8)
    groups = np.array([0] * 6 + [1] * 4, np.intp)
    assert safe_cells(labels, groups, 3).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert cells_of(labels, groups).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


def test_sums_by_class_need_both_classes_and_no_group_with_a_few_of_one() -> None:
    labels, groups = np.array([0, 1] * 10, np.int8), np.repeat([0, 1], 10)
    assert classes_told(labels, groups, 5)
    assert not classes_told(labels, groups, 6)
    one_class = np.array([0] * 10 + [0, 1] * 5, np.int8)
    assert classes_told(one_class, groups, 5)  # none in the first group is not few
    few = np.array([1] + [0] * 9 + [0, 1] * 5, np.int8)
    assert not classes_told(few, groups, 5)
    assert classes_told(few, one_group(20), 5)
    assert not classes_told(labels[:0], groups[:0], 1)


def test_a_block_with_a_group_that_has_a_few_of_a_class_is_told_of_as_one() -> None:
    labels = np.array([0, 0, 1, 1] + [0, 0, 0, 1] + [0, 0, 1, 1] * 2, np.int8)
    groups = np.repeat([0, 1, 2, 3], 4)
    assert class_units(labels, groups, groups // 2, 2).tolist() == [0] * 8 + [2] * 4 + [3] * 4
    assert class_units(labels, groups, groups, 2).tolist() == groups.tolist()


def test_the_smallest_group_is_of_those_that_have_anybody() -> None:
    assert smallest(np.array([0, 0, 3, 3, 3])) == 2
    assert smallest(np.array([], np.intp)) == 0


@given(columns(), columns(), st.integers(1, 6))
def test_a_pair_that_is_told_leaves_few_nowhere(
    one: tuple[np.ndarray, np.ndarray], two: tuple[np.ndarray, np.ndarray], minimum: int
) -> None:
    n = min(len(one[0]), len(two[0]))
    present = ~np.isnan(np.column_stack([one[0][:n], two[0][:n]]))
    groups = one[1][:n]
    if not told_pairs(present, groups, Rule(minimum))[0, 1]:
        return
    for group in np.unique(groups):
        a, b = present[groups == group].T
        for count in ((a & b).sum(), (a & ~b).sum(), (b & ~a).sum()):
            assert count == 0 or count >= minimum
    assert present.all(axis=1).sum() >= minimum


def test_pairs_by_hand() -> None:
    a, b = np.array([1, 1, 1, 1, 0, 0], bool), np.array([1, 1, 1, 0, 1, 1], bool)
    told = told_pairs(np.column_stack([a, b]), one_group(6), Rule(3))
    assert told.tolist() == [[True, False], [False, True]]  # one has a alone: a's sum less the pair's tells the value
    assert told_pairs(np.column_stack([a, b]), one_group(6), Rule(3, rest=False)).all()

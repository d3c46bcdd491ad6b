"""The minimum cell, by hand and at its edges."""

import pytest

from fedescc.common.disclosure.cells import both_reach, enough, small, too_few


@pytest.mark.parametrize(("count", "is_small", "is_too_few"), [(0, False, True), (1, True, True), (4, True, True),
                                                               (5, False, False), (6, False, False)])  # fmt: skip
def test_nobody_is_no_small_cell_but_too_few_to_give_an_update(count: int, is_small: bool, is_too_few: bool) -> None:
    assert (small(count, 5), too_few(count, 5)) == (is_small, is_too_few)


@pytest.mark.parametrize(("part", "told"), [(0, True), (4, False), (5, True), (15, True), (16, False), (20, True)])
def test_a_part_is_told_where_neither_it_nor_the_rest_is_small(part: int, told: bool) -> None:
    assert enough(part, 20, 5) is told


@pytest.mark.parametrize(("positives", "reach"), [(4, False), (5, True), (15, True), (16, False), (0, False)])
def test_both_classes_need_the_minimum(positives: int, reach: bool) -> None:
    assert both_reach(positives, 20, 5) is reach


def test_a_minimum_of_one_hides_nothing() -> None:
    assert not any(small(count, 1) for count in range(3))
    assert enough(1, 2, 1)

"""A total less the shown parts reveals none of the hidden ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedescc.common.disclosure.secondary import hidden_sites

COUNTS = {"a": (30, 70), "b": (20, 60), "c": (10, 30), "d": (8, 20)}


@pytest.mark.parametrize(
    ("primary", "hidden"),
    [
        (set(), set()),
        ({"a"}, {"a", "d"}),  # one alone could be subtracted: the smallest shown one joins it
        ({"d"}, {"d", "c"}),
        ({"a", "b"}, {"a", "b"}),
        ({"nobody"}, set()),  # not part of the total
        ({"a", "b", "c", "d"}, {"a", "b", "c", "d"}),
    ],
)
def test_which_sites_are_hidden_by_hand(primary: set[str], hidden: set[str]) -> None:
    assert hidden_sites(COUNTS, primary, 5) == hidden


def test_hidden_sites_that_are_small_together_take_another_one_along() -> None:
    counts = {"a": (30, 70), "b": (20, 60), "c": (1, 30), "d": (2, 30)}
    assert hidden_sites(counts, {"c", "d"}, 5) == {"b", "c", "d"}
    assert hidden_sites(counts, {"c", "d"}, 3) == {"c", "d"}


def test_ties_go_by_name_so_that_the_order_of_answers_does_not_matter() -> None:
    counts = {"c": (5, 5), "b": (5, 5), "a": (9, 9)}
    assert hidden_sites(counts, {"a"}, 5) == hidden_sites(dict(reversed(counts.items())), {"a"}, 5) == {"a", "b"}


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1),
    st.sets(st.sampled_from("abcdefgh")),
    st.integers(1, 10),
)
def test_the_total_less_what_is_shown_is_of_no_single_site_and_of_no_few_patients(
    counts: dict[str, tuple[int, int]], primary: set[str], minimum: int
) -> None:
    hidden = hidden_sites(counts, primary, minimum)
    assert primary & set(counts) <= hidden <= set(counts)
    if hidden and hidden != set(counts):
        rest = [
            sum(kind) - sum(counts[name][place] for name in set(counts) - hidden)
            for place, kind in enumerate(zip(*counts.values(), strict=True))
        ]
        assert len(hidden) >= 2
        assert all(count == 0 or count >= minimum for count in rest)

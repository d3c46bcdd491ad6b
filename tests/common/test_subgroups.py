"""Levels of patients, coarse bins, and which levels stay hidden."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedescc.common.analysis import Subgroup
from fedescc.common.statistics.roc import histogram_auc, score_histogram
from fedescc.common.subgroups import COARSE_EDGES, coarse_edges, coarse_histogram, hidden_levels, level_codes


def test_a_level_of_a_number_starts_at_its_cut() -> None:
    ages = [44.9, 45.0, 59.99, 60.0, np.nan, 0.0]
    assert level_codes(Subgroup(variable="age", cuts=(45, 60)), ages, 3).tolist() == [0, 1, 1, 2, 3, 0]


def test_a_category_is_its_own_level_and_a_negative_code_is_missing() -> None:
    sex = np.array([0, 1, -1, 1], np.int16)
    assert level_codes(Subgroup(variable="sex"), sex, 2).tolist() == [0, 1, 2, 1]
    assert level_codes(Subgroup(variable="scanner_vendor"), [np.nan, 5.0], 6).tolist() == [6, 5]


@pytest.mark.parametrize("count", [1, COARSE_EDGES, COARSE_EDGES + 1, 61, 200])
def test_coarse_edges_are_few_of_the_edges_and_their_histogram_is_the_summed_one(count: int) -> None:
    rng = np.random.default_rng(count)
    edges = np.sort(rng.normal(size=count)).tolist()
    coarse = coarse_edges(edges)
    assert len(coarse) == min(count, COARSE_EDGES)
    assert set(coarse) <= set(edges)
    assert (coarse[0], coarse[-1]) == (edges[0], edges[-1])
    y, logit = rng.integers(0, 2, 300), rng.normal(size=300)
    found = coarse_histogram(score_histogram(y, logit, edges))
    expected = score_histogram(y, logit, coarse)
    assert found.negatives.tolist() == expected.negatives.tolist()
    assert found.positives.tolist() == expected.positives.tolist()


def test_coarse_bins_move_the_auc_of_a_level_by_little() -> None:
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 2000)
    logit = rng.normal(1.2 * y)
    edges = np.quantile(logit, np.arange(1, 60) / 60).tolist()
    exact, coarse = (histogram_auc(score_histogram(y, logit, e)).value for e in (np.unique(logit), coarse_edges(edges)))
    assert exact is not None
    assert coarse == pytest.approx(exact, abs=0.005)


@pytest.mark.parametrize(
    ("positives", "negatives", "hidden"),
    [
        ([5, 6, 0], [5, 9, 0], [False, False, False]),  # nobody is missing: an empty level tells of nobody
        ([4, 6, 0], [9, 9, 0], [True, True, False]),  # the first is too small, and would be told by the second
        ([4, 6, 9], [9, 9, 20], [True, True, False]),  # with its smallest neighbour
        ([0, 6, 9], [9, 9, 20], [True, True, False]),  # all of one class: to belong to it would tell the outcome
        ([1, 1, 9], [9, 9, 20], [True, True, True]),  # two that together are too few take the third along
        ([2, 3, 9], [5, 5, 20], [True, True, False]),  # two that together are enough
        ([1, 0, 0], [1, 0, 0], [True, False, False]),  # the only level: nothing left to hide it with
    ],
)
def test_what_could_be_told_by_subtraction_is_hidden_too(
    positives: list[int], negatives: list[int], hidden: list[bool]
) -> None:
    assert hidden_levels(positives, negatives, 5).tolist() == hidden


def test_a_level_hidden_for_another_reason_takes_its_smallest_neighbour_along() -> None:
    assert hidden_levels([9, 6, 7], [9, 6, 7], 5, [True, False, False]).tolist() == [True, True, False]
    assert hidden_levels([9, 6, 0], [9, 6, 0], 5, [False, False, True]).tolist() == [False, False, False]


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=8),
    st.integers(1, 8),
)
@settings(max_examples=300, deadline=None)
def test_no_shown_level_is_small_and_no_difference_tells_of_few(sizes: list[tuple[int, int]], minimum: int) -> None:
    """Whatever an outsider adds up: shown levels, and all patients less any of them that leaves hidden ones alone."""
    classes = np.array(sizes)
    hidden = hidden_levels(classes[:, 0], classes[:, 1], minimum)
    shown = classes[~hidden & (classes.sum(axis=1) > 0)]
    assert (shown >= minimum).all()
    rest = classes[hidden]
    assert not hidden[classes.sum(axis=1) == 0].any()
    if len(rest) and len(shown):
        assert len(rest) >= 2
        assert (rest.sum(axis=0) >= minimum).all()

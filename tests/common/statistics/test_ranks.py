"""Ranks against SciPy, and agreement of judges against textbooks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import friedmanchisquare, rankdata, spearmanr

from fedescc.common.statistics.ranks import bootstrap_ranks, kendall_w, rank_correlation, ranks

TABLES = hnp.arrays(np.float64, st.tuples(st.integers(3, 6), st.integers(3, 7)), elements=st.integers(-5, 5))


@given(TABLES)
def test_ranks_are_scipys_from_the_largest_down(table: np.ndarray) -> None:
    assert (ranks(table) == rankdata(-table, axis=1)).all()


@given(TABLES)
def test_rank_correlation_is_scipys(table: np.ndarray) -> None:
    found = rank_correlation(table[0], table[1])
    if np.ptp(table[0]) and np.ptp(table[1]):
        assert found.value == pytest.approx(spearmanr(table[0], table[1]).statistic)
    else:
        assert found.reason == "all-tied"


def test_two_players_have_no_rank_correlation() -> None:
    assert rank_correlation([1, 2], [1, 2]).reason == "too-few-players"


@given(TABLES)
def test_kendalls_w_is_friedmans_statistic_scaled(table: np.ndarray) -> None:
    judges, subjects = table.shape
    found = kendall_w(table)
    if all(np.ptp(row) == 0 for row in table):
        assert found.reason == "all-tied"
        return
    assert found.value == pytest.approx(friedmanchisquare(*table.T).statistic / (judges * (subjects - 1)))


def test_judges_who_agree_have_w_one_and_opposites_zero() -> None:
    assert kendall_w([[1, 2, 3], [10, 20, 30], [0, 1, 9]]).value == 1
    assert kendall_w([[1, 2, 3], [3, 2, 1]]).value == 0
    assert kendall_w([[1, 2, 3]]).reason == "too-few-sites"
    assert kendall_w([[1], [2]]).reason == "too-few-players"


def test_bootstrap_ranks_are_stable_where_players_differ_and_split_where_they_do_not() -> None:
    rng = np.random.default_rng(0)
    values = np.column_stack([rng.normal(9, 0.1, 60), rng.normal(5, 1, 60), rng.normal(5, 1, 60)])
    total, squares = bootstrap_ranks(values, np.ones(values.shape, bool), draws=400)
    mean, sd = total / 400, np.sqrt(squares / 400 - (total / 400) ** 2)
    assert (mean[0], sd[0]) == (1, 0)
    assert sd[1] > 0.2
    assert mean.sum() == pytest.approx(6)
    again, _ = bootstrap_ranks(values, np.ones(values.shape, bool), draws=400)
    assert (again == total).all()


def test_a_player_of_some_patients_is_ranked_by_their_mean_alone() -> None:
    values = np.array([[1.0, 5.0], [1.0, 0.0], [1.0, 5.0], [1.0, 0.0]])
    counted = np.array([[1, 1], [1, 0], [1, 1], [1, 0]], bool)
    total, _ = bootstrap_ranks(values, counted, draws=200, seed=3)
    # In about one sample of 16 nobody has the second player, which then ranks last.
    assert 200 <= total[1] < 240

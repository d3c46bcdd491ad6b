"""Robust rules against scipy, numpy, Flower and a brute-force Krum; and f bad sites of n move nothing out of range."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import trim_mean

from fedescc.common.statistics.fixedpoint import CHUNK
from fedescc.common.strategy import Krum, Median, MultiKrum, TrimmedMean
from fedescc.server.strategies.algorithm import algorithm_of
from fedescc.server.strategies.robust import krum_fewest, krum_order


def combine(strategy, rows):
    rows = np.asarray(rows, np.float32)
    with algorithm_of(strategy).gather(rows.shape[1], len(rows)) as gather:
        for number, row in enumerate(rows):
            gather.add(f"site-{number:03d}", row, number + 1)
        return gather.combine()


class InMemory:
    def __init__(self, rows):
        self.rows, self.shape = np.asarray(rows, np.float64), np.shape(rows)

    def blocks(self):
        for start in range(0, self.shape[1], 3):
            yield slice(start, start + 3), self.rows[:, start : start + 3].copy()


def some(sites, size=7, seed=0):
    return np.random.default_rng(seed).standard_normal((sites, size)).astype(np.float32)


@pytest.mark.parametrize("sites", [5, 6, 10, 13])
@pytest.mark.parametrize("trim", [0.2, 0.25, 0.4])
def test_trimmed_mean_equals_scipys(sites, trim):
    rows = some(sites, size=2 * CHUNK + 5)
    expected = trim_mean(rows.astype(np.float64), trim, axis=0)
    assert np.abs(combine(TrimmedMean(trim=trim), rows) - expected).max() < 1e-14


def test_trimmed_mean_by_hand_leaves_out_at_least_one_at_either_end():
    """20 % of 4 is less than one site; scipy and Flower would then trim nobody and protect from nobody."""
    rows = [[1.0], [2.0], [4.0], [1e6]]
    assert combine(TrimmedMean(trim=0.2), rows).tolist() == [3.0]
    assert trim_mean(np.array(rows), 0.2)[0] > 1e5


def test_a_share_that_binary_fractions_miss_is_trimmed_whole():
    rows = np.arange(100.0)[:, None]
    rows[:29] = -1e4
    assert combine(TrimmedMean(trim=0.29), rows)[0] == np.arange(29, 71).mean()


@pytest.mark.parametrize("sites", [3, 4, 5, 6])
def test_a_share_of_all_but_one_half_leaves_the_middle(sites):
    rows = some(sites)
    expected = combine(Median(), rows)
    assert np.array_equal(combine(TrimmedMean(trim=0.49999999999), rows), expected)


@pytest.mark.parametrize("sites", [3, 4, 9, 10])
def test_median_equals_numpys(sites):
    rows = some(sites, size=CHUNK + 3)
    assert np.array_equal(combine(Median(), rows), np.median(rows.astype(np.float64), axis=0))


def brute_force(rows, byzantine):
    """Blanchard et al. by the letter: of every choice of n - f - 2 others, the one with the least sum."""
    rows = np.asarray(rows, np.float64)
    scores = []
    for i in range(len(rows)):
        others = [float(((rows[i] - rows[j]) ** 2).sum()) for j in range(len(rows)) if j != i]
        scores.append(min(sum(c) for c in itertools.combinations(others, len(rows) - byzantine - 2)))
    return sorted(range(len(rows)), key=lambda i: scores[i])


@pytest.mark.parametrize(("sites", "byzantine"), [(3, 0), (5, 1), (6, 1), (7, 2), (9, 3)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_krum_equals_brute_force(sites, byzantine, seed):
    rows = some(sites, seed=seed)
    order = brute_force(rows, byzantine)
    assert krum_order(InMemory(rows), byzantine) == order
    assert np.array_equal(combine(Krum(byzantine=byzantine), rows), rows[order[0]])
    expected = rows[order[: sites - byzantine]].astype(np.float64).mean(axis=0)
    assert combine(MultiKrum(byzantine=byzantine), rows) == pytest.approx(expected, rel=1e-12)
    two = rows[order[:2]].astype(np.float64).mean(axis=0)
    assert combine(MultiKrum(byzantine=byzantine, keep=2), rows) == pytest.approx(two, rel=1e-12)


def test_multi_krum_never_keeps_more_than_the_sites_assumed_honest():
    rows = np.concatenate([some(4) * 0.01, [[50.0] * 7]])
    assert np.abs(combine(MultiKrum(byzantine=1, keep=1000), rows)).max() < 1


def test_of_equal_updates_krum_takes_the_first_site_by_name():
    assert krum_order(InMemory(np.ones((5, 2))), 1) == [0, 1, 2, 3, 4]


def test_krum_tells_small_differences_between_large_updates():
    """In |a|² + |b|² - 2ab, as Flower has it in float32, these distances of 10⁻² drown in rounding."""
    from flwr.app import ArrayRecord
    from flwr.serverapp.strategy.multikrum import compute_distances

    rows = (1e4 + np.array([0.0, 0.01, 0.02, 0.05, 3.0])[:, None] * np.ones(4)).astype(np.float32)
    assert krum_order(InMemory(rows), 1) == brute_force(rows, 1)
    exact = ((rows[0].astype(np.float64) - rows[1]) ** 2).sum()
    flowers = compute_distances([ArrayRecord([row]) for row in rows])[0, 1]
    assert exact > 0
    assert not 0.5 * exact < flowers < 2 * exact


def test_krum_needs_more_than_twice_the_faulty_sites():
    assert [krum_fewest(f) for f in (0, 1, 2, 5)] == [3, 5, 7, 13]


ROBUST = [(TrimmedMean(trim=0.3), 7, 2), (Median(), 7, 3), (Krum(byzantine=2), 7, 2), (MultiKrum(byzantine=2), 7, 2)]


@pytest.mark.parametrize(("strategy", "sites", "faulty"), ROBUST, ids=lambda value: getattr(value, "name", value))
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_faulty_sites_cannot_move_the_result_out_of_the_honest_range(strategy, sites, faulty, data):
    seed, size = data.draw(st.integers(0, 1000)), 6
    honest = some(sites - faulty, size, seed)
    attack = data.draw(st.sampled_from([-1e6, -100.0, 100.0, 1e6]))
    bad = np.full((faulty, size), attack, np.float32) * data.draw(st.sampled_from([1.0, -1.0, 0.5]))
    rows = np.concatenate([honest, bad])[np.random.default_rng(seed).permutation(sites)]
    result = combine(strategy, rows)
    assert (result >= honest.min(axis=0)).all()
    assert (result <= honest.max(axis=0)).all()


def test_the_mean_would_be_moved():
    rows = np.concatenate([some(6), [[1e6] * 7]])
    assert rows.mean(axis=0).min() > 1e5

"""Quantiles from merged cells: what leaves is never small, and what is learned is near the pooled ranks."""

import itertools
from collections import Counter
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedescc.common.protocol import NumericVariable
from fedescc.common.sums import add_up
from fedescc.common.tabular.quantiles import (
    BINS,
    bin_edges,
    count_bins,
    estimate,
    exact_runs,
    merge_bins,
    runs_of,
    score_knots,
)

SII = NumericVariable(type="numeric", unit="10^9/L", range=(10, 10_000), available_at="baseline")
EDGES = bin_edges(SII)
CELLS = st.lists(st.integers(0, 9), min_size=BINS, max_size=BINS).map(np.array)
SITES = st.lists(st.lists(st.floats(10, 10_000), min_size=5, max_size=60), min_size=1, max_size=4)


def runs(values: object, minimum: int = 5) -> Counter[tuple[int, int]]:
    return runs_of(merge_bins(count_bins(SII, np.asarray(values, float)), minimum))


def laboratory(seed: int, sizes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.exp(rng.normal(6.3, 0.5, n)).clip(10, 10_000) for n in sizes]


def test_bins_cover_the_range_and_the_last_is_eight_times_the_first() -> None:
    assert (EDGES[0], EDGES[-1], len(EDGES)) == (10, 10_000, BINS + 1)
    widths = np.diff(EDGES)
    assert widths[-1] / widths[0] == pytest.approx(8 ** (255 / 256))


def test_values_at_both_ends_of_the_range_are_counted() -> None:
    counts = count_bins(SII, np.array([10.0, 10_000.0, EDGES[7]]))
    assert np.flatnonzero(counts).tolist() == [0, 7, 255]


def test_merging_by_hand() -> None:
    counts = np.zeros(BINS, int)
    counts[[3, 10, 11, 40, 90]] = [2, 4, 7, 5, 1]
    merged = merge_bins(counts, 5)
    # 2 + 4 up to bin 10, 7 alone, and 5 with the rest up to the grid's end, not to the largest value's bin 90.
    assert {int(place): int(merged[place]) for place in np.flatnonzero(merged)} == {10: 6, 11: 7, 255: 6}
    assert runs_of(merged) == {(0, 11): 6, (11, 12): 7, (12, 256): 6}


@given(CELLS, st.integers(1, 12))
def test_no_small_cell_leaves_and_every_patient_is_in_one(counts: np.ndarray, minimum: int) -> None:
    merged = merge_bins(counts, minimum)
    cells = merged[merged > 0]
    assert (cells >= minimum).all()
    if counts.sum() >= minimum:
        assert merged.sum() == counts.sum()
        assert merged[-1] > 0
    else:
        assert not merged.any()
    for (start, end), patients in runs_of(merged).items():
        assert counts[start:end].sum() == patients


@given(st.lists(st.integers(0, 254), min_size=1, max_size=40), st.integers(2, 5), st.data())
def test_neither_the_least_nor_the_greatest_value_changes_what_leaves(
    places: list[int], minimum: int, data: st.DataObject
) -> None:
    places.sort()
    merged = merge_bins(np.bincount(places, minlength=BINS), minimum)
    lower, higher = data.draw(st.integers(0, places[0])), data.draw(st.integers(places[-1], 255))
    for changed in ([lower, *places[1:]], [*places[:-1], higher]):
        assert np.array_equal(merge_bins(np.bincount(changed, minlength=BINS), minimum), merged)


@given(st.lists(st.floats(10, 10_000), min_size=5, max_size=60))
def test_the_estimate_keeps_to_what_a_site_said(site: list[float]) -> None:
    told = runs(site)
    spread = estimate(told, EDGES, float(np.mean(site)), float(np.std(site)))
    assert (spread >= 0).all()
    for (start, end), patients in told.items():
        assert spread[start:end].sum() == pytest.approx(patients)
    # So a rank is off by less than the patients of the one cell in which it lies.
    exact = np.cumsum(count_bins(SII, np.array(site)))
    cell = [patients for (start, end), patients in sorted(told.items()) for _ in range(start, end)]
    assert (np.abs(np.cumsum(spread) - exact) <= np.array(cell) + 1e-6).all()


@settings(max_examples=40)
@given(SITES)
def test_the_estimate_holds_every_patient_of_every_site(sites: list[list[float]]) -> None:
    everyone = np.concatenate(sites)
    total = add_up(map(runs, sites))
    assert total.total() == len(everyone)
    assert estimate(total, EDGES, everyone.mean(), everyone.std()).sum() == pytest.approx(len(everyone))


def test_federated_ranks_are_near_the_pooled_ones() -> None:
    worst, scores = [], []
    for seed in range(10):
        sites = laboratory(seed, (72, 42, 30, 21, 15))
        everyone = np.sort(np.concatenate(sites))
        spread = estimate(add_up(map(runs, sites)), EDGES, everyone.mean(), everyone.std())
        knots, given_scores = score_knots(EDGES, spread)
        ranks = (np.arange(len(everyone)) + 0.5) / len(everyone)
        federated = np.interp(everyone, EDGES, np.concatenate([[0], np.cumsum(spread)]) / len(everyone))
        worst.append(np.abs(federated - ranks).max())
        normal = [NormalDist().inv_cdf(rank) for rank in ranks]
        scores.append(np.corrcoef(np.interp(everyone, knots, given_scores), normal)[0, 1])
    assert np.mean(worst) < 0.08
    assert min(scores) > 0.97


def test_quantiles_of_large_sites_equal_numpys() -> None:
    sites = laboratory(3, (4000, 3000))
    everyone = np.concatenate(sites)
    spread = estimate(add_up(map(runs, sites)), EDGES, everyone.mean(), everyone.std())
    below = np.concatenate([[0], np.cumsum(spread)]) / spread.sum()
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert np.interp(share, below, EDGES) == pytest.approx(np.quantile(everyone, share), rel=0.02)


def test_the_order_of_sites_changes_no_bit() -> None:
    sites = laboratory(1, (20, 11, 8))
    made = []
    for order in itertools.permutations(sites):
        spread = estimate(add_up(map(runs, order)), EDGES, 600.0, 300.0)
        made.append((spread.tobytes(), score_knots(EDGES, spread)))
    assert all(one == made[0] for one in made)


def test_scores_are_standardised_and_increase() -> None:
    (site,) = laboratory(5, (3000,))
    knots, scores = score_knots(EDGES, estimate(runs(site), EDGES, site.mean(), site.std()))
    encoded = np.interp(site, knots, scores)
    assert encoded.mean() == pytest.approx(0, abs=0.02)
    assert encoded.std() == pytest.approx(1, abs=0.02)
    assert (np.diff(knots) > 0).all()
    assert (np.diff(scores) >= 0).all()
    assert len(knots) <= 21


def test_scores_of_a_few_bins_by_hand() -> None:
    spread = np.zeros(BINS)
    spread[[10, 20, 30]] = [30, 40, 30]
    knots, scores = score_knots(EDGES, spread)
    centres = (EDGES[:-1] + EDGES[1:]) / 2
    low = NormalDist().inv_cdf(0.15)
    assert (knots[0], knots[-1]) == (pytest.approx(centres[10]), pytest.approx(centres[30]))
    sd = np.sqrt(0.6 * low**2)
    assert scores[0] == pytest.approx(low / sd)
    assert scores[-1] == pytest.approx(-low / sd)
    assert np.interp(centres[20], knots, scores) == pytest.approx(0, abs=1e-9)


def test_many_patients_with_the_lowest_value_stand_in_the_middle_of_their_ranks() -> None:
    values = np.concatenate([np.full(400, 10.0), np.exp(np.random.default_rng(0).normal(6.5, 0.4, 600))])
    knots, scores = score_knots(EDGES, estimate(runs(values), EDGES, values.mean(), values.std()))
    ranks = np.concatenate([np.full(400, 0.2), 0.4 + (np.arange(600) + 0.5) / 1000])
    normal = np.array([NormalDist().inv_cdf(rank) for rank in ranks])
    expected = (normal[0] - normal.mean()) / normal.std()
    assert np.interp(10.0, knots, scores) == pytest.approx(expected, abs=0.05)


def test_who_may_see_all_counts_learns_the_ranks_to_a_bin() -> None:
    (site,) = laboratory(2, (150,))
    counts = count_bins(SII, site)
    total = exact_runs(counts)
    assert total == {(place, place + 1): counts[place] for place in np.flatnonzero(counts)}
    assert estimate(total, EDGES, site.mean(), 4 * site.std()).tolist() == counts.tolist()


def test_one_value_only_scores_0() -> None:
    knots, scores = score_knots(EDGES, estimate(exact_runs(count_bins(SII, np.full(9, 500.0))), EDGES, 500.0, 0.0))
    assert set(np.interp([10.0, 500.0, 9000.0], knots, scores)) == {0.0}


def test_a_cell_beyond_three_sds_is_cut_there() -> None:
    spread = estimate(Counter({(0, 100): 50, (100, BINS): 50}), EDGES, float(EDGES[100]), 200.0)
    occupied = np.flatnonzero(spread)
    assert EDGES[occupied[0] + 1] >= EDGES[100] - 600
    assert EDGES[occupied[-1]] <= EDGES[100] + 600
    assert spread[:100].sum() == pytest.approx(50)

"""Resampling whole sites: its definition over all resamples, its width, and what it cannot do."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scored_patients import code, known, patients

from fedescc.common.statistics.roc import (
    ClassHistogram,
    Estimate,
    auc,
    histogram_auc,
    histogram_delong_variance,
    logit_interval,
    score_histogram,
)
from fedescc.common.statistics.site_bootstrap import bootstrap_sites
from fedescc.common.sums import add_up

EDGES = np.linspace(-3, 3, 49)


def site(rng: np.random.Generator, n: int, gap: float, shift: float = 0.0) -> ClassHistogram:
    y, s = patients(rng, n, gap)
    return score_histogram(y, s + shift, EDGES)


def sites(seed: int, spread: float, count: int = 5) -> list[ClassHistogram]:
    rng = np.random.default_rng(seed)
    return [site(rng, n, 1.3 + spread * rng.normal()) for n in (120, 70, 50, 35, 25, 60, 80, 45)[:count]]


def test_three_sites_follow_all_27_resamples() -> None:
    """With so many draws the quantiles are those of the 27 equally likely resamples themselves."""
    three = sites(1, 0.8, count=3)
    values = np.sort([known(histogram_auc(add_up([three[i] for i in way]))) for way in product(range(3), repeat=3)])
    found = known(bootstrap_sites(three, histogram_auc, draws=20_000, seed=0))
    assert found == pytest.approx((values[0], values[-1]), abs=1e-12)


def test_interval_holds_the_pooled_value() -> None:
    five = sites(2, 0.3)
    low, high = known(bootstrap_sites(five, histogram_auc, seed=1))
    assert low < known(histogram_auc(add_up(five))) < high


def test_differences_between_sites_widen_it_beyond_delong() -> None:
    """Sites from AUC .58 to .95: DeLong, which takes patients for alike, is too sure."""
    rng = np.random.default_rng(3)
    uneven = [site(rng, 200, gap) for gap in (0.3, 0.6, 1.2, 1.8, 2.3)]
    pooled = add_up(uneven)
    low, high = known(bootstrap_sites(uneven, histogram_auc, seed=0))
    delong = known(logit_interval(histogram_auc(pooled), histogram_delong_variance(pooled)))
    assert high - low > 1.8 * (delong[1] - delong[0])


def test_standard_error_of_a_mean_over_sites() -> None:
    """Share of positives at sites of equal size: its bootstrap SE is the sites' SD (divisor k) over √k."""
    positives = np.array([10, 14, 18, 22, 30, 35, 41, 52])
    equal = [ClassHistogram(np.array([100 - p]), np.array([p])) for p in positives]

    def share(pooled: ClassHistogram) -> Estimate[float]:
        return Estimate(float(pooled.positives.sum() / (pooled.positives.sum() + pooled.negatives.sum())))

    low, high = known(bootstrap_sites(equal, share, draws=20_000, seed=0))
    assert (high - low) / (2 * 1.96) == pytest.approx(positives.std() / 100 / np.sqrt(8), rel=0.05)


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 2**63))
def test_same_seed_gives_the_same_bits_in_any_order_of_sites(random, seed: int) -> None:
    five = sites(5, 0.5)
    shuffled = list(five)
    random.shuffle(shuffled)
    first, second = (bootstrap_sites(list_, histogram_auc, draws=200, seed=seed) for list_ in (five, shuffled))
    assert first == second


def test_another_seed_draws_other_sites() -> None:
    eight = sites(6, 0.5, count=8)
    assert bootstrap_sites(eight, histogram_auc, draws=200, seed=1) != bootstrap_sites(
        eight, histogram_auc, draws=200, seed=2
    )


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.int64, (4, 2, 3), elements=st.integers(1, 9)))
def test_interval_stays_within_the_values_that_can_be_drawn(counts: np.ndarray) -> None:
    four = [ClassHistogram(*pair) for pair in counts]
    found = bootstrap_sites(four, histogram_auc, draws=100, seed=0)
    if found.value is None:
        assert found.reason == "zero-variance"
        return
    values = [known(histogram_auc(add_up([four[i] for i in way]))) for way in product(range(4), repeat=4)]
    assert min(values) - 1e-12 <= found.value[0] < found.value[1] <= max(values) + 1e-12


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_sites_have_no_interval(count: int) -> None:
    assert bootstrap_sites(sites(7, 0.5, count=count), histogram_auc, seed=0).reason == "fewer-than-three-sites"


def test_too_many_resamples_without_a_class_give_a_reason() -> None:
    """Two of three sites have no positive: 8 of 27 resamples have none."""
    without = [ClassHistogram(np.array([5, 5]), np.array([0, 0]))] * 2
    rest = ClassHistogram(np.array([3, 1]), np.array([1, 3]))
    assert bootstrap_sites([*without, rest], histogram_auc, seed=0).reason == "resamples-undefined"


def test_a_few_undefined_resamples_are_passed_over() -> None:
    """One of four sites has no positive: 1 of 256 resamples has none."""
    rng = np.random.default_rng(9)
    without = ClassHistogram(np.array([5, 5]), np.array([0, 0]))
    others = [ClassHistogram(rng.integers(1, 9, 2), rng.integers(1, 9, 2)) for _ in range(3)]
    seen = []

    def watched(pooled: ClassHistogram) -> Estimate[float]:
        seen.append(histogram_auc(pooled))
        return seen[-1]

    low, high = known(bootstrap_sites([without, *others], watched, draws=2000, seed=0))
    assert "one-class" in {found.reason for found in seen}
    assert 0 <= low < high <= 1


def test_sites_that_are_all_alike_have_no_interval() -> None:
    alike = [ClassHistogram(np.array([4, 2]), np.array([1, 5]))] * 4
    assert bootstrap_sites(alike, histogram_auc, seed=0).reason == "zero-variance"


def test_coverage_of_many_sites_is_near_95_percent() -> None:
    """Eight sites of 60, AUCs as different as by chance alone: percentile intervals are a little narrow."""
    rng = np.random.default_rng(10)
    truth = known(auc(*patients(rng, 400_000, 1.3)))
    covered = 0
    for _ in range(40):
        drawn = [site(rng, 60, 1.3) for _ in range(8)]
        low, high = known(bootstrap_sites(drawn, histogram_auc, draws=200, seed=int(rng.integers(2**32))))
        covered += low <= truth <= high
    assert covered / 40 >= 0.8


def test_bad_draws_and_unlike_histograms_are_refused() -> None:
    five = sites(11, 0.5)
    assert code(lambda: bootstrap_sites(five, histogram_auc, draws=99, seed=0)) == "bad-draws"
    other = ClassHistogram(np.array([1, 2]), np.array([3, 4]))
    assert code(lambda: bootstrap_sites([*five, other], histogram_auc, seed=0)) == "bad-histogram"

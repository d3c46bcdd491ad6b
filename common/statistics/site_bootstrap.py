"""Intervals that count the differences between sites: whole sites are drawn again, not patients.

Cluster bootstrap with percentile interval: Field & Welsh, J. R. Stat. Soc. B 69 (2007) 369; Davison & Hinkley,
Bootstrap Methods and their Application (CUP 1997), section 3.8. With a handful of sites it is too narrow: it can show
no hospital that is unlike those seen.
"""

from collections.abc import Callable, Sequence

import numpy as np

from fedescc.common.errors import Refusal
from fedescc.common.statistics.roc import ClassHistogram, Counts, Estimate, Interval
from fedescc.common.statistics.score_bins import bad_histogram

LEAST_SITES = 3
LEAST_DRAWS = 100
MOST_UNDEFINED = 0.05  # share of resamples

Statistic = Callable[[ClassHistogram], Estimate[float]]


def bootstrap_sites(
    histograms: Sequence[ClassHistogram], statistic: Statistic, *, draws: int = 2000, seed: int
) -> Estimate[Interval]:
    """95 % interval of a statistic of the pooled histogram; the order of the sites does not matter.

    Undefined with fewer than 3 sites, where more than 5 % of the resamples have no value (all sites without one class,
    say), or where all have the same: an interval without width would claim certainty.

    Args:
        histograms: one a site, over the same edges.
        statistic: for example `fedescc.common.statistics.roc.histogram_auc`.
        draws: resamples, at least 100.
        seed: of numpy's generator.

    Raises:
        Refusal: "bad-draws"; "bad-histogram" where sites differ in bins.

    """
    if draws < LEAST_DRAWS:
        raise Refusal("bad-draws", f"{draws} resamples", f"ask for at least {LEAST_DRAWS}")
    if len(histograms) < LEAST_SITES:
        return Estimate(None, "fewer-than-three-sites")
    sites = _in_one_order(histograms)
    times_drawn = np.random.default_rng(seed).multinomial(len(sites), np.full(len(sites), 1 / len(sites)), size=draws)
    # A few sites can be drawn in few ways: three in ten.
    ways, repeats = np.unique(times_drawn, axis=0, return_counts=True)
    found = [statistic(ClassHistogram(*np.tensordot(way, sites, axes=1))).value for way in ways]
    defined = np.array([value is not None for value in found])
    if repeats[~defined].sum() > MOST_UNDEFINED * draws:
        return Estimate(None, "resamples-undefined")
    values = np.repeat(np.array([value for value in found if value is not None]), repeats[defined])
    low, high = np.quantile(values, [0.025, 0.975])
    return Estimate((float(low), float(high))) if low < high else Estimate(None, "zero-variance")


def _in_one_order(histograms: Sequence[ClassHistogram]) -> Counts:
    """(sites, 2, bins), negatives first, in an order that the counts alone decide."""
    if len({histogram.negatives.size for histogram in histograms}) > 1:
        raise bad_histogram("sites have different numbers of bins")
    stacked = np.stack([np.stack([histogram.negatives, histogram.positives]) for histogram in histograms])
    return stacked[np.lexsort(stacked.reshape(len(stacked), -1).T[::-1])]

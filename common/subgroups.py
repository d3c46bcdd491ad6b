"""Patients judged apart: who belongs to which level, with which bins, and which levels stay hidden.

Pure functions, alike at site and server.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedescc.common.analysis import Subgroup
from fedescc.common.statistics.roc import ClassHistogram

COARSE_EDGES = 20  # at most, of the histograms of a level

Codes = NDArray[np.intp]
Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]


def level_codes(subgroup: Subgroup, column: ArrayLike, levels: int) -> Codes:
    """The level of each patient, (n,): 0 to ``levels`` - 1, and ``levels`` where the value is missing.

    Args:
        subgroup: with cuts, of a number.
        column: (n,) values, NaN missing; or without cuts the index of a category, negative where missing.
        levels: how many the subgroup has, that of missing values not counted.

    """
    values = np.asarray(column, dtype=np.float64)
    if subgroup.cuts:
        found, missing = np.digitize(values, subgroup.cuts), np.isnan(values)
    else:
        missing = np.isnan(values) | (values < 0)
        found = np.where(missing, 0, values)
    return np.where(missing, levels, found).astype(np.intp)


def coarse_edges(edges: Sequence[float]) -> list[float]:
    """At most `COARSE_EDGES` of a look's edges, evenly by rank, for the few patients of a level."""
    if len(edges) <= COARSE_EDGES:
        return list(edges)
    return [edges[place] for place in _places(len(edges))]


def coarse_histogram(histogram: ClassHistogram) -> ClassHistogram:
    """A histogram over a look's edges as it is over their `coarse_edges`."""
    bins = histogram.negatives.size
    if bins - 1 <= COARSE_EDGES:
        return histogram
    starts = [0, *(place + 1 for place in _places(bins - 1))]
    return ClassHistogram(*(np.add.reduceat(counts, starts) for counts in (histogram.negatives, histogram.positives)))


def hidden_levels(positives: ArrayLike, negatives: ArrayLike, minimum: int, hidden: ArrayLike | None = None) -> Flags:
    """Which levels of one subgroup stay hidden, (levels,).

    A level with patients is shown only where both classes reach the minimum; of a level of one class, to know that a
    patient belongs to it would be to know the outcome. The levels add up to all patients, who are told elsewhere, so
    that what is hidden can be told by subtraction: as long as that would be one level, or too few of a class, the next
    smallest is hidden too (secondary suppression; Willenborg & de Waal, Elements of Statistical Disclosure Control,
    2001). An empty level hides nobody.

    Args:
        positives: (levels,) patients with the outcome.
        negatives: (levels,) patients without.
        minimum: fewest of a class that anything is said of.
        hidden: (levels,) levels that stay hidden for another reason.

    """
    of_class = np.stack([np.asarray(positives, np.int64), np.asarray(negatives, np.int64)])
    sizes = of_class.sum(axis=0)
    given = np.zeros(len(sizes), bool) if hidden is None else np.asarray(hidden, bool)
    found: Flags = (sizes > 0) & (given | (of_class.min(axis=0) < minimum))
    while found.any() and (np.count_nonzero(found) == 1 or of_class[:, found].sum(axis=1).min() < minimum):
        shown = np.flatnonzero((sizes > 0) & ~found)
        if not shown.size:
            break
        found[shown[np.argmin(sizes[shown])]] = True
    return found


def _places(count: int) -> list[int]:
    return [int(place) for place in np.linspace(0, count - 1, COARSE_EDGES).round()]

"""Where the bins of score histograms begin and end: edges on the logit scale, fixed before the test set opens."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedescc.common.errors import Refusal

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

LONE_EDGE_REACH = 1.0  # logits


def fine_logit_edges(count: int = 2001, limit: float = 1000.0) -> Floats:
    """Edges for a fine histogram of training logits, (count,): .008 apart near 0, .8 % of |logit| far out.

    Equal steps of asinh(logit), so that a model whose probabilities all round to 0 or 1 still spreads over
    bins.
    """
    reach = math.asinh(limit)
    return np.sinh(np.linspace(-reach, reach, count))


def quantile_edges(counts: ArrayLike, fine_edges: ArrayLike, bins: int = 50, spread: float = 0.5) -> Floats:
    """At most bins - 1 of the fine edges, near quantiles k/bins of a pooled fine histogram of training scores.

    A share ``spread`` of the mass is laid evenly over the fine bins between the 1 % and 99 % quantiles first.
    An overfitted model leaves a hole between its training classes just where test patients fall: quantiles
    alone put no edge there (AUC error up to .17 at training AUC 1, against .007) and gain nothing elsewhere.

    Args:
        counts: patients per fine bin, shape (fine edges + 1,), both classes together, summed over sites;
            noise may have made some negative, which count as 0.
        fine_edges: strictly increasing, shape (fine edges,); see `fine_logit_edges`.
        bins: bins wanted; fewer come back where several quantiles share a fine bin.
        spread: share in [0, 1); 0 gives plain quantiles.

    Raises:
        Refusal: "bad-histogram" (lengths), "empty-histogram", "bad-edges", "bad-binning" (bins or spread).

    """
    edges = checked_edges(fine_edges)
    mass = np.maximum(np.asarray(counts, dtype=np.float64), 0.0)
    if mass.shape != (edges.size + 1,):
        raise bad_histogram(f"{mass.size} counts for {edges.size} edges")
    if bins < 2 or not 0 <= spread < 1:
        raise Refusal("bad-binning", f"{bins} bins, spread {spread}", "ask for 2 bins, spread below 1")
    if not mass.sum() > 0:
        raise Refusal("empty-histogram", "the fine histogram holds no patient", "collect scores first")
    below = np.cumsum(_spread_out(mass / mass.sum(), spread))
    return edges[np.unique(_nearest(below[:-1], np.arange(1, bins) / bins))]


def bin_limits(edges: Floats) -> Floats:
    """Lower end of every bin and upper end of the last, (edges + 2,), for at least one edge.

    The two open bins are taken to be as wide as their neighbours: the scores in them are not known any better.
    """
    if edges.size == 1:
        return np.asarray(edges[0] + np.array([-LONE_EDGE_REACH, 0.0, LONE_EDGE_REACH]))
    return np.concatenate([[2 * edges[0] - edges[1]], edges, [2 * edges[-1] - edges[-2]]])


def checked_edges(edges: ArrayLike) -> Floats:
    """Edges as float64, shape (edges,); none at all is one bin.

    Raises:
        Refusal: "bad-edges" unless finite and strictly increasing.

    """
    thresholds = np.asarray(edges, dtype=np.float64)
    if thresholds.ndim != 1 or not np.isfinite(thresholds).all() or (np.diff(thresholds) <= 0).any():
        what = f"{thresholds.size} edges are not finite and strictly increasing"
        raise Refusal("bad-edges", what, "use the edges the coordinator fixed for this study")
    return thresholds


def whole_counts(counts: ArrayLike) -> Counts:
    """Patients per bin as int64, shape (bins,).

    Raises:
        Refusal: "bad-histogram" when not whole, negative, or without a bin.

    """
    given = np.asarray(counts)
    if given.ndim != 1 or given.size == 0 or given.dtype.kind not in "iu" or (given < 0).any():
        raise bad_histogram(f"counts of type {given.dtype} and shape {given.shape} are not whole numbers >= 0")
    return given.astype(np.int64)


def bad_histogram(what: str) -> Refusal:
    """The refusal of a histogram that does not fit what it is used with."""
    return Refusal("bad-histogram", what, "make every histogram with score_histogram over the same edges")


def _spread_out(share: Floats, spread: float) -> Floats:
    below = np.cumsum(share)
    even: Floats = np.zeros_like(share)
    even[np.searchsorted(below, 0.01) : np.searchsorted(below, 0.99) + 1] = 1.0
    mixed: Floats = (1.0 - spread) * share + spread * even / even.sum()
    return mixed


def _nearest(ascending: Floats, wanted: Floats) -> Counts:
    """Index of the entry nearest to each wanted value; the lower one at a tie."""
    after = np.searchsorted((ascending[1:] + ascending[:-1]) / 2, wanted)
    return after.astype(np.int64)

"""Rules that choose, among a histogram's edges, the logit at and above which a patient is called positive.

Every rule compares whole numbers or exact fractions, so that the choice does not hang on rounding, and settles ties by
the highest edge: a response called where there is none may cost the patient the operation.

Sources: Youden, Cancer 3 (1950) 32; Pepe, The Statistical Evaluation of Medical Tests (OUP 2003), for fixed
sensitivity or specificity; Zweig & Campbell, Clin. Chem. 39 (1993) 561, for costs and prevalence.
"""

import math
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedescc.common.errors import Refusal
from fedescc.common.statistics.roc import (
    ClassHistogram,
    Counts,
    Estimate,
    Floats,
    called_positive,
    class_missing,
    edges_of,
)


def youden_edge(histogram: ClassHistogram, edges: ArrayLike) -> Estimate[float]:
    """The edge that maximises sensitivity + specificity - 1; `Refusal` as `fedescc.common.statistics.roc.edges_of`."""
    return cost_edge(histogram, edges, false_negative=1, false_positive=1, prevalence=0.5)


def sensitivity_edge(histogram: ClassHistogram, edges: ArrayLike, sensitivity: float) -> Estimate[float]:
    """The highest edge at which at least this share of the positives is called positive.

    Raises:
        Refusal: "bad-rule" unless 0 < sensitivity <= 1; "bad-edges", "bad-histogram".

    """
    wanted = _share(sensitivity, "sensitivity")
    thresholds = edges_of(histogram, edges)
    if reason := _undefined(histogram):
        return Estimate(None, reason)
    _, hits = _at_edges(histogram)
    return _highest(thresholds, hits >= _least_count(wanted, int(histogram.positives.sum())))


def specificity_edge(histogram: ClassHistogram, edges: ArrayLike, specificity: float) -> Estimate[float]:
    """The edge of highest sensitivity at which at least this share of the negatives is called negative.

    Raises:
        Refusal: "bad-rule" unless 0 < specificity <= 1; "bad-edges", "bad-histogram".

    """
    wanted = _share(specificity, "specificity")
    thresholds = edges_of(histogram, edges)
    if reason := _undefined(histogram):
        return Estimate(None, reason)
    false_alarms, hits = _at_edges(histogram)
    negatives = int(histogram.negatives.sum())
    allowed = negatives - false_alarms >= _least_count(wanted, negatives)
    if not allowed.any():
        return Estimate(None, "not-reached")
    return _highest(thresholds, allowed & (hits == hits[allowed].max()))


def cost_edge(
    histogram: ClassHistogram,
    edges: ArrayLike,
    *,
    false_negative: float,
    false_positive: float,
    prevalence: float | None = None,
) -> Estimate[float]:
    """The edge of least expected cost: false_negative · P · FNR + false_positive · (1 - P) · FPR.

    Args:
        histogram: validation patients.
        edges: the histogram's, (bins - 1,).
        false_negative: cost of a missed positive, in any unit.
        false_positive: cost of a false alarm, in the same unit.
        prevalence: share P of positives where the model will be used; the histogram's own if None.

    Raises:
        Refusal: "bad-rule" when a cost is not positive or the prevalence not inside (0, 1); "bad-edges",
            "bad-histogram".

    """
    costs = _cost(false_negative), _cost(false_positive)
    assumed = None if prevalence is None else _prevalence(prevalence)
    thresholds = edges_of(histogram, edges)
    if reason := _undefined(histogram):
        return Estimate(None, reason)
    negatives, positives = int(histogram.negatives.sum()), int(histogram.positives.sum())
    share = Fraction(positives, positives + negatives) if assumed is None else assumed
    miss, alarm = _in_whole_numbers(costs[0] * share / positives, costs[1] * (1 - share) / negatives)
    false_alarms, hits = _at_edges(histogram)
    gain = [int(h) * miss - int(f) * alarm for h, f in zip(hits, false_alarms, strict=True)]
    best = max(gain)
    return _highest(thresholds, np.array([value == best for value in gain]))


def _undefined(histogram: ClassHistogram) -> str | None:
    return class_missing(histogram) or ("no-edges" if histogram.negatives.size == 1 else None)


def _at_edges(histogram: ClassHistogram) -> tuple[Counts, Counts]:
    """False and true positives at each edge, lowest edge first, (bins - 1,)."""
    false_alarms, hits = called_positive(histogram)
    return false_alarms[-2:0:-1], hits[-2:0:-1]


def _highest(thresholds: Floats, allowed: NDArray[np.bool_]) -> Estimate[float]:
    found = np.flatnonzero(allowed)
    return Estimate(float(thresholds[found[-1]])) if found.size else Estimate(None, "not-reached")


def _least_count(share: Fraction, whole: int) -> int:
    return math.ceil(share * whole)


def _in_whole_numbers(first: Fraction, second: Fraction) -> tuple[int, int]:
    """Two fractions over their common denominator."""
    common = math.lcm(first.denominator, second.denominator)
    return int(first * common), int(second * common)


def _share(value: float, name: str) -> Fraction:
    if not 0 < value <= 1:
        raise _bad_rule(f"a {name} of {value}", "ask for one above 0 and at most 1")
    return _as_written(value)


def _prevalence(value: float) -> Fraction:
    if not 0 < value < 1:
        raise _bad_rule(f"a prevalence of {value}", "give one inside (0, 1)")
    return _as_written(value)


def _cost(value: float) -> Fraction:
    if not 0 < value < math.inf:
        raise _bad_rule(f"a cost of {value}", "give positive, finite costs")
    return _as_written(value)


def _as_written(value: float) -> Fraction:
    """The decimal a person wrote: 0.9 of 10 patients is 9, although the float nearest to 0.9 lies a little above it."""
    return Fraction(repr(float(value)))


def _bad_rule(what: str, todo: str) -> Refusal:
    return Refusal("bad-rule", what, todo)

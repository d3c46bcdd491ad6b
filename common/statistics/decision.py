"""Decision curves out of summed class histograms (Vickers & Elkin, Med. Decis. Making 26 (2006) 565).

The net benefit of calling positive at probability p, per patient: true positives less false positives times the odds
p / (1 - p), at which a false alarm is thought worth a missed case. Calling nobody has net benefit 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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
from fedescc.common.statistics.score_bins import bin_limits


@dataclass(frozen=True, eq=False)
class DecisionCurve:
    """Net benefit per patient at threshold probabilities; (thresholds,) each, in the order asked.

    Attributes:
        thresholds: probabilities at and above which a patient is called positive.
        model: net benefit of calling by the model.
        treat_all: net benefit of calling everybody positive.
        exact: False where the threshold lies within a bin, whose patients are then taken as evenly spread over logits.

    """

    thresholds: Floats
    model: Floats
    treat_all: Floats
    exact: NDArray[np.bool_]


def decision_curve(histogram: ClassHistogram, edges: ArrayLike, thresholds: Sequence[float]) -> Estimate[DecisionCurve]:
    """Net benefit at each threshold; exact where `threshold_logits` of it is among the edges.

    Args:
        histogram: test patients per bin and class.
        edges: logits, (bins - 1,).
        thresholds: probabilities inside (0, 1).

    Raises:
        Refusal: "bad-decision-thresholds", "bad-edges", "bad-histogram".

    """
    logits = threshold_logits(thresholds)
    cuts = edges_of(histogram, edges)
    if reason := class_missing(histogram):
        return Estimate(None, reason)
    if not cuts.size:
        return Estimate(None, "no-edges")
    limits = bin_limits(cuts)
    false_positives, true_positives = called_positive(histogram)
    negatives, positives = int(false_positives[-1]), int(true_positives[-1])
    alarms, hits = _called_at(logits, limits, false_positives), _called_at(logits, limits, true_positives)
    chances = np.asarray(thresholds, dtype=np.float64)
    odds, n = chances / (1 - chances), negatives + positives
    model, treat_all = (hits - alarms * odds) / n, (positives - negatives * odds) / n
    return Estimate(DecisionCurve(chances, model, treat_all, np.isin(logits, cuts)))


def threshold_logits(thresholds: Sequence[float]) -> Floats:
    """Logits of threshold probabilities, (thresholds,): as edges of the histogram they make its decision curve exact.

    Raises:
        Refusal: "bad-decision-thresholds" when there is none, or one outside (0, 1).

    """
    from scipy.special import logit

    chances = np.asarray(thresholds, dtype=np.float64)
    if chances.ndim != 1 or not chances.size or not ((chances > 0) & (chances < 1)).all():
        what = f"decision thresholds {list(thresholds)}"
        raise Refusal("bad-decision-thresholds", what, "give probabilities above 0 and below 1")
    return np.asarray(logit(chances), dtype=np.float64)


def _called_at(logits: Floats, limits: Floats, called: Counts) -> Floats:
    """Patients at or above each logit; within a bin a share of its patients."""
    return np.interp(logits, limits, called[::-1])

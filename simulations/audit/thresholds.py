"""The threshold that was locked, by the plan's rule on the pooled validation patients, edge by edge.

The federation compares fractions of summed counts; here every edge is tried on the patients themselves.
"""

from collections.abc import Iterable

import numpy as np

from fedescc.common.analysis import AtSensitivity, AtSpecificity, LeastCost, ThresholdRule
from fedescc.simulations.audit.bins import Locked
from fedescc.simulations.audit.figures import Ledger
from fedescc.simulations.audit.pairs import Floats
from fedescc.simulations.audit.scores import Scored, pool

GROUP = "thresholds"
UNDECIDED = 0.0  # logit where the rule chooses none
_ROUNDING = 1e-9


def audit_threshold(
    ledger: Ledger, name: str, published: float, locked: Locked, validation: Iterable[Scored], rule: ThresholdRule
) -> None:
    """The published probability, and the logit that the opening has.

    Args:
        ledger: takes the figures.
        name: of the model.
        published: probability in its METRICS.
        locked: its bins and threshold.
        validation: patients of the sites whose histograms the rule saw.
        rule: the plan's.

    """
    from scipy.special import expit

    expected = _chosen(pool(validation), locked.edges, rule)
    ledger.check(GROUP, f"{name} / threshold, logit", locked.threshold, expected)
    ledger.check(GROUP, f"{name} / threshold", published, float(expit(expected)))


def _chosen(scored: Scored, edges: Floats, rule: ThresholdRule) -> float:
    """The highest edge among the best."""
    negatives, positives = scored.classes
    if not len(edges) or not negatives or not positives:
        return UNDECIDED
    called = [scored.logit >= edge for edge in edges]
    sensitivity = np.array([np.mean(one[scored.y == 1]) for one in called])
    specificity = np.array([np.mean(~one[scored.y == 0]) for one in called])
    match rule:
        case AtSensitivity(at=share):
            merit = np.where(sensitivity >= share - _ROUNDING, 1.0, -np.inf)
        case AtSpecificity(at=share):
            merit = np.where(specificity >= share - _ROUNDING, sensitivity, -np.inf)
        case LeastCost(false_negative=missed, false_positive=alarm):
            cost = missed * positives * (1 - sensitivity) + alarm * negatives * (1 - specificity)
            merit = -cost / (missed * positives + alarm * negatives)
        case _:
            merit = sensitivity + specificity
    if not np.isfinite(merit).any():
        return UNDECIDED
    return float(edges[np.flatnonzero(merit >= merit.max() - _ROUNDING)[-1]])

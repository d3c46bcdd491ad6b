"""AUC, its standard error and interval, by scikit-learn and by all pairs."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fedescc.simulations.audit.bins import Locked
from fedescc.simulations.audit.figures import EXACT, Ledger
from fedescc.simulations.audit.pairs import Floats, Labels, delong_by_pairs
from fedescc.simulations.audit.scores import Scored

GROUP = "discrimination"
BINNING = "discrimination, against exact scores"
_Z95 = 1.959963984540054


def audit_auc(ledger: Ledger, name: str, record: Mapping[str, Any], scored: Scored) -> None:
    """AUC and interval of scores that are exactly those which the record was made of."""
    ledger.check(GROUP, f"{name} / auc", record["auc"], _roc_auc(scored))
    if record["auc_ci95"] is None or min(scored.classes) < 2:
        return
    _, *ends = area_and_interval(scored)
    for end, published, expected in zip(("low", "high"), record["auc_ci95"], ends, strict=True):
        ledger.check(GROUP, f"{name} / auc interval, {end}", published, expected)


def area_and_interval(scored: Scored) -> tuple[float, float, float]:
    """AUC and the ends of its 95 % interval, symmetric on the logit scale; NaN where the AUC is 0 or 1."""
    (area,), covariance = delong_by_pairs(scored.y, scored.logit)
    if not 0 < area < 1:
        return float(area), math.nan, math.nan
    centre, half = math.log(area / (1 - area)), _Z95 * math.sqrt(covariance[0, 0]) / (area * (1 - area))
    low, high = (1 / (1 + math.exp(-(centre + sign * half))) for sign in (-1, 1))
    return float(area), low, high


def audit_binned_auc(ledger: Ledger, name: str, record: Mapping[str, Any], scored: Scored, locked: Locked) -> None:
    """AUC and interval out of a histogram: exactly those of binned scores, and near those of exact ones.

    The second comparison has the rigorous bound of the first as its tolerance: how many pairs a bin can tie, and how
    far its width can move a placement.
    """
    bins = locked.binned(scored)
    audit_auc(ledger, name, record, bins)
    if record["auc"] is None or record["auc_ci95"] is None or min(scored.classes) < 2:
        return
    of_auc, of_error = bin_bounds(scored.y, bins.logit)
    ledger.check(BINNING, f"{name} / auc", record["auc"], _roc_auc(scored), of_auc + EXACT)
    _, covariance = delong_by_pairs(scored.y, scored.logit)
    error = standard_error(record["auc"], record["auc_ci95"])
    ledger.check(BINNING, f"{name} / auc standard error", error, math.sqrt(covariance[0, 0]), of_error + EXACT)


def bin_bounds(y: Labels, bin_of: Floats) -> tuple[float, float]:
    """How far binning can move an AUC, and its DeLong standard error.

    Pairs in one bin count 1/2 instead of 0 or 1. A placement moves by at most half of its bin's share of the other
    class, and a standard error is a norm of placements, so that it moves by at most the norm of these shifts.

    Args:
        y: (n,) 0 or 1, two of each at least.
        bin_of: (n,) number of each patient's bin.

    """
    inverse = np.unique(bin_of, return_inverse=True)[1]
    negative, positive = (np.bincount(inverse[y == value], minlength=inverse.max() + 1) for value in (0, 1))
    m, n = positive.sum(), negative.sum()
    of_auc = float((positive * negative).sum() / (2 * m * n))
    shift_of_positives = (positive * (negative / (2 * n)) ** 2).sum() / (m * (m - 1))
    shift_of_negatives = (negative * (positive / (2 * m)) ** 2).sum() / (n * (n - 1))
    return of_auc, math.sqrt(shift_of_positives + shift_of_negatives)


def standard_error(area: float, interval: tuple[float, float]) -> float:
    """What an interval, symmetric on the logit scale, says of the standard error."""
    low, high = (math.log(end / (1 - end)) for end in interval)
    return (high - low) / 2 / _Z95 * area * (1 - area)


def _roc_auc(scored: Scored) -> float | None:
    from sklearn.metrics import roc_auc_score

    return None if 0 in scored.classes else float(roc_auc_score(scored.y, scored.logit))

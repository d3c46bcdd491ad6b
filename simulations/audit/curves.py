"""Curves of the pooled test patients by scikit-learn: ROC, precision and recall, calibration, net benefit."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedescc.common.statistics.score_bins import bin_limits
from fedescc.simulations.audit.bins import Locked
from fedescc.simulations.audit.figures import Ledger
from fedescc.simulations.audit.scores import Floats, Scored

GROUP = "curves"
AREAS = "partial AUC and average precision"

Curve = Mapping[str, list[float]]


def audit_roc(ledger: Ledger, name: str, curve: Curve, scored: Scored) -> None:
    """Every published ROC point lies on the exact curve: an edge splits the patients as their scores do."""
    from sklearn.metrics import roc_curve

    fpr, tpr, _ = roc_curve(scored.y, scored.logit, drop_intermediate=False)
    exact = np.column_stack([fpr, tpr])
    _on_curve(ledger, f"{name} / roc", np.column_stack([curve["fpr"], curve["tpr"]]), exact)


def audit_curves(ledger: Ledger, name: str, final: Mapping[str, Any], scored: Scored, locked: Locked) -> None:
    """``partial_auc``, ``average_precision`` and ``curves`` of the final evaluation."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    if 0 in scored.classes:
        ledger.skip(f"{name} / curves", "one-class")
        return
    bins = locked.binned(scored)
    expected = average_precision_score(bins.y, bins.logit)
    ledger.check(AREAS, f"{name} / average precision", final["average_precision"], expected)
    if final["partial_auc"] is not None:
        most = final["partial_auc"]["max_fpr"]
        partial = roc_auc_score(bins.y, bins.logit, max_fpr=most)
        ledger.check(AREAS, f"{name} / partial auc", final["partial_auc"]["auc"], partial)
    curves = final["curves"]
    for key, audit in (("precision_recall", _recall), ("decision", _decision)):
        if curves[key] is not None:
            audit(ledger, f"{name} / {key}", curves[key], scored)
    if curves["calibration"] is not None:
        _calibration(ledger, f"{name} / calibration curve", curves["calibration"], bins, locked)


def _recall(ledger: Ledger, name: str, curve: Mapping[str, Any], scored: Scored) -> None:
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(scored.y, scored.logit)
    exact = np.column_stack([precision, recall])
    _on_curve(ledger, name, np.column_stack([curve["precision"], curve["recall"]]), exact)
    ledger.check(GROUP, f"{name} / prevalence", curve["prevalence"], float(scored.y.mean()))


def _decision(ledger: Ledger, name: str, curve: Curve, scored: Scored) -> None:
    """Net benefit from the patients themselves; the plan's thresholds are edges, so that it is exact."""
    from scipy.special import expit

    chance, n = expit(scored.logit), len(scored.y)
    for threshold, model, everybody in zip(curve["thresholds"], curve["model"], curve["treat_all"], strict=True):
        odds = threshold / (1 - threshold)
        called = chance >= threshold
        benefit = (np.sum(called & (scored.y == 1)) - odds * np.sum(called & (scored.y == 0))) / n
        ledger.check(GROUP, f"{name} / net benefit at {threshold:g}", model, float(benefit))
        of_all = (np.sum(scored.y == 1) - odds * np.sum(scored.y == 0)) / n
        ledger.check(GROUP, f"{name} / net benefit of treating all at {threshold:g}", everybody, float(of_all))


def _calibration(ledger: Ledger, name: str, curve: Curve, bins: Scored, locked: Locked) -> None:
    """Groups by quantiles of binned probabilities, each patient at the middle of the bin; intervals by statsmodels."""
    from scipy.special import expit
    from sklearn.calibration import calibration_curve
    from statsmodels.stats.proportion import proportion_confint

    limits = expit(bin_limits(locked.edges))
    middle = ((limits[1:] + limits[:-1]) / 2)[bins.logit.astype(int)]
    observed, predicted = calibration_curve(bins.y, middle, n_bins=10, strategy="quantile")
    if len(observed) != len(curve["observed"]):
        ledger.check(GROUP, f"{name} / groups", len(curve["observed"]), len(observed))
        return
    n = np.array(curve["n"])
    low, high = proportion_confint(np.rint(n * curve["observed"]), n, method="wilson")
    pooled: dict[str, Floats] = {"predicted": predicted, "observed": observed, "low": low, "high": high}
    for key, expected in pooled.items():
        largest = float(np.abs(np.array(curve[key]) - expected).max())
        ledger.check(GROUP, f"{name} / {key}, largest difference", largest, 0.0)
    ledger.check(GROUP, f"{name} / patients", int(n.sum()), len(bins.y))


def _on_curve(ledger: Ledger, name: str, points: Floats, exact: Floats) -> None:
    distance = np.abs(points[:, None] - exact).max(axis=2).min(axis=1)
    ledger.check(GROUP, f"{name}, farthest point from the exact curve", float(distance.max()), 0.0)

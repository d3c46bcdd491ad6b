"""What a pooled histogram of test patients shows beyond METRICS: partial AUC, precision, calibration, net benefit."""

from typing import Any

from fedescc.common.analysis import Analysis
from fedescc.common.statistics.curves import (
    CalibrationCurve,
    PrecisionRecall,
    average_precision,
    calibration_curve,
    partial_auc,
    precision_recall,
)
from fedescc.common.statistics.decision import DecisionCurve, decision_curve
from fedescc.common.statistics.roc import ClassHistogram, Estimate

NOT_PLANNED = "not-planned"
CURVES = ("precision_recall", "calibration", "decision")


def curve_entries(total: Estimate[ClassHistogram], edges: list[float], plan: Analysis) -> dict[str, Any]:
    """``partial_auc``, ``average_precision`` and ``curves`` of results; null with its reason under ``suppressed``.

    Args:
        total: of all sites' test patients, or why there is none.
        edges: logits, (bins - 1,).
        plan: says up to which false positive rate, and at which threshold probabilities.

    """
    if total.value is None:
        return no_curves(str(total.reason))
    curves, missing = _curves(total.value, edges, plan)
    area: Estimate[float] = Estimate(None, NOT_PLANNED)
    if plan.partial_auc is not None:
        area = partial_auc(total.value, plan.partial_auc)
    precision = average_precision(total.value)
    values = {"partial_auc": area, "average_precision": precision}
    reasons = {key: found.reason for key, found in values.items() if found.value is None}
    return {
        "partial_auc": None if area.value is None else {"auc": area.value, "max_fpr": plan.partial_auc},
        "average_precision": precision.value,
        "curves": curves | ({"suppressed": missing} if missing else {}),
        "suppressed": reasons,
    }


def no_curves(reason: str) -> dict[str, Any]:
    """The same entries where there is nothing to draw."""
    keys = ("partial_auc", "average_precision")
    return {
        **dict.fromkeys(keys),
        "curves": {**dict.fromkeys(CURVES), "suppressed": dict.fromkeys(CURVES, reason)},
        "suppressed": dict.fromkeys(keys, reason),
    }


def _curves(total: ClassHistogram, edges: list[float], plan: Analysis) -> tuple[dict[str, Any], dict[str, str]]:
    recall, groups = precision_recall(total, edges), calibration_curve(total, edges)
    benefit: Estimate[DecisionCurve] = Estimate(None, NOT_PLANNED)
    if plan.decision_thresholds:
        benefit = decision_curve(total, edges, plan.decision_thresholds)
    curves = {
        "precision_recall": None if recall.value is None else _recall_entry(recall.value),
        "calibration": None if groups.value is None else _groups_entry(groups.value),
        "decision": None if benefit.value is None else _benefit_entry(benefit.value),
    }
    reasons = dict(zip(CURVES, (recall.reason, groups.reason, benefit.reason), strict=True))
    return curves, {key: reason for key, reason in reasons.items() if reason is not None}


def _recall_entry(curve: PrecisionRecall) -> dict[str, Any]:
    return {
        "precision": curve.precision.tolist(),
        "recall": curve.recall.tolist(),
        "prevalence": curve.prevalence,
    }


def _groups_entry(curve: CalibrationCurve) -> dict[str, list[float]]:
    return {key: getattr(curve, key).tolist() for key in ("predicted", "observed", "low", "high", "n")}


def _benefit_entry(curve: DecisionCurve) -> dict[str, list[float]]:
    return {key: getattr(curve, key).tolist() for key in ("thresholds", "model", "treat_all")}

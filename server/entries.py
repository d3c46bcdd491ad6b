"""Parts of results.json: a round, and the final evaluation, as the command contract fixes them."""

import math
from collections.abc import Sequence
from typing import Any

from fedescc.common.analysis import Analysis
from fedescc.common.names import POOLED
from fedescc.common.statistics.roc import roc_curve_from_histogram
from fedescc.common.sums import add_up
from fedescc.server.evaluation.curves import curve_entries
from fedescc.server.evaluation.evaluate import Evaluation, pooled_auc
from fedescc.server.evaluation.heterogeneity import bootstrap_entry, meta_entry, within_entry
from fedescc.server.evaluation.primary import primary_entry
from fedescc.server.replies import SplitShare
from fedescc.server.training.rounds import RoundRecord


def round_entry(record: RoundRecord, validation_after: dict[str, SplitShare]) -> dict[str, Any]:
    """One round; ``validation`` is that of the model this round produced."""
    attendance = record.attendance
    return {
        "round": record.round,
        "sites": attendance.accepted,
        "registered": attendance.registered,
        "invited": attendance.invited,
        "answered": attendance.answered,
        "accepted": len(attendance.accepted),
        "refused": dict(sorted(attendance.refused.items())),
        "patients": record.patients,
        "train_loss": record.train_loss,
        "seconds": record.seconds,
        "validation": _validation_entry(validation_after),
    }


def final_entry(evaluation: Evaluation, plan: Analysis, seed: int) -> dict[str, Any]:
    """Pooled and per-site METRICS, the ROC points that were released, and what else the histograms and sites show.

    Args:
        evaluation: of the run's own model.
        plan: its primary metric, partial AUC and decision thresholds.
        seed: of the bootstrap over sites.

    """
    curves = {name: _roc_points(evaluation, [name]) for name in evaluation.roc}
    if evaluation.total.value is not None:
        curves[POOLED] = _roc_points(evaluation, sorted(evaluation.roc))
    entry = {
        "pooled": evaluation.pooled,
        "threshold_source": evaluation.threshold_source,
        "sites": evaluation.sites,
        "pooled_sites": evaluation.pooled_sites,
        "roc": {name: curve for name, curve in curves.items() if curve is not None},
        **curve_entries(evaluation.total, evaluation.edges, plan),
        "meta": meta_entry(evaluation.sites),
        "auc_within_site": within_entry(evaluation.sites),
        "bootstrap": bootstrap_entry(evaluation.roc, evaluation.total, seed),
    }
    return entry | {"primary": primary_entry(entry, plan.primary_metric)}


def plan_entry(plan: Analysis, asked: Sequence[str]) -> dict[str, Any]:
    """The plan that was fixed beforehand, and what of a run's comparators it names.

    Args:
        plan: the study's.
        asked: the comparators that the run asked the federation for.

    """
    planned = [name for name in asked if name in plan.planned(asked)]
    return {
        "sha256": plan.sha256,
        "analysis": plan.model_dump(mode="json"),
        "comparators": {
            "planned": planned,
            "exploratory": [name for name in asked if name not in planned],
            "not_run": [name for name in plan.comparators if name not in planned],
        },
    }


def _validation_entry(by_site: dict[str, SplitShare]) -> dict[str, Any]:
    parts = [share.sums for share in by_site.values() if share.sums is not None]
    if not parts:
        return {"n": None, "loss": None, "auc": None, "auc_ci95": None}
    total = add_up(parts)
    area, interval = pooled_auc(by_site.values())
    loss = math.fsum(part.log_loss_sum for part in parts) / total.n
    return {"n": total.n, "loss": loss, "auc": area.value, "auc_ci95": interval.value and list(interval.value)}


def _roc_points(evaluation: Evaluation, names: list[str]) -> dict[str, list[float]] | None:
    curve = roc_curve_from_histogram(add_up([evaluation.roc[name] for name in names]), evaluation.edges).value
    if curve is None:
        return None
    return {"fpr": curve.false_positive_rate.tolist(), "tpr": curve.true_positive_rate.tolist()}

"""results.json: the run as plain JSON, as the command contract fixes it."""

import json
import math
from pathlib import Path
from typing import Any

from fedescc.common.errors import Refusal
from fedescc.common.files import write_atomically
from fedescc.common.names import POOLED
from fedescc.common.statistics.roc import roc_curve_from_histogram
from fedescc.common.sums import add_up
from fedescc.server.evaluation.evaluate import Evaluation, pooled_auc
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


def final_entry(evaluation: Evaluation) -> dict[str, Any]:
    """Pooled and per-site METRICS, and the ROC points that were released."""
    curves = {name: _roc_points(evaluation, [name]) for name in evaluation.roc}
    if evaluation.roc and sorted(evaluation.roc) == sorted(evaluation.pooled_sites):
        curves[POOLED] = _roc_points(evaluation, sorted(evaluation.roc))
    return {
        "pooled": evaluation.pooled,
        "threshold_source": evaluation.threshold_source,
        "sites": evaluation.sites,
        "pooled_sites": evaluation.pooled_sites,
        "roc": {name: curve for name, curve in curves.items() if curve is not None},
    }


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write JSON so that a reader sees the old file or the whole new one; NaN is refused by the encoder."""
    text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)
    write_atomically(path, text.encode())


def read_results(folder: Path) -> dict[str, Any]:
    """The results of a run.

    Raises:
        Refusal: the folder holds none, or the file is damaged.

    """
    return read_json(folder / "results.json")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object that a run has written.

    Raises:
        Refusal: there is none, or the file is damaged.

    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Refusal(
            "no-results", f"no readable {path.name} in {path.parent}", "give the folder of a finished run"
        ) from error
    if not isinstance(document, dict):
        raise Refusal("no-results", f"{path} is not a results document", "give the folder of a finished run")
    return document


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

"""METRICS of several folds as one: counts and losses are summed, what ranks or calibrates scores is averaged.

Scores of different folds come from different models and so are not compared with each other: an AUC over all of them
together would also measure how the models' scales differ. The average is over patients (LeDell et al., Electronic
Journal of Statistics 2015, for AUCs of folds).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedescc.common.statistics.metrics import EvaluationSums, metrics_record, suppressed_record
from fedescc.common.statistics.roc import Estimate, Interval, logit_interval
from fedescc.common.sums import add_up
from fedescc.server.evaluation.explanation_gates import worst_gates
from fedescc.server.evaluation.heterogeneity import auc_variance, reason_of
from fedescc.server.replies import NOT_RELEASED

AUC_METHOD = (
    "mean of the folds' AUCs (and calibration), weighted by their patients, because scores of different models are not "
    "comparable; the interval has each fold's DeLong variance and no covariance between folds"
)
_SEVERAL = "differs-by-fold"

Record = Mapping[str, Any]


def pool_finals(finals: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``final`` (or a comparator's entry) over folds: ``pooled`` and, of every site, METRICS of its test patients.

    ``auc_method`` says in words how their AUCs came about. A record of one fold alone, such as that of a site held
    out, stays as it is. Curves are not drawn over folds.
    """
    names = sorted({name for final in finals for name in final["sites"]})
    sites = {name: pool_records([final["sites"][name] for final in finals if name in final["sites"]]) for name in names}
    pooled = pool_records([final["pooled"] for final in finals])
    return {"pooled": pooled, "sites": sites, "auc_method": AUC_METHOD}


def pool_records(records: Sequence[Record]) -> dict[str, Any]:
    """METRICS of disjoint test patients under one model each.

    ``folds`` is how many records have patients; a fold that released nothing is missing. ``folds_with_auc`` is how many
    of these have an AUC: the mean is of their patients alone. The threshold is null unless all share it.
    """
    if len(records) == 1:
        return dict(records[0])
    shown = [record for record in records if record["n"] is not None]
    if not shown:
        reasons = [record["suppressed"]["n"] for record in records]
        return _without_threshold(suppressed_record(reasons[0] if reasons else NOT_RELEASED, 0.0), records)
    area, interval = _mean_auc(shown)
    pooled = metrics_record(
        add_up(map(_sums, shown)),
        threshold=0.0,
        auc=area,
        auc_ci95=interval,
        calibration_intercept=_mean(shown, "calibration_intercept"),
        calibration_slope=_mean(shown, "calibration_slope"),
    )
    with_auc = sum(record["auc"] is not None for record in shown)
    return _without_threshold(pooled, shown) | {"folds": len(shown), "folds_with_auc": with_auc}


def pool_explanations(folds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean |φ| and mean φ over folds by player, weighted by patients; an SD over several models is not given.

    Of the gates each has its worst fold.
    """
    pooled = [fold["pooled"] for fold in folds if fold["pooled"] is not None]
    names = sorted({name for fold in folds for name in fold["sites"]})
    sites = {name: _pool_players([fold["sites"][name] for fold in folds if name in fold["sites"]]) for name in names}
    entry = {"unit": "logit", "pooled": _pool_players(pooled) if pooled else None, "sites": sites}
    hidden = {name: code for fold in folds for name, code in fold.get("suppressed", {}).items() if name not in sites}
    more = {"gates": worst_gates(folds), "suppressed": dict(sorted(hidden.items()))}
    return entry | {key: value for key, value in more.items() if value}


def _sums(record: Record) -> EvaluationSums:
    """The sums behind METRICS. Counts are whole, so shares of them tell them exactly; the log loss is not in there."""
    n, positives = record["n"], record["n_pos"]
    negatives = n - positives
    hits = round((record["sensitivity"] or 0.0) * positives)
    rejected = round((record["specificity"] or 0.0) * negatives)
    brier = (record["brier"] or 0.0) * n
    return EvaluationSums(n, positives, hits, negatives - rejected, rejected, positives - hits, brier, 0.0)


def _mean_auc(records: Sequence[Record]) -> tuple[Estimate[float], Estimate[Interval]]:
    area = _mean(records, "auc")
    known = [record for record in records if record["auc"] is not None]
    variances = [auc_variance(record) for record in known]
    reason = area.reason or next((found.reason for found in variances if found.value is None), None)
    if reason is not None:
        return area, Estimate(None, reason)
    total = sum(record["n"] for record in known)
    pairs = zip(known, variances, strict=True)
    variance = math.fsum((record["n"] / total) ** 2 * (found.value or 0.0) for record, found in pairs)
    return area, logit_interval(area, Estimate(variance))


def _mean(records: Sequence[Record], key: str) -> Estimate[float]:
    known = [record for record in records if record[key] is not None]
    if not known:
        return Estimate(None, reason_of(records[0], key))
    return Estimate(math.fsum(record["n"] * record[key] for record in known) / sum(record["n"] for record in known))


def _without_threshold(pooled: dict[str, Any], records: Iterable[Record]) -> dict[str, Any]:
    thresholds = {record["threshold"] for record in records}
    if len(thresholds) == 1:
        return pooled | {"threshold": thresholds.pop()}
    return pooled | {"threshold": None, "suppressed": pooled.get("suppressed", {}) | {"threshold": _SEVERAL}}


def _pool_players(folds: Sequence[Mapping[str, Record]]) -> dict[str, dict[str, Any]]:
    if len(folds) == 1:
        return {name: dict(row) for name, row in folds[0].items()}
    shared = [name for name in folds[0] if all(name in fold for fold in folds)]
    return {name: _pool_player([fold[name] for fold in folds]) for name in shared}


def _pool_player(rows: Sequence[Record]) -> dict[str, Any]:
    known = [row for row in rows if row["n"]]
    total = sum(row["n"] for row in known)
    if not total:
        return {"n": 0, "mean_abs": None, "mean": None, "sd": None}

    def mean(key: str) -> float:
        return float(math.fsum(row["n"] * row[key] for row in known) / total)

    return {"n": total, "mean_abs": mean("mean_abs"), "mean": mean("mean"), "sd": None}

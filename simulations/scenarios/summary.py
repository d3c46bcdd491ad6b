"""What the federations of a sweep say together: mean and range over the seeds, and how far to trust them."""

import math
from collections.abc import Sequence
from statistics import mean
from typing import Any

from fedescc.common.statistics.roc import paired_delong
from fedescc.common.wire import installed_version
from fedescc.simulations.scenarios.cells import Record
from fedescc.simulations.scenarios.chosen import CHOSEN, TRAINING
from fedescc.simulations.scenarios.heterogeneity import HETEROGENEITIES, hospitals
from fedescc.simulations.scenarios.settings import Sweep

MEASURES = {
    "auc": "AUC over all test patients",
    "within": "mean of the hospitals' own AUCs",
    "worst": "AUC of the worst hospital",
}
_NOT_IN_TABLE = ("labels", "scores", "fingerprint")
_Z = 1.96


def summarise(sweep: Sweep, records: Sequence[Record]) -> dict[str, Any]:
    """The document of ``scenarios.json``: settings, every record, and one entry a strategy and heterogeneity."""
    groups = [group for kind in sweep.heterogeneity for group in _of_kind(sweep, kind, records)]
    return {
        "study": sweep.study.name,
        "study_sha256": sweep.study.sha256,
        "version": installed_version(),
        "sites": sweep.sites,
        "patients": sweep.patients,
        "test_patients": sweep.test_patients,
        "rounds": sweep.rounds,
        "seeds": list(sweep.seeds),
        "grid": None if sweep.study.imaging is None else sweep.study.imaging.grid.model_dump(mode="json"),
        "heterogeneity": {kind: _kind(sweep, kind) for kind in sweep.heterogeneity},
        "strategies": {name: _strategy(sweep, name) for name in sweep.strategies},
        "standard_error": _standard_error(records),
        "groups": groups,
        "cells": [{key: r[key] for key in r if key not in _NOT_IN_TABLE} for r in records],
    }


def best(groups: Sequence[dict[str, Any]], kind: str, measure: str) -> str | None:
    """The strategy with the highest mean of a measure under one heterogeneity; None without any."""
    of_kind = [(g[measure]["mean"], g["strategy"]) for g in groups if g["heterogeneity"] == kind and g[measure]]
    return max(of_kind, key=lambda pair: pair[0])[1] if of_kind else None


def behind(leader: Sequence[Record], other: Sequence[Record]) -> dict[str, Any] | None:
    """How far a strategy's AUC lies behind the leader's on the same test patients, seed by seed.

    Returns:
        ``difference``: mean over the seeds both have, leader minus other; ``se``: its standard error by DeLong's
        paired comparison (seeds have different test patients); ``told_apart``: whether 1.96 of these lie between
        them. None where no seed has both, or too few patients of a class.

    """
    pairs = [(one, two) for one in leader for two in other if one["seed"] == two["seed"]]
    known = [gap for one, two in pairs if (gap := _gap(one, two)) is not None]
    if not known:
        return None
    difference = mean(value for value, _ in known)
    error = math.sqrt(sum(error**2 for _, error in known)) / len(known)
    return {"difference": difference, "se": error, "told_apart": difference > _Z * error}


def _gap(leader: Record, other: Record) -> tuple[float, float] | None:
    """Difference of two AUCs on the same patients and its standard error; equal rankings differ by 0 for sure."""
    found = paired_delong(leader["labels"], leader["scores"], other["scores"])
    if found.reason == "zero-variance":
        return leader["auc"] - other["auc"], 0.0
    return None if found.value is None else (found.value.difference, found.value.standard_error)


def _of_kind(sweep: Sweep, kind: str, records: Sequence[Record]) -> list[dict[str, Any]]:
    of_kind = [record for record in records if record["heterogeneity"] == kind]
    there = {name: [record for record in of_kind if record["strategy"] == name] for name in sweep.strategies}
    groups = [_group(name, kind, of_name) for name, of_name in there.items()]
    leader = best(groups, kind, "auc")
    for group in groups:
        name = group["strategy"]
        group["behind_best"] = None if leader in (None, name) else behind(_good(there[str(leader)]), _good(there[name]))
    return groups


def _good(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if "auc" in record]


def _group(strategy: str, kind: str, records: Sequence[Record]) -> dict[str, Any]:
    good = _good(records)
    numbers = {key: spread([record[key] for record in good]) for key in (*MEASURES, "rounds_to_settle", "seconds")}
    failed = [{"seed": r["seed"], "failed": r["failed"]} for r in records if "failed" in r]
    return {"strategy": strategy, "heterogeneity": kind, "federations": len(good), "failed": failed, **numbers}


def spread(values: Sequence[float | None]) -> dict[str, float] | None:
    """Mean, lowest and highest of the values that exist; None without any."""
    known = [value for value in values if value is not None]
    return {"mean": mean(known), "low": min(known), "high": max(known)} if known else None


def _standard_error(records: Sequence[Record]) -> dict[str, float] | None:
    """Of one AUC over all test patients: the mean over the federations, and of their mean over the seeds."""
    errors = [record["auc_se"] for record in records if record.get("auc_se") is not None]
    seeds = len({record["seed"] for record in records})
    return {"one": mean(errors), "mean": mean(errors) / seeds**0.5} if errors else None


def _kind(sweep: Sweep, kind: str) -> dict[str, Any]:
    there = hospitals(kind, sweep.sites, sweep.patients)
    return {
        "text": HETEROGENEITIES[kind].text,
        "patients": [one.patients for one in there],
        "scanners": [one.protocol.model for one in there],
        "rate_shift": [round(one.protocol.rate_shift, 3) for one in there],
        "baseline_only": [one.baseline_only for one in there],
    }


def _strategy(sweep: Sweep, name: str) -> dict[str, Any]:
    chosen = CHOSEN[name]
    return {"why": chosen.why, "settings": chosen.strategy(sweep.sites), "training": TRAINING | chosen.training}

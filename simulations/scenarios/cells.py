"""One federation of a sweep: a real run in process, tested on the extra patients, its record kept."""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.client.local_site import LocalSite
from fedescc.client.site import ReleasePolicy
from fedescc.common.errors import Refusal
from fedescc.common.statistics.roc import auc, delong_variance
from fedescc.server.app import make_server_app
from fedescc.server.results import read_json, read_results, write_json
from fedescc.simulations.comparison.fitted import read_fitted
from fedescc.simulations.engines.engine import SiteSource, run_engine
from fedescc.simulations.scenarios.patients import ScenarioCohorts, load_cohorts
from fedescc.simulations.scenarios.settings import Cell, Sweep

_SETTLED = 0.01  # of the last round's validation loss

Record = dict[str, Any]

_loaded: dict[str, ScenarioCohorts] = {}


def kept_record(cell: Cell) -> Record | None:
    """What an earlier sweep found under exactly these settings; None where there is nothing, or it failed."""
    try:
        record = read_json(_record_file(cell))
    except Refusal:
        return None
    return record if record.get("fingerprint") == cell.fingerprint and "auc" in record else None


def run_cell(cell: Cell) -> Record:
    """Run one federation, write its record and return it; a federation that fails is recorded with its code.

    It computes with one thread, so that its bits depend neither on the machine nor on what runs beside it.
    """
    start = time.perf_counter()
    folder = cell.sweep.out / "cells" / cell.name
    head = {"strategy": cell.strategy, "heterogeneity": cell.kind, "seed": cell.seed, "fingerprint": cell.fingerprint}
    try:
        with _one_thread():
            found = _federate(cell, folder)
    except Refusal as refusal:
        found = {"failed": refusal.code, "why": refusal.what}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    record = head | found | {"seconds": time.perf_counter() - start}
    write_json(_record_file(cell), record)
    return record


def rounds_to_settle(losses: list[float | None]) -> int | None:
    """The first round after which the validation loss stays within .01 of the last one; None without losses."""
    if not losses or any(loss is None for loss in losses):
        return None
    away = [number for number, loss in enumerate(losses, 1) if abs((loss or 0) - (losses[-1] or 0)) > _SETTLED]
    return max(away, default=0) + 1


def areas(labels: Mapping[str, NDArray[np.int8]], scores: Mapping[str, NDArray[np.float64]]) -> Record:
    """AUCs of one model on every hospital's test patients.

    Args:
        labels: hospital -> (n,) 0 or 1.
        scores: hospital -> (n,) logits.

    Returns:
        ``auc`` over all patients with its standard error (DeLong), ``within``: the mean of the hospitals' own,
        ``sites``: each of them, ``worst``: the lowest. None where a hospital's patients are all of one class.

    """
    y = np.concatenate([labels[name] for name in labels])
    pooled = np.concatenate([scores[name] for name in labels])
    variance = delong_variance(y, pooled).value
    sites = {name: auc(labels[name], scores[name]).value for name in labels}
    known = [value for value in sites.values() if value is not None]
    return {
        "n_test": len(y),
        "auc": auc(y, pooled).value,
        "auc_se": None if variance is None else variance**0.5,
        "within": float(np.mean(known)) if known else None,
        "worst": min(known, default=None),
        "sites": sites,
    }


def _federate(cell: Cell, folder: Path) -> Record:
    sweep, people = cell.sweep, _cohorts(cell)
    shutil.rmtree(folder, ignore_errors=True)  # of a sweep that was killed
    config = {"study": sweep.study.to_yaml(), "federation": cell.federation.to_yaml(), "out": str(folder)}
    run_engine("local", make_server_app(), _sources(sweep, people), config)
    results = read_results(folder)
    fitted = read_fitted(folder / "model.safetensors", sweep.study)
    labels = {name: cohort.labels for name, cohort in people.tests.items()}
    scores = {name: fitted.logits(cohort, cohort.rows("test")) for name, cohort in people.tests.items()}
    losses = [entry["validation"]["loss"] for entry in results["rounds"]]
    return {
        **areas(labels, scores),
        "validation_loss": losses,
        "rounds_to_settle": rounds_to_settle(losses),
        "sites_lost": results["sites_lost"],
        "labels": np.concatenate(list(labels.values())).tolist(),
        "scores": np.concatenate(list(scores.values())).tolist(),
    }


def _sources(sweep: Sweep, people: ScenarioCohorts) -> dict[str, SiteSource]:
    policy = ReleasePolicy(min_class_count=1, score_histogram="plain")
    return {name: partial(LocalSite, name, sweep.study, policy, cohort) for name, cohort in people.sites.items()}


def _cohorts(cell: Cell) -> ScenarioCohorts:
    """The cell's patients, read once for all cells in a row that share them."""
    if cell.patients not in _loaded:
        _loaded.clear()
        _loaded[cell.patients] = load_cohorts(cell.sweep, cell.kind, cell.seed)
    return _loaded[cell.patients]


def _record_file(cell: Cell) -> Path:
    return cell.sweep.out / "cells" / f"{cell.name}.json"


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

"""A whole federation in one process: cohort, intake, federated run, comparators, report."""

import json
import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedescc.client.features.store import with_features
from fedescc.common.console import log, progress
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation, require_fit
from fedescc.common.study import Study
from fedescc.server.app import make_server_app
from fedescc.server.federate import file_digest
from fedescc.server.modes import ON_THE_WIRE, Mode, Plan
from fedescc.server.report.page import write_report
from fedescc.server.results import read_json, read_results, write_json
from fedescc.server.run_folder import RESULTS, discard, make_folder
from fedescc.server.training.progress import RoundRecord
from fedescc.simulations.audit.audit import audit, require_audit
from fedescc.simulations.comparison.finished import feature_columns, finished_folds, scorers
from fedescc.simulations.comparison.fold_comparison import (
    IN_SIMULATION,
    FoldComparison,
    pool_comparators,
    read_comparators,
)
from fedescc.simulations.comparison.ground_truth import synthetic_test_entry, training_truth
from fedescc.simulations.engines.engine import require_engine, run_engine
from fedescc.simulations.hospitals import Hospitals, open_hospitals
from fedescc.simulations.patients.cohort import held_out, site_sizes, write_cohort
from fedescc.simulations.patients.tensor_path import PhantomSet, phantom_set

ABOUT = "cohort.json"
_SYNTHETIC_NOTE = "synthetic patients: the study's minimum counts are lifted, since there is nobody to protect"
_FOLDS_NOTE = (
    "the folds' models estimate how well a model trained in this way does; the study's model is that of the fixed split"
)
_EXTRA = "synthetic_test.json"
_UNFINISHED = "cohort-unfinished"


@dataclass(frozen=True)
class Simulation:
    """What to simulate.

    Attributes:
        study: the study.
        federation: rounds, strategy, local training, seed.
        out: folder for the results; made when absent. What it holds of the same run is gone on with.
        cohort: folder of sites; None writes a synthetic cohort into ``out``.
        sizes: patients of every synthetic site.
        test_patients: size of the extra synthetic test set; 0 for none.
        comparators: models beside the federation's own, see `fedescc.simulations.comparison.fold_comparison`; None is
            the study's own choice.
        shuffle: answer in a random order of this seed instead of the sites' order.
        mode: how patients are divided, see `fedescc.server.modes`.
        folds: of ``kfold``.
        warm_start: a local safetensors file that the weights start from.
        contribution: train a model without each site too, see `fedescc.server.evaluation.contribution`.
        engine: where the sites run, see `fedescc.simulations.engines.engine`.
        fresh: discard what ``out`` holds of any run; a synthetic cohort and what intake prepared stay.
        audit: recompute every figure on the pooled patients, see `fedescc.simulations.audit.audit`.

    """

    study: Study
    federation: Federation
    out: Path
    cohort: Path | None = None
    sizes: tuple[int, ...] = tuple(site_sizes(4, 60))
    test_patients: int = 300
    comparators: tuple[str, ...] | None = None
    shuffle: int | None = None
    mode: Mode = "split"
    folds: int = 5
    warm_start: Path | None = None
    contribution: bool = False
    engine: str = "local"
    fresh: bool = False
    audit: bool = False

    @property
    def plan(self) -> Plan:
        """The server's part; the patients' identity is not known yet."""
        wired = tuple(name for name in self.chosen if name in ON_THE_WIRE)
        return Plan(self.mode, self.folds, wired, self.warm_start, self.contribution)

    @property
    def chosen(self) -> tuple[str, ...]:
        """The comparators."""
        return read_comparators(None, self.study) if self.comparators is None else self.comparators


def simulate(simulation: Simulation) -> dict[str, Any]:
    """Run the chain and write ``results.json``, ``report.html`` and, for a mode of one fold, ``model.safetensors``.

    Stopped at any moment and started again with the same settings it ends with the same results; when it has ended
    already, nothing is trained again.

    Raises:
        Refusal: no site can take part, ``out`` holds another run, or anything a step of the chain refuses as a whole.

    """
    start = time.perf_counter()
    require_engine(simulation.engine)
    if simulation.audit:
        require_audit()
    require_fit(simulation.federation, simulation.study.model.kind)
    if simulation.warm_start is not None:
        file_digest(simulation.warm_start)  # a file that cannot be read is refused before CTs are prepared
    make_folder(simulation.out)
    if simulation.fresh:
        discard(simulation.out)
    folder = simulation.cohort or _synthetic_cohort(simulation)
    about = _about(folder)
    study = _study_for(simulation.study, about)
    own_work = None if about else simulation.out / "work"
    hospitals = open_hospitals(folder, study, simulation.federation.seed, own_work)
    opened = time.perf_counter()
    results = _federate(simulation, study, hospitals)
    federated = time.perf_counter()
    results["engine"] = simulation.engine
    results["notes"] = [_SYNTHETIC_NOTE] if about else []
    results["notes"] += [_FOLDS_NOTE] if simulation.plan.several else []
    comparisons = finished_folds(simulation.out, simulation.federation, hospitals, simulation.warm_start)
    _compare(simulation, comparisons, results)
    if about and simulation.test_patients and study.imaging is not None and not simulation.plan.several:
        results["synthetic_test"] = _synthetic_test(simulation, study, hospitals, comparisons[0], folder, about)
    compared = time.perf_counter()
    if simulation.audit:
        results["audit"] = audit(results, comparisons, hospitals)
    end = time.perf_counter()
    seconds = {"cohort_and_intake": opened - start, "comparators": compared - federated, "all": end - start}
    seconds |= {"audit": end - compared} if simulation.audit else {}
    results["timing"]["seconds"] |= seconds
    write_json(simulation.out / RESULTS, results)
    write_report(results, simulation.out / "report.html")
    return results


def _synthetic_cohort(simulation: Simulation) -> Path:
    folder = simulation.out / "cohort"
    if _was_written_for(simulation, _about(folder)):
        log(f"synthetic cohort: reusing {folder}")
        return folder
    if folder.exists():
        what, todo = f"{folder} is not the synthetic cohort asked for", "give another --out, or delete it"
        raise Refusal("other-cohort", what, todo)
    unfinished = simulation.out / _UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was stopped
    with progress("writing synthetic DICOM", sum(simulation.sizes)) as advance:
        seed = simulation.federation.seed
        write_cohort(unfinished, simulation.sizes, seed, simulation.study, os.cpu_count() or 1, advance)
    unfinished.rename(folder)
    return folder


def _was_written_for(simulation: Simulation, about: dict[str, Any]) -> bool:
    wanted = (simulation.federation.seed, simulation.study.sha256, list(simulation.sizes))
    return (about.get("seed"), about.get("study_sha256"), list(about.get("sites", {}).values())) == wanted


def _about(folder: Path) -> dict[str, Any]:
    """What the generator wrote about a synthetic cohort; empty for a real one."""
    path = folder / ABOUT
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Refusal("damaged-cohort", f"{path} cannot be read", "write the cohort again") from error
    return document if isinstance(document, dict) and document.get("synthetic") else {}


def _study_for(study: Study, about: dict[str, Any]) -> Study:
    if not about:
        return study
    return study.model_copy(update={"disclosure": study.disclosure.model_copy(update={"min_class_count": 1})})


def _federate(simulation: Simulation, study: Study, hospitals: Hospitals) -> dict[str, Any]:
    plan = simulation.plan
    run_config: dict[str, str | int | float | bool] = {
        "study": study.to_yaml(),
        "federation": simulation.federation.to_yaml(),
        "out": str(simulation.out),
        "mode": plan.mode,
        "folds": plan.folds,
        "comparators": ",".join(plan.comparators_of(study)),
        "warm_start": "" if plan.warm_start is None else str(plan.warm_start.absolute()),
        "contribution": plan.contribution,
        "patients": hospitals.identity,
    }
    folds = {"kfold": plan.folds, "loso": len(hospitals.cohorts)}.get(plan.mode, 1)
    with progress("federated rounds", folds * simulation.federation.rounds) as advance:

        def on_round(record: RoundRecord) -> None:
            advance()
            sites_in = len(record.attendance.accepted)
            log(f"round {record.round}: {sites_in} sites, loss {record.train_loss:.3f}, {record.seconds:.1f} s")

        server_app = make_server_app(on_round)
        run_engine(simulation.engine, server_app, hospitals.sources(simulation.engine), run_config, simulation.shuffle)
    return read_results(simulation.out)


def _compare(simulation: Simulation, comparisons: list[FoldComparison], results: dict[str, Any]) -> None:
    """Put METRICS of the comparators into ``results``, pooled and by fold."""
    names = [name for name in simulation.chosen if name in IN_SIMULATION]
    folds = {fold.results["fold"]: fold.all_entries(names) for fold in comparisons}
    results["comparators"] = pool_comparators(list(folds.values()))
    missing = {
        name: entry["unavailable"]
        for entries in folds.values()
        for name, entry in entries.items()
        if "unavailable" in entry and name not in results["comparators"]
    }
    results["comparators_unavailable"] |= missing
    for entry in results["folds"]:
        if "failed" not in entry:
            entry["comparators"] = folds[entry["fold"]]


def _synthetic_test(
    simulation: Simulation,
    study: Study,
    hospitals: Hospitals,
    fold: FoldComparison,
    folder: Path,
    about: dict[str, Any],
) -> dict[str, Any]:
    """AUCs on extra patients of the models that were compared; kept in the fold's folder."""
    path = fold.folder / _EXTRA
    wanted = {"patients": simulation.test_patients, "comparators": list(simulation.chosen)}
    kept = read_json(path) if path.exists() else {}
    if kept.get("of") == wanted:
        return dict(kept["entry"])
    files, _ = hospitals.by_name(fold.results["final"]["sites"])
    latents, labels = training_truth(folder, files, {name: fold.cohorts[name] for name in files})
    test = _with_features(_phantom_test_set(simulation, study, about), study, feature_columns(fold.results))
    entry = synthetic_test_entry(scorers(fold, simulation.chosen), test, latents, labels)
    write_json(path, {"of": wanted, "entry": entry})
    return entry


def _with_features(test: PhantomSet, study: Study, columns: set[str]) -> PhantomSet:
    """The test set with whatever image features the models are made from."""
    names = {*study.model.image_features, *columns} - test.cohort.numeric.keys() - test.cohort.categorical.keys()
    if not names or study.imaging is None:
        return test
    return replace(test, cohort=with_features(test.cohort, names, study.imaging, None))


def _phantom_test_set(simulation: Simulation, study: Study, about: dict[str, Any]) -> PhantomSet:
    """Extra test patients in the cohort's mixture of sites."""
    patients = held_out(list(about["sites"].values()), simulation.test_patients)
    with progress("extra test patients", len(patients)) as advance:
        return phantom_set(about["seed"], patients, study, workers=os.cpu_count() or 1, advance=advance)

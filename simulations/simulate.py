"""A whole federation in one process: cohort, intake, federated run, comparators, report."""

import hashlib
import json
import os
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedescc.client.app import make_client_app
from fedescc.client.cohort import SiteCohort
from fedescc.client.intake.intake import run_intake
from fedescc.client.local_site import LocalSite
from fedescc.client.site import SiteFile, read_site
from fedescc.common.arrays import join_parameters, load_parameters, load_safetensors, parameter_layout
from fedescc.common.console import log, progress
from fedescc.common.covariates import Encoding
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.files import write_atomically
from fedescc.common.model import build_model
from fedescc.common.study import Study
from fedescc.server.app import make_server_app
from fedescc.server.federate import make_folder
from fedescc.server.report.page import write_report
from fedescc.server.results import read_results, write_json
from fedescc.server.rounds import RoundRecord
from fedescc.simulations.cohort import held_out, write_cohort
from fedescc.simulations.comparators import Fitted, comparator_entry, fit, pool_cohorts
from fedescc.simulations.ground_truth import LOCAL_PREFIX, synthetic_test_entry, training_truth
from fedescc.simulations.local_grid import LocalGrid, run_in_process
from fedescc.simulations.tensor_path import PhantomSet, phantom_set

ABOUT = "cohort.json"
_SYNTHETIC_NOTE = "synthetic patients: the study's minimum counts are lifted, since there is nobody to protect"


@dataclass(frozen=True)
class Simulation:
    """What to simulate.

    Attributes:
        study: the study.
        federation: rounds, strategy, local training, seed.
        out: folder for the results; made when absent.
        cohort: folder of sites; None writes a synthetic cohort into ``out``.
        sites: number of synthetic sites.
        patients: mean number of patients of a synthetic site.
        test_patients: size of the extra synthetic test set; 0 for none.
        comparators: whether local-only and centralised models are trained beside the federation.
        shuffle: answer in a random order of this seed instead of the sites' order.

    """

    study: Study
    federation: Federation
    out: Path
    cohort: Path | None = None
    sites: int = 4
    patients: int = 60
    test_patients: int = 300
    comparators: bool = True
    shuffle: int | None = None


@dataclass
class _Hospitals:
    """The sites of a simulation by folder name: opened ones, and why the others could not be."""

    files: dict[str, SiteFile] = field(default_factory=dict)
    cohorts: dict[str, SiteCohort] = field(default_factory=dict)
    failed: dict[str, Refusal] = field(default_factory=dict)

    def by_name(self, names: Collection[str]) -> tuple[dict[str, SiteFile], dict[str, SiteCohort]]:
        """Site files and cohorts of the sites named, under their names."""
        folders = {self.files[folder].settings.site: folder for folder in self.cohorts}
        chosen = {name: folders[name] for name in sorted(names)}
        files = {name: self.files[folder] for name, folder in chosen.items()}
        return files, {name: self.cohorts[folder] for name, folder in chosen.items()}


def simulate(simulation: Simulation) -> dict[str, Any]:
    """Run the chain and write ``results.json``, ``report.html`` and ``model.safetensors``.

    Raises:
        Refusal: no site can take part, or anything a step of the chain refuses as a whole.

    """
    start = time.perf_counter()
    make_folder(simulation.out)
    folder = simulation.cohort or _synthetic_cohort(simulation)
    about = _about(folder)
    study = _study_for(simulation.study, about)
    own_work = None if about else simulation.out / "work"
    hospitals = _open_hospitals(folder, study, simulation.federation.seed, own_work)
    opened = time.perf_counter()
    results = _federate(simulation, study, hospitals)
    federated = time.perf_counter()
    results["engine"] = "local"
    if about:
        results["notes"] = [_SYNTHETIC_NOTE]
    if simulation.comparators:
        files, cohorts = hospitals.by_name(results["final"]["sites"])
        models = _compare(simulation, study, cohorts, results)
        if about and simulation.test_patients and study.imaging is not None:
            latents, labels = training_truth(folder, files, cohorts)
            test = _phantom_test_set(simulation, study, about)
            results["synthetic_test"] = synthetic_test_entry(models, test, latents, labels)
    end = time.perf_counter()
    seconds = {"cohort_and_intake": opened - start, "comparators": end - federated, "all": end - start}
    results["timing"]["seconds"] |= seconds
    write_json(simulation.out / "results.json", results)
    write_report(results, simulation.out / "report.html")
    return results


def _synthetic_cohort(simulation: Simulation) -> Path:
    folder = simulation.out / "cohort"
    if _was_written_for(simulation, _about(folder)):
        log(f"synthetic cohort: reusing {folder}")
        return folder
    total = simulation.sites * simulation.patients
    with progress("writing synthetic DICOM", total) as advance:
        seed = simulation.federation.seed
        write_cohort(
            folder, simulation.sites, simulation.patients, seed, simulation.study, os.cpu_count() or 1, advance
        )
    return folder


def _was_written_for(simulation: Simulation, about: dict[str, Any]) -> bool:
    sizes = about.get("sites", {})
    wanted = (simulation.federation.seed, simulation.study.sha256, simulation.sites)
    found = (about.get("seed"), about.get("study_sha256"), len(sizes))
    return found == wanted and sum(sizes.values()) == simulation.sites * simulation.patients


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


def _open_hospitals(folder: Path, study: Study, seed: int, work: Path | None) -> _Hospitals:
    """Intake at every site; a site that cannot take part is named and left out."""
    paths = sorted(folder.glob("*/site.yaml"))
    if not paths:
        raise Refusal("no-sites", f"no */site.yaml in {folder}", "give a folder with one folder a site")
    hospitals = _Hospitals()
    for path in paths:
        name = path.parent.name
        try:
            site = _at_home(read_site(path), work, seed) if work else read_site(path)
            hospitals.files[name] = site
            hospitals.cohorts[name] = run_intake(site, study).cohort
        except Refusal as refusal:
            log(f"{name} cannot take part: {refusal}")
            hospitals.failed[name] = refusal
    _require_distinct_names(hospitals)
    return hospitals


def _require_distinct_names(hospitals: _Hospitals) -> None:
    names = [site.settings.site for site in hospitals.files.values()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Refusal("site-name-conflict", f"two sites are called {twice[0]!r}", "give each site its own name")


def _at_home(site: SiteFile, work: Path, seed: int) -> SiteFile:
    """The site with a work folder of the simulation's own, whose salt follows from the seed.

    So the same seed splits patients the same way on every machine, and a hospital's real salt is not touched.
    """
    own = (work / site.settings.site).absolute()
    own.mkdir(parents=True, exist_ok=True)
    salt = hashlib.sha256(f"fedescc-simulated-salt|{seed}|{site.settings.site}".encode()).hexdigest()
    write_atomically(own / "salt", salt.encode())
    return SiteFile(settings=site.settings.model_copy(update={"work": str(own)}), folder=site.folder)


def _federate(simulation: Simulation, study: Study, hospitals: _Hospitals) -> dict[str, Any]:
    sites = {folder: _local_site(hospitals.files[folder], study, c) for folder, c in hospitals.cohorts.items()}
    folders = sorted(sites | hospitals.failed)

    def open_site(context: Any) -> LocalSite:
        folder = str(context.node_config["site"])
        if folder in hospitals.failed:
            raise hospitals.failed[folder]
        return sites[folder]

    run_config = {
        "study": study.to_yaml(),
        "federation": simulation.federation.to_yaml(),
        "out": str(simulation.out),
    }
    nodes = [{"site": folder} for folder in folders]
    grid = LocalGrid(make_client_app(open_site), nodes, run_config, simulation.shuffle)
    with progress("federated rounds", simulation.federation.rounds) as advance:

        def on_round(record: RoundRecord) -> None:
            advance()
            sites_in = len(record.attendance.accepted)
            log(f"round {record.round}: {sites_in} sites, loss {record.train_loss:.3f}, {record.seconds:.1f} s")

        run_in_process(make_server_app(on_round), grid, run_config)
    return read_results(simulation.out)


def _local_site(file: SiteFile, study: Study, cohort: SiteCohort) -> LocalSite:
    return LocalSite(file.settings.site, study, file.settings.policy, cohort)


def _compare(
    simulation: Simulation, study: Study, cohorts: dict[str, SiteCohort], results: dict[str, Any]
) -> dict[str, Fitted]:
    """Train local-only and centralised models on the federation's sites; their METRICS go into ``results``."""
    trained = {name: cohorts[name] for name in results["rounds"][-1]["sites"] if name in cohorts}
    pooled = pool_cohorts(list(trained.values()))
    federation = simulation.federation
    with progress("comparators", (len(trained) + 1) * federation.rounds) as advance:
        local = {name: fit(study, cohort, federation, name, advance) for name, cohort in trained.items()}
        centralised = fit(study, pooled, federation, "centralised", advance)
    federated, reference = results["final"]["sites"], _federated_model(simulation, study)
    results["comparators"] = {
        "local_only": comparator_entry(local, trained, federated, reference),
        "centralised": comparator_entry(dict.fromkeys(cohorts, centralised), cohorts, federated, reference),
    }
    models = {f"{LOCAL_PREFIX}{name}": model for name, model in local.items()}
    return {"federated": reference, "centralised": centralised, **models}


def _federated_model(simulation: Simulation, study: Study) -> Fitted:
    arrays, metadata = load_safetensors(simulation.out / "model.safetensors")
    encoding = Encoding.model_validate_json(metadata["encoding"])
    model = build_model(study, len(encoding.columns), seed=0)
    load_parameters(model, join_parameters(parameter_layout(model), arrays))
    return Fitted(model, encoding)


def _phantom_test_set(simulation: Simulation, study: Study, about: dict[str, Any]) -> PhantomSet:
    """Extra test patients in the cohort's mixture of sites."""
    sizes = about["sites"]
    patients = held_out(len(sizes), sum(sizes.values()) // len(sizes), simulation.test_patients)
    with progress("extra test patients", len(patients)) as advance:
        return phantom_set(about["seed"], patients, study, workers=os.cpu_count() or 1, advance=advance)

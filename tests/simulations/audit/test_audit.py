"""The audit of whole runs: everything agrees, and what is changed in the results is found."""

import copy
import json

import pytest
from table_sites import write_site
from toy_federation import STUDY

from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.study import Study
from fedescc.common.yamlfile import parse_model
from fedescc.server.fold_results import fold_files
from fedescc.server.results import read_results, write_json
from fedescc.simulations import simulate as simulate_module
from fedescc.simulations.audit import audit as audit_module
from fedescc.simulations.audit.audit import audit
from fedescc.simulations.comparison.finished import finished_folds
from fedescc.simulations.hospitals import open_hospitals
from fedescc.simulations.simulate import Simulation, simulate

PLAN = """
analysis:
  comparators: [clinical]
  partial_auc: 0.3
  decision_thresholds: [0.3, 0.5]
  subgroups:
    sex: {variable: sex}
    age: {variable: age, cuts: [50]}
"""
GROUPS = {
    "bins", "discrimination", "discrimination, against exact scores", "classification", "Wilson intervals",
    "calibration", "curves", "partial AUC and average precision", "between sites", "explanation",
    "regression coefficients", "paired differences", "paired differences at a site", "covariates", "thresholds",
    "derived",
}  # fmt: skip
SIZES = {"north": 150, "south": 110, "west": 90}
SMALL = {"north": 80, "south": 70, "west": 60}


def federation(**settings):
    training = {"optimizer": "sgd", "learning_rate": 0.05, "weight_decay": 0, "class_weight": "none"}
    return Federation.model_validate({"rounds": 2, "training": training} | settings)


def run(folder, sizes=SIZES, **changes):
    """A simulation of table sites, and what an audit needs of it."""
    for name, patients in sizes.items():
        write_site(folder / "hospitals", name, patients)
    settings = {"comparators": ("clinical", "local_clinical"), "audit": True, **changes}
    own = settings.pop("federation", federation())
    study = parse_model(STUDY + PLAN, Study, "toy")
    return simulate(Simulation(study, own, folder / "out", folder / "hospitals", **settings)), (study, own, folder)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return run(tmp_path_factory.mktemp("audited"))


def audited_again(results, place):
    study, own, folder = place
    hospitals = open_hospitals(folder / "hospitals", study, own.seed, folder / "out" / "work")
    return audit(results, finished_folds(folder / "out", own, hospitals), hospitals)


def failed(entry):
    return [figure["figure"] for figure in entry["figures"] if not figure["passed"]]


def test_everything_that_was_published_is_that_of_the_pooled_patients(done):
    results, (_, _, folder) = done
    entry = results["audit"]
    assert failed(entry) == []
    assert entry["passed"]
    assert set(entry["groups"]) == GROUPS
    assert len(entry["figures"]) > 300
    assert read_results(folder / "out")["audit"] == entry
    assert results["timing"]["seconds"]["audit"] > 0


def test_only_bins_have_a_tolerance_beyond_rounding(done):
    figures = done[0]["audit"]["figures"]
    # Single precision; steps of the declared range; p of a difference that left with six decimals.
    rounded = {"explanation", "covariates", "paired differences at a site"}
    loose = {figure["group"] for figure in figures if figure["tolerance"] > 1.1e-6 * max(1, abs(figure["federated"]))}
    assert loose == {"discrimination, against exact scores", *rounded}


def test_every_published_metric_of_the_run_is_in_the_list(done):
    results = done[0]
    names = {figure["figure"] for figure in results["audit"]["figures"]} | set(results["audit"]["not_audited"])
    final = results["final"]
    for site, record in {**final["sites"], "pooled": final["pooled"]}.items():
        for key in ("n", "n_pos", "auc", "accuracy", "sensitivity", "specificity", "ppv", "npv", "brier"):
            assert record[key] is None or f"federated / {site} / {key}" in names, (site, key)
    assert {"federated / bootstrap", "local_clinical"} <= set(results["audit"]["not_audited"])


AUDITED = {"final", "comparators", "explanation"}
SAID = {
    "study", "title", "registration", "endpoint", "study_sha256", "plan", "version", "engine", "federation", "seed",
    "strategy", "mode", "model", "folds", "privacy", "opening", "warm_start", "personalisation", "kept_round",
    "sites_lost", "refused_before_training", "refused_in_evaluation", "comparators_unavailable", "timing", "audit",
    "notes",
}  # fmt: skip


def test_every_part_of_the_results_is_audited_or_listed_or_no_figure(done):
    """A part that is new must be sorted in here, and recomputed or listed there."""
    results = done[0]
    listed = set(results["audit"]["not_audited"])
    rest = {key for key, value in results.items() if value} - AUDITED - SAID - listed
    assert rest == set()
    assert {"rounds", "flow", "shortcuts", "planning"} <= listed
    assert "contribution" not in listed  # nobody asked for it


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (("final", "pooled", "auc"), "federated / pooled / auc"),
        (("final", "sites", "north", "brier"), "federated / north / brier"),
        (("final", "meta", "auc"), "federated / meta auc"),
        (("final", "pooled", "threshold"), "federated / threshold"),
        (("final", "primary", "auc"), "federated / primary"),
        (("final", "fairness", "sex", "specificity", "gap"), "federated / sex / gap of specificity"),
        (("final", "average_precision"), "federated / pooled / average precision"),
        (("final", "curves", "decision", "model", 0), "federated / pooled / decision / net benefit at 0.3"),
        (("final", "subgroups", "sex", "male", "sensitivity"), "federated / sex male / sensitivity"),
        (("final", "comparisons", 0, "difference"), "clinical versus federated / difference"),
        (("comparators", "clinical", "pooled", "ppv"), "clinical / pooled / ppv"),
        (("comparator_models", "clinical", "coefficients", 0), "clinical / intercept"),
        (("explanation", "pooled", "age", "mean_abs"), "federated / explanation / pooled / age mean_abs"),
    ],
)
def test_a_number_that_was_changed_is_found_by_its_name(path, name, done):
    results, place = done
    [file] = fold_files(place[2] / "out")
    honest = json.loads(file.read_text())
    tampered = copy.deepcopy(honest)
    *where, last = path
    part = tampered
    for key in where:
        part = part[key]
    part[last] += 1e-4
    write_json(file, tampered)
    try:
        entry = audited_again(results, place)
    finally:
        write_json(file, honest)
    assert name in failed(entry)
    assert not entry["passed"]


@pytest.mark.parametrize("mode", ["kfold", "loso"])
def test_every_fold_is_audited_under_its_name(mode, tmp_path):
    results, _ = run(tmp_path, SMALL, mode=mode, folds=2, comparators=())
    entry = results["audit"]
    assert failed(entry) == []
    figures = {figure["figure"] for figure in entry["figures"]}
    told = [fold["fold"] for fold in results["folds"] if fold["final"]["pooled"]["n"] is not None]
    assert len(told) >= 2
    for name in told:
        assert {f"{name} / federated / pooled / auc", f"{name} / federated / threshold"} <= figures
    kept = {f"{fold['fold']} / federated / pooled" for fold in results["folds"]} - {
        f"{n} / federated / pooled" for n in told
    }
    assert kept <= set(entry["not_audited"])
    assert ("federated / meta auc" in figures) == ("federated / primary" in figures) == (mode == "loso")
    assert entry["not_audited"]["figures over all folds"] == "pooled-from-the-folds"


def test_a_network_of_each_sites_own_is_passed_over_and_so_is_a_site_too_small(tmp_path):
    personal = federation(personalisation={"kind": "ditto"})
    results, _ = run(tmp_path, {**SMALL, "tiny": 12}, federation=personal, comparators=("clinical",))
    entry = results["audit"]
    assert failed(entry) == []
    assert entry["not_audited"]["federated"] == "models-stay-at-the-sites"
    assert {"regression coefficients", "classification"} <= set(entry["groups"])
    assert "clinical / tiny" in entry["not_audited"]
    assert not any("/ tiny /" in figure["figure"] for figure in entry["figures"])


def test_without_statsmodels_an_audit_is_refused_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(audit_module, "find_spec", lambda name: None)
    with pytest.raises(Refusal, match=r"statsmodels.*no-audit"):
        run(tmp_path)
    assert not (tmp_path / "out").exists()


def test_no_audit_unless_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(simulate_module, "audit", pytest.fail)
    results, _ = run(tmp_path, {"north": 60, "south": 60}, audit=False, comparators=())
    assert "audit" not in results
    assert "audit" not in results["timing"]["seconds"]

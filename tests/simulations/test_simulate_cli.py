"""The simulate command end to end on tables: contract, refusals in one line, reproducibility."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from comparable import without_times
from table_sites import write_site
from toy_federation import STUDY

from fedescc.common.federation import Federation
from fedescc.common.statistics.metrics import METRIC_KEYS
from fedescc.common.study import read_study
from fedescc.simulations.cli import shipped_federation


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_text(STUDY)
    return path


@pytest.fixture
def hospitals(tmp_path):
    for name, patients in (("north", 120), ("south", 90), ("west", 60)):
        write_site(tmp_path / "hospitals", name, patients)
    return tmp_path / "hospitals"


def simulate(*arguments, code=0):
    command = [str(Path(sys.executable).with_name("fedescc-simulate")), *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == code, done.stderr
    return done


def refused(*arguments, code="", todo=""):
    done = simulate(*arguments, code=1)
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("refused: ")
    assert f"[{code}]" in line
    assert todo in line
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return line


def run(study, hospitals, out, *more):
    arguments = (
        "--study",
        study,
        "--cohort",
        hospitals,
        "--rounds",
        3,
        "--out",
        out,
        "--set",
        "training.optimizer=sgd",
    )
    done = simulate("run", *arguments, "--set", "training.learning_rate=0.05", *more)
    return json.loads((out / "results.json").read_text()), done


def test_the_contract_is_kept(study, hospitals, tmp_path):
    results, done = run(study, hospitals, tmp_path / "out", "--json")
    assert json.loads(done.stdout) == results
    assert {"study", "study_sha256", "seed", "strategy", "engine", "rounds", "final", "comparators"} <= set(results)
    assert {"explanation", "privacy", "timing"} <= set(results)
    assert results["engine"] == "local"
    assert results["study_sha256"] == read_study(study).sha256
    records = [results["final"]["pooled"], *results["final"]["sites"].values()]
    for comparator in ("local_only", "centralised"):
        entry = results["comparators"][comparator]
        records += [entry["pooled"], *entry["sites"].values()]
    for record in records:
        assert set(METRIC_KEYS) <= set(record)
        for key in METRIC_KEYS:
            assert record[key] is not None or record["suppressed"][key]
    assert {"results.json", "report.html", "model.safetensors"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_a_person_gets_a_table_and_the_reports_path(study, hospitals, tmp_path):
    _, done = run(study, hospitals, tmp_path / "out")
    for word in ("federated", "local-only", "centralised", str(tmp_path / "out" / "report.html")):
        assert word in done.stdout
    assert "federated rounds: 3/3" in done.stderr


def test_same_seed_same_results_in_any_order_of_answers(study, hospitals, tmp_path):
    first, _ = run(study, hospitals, tmp_path / "a")
    second, _ = run(study, hospitals, tmp_path / "b", "--shuffle", 5)
    other, _ = run(study, hospitals, tmp_path / "c", "--seed", 8)
    assert without_times(first) == without_times(second)
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in "abc"]
    assert models[0] == models[1] != models[2]
    assert other["seed"] == 8


def test_a_one_class_site_trains_and_its_auc_is_null_with_a_reason(study, hospitals, tmp_path):
    write_site(hospitals, "east", 40, event=0.0)
    results, _ = run(study, hospitals, tmp_path / "out")
    assert "east" in results["rounds"][-1]["sites"]
    east = results["final"]["sites"]["east"]
    assert east["auc"] is None
    assert east["suppressed"]["auc"]


def test_an_empty_site_is_left_out_and_the_federation_goes_on(study, hospitals, tmp_path):
    write_site(hospitals, "east", 3)
    path = hospitals / "east" / "clinical.csv"
    path.write_text(path.read_text().splitlines()[0] + "\nP0,12,5,male,1\n")
    results, done = run(study, hospitals, tmp_path / "out")
    assert results["rounds"][0]["sites"] == ["north", "south", "west"]
    assert "empty-site" in results["refused_before_training"].values()
    assert "east cannot take part" in done.stderr


def test_without_quorum_the_run_exits_1(study, hospitals, tmp_path):
    arguments = ("run", "--study", study, "--cohort", hospitals, "--out", tmp_path / "out", "--set", "min_sites=4")
    line = refused(*arguments, code="no-quorum", todo="min_sites")
    assert "3 of 3" in line
    assert not (tmp_path / "out" / "results.json").exists()


def test_an_unknown_study_key(study, hospitals, tmp_path):
    study.write_text(STUDY + "colour: blue\n")
    assert "colour" in refused("run", "--study", study, "--cohort", hospitals, code="invalid-settings")


def test_a_missing_column(study, hospitals, tmp_path):
    for path in hospitals.glob("*/clinical.csv"):
        path.write_text(path.read_text().replace("age", "years", 1))
    arguments = ("run", "--study", study, "--cohort", hospitals, "--out", tmp_path / "out")
    assert "missing" in refused(*arguments, code="no-quorum")


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("--strategy", "fedmagic"), "invalid-settings", "strategy: no such strategy; choose one of: fedavg"),
        (("--set", "training.lerning_rate=1"), "invalid-settings", "training.lerning_rate"),
        (("--set", "training.learning_rate=-1"), "invalid-settings", "learning_rate"),
        (("--set", "rounds"), "invalid-override", "rounds"),
        (("--config", "missing.yaml"), "unreadable-settings", "missing.yaml"),
        (("--engine", "flower"), "unknown-engine", "local"),
        (("--mode", "bootstrap"), "unknown-mode", "kfold"),
        (("--comparators", "local_only,magic"), "unknown-comparator", "magic"),
        (("--study", "no-such-study"), "unknown-study", "escc-pcr"),
        (("--strategy", "fedprox", "--set", "strategy.mu=0"), "invalid-settings", "mu"),
    ],
)
def test_wrong_settings_are_one_line(arguments, code, named):
    assert named in refused("run", *arguments, code=code)


def test_a_folder_without_sites(study, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "absent"):
        refused("run", "--study", study, "--cohort", tmp_path / folder, "--out", tmp_path / "o", code="no-sites")


def test_two_sites_of_one_name_refuse_the_simulation(study, hospitals, tmp_path):
    (hospitals / "zz").mkdir()
    for name in ("clinical.csv", "site.yaml"):
        (hospitals / "zz" / name).write_text((hospitals / "north" / name).read_text())
    arguments = ("run", "--study", study, "--cohort", hospitals, "--out", tmp_path / "o")
    assert "north" in refused(*arguments, code="site-name-conflict")


def test_an_output_folder_that_cannot_be_made(study, hospitals, tmp_path):
    (tmp_path / "file").write_text("")
    refused("run", "--study", study, "--cohort", hospitals, "--out", tmp_path / "file" / "x", code="unwritable-folder")


def test_a_damaged_cohort_description(study, hospitals, tmp_path):
    (hospitals / "cohort.json").write_text("{")
    refused("run", "--study", study, "--cohort", hospitals, "--out", tmp_path / "o", code="damaged-cohort")


def test_comparators_hide_what_the_federation_hides(study, hospitals, tmp_path):
    write_site(hospitals, "east", 60, event=0.03)
    results, _ = run(study, hospitals, tmp_path / "out")
    assert results["final"]["sites"]["east"]["n"] is None
    for comparator in results["comparators"].values():
        assert comparator["sites"]["east"]["n"] is None
        assert comparator["pooled"]["n"] == results["final"]["pooled"]["n"]


def test_a_run_of_another_mode_is_not_mixed_in(study, hospitals, tmp_path):
    results, done = run(study, hospitals, tmp_path / "out", "--mode", "loso", "--comparators", "local_only,ensemble")
    assert [fold["held_out"] for fold in results["folds"]] == ["north", "south", "west"]
    assert "loso, 3 folds" in done.stdout
    assert "not available: local-only (no-local-model)" in done.stdout
    arguments = ("run", "--study", study, "--cohort", hospitals, "--out", tmp_path / "out")
    assert "mode" in refused(*arguments, code="other-run", todo="--fresh")
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == results


def test_misuse_exits_2():
    simulate("run", "--no-such-option", code=2)
    simulate("run", "--folds", "1", code=2)
    simulate("cohort", code=2)
    simulate("run", "--rounds", "0", code=2)


@pytest.mark.parametrize("arguments", [(), ("run",), ("cohort",)])
def test_help_is_there(arguments):
    assert "Usage" in simulate(*arguments, "--help").stdout


def test_version():
    assert simulate("--version").stdout.strip() == "fedescc 0.1.0"


def test_the_linear_protocol_is_configuration_alone():
    """Linear model, SGD 1e-3, batch 4, 100 local updates a round, 15 rounds."""
    study = read_study("heart-disease")
    federation = shipped_federation(study)
    training = federation.training
    assert study.model.kind == "linear"
    assert federation.rounds == 15
    assert (training.optimizer, training.learning_rate, training.schedule) == ("sgd", 1e-3, "constant")
    assert (training.batch_size, training.local_updates, training.local_epochs) == (4, 100, None)


def test_a_predefined_split_column_is_honoured(study, hospitals, tmp_path):
    study.write_text(STUDY + "analysis: {split: {allow_column: true}}\n")
    for path in hospitals.glob("*/clinical.csv"):
        header, *lines = path.read_text().splitlines()
        split = [("train", "val", "test")[number % 3] for number in range(len(lines))]
        path.write_text("\n".join([header + ",part", *(f"{a},{b}" for a, b in zip(lines, split, strict=True))]) + "\n")
        site = path.with_name("site.yaml")
        site.write_text(site.read_text().replace("clinical.csv", "clinical.csv, split: part"))
    results, _ = run(study, hospitals, tmp_path / "out")
    assert {name: flow["n_train"] for name, flow in results["flow"].items()} == {"north": 40, "south": 30, "west": 20}
    assert results["final"]["pooled"]["n"] == 90


def test_the_shipped_example_spells_out_the_defaults(repository):
    from fedescc.common.federation import read_federation

    text = (repository / "configs" / "federation.example.yaml").read_text()
    assert read_federation(text, "example") == Federation()

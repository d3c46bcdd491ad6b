"""Simulated runs in this process: gone on with, not mixed, compared by fold."""

import dataclasses
import json
import pickle

import pytest
from comparable import without_times
from table_sites import write_site
from toy_federation import STUDY

from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.study import Study
from fedescc.common.yamlfile import parse_model
from fedescc.server.results import read_results
from fedescc.simulations import simulate as simulate_module
from fedescc.simulations.comparison import fold_comparison as comparison
from fedescc.simulations.simulate import Simulation, simulate

TRAINING = {"optimizer": "sgd", "learning_rate": 0.05, "weight_decay": 0, "class_weight": "none"}


@pytest.fixture
def simulation(tmp_path):
    for name, patients in (("north", 120), ("south", 90), ("west", 60)):
        write_site(tmp_path / "hospitals", name, patients)
    federation = Federation.model_validate({"rounds": 2, "training": TRAINING})
    study = parse_model(STUDY, Study, "toy")
    return Simulation(study, federation, tmp_path / "out", tmp_path / "hospitals", comparators=())


def changed(simulation, **changes):
    return dataclasses.replace(simulation, **changes)


def with_seed(simulation, seed):
    return changed(simulation, federation=simulation.federation.model_copy(update={"seed": seed}))


def test_a_finished_run_trains_nothing_again(simulation, monkeypatch):
    wanted = changed(simulation, comparators=("local_only", "clinical"), mode="kfold", folds=2)
    first = simulate(wanted)
    monkeypatch.setattr(comparison, "fit", None)
    models = [(simulation.out / fold["model"]).stat().st_mtime_ns for fold in first["folds"]]
    assert without_times(simulate(wanted)) == without_times(first)
    assert [(simulation.out / fold["model"]).stat().st_mtime_ns for fold in first["folds"]] == models


def test_another_run_is_refused_unless_the_old_one_is_to_go(simulation):
    first = simulate(simulation)
    with pytest.raises(Refusal, match="other-run"):
        simulate(with_seed(simulation, 5))
    assert read_results(simulation.out) == first
    assert simulate(changed(with_seed(simulation, 5), fresh=True))["seed"] == 5


@pytest.mark.parametrize("change", ["a value", "a site"])
def test_a_run_of_other_patients_is_another_run(simulation, change):
    simulate(simulation)
    if change == "a site":
        write_site(simulation.cohort, "east", 50)
    else:
        table = simulation.cohort / "west" / "clinical.csv"
        table.write_text(table.read_text().replace("female", "male", 1))
    with pytest.raises(Refusal, match=r"patients.*other-run"):
        simulate(simulation)


def test_other_comparators_of_the_simulation_join_a_finished_run(simulation):
    simulate(simulation)
    more = simulate(changed(simulation, comparators=("ensemble", "centralised_clinical")))
    assert list(more["comparators"]) == ["ensemble", "centralised_clinical"]


def test_one_site_held_out_after_the_other(simulation):
    results = simulate(changed(simulation, mode="loso", comparators=("local_only", "centralised", "clinical")))
    assert results["final"]["pooled"]["n"] == 270
    assert {name: entry["pooled"]["n"] for name, entry in results["comparators"].items()} == {
        "centralised": 270,
        "clinical": 270,
    }
    assert results["comparators_unavailable"] == {"local_only": "no-local-model"}
    assert [set(fold["comparators"]) for fold in results["folds"]] == [{"local_only", "centralised", "clinical"}] * 3
    assert any("fixed split" in note for note in results["notes"])
    assert (simulation.out / "report.html").exists()
    assert not (simulation.out / "model.safetensors").exists()


def test_a_warm_start_is_told_and_another_file_is_another_run(simulation, tmp_path, capsys):
    simulate(simulation)
    start = simulation.out / "model.safetensors"
    second = changed(simulation, out=tmp_path / "second", warm_start=start)
    results = simulate(second)
    assert results["warm_start"]["loaded"] == ["linear.bias", "linear.weight"]
    assert str(tmp_path) not in json.dumps(results["warm_start"])
    assert "warm start: 2 of 2 tensors" in capsys.readouterr().err
    start.write_bytes((second.out / "model.safetensors").read_bytes())
    with pytest.raises(Refusal, match=r"warm_start.*other-run"):
        simulate(second)
    with pytest.raises(Refusal, match="unreadable-weights"):
        simulate(changed(second, out=tmp_path / "third", warm_start=tmp_path / "absent"))


def test_a_warm_start_that_is_not_there_is_refused_before_anything_is_prepared(simulation, tmp_path):
    with pytest.raises(Refusal, match="unreadable-weights"):
        simulate(changed(simulation, warm_start=tmp_path / "absent"))
    assert not simulation.out.exists()


def test_a_synthetic_cohort_whose_writing_was_stopped_is_written_again(simulation, monkeypatch):
    """And one of other patients is not taken for it, nor written over."""
    own, killed = changed(simulation, cohort=None, sizes=(5, 5)), []

    def write_cohort(out, sizes, seed, study, workers, progress):
        assert not out.exists() or not list(out.iterdir())
        (out / "site-a").mkdir(parents=True)
        if not killed:
            killed.append(True)
            raise KeyboardInterrupt
        about = {"synthetic": True, "seed": seed, "study_sha256": study.sha256, "sites": dict(enumerate(sizes))}
        (out / simulate_module.ABOUT).write_text(json.dumps(about))

    monkeypatch.setattr(simulate_module, "write_cohort", write_cohort)
    with pytest.raises(KeyboardInterrupt):
        simulate(own)
    assert not (own.out / "cohort").exists()
    with pytest.raises(Refusal, match="no-sites"):  # this writer writes none
        simulate(own)
    assert json.loads((own.out / "cohort" / "cohort.json").read_text())["sites"] == {"0": 5, "1": 5}
    assert not (own.out / "cohort-unfinished").exists()
    with pytest.raises(Refusal, match="other-cohort"):
        simulate(changed(own, sizes=(5, 6)))


def test_ray_gets_sites_that_another_process_can_open(simulation, tmp_path, monkeypatch):
    """What Ray itself does with them is tests/simulations/test_ray_engine.py's."""
    first = simulate(simulation)
    honest, seen = simulate_module.run_engine, []

    def run_engine(engine, server_app, sources, *more):
        seen.append(engine)
        honest("local", server_app, pickle.loads(pickle.dumps(sources)), *more)

    monkeypatch.setattr(simulate_module, "run_engine", run_engine)
    second = simulate(changed(simulation, out=tmp_path / "ray", engine="ray"))
    assert seen == ["ray"]
    assert without_times(first) | {"engine": "ray"} == without_times(second)

"""The whole command: a real run of every cell, gone on with after a stop, the same whatever the workers."""

import json

import pytest
from typer.testing import CliRunner

from fedescc.simulations.cli import app
from fedescc.simulations.scenarios import cells
from fedescc.simulations.scenarios import sweep as sweep_module
from fedescc.simulations.scenarios.cells import kept_record, run_cell
from fedescc.simulations.scenarios.settings import Cell
from fedescc.simulations.scenarios.sweep import run_sweep

NOT_RESULTS = ("seconds",)


@pytest.fixture(scope="module")
def swept(make_sweep, tmp_path_factory):
    sweep = make_sweep(tmp_path_factory.mktemp("sweep"))
    return sweep, run_sweep(sweep)


def comparable(document):
    if isinstance(document, dict):
        return {key: comparable(value) for key, value in document.items() if key not in NOT_RESULTS}
    return [comparable(item) for item in document] if isinstance(document, list) else document


def test_every_cell_is_a_federation_that_was_tested(swept):
    _, document = swept
    assert len(document["cells"]) == 4
    for cell in document["cells"]:
        assert cell["n_test"] == 25
        assert 0 <= cell["auc"] <= 1
        assert cell["sites_lost"] == []
        assert len(cell["validation_loss"]) == 2
        assert cell["worst"] <= cell["within"]


def test_the_three_files_say_the_same(swept):
    sweep, document = swept
    assert json.loads((sweep.out / "scenarios.json").read_text()) == document
    first = document["groups"][0]["auc"]["mean"]
    assert f"{first:.3f}" in (sweep.out / "scenarios.md").read_text()
    assert f"{first:.3f}" in (sweep.out / "scenarios.html").read_text()


def test_a_finished_sweep_runs_nothing_again(swept, monkeypatch):
    sweep, document = swept
    monkeypatch.setattr(sweep_module, "run_cell", lambda cell: pytest.fail("run again"))
    monkeypatch.setattr(sweep_module, "render_missing", lambda *arguments: pytest.fail("rendered again"))
    assert run_sweep(sweep) == document


def test_a_stopped_sweep_goes_on_with_the_same_result(swept, monkeypatch):
    sweep, document = swept
    (sweep.out / "cells" / "fedprox-none-0.json").unlink()
    (sweep.out / "cells" / "fedavg-none-0.json").write_text('{"fingerprint": "half a rec')
    left = sweep.out / "cells" / "fedavg-none-0"
    left.mkdir()
    (left / "run.json").write_text("{}")
    ran = []
    monkeypatch.setattr(sweep_module, "run_cell", lambda cell: ran.append(cell.name) or run_cell(cell))
    assert comparable(run_sweep(sweep)) == comparable(document)
    assert ran == ["fedavg-none-0", "fedprox-none-0"]
    assert not left.exists()


def test_a_record_of_other_settings_or_of_a_failure_is_not_kept(swept, make_sweep):
    sweep, _ = swept
    assert kept_record(Cell(sweep, "fedavg", "none", 0)) is not None
    assert kept_record(Cell(make_sweep(sweep.out, rounds=3), "fedavg", "none", 0)) is None
    path = sweep.out / "cells" / "median-none-0.json"
    cell = Cell(sweep, "median", "none", 0)
    path.write_text(json.dumps({"fingerprint": cell.fingerprint, "failed": "no-quorum"}))
    assert kept_record(cell) is None


def test_a_federation_that_cannot_run_is_recorded_and_the_sweep_goes_on(swept, monkeypatch, capsys):
    sweep, _ = swept
    two = [Cell(sweep, "krum", "none", 0), Cell(sweep, "fedavg", "none", 0)]
    records = {}
    sweep_module._run(two, sweep, records)
    assert records["krum-none-0"]["failed"]
    assert "auc" not in records["krum-none-0"]
    assert records["fedavg-none-0"]["auc"] is not None
    assert "krum-none-0 failed" in capsys.readouterr().err


@pytest.mark.slow
def test_two_workers_give_what_one_gives(swept, make_sweep, tmp_path):
    sweep, document = swept
    (tmp_path / "patients").symlink_to(sweep.out / "patients")
    other = run_sweep(make_sweep(tmp_path, workers=2))
    assert comparable(other) == comparable(document)


def test_threads_are_as_they_were(swept):
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with cells._one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_the_command_prints_the_document(swept, tmp_path):
    sweep, document = swept
    study = tmp_path / "small.yaml"
    study.write_text(sweep.study.to_yaml())
    options = "--strategies fedavg,fedprox --heterogeneity none,missing_modality --sites 2 --patients 6 --rounds 2"
    more = f"--test-patients 25 --seeds 0 --workers 1 --study {study} --out {sweep.out} --json"
    result = CliRunner().invoke(app, ["scenarios", *options.split(), *more.split()])
    assert result.exit_code == 0, result.output
    assert comparable(json.loads(result.stdout)) == comparable(document)
    table = CliRunner().invoke(app, ["scenarios", *options.split(), *more.removesuffix("--json").split()])
    assert "missing_modality" in table.stdout
    assert "scenarios.html" in table.stdout


def test_seeds_that_are_none_are_refused(tmp_path):
    result = CliRunner().invoke(app, ["scenarios", "--seeds", "0,-1", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "invalid-seed" in str(result.exception)


def test_a_seed_given_twice_is_one_federation(tmp_path, monkeypatch):
    """Two runs of one cell would work in one folder at once."""
    seen = []
    monkeypatch.setattr("fedescc.simulations.scenarios.sweep.run_sweep", lambda sweep: seen.append(sweep) or {})
    arguments = ["scenarios", "--seeds", "0,00,1,0", "--out", str(tmp_path), "--json"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert seen[0].seeds == (0, 1)

"""A run killed at any moment ends, when the same command is given again, as if nobody had killed it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from comparable import without_times
from table_sites import write_site
from toy_federation import STUDY


@pytest.fixture
def hospitals(tmp_path: Path) -> Path:
    for name, patients in (("north", 120), ("south", 90), ("west", 60)):
        write_site(tmp_path / "hospitals", name, patients)
    (tmp_path / "toy.yaml").write_text(STUDY)
    return tmp_path / "hospitals"


def command(hospitals: Path, out: Path) -> list[str]:
    options = ["--study", hospitals.parent / "toy.yaml", "--cohort", hospitals, "--out", out, "--rounds", 4]
    options += ["--mode", "kfold", "--folds", 2, "--comparators", "local_only,clinical,centralised_clinical"]
    # SCAFFOLD, because sites have a state of their own that must agree with the server's; the best round is kept.
    options += ["--strategy", "scaffold", "--set", "selection.keep=best"]
    options += ["--set", "training.optimizer=sgd", "--set", "training.learning_rate=0.05"]
    options += ["--set", "training.weight_decay=0", "--set", "training.schedule=constant"]
    return [str(Path(sys.executable).with_name("fedescc-simulate")), "run", *map(str, options)]


def start(hospitals: Path, out: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command(hospitals, out), stdout=quiet, stderr=quiet, env=environment)


def finish(hospitals: Path, out: Path) -> dict:
    assert start(hospitals, out).wait(timeout=300) == 0
    return json.loads((out / "results.json").read_text())


def kill_when(process: subprocess.Popen[bytes], path: Path) -> bool:
    """Kill -9 at the moment that a file is there; False if the run had ended before."""
    while process.poll() is None:
        if path.exists():
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.002)
    return False


def test_a_run_killed_again_and_again_ends_with_the_same_results(hospitals, tmp_path):
    expected = finish(hospitals, tmp_path / "whole")
    out = tmp_path / "out"
    folds = out / "folds"
    moments = (
        "fold-1-of-2/checkpoint.safetensors",
        "fold-2-of-2/checkpoint.safetensors",
        "fold-1-of-2/comparators.json",
    )
    killed = [kill_when(start(hospitals, out), folds / moment) for moment in moments]
    assert killed == [True] * 3
    assert not (out / "report.html").exists()
    assert without_times(finish(hospitals, out)) == without_times(expected)
    for fold in expected["folds"]:
        assert (out / fold["model"]).read_bytes() == (tmp_path / "whole" / fold["model"]).read_bytes()

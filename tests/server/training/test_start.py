"""Where the rounds start: pretraining is kept for a run that is stopped, and only for the very same start."""

import numpy as np
import pytest

from fedescc.common.arrays import flatten_parameters, load_parameters, save_safetensors
from fedescc.common.network.model import build_model
from fedescc.server.exchange import Attendance
from fedescc.server.training.pretraining import PretrainingRecord
from fedescc.server.training.start import start_of

TASK = {"run": "0" * 16, "encoding": {"covariates": []}}


class Pretraining:
    """Adds 1 to all weights in one round, and counts how often it was asked."""

    def __init__(self, rounds=1):
        self.rounds, self.asked = rounds, 0

    def __call__(self, model):
        self.asked += 1
        records = [PretrainingRecord(n + 1, Attendance(2, 2, 2, ["a", "b"]), 0.5, 9, 0.1) for n in range(self.rounds)]
        return flatten_parameters(model) + np.float32(self.rounds), records


@pytest.fixture
def model(toy):
    return build_model(toy.study, 3, seed=1)


def test_without_pretraining_and_file_it_is_the_seeds_own(model, tmp_path):
    start = start_of(model, None, TASK, tmp_path, Pretraining(rounds=0))
    assert np.array_equal(start.weights, flatten_parameters(model))
    assert (start.warm_start, start.pretraining) == (None, [])
    assert list(tmp_path.iterdir()) == []


def test_pretraining_is_done_once(model, tmp_path):
    pretraining = Pretraining()
    first = start_of(model, None, TASK, tmp_path, pretraining)
    second = start_of(model, None, TASK, tmp_path, pretraining)
    assert pretraining.asked == 1
    assert np.array_equal(first.weights, second.weights)
    assert first.pretraining == second.pretraining
    assert second.pretraining[0]["sites"] == ["a", "b"]


@pytest.mark.parametrize("change", ["task", "model", "damage"])
def test_what_was_kept_of_another_start_is_not_used(model, tmp_path, change):
    pretraining = Pretraining()
    start_of(model, None, TASK, tmp_path, pretraining)
    task = TASK | {"run": "1" * 16} if change == "task" else TASK
    if change == "model":
        load_parameters(model, flatten_parameters(model) + np.float32(2))
    if change == "damage":
        (path,) = tmp_path.iterdir()
        path.write_bytes(path.read_bytes()[:-5])
    start = start_of(model, None, task, tmp_path, pretraining)
    assert pretraining.asked == 2
    assert np.array_equal(start.weights, flatten_parameters(model) + np.float32(1))


def test_a_file_comes_before_pretraining(model, tmp_path, capsys):
    save_safetensors(tmp_path / "given.safetensors", {"linear.weight": np.full((1, 3), 7, np.float32)}, {})
    start = start_of(model, tmp_path / "given.safetensors", TASK, tmp_path, Pretraining())
    assert sorted(start.weights)[-3:] == [8, 8, 8]
    assert start.warm_start["loaded"] == ["linear.weight"]
    assert start.warm_start["missing"] == ["linear.bias"]
    assert len(start.pretraining) == 1
    assert "warm start: 1 of 2 tensors" in capsys.readouterr().err

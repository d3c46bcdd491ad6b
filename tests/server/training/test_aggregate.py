"""Gathering: both ways refuse the same updates and stay untouched by them; the fold equals FedAvg's definition."""

import random
from pathlib import Path

import numpy as np
import pytest

from fedescc.common.errors import Refusal
from fedescc.common.statistics.fixedpoint import CHUNK
from fedescc.server.training.aggregate import Fold
from fedescc.server.training.spill import Spill


def mean_of_rows(rows):
    result = np.empty(rows.shape[1])
    for columns, block in rows.blocks():
        result[columns] = block.mean(axis=0, dtype=np.float64)
    return result


def fold(size, parties):
    return Fold(size, parties)


def spill(size, parties):
    return Spill(size, parties, mean_of_rows)


def test_weighted_mean_by_hand():
    with Fold(size=2, parties=2) as gather:
        gather.add("a", np.array([1.0, 0.0], np.float32), 1)
        gather.add("b", np.array([0.0, 2.0], np.float32), 3)
        assert gather.weight == 4
        assert np.allclose(gather.combine(), [0.25, 1.5], rtol=0, atol=2**-33)


@pytest.mark.parametrize("kind", [fold, spill])
@pytest.mark.parametrize(
    ("delta", "weight", "code"),
    [
        (np.zeros(3, np.float32), 1, "update-wrong-size"),
        (np.zeros((2, 1), np.float32), 1, "update-wrong-size"),
        (np.zeros(2, np.float32), 0, "update-without-patients"),
        (np.zeros(2, np.float32), -5, "update-without-patients"),
        (np.array([0, np.nan], np.float32), 1, "update-not-finite"),
        (np.array([-np.inf, 0], np.float32), 1, "update-not-finite"),
        (np.array([0, 3e38], np.float32), 10, "update-too-large"),
        (np.array([-3e38, 0], np.float32), 10, "update-too-large"),
    ],
)
def test_a_refused_update_changes_nothing(kind, delta, weight, code):
    with kind(2, 3) as gather:
        gather.add("a", np.array([1.0, -1.0], np.float32), 2)
        with pytest.raises(Refusal, match=code):
            gather.add("b", delta, weight)
        assert gather.weight == 2
        assert gather.combine().tolist() == [1.0, -1.0]


@pytest.mark.parametrize("kind", [fold, spill])
def test_nothing_gathered_makes_no_update(kind):
    with kind(2, 1) as gather, pytest.raises(Refusal, match="no-training-patients"):
        gather.combine()


@pytest.mark.parametrize("kind", [fold, spill])
def test_any_order_of_arrival_gives_the_same_bits(kind):
    rng = np.random.default_rng(0)
    size = CHUNK + 5
    updates = {f"site-{i}": (rng.standard_normal(size, np.float32) * 10.0 ** (i - 3), i + 1) for i in range(6)}
    ends = set()
    for seed in range(4):
        names = random.Random(seed).sample(sorted(updates), len(updates))
        with kind(size, len(names)) as gather:
            for name in names:
                gather.add(name, *updates[name])
            ends.add(gather.combine().tobytes())
    assert len(ends) == 1


def test_read_only_updates_are_taken_and_left_alone():
    delta = np.frombuffer(np.array([1.5, -2.0], "<f4").tobytes(), "<f4")
    for kind in (fold, spill):
        with kind(2, 1) as gather:
            gather.add("a", delta, 3)
            assert gather.combine().tolist() == [1.5, -2.0]


def test_rows_come_back_by_name_in_blocks_of_columns():
    size = 2 * CHUNK + 3
    rows = {name: np.arange(size, dtype=np.float32) + start for name, start in [("c", 3), ("a", 1), ("b", 2)]}
    with Spill(size, 3, mean_of_rows) as gather:
        for name, row in rows.items():
            gather.add(name, row, 1)
        assert gather.shape == (3, size)
        blocks = list(gather.blocks())
    assert [columns for columns, _ in blocks] == [slice(0, CHUNK), slice(CHUNK, 2 * CHUNK), slice(2 * CHUNK, size)]
    whole = np.concatenate([block for _, block in blocks], axis=1)
    assert whole.dtype == np.float32
    assert np.array_equal(whole, [rows["a"], rows["b"], rows["c"]])


def test_a_spill_leaves_no_file_behind_whatever_happens(tmp_path):
    def stop(rows):
        raise RuntimeError("stop")

    with Spill(2, 1, stop, tmp_path) as gather:
        gather.add("a", np.ones(2, np.float32), 1)
        assert list(tmp_path.iterdir()) == []  # without a name from the start
        with pytest.raises(RuntimeError, match="stop"):
            gather.combine()
    assert gather._file.closed


def test_a_full_disk_costs_the_update_and_not_those_before():
    size = 10_000
    with Spill(size, 3, mean_of_rows) as gather:
        gather.add("a", np.ones(size, np.float32), 1)
        whole = gather._file
        with Path("/dev/full").open("r+b", buffering=0) as full:
            gather._file = full
            with pytest.raises(Refusal, match="server-disk-full"):
                gather.add("b", np.full(size, 2, np.float32), 1)
        gather._file = whole
        gather.add("c", np.full(size, 3, np.float32), 1)
        assert gather.weight == 2
        assert np.array_equal(gather.combine(), np.full(size, 2.0))

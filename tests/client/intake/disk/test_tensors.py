"""Patients' tensors as one file: every row in its place, and a full disk an error rather than a dead process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedescc.client.intake.disk.parts import Tensors
from fedescc.client.intake.disk.tensors import assemble

SHAPE = (2, 3, 4, 5)


def patient(number: int) -> Tensors:
    rng = np.random.default_rng(number)
    return Tensors(rng.random(SHAPE).astype(np.float16), rng.integers(0, 2, SHAPE).astype(np.uint8))


def test_rows_are_the_patients_in_order(tmp_path: Path) -> None:
    assemble(tmp_path, map(patient, range(3)), 3)
    for name, dtype in (("images", np.float16), ("rois", np.uint8)):
        array = np.load(tmp_path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        assert (array.shape, array.dtype, array.flags.c_contiguous) == ((3, *SHAPE), dtype, True)
        for row in range(3):
            np.testing.assert_array_equal(array[row], getattr(patient(row), name))


def test_rows_of_any_memory_order_are_written_in_c_order(tmp_path: Path) -> None:
    one = patient(1)
    turned = Tensors(np.asfortranarray(one.images), np.asfortranarray(one.rois))
    assemble(tmp_path, [turned], 1)
    np.testing.assert_array_equal(np.load(tmp_path / "images.npy")[0], one.images)


def test_nobody_leaves_no_file(tmp_path: Path) -> None:
    assemble(tmp_path, [], 0)
    assert list(tmp_path.iterdir()) == []


def test_one_patient_at_a_time_is_in_memory(tmp_path: Path) -> None:
    asked: list[int] = []

    def patients() -> Iterator[Tensors]:
        for number in range(3):
            size = (tmp_path / "rois.npy").stat().st_size if asked else 0
            assert size >= 0
            asked.append(number)
            yield patient(number)

    assemble(tmp_path, patients(), 3)
    assert asked == [0, 1, 2]


def test_a_disk_that_fills_up_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def full(self: Path, *arguments: Any, **options: Any) -> Any:
        return opened(Path("/dev/full") if self.name == "images.npy" else self, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left"):
        assemble(tmp_path, map(patient, range(3)), 3)

"""Patients' tensors as the arrays of a cohort on disk."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from fedescc.client.intake.disk.cache import IMAGES, ROIS
from fedescc.client.intake.disk.parts import Tensors


def assemble(draft: Path, patients: Iterable[Tensors], most: int) -> None:
    """Write patients' tensors below each other, one in memory at a time.

    ``images.npy`` is (n, time points, z, y, x) float16 in [0, 1], ``rois.npy`` the same shape as uint8; neither is
    written when there is no patient.

    Args:
        draft: folder to write to.
        patients: in the order of the rows.
        most: how many there are at most.

    """
    images, rois = _Rows(draft / IMAGES, most), _Rows(draft / ROIS, most)
    for one in patients:
        images.append(one.images)
        rois.append(one.rois)
    images.close()
    rois.close()


class _Rows:
    """An ``.npy`` file that grows by one row at a time, up to a number known beforehand."""

    def __init__(self, path: Path, most: int) -> None:
        self._path, self._most, self._count = path, most, 0
        self._array: NDArray[Any] | None = None

    def append(self, row: NDArray[Any]) -> None:
        if self._array is None:
            self._array = open_memmap(self._path, "w+", row.dtype, (self._most, *row.shape))
        self._array[self._count] = row
        self._count += 1

    def close(self) -> None:
        """Cut the file down to the rows that were written."""
        if self._array is None or self._count == self._most:
            self._array = None
            return
        part = self._path.with_suffix(".part")
        with part.open("wb") as file:
            np.save(file, self._array[: self._count])
        self._array = None
        part.replace(self._path)

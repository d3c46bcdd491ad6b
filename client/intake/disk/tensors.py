"""Patients' tensors as the arrays of a cohort on disk."""

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib.format import header_data_from_array_1_0, write_array_header_1_0
from numpy.typing import NDArray

from fedescc.client.intake.disk.cache import IMAGES, ROIS
from fedescc.client.intake.disk.parts import Tensors


def assemble(draft: Path, patients: Iterable[Tensors], count: int) -> None:
    """Write patients' tensors below each other, one in memory at a time.

    ``images.npy`` is (n, time points, z, y, x) float16 in [0, 1], ``rois.npy`` the same shape as uint8; neither is
    written when there is no patient. Written, not mapped: a disk that fills up is an error then, not a dead process.

    Args:
        draft: folder to write to.
        patients: in the order of the rows.
        count: how many there are.

    Raises:
        OSError: no space.

    """
    if not count:
        return
    with (draft / IMAGES).open("wb") as images, (draft / ROIS).open("wb") as rois:
        for row, one in enumerate(patients):
            for file, array in ((images, one.images), (rois, one.rois)):
                if not row:
                    _write_head(file, array, count)
                file.write(np.ascontiguousarray(array).data)


def _write_head(file: BinaryIO, row: NDArray[np.float16] | NDArray[np.uint8], count: int) -> None:
    """The head of an ``.npy`` file of ``count`` such rows."""
    head = header_data_from_array_1_0(np.broadcast_to(row, (1, *row.shape)))
    write_array_header_1_0(file, {**head, "shape": (count, *row.shape), "fortran_order": False})

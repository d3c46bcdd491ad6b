"""What intake hands to learning: one site's eligible patients as arrays."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class SiteCohort:
    """Eligible patients of one site, row ``i`` of every array being the same patient.

    Attributes:
        keys: salted patient keys (hex); never the hospital's identifier. Rows are sorted by key.
        labels: (n,) int8, 1 = endpoint positive.
        numeric: study variable -> (n,) float64, NaN = missing, in the study's unit.
        categorical: study variable -> (n,) int16 index into the study's categories, -1 = missing.
        split: (n,) of ``train`` / ``validation`` / ``test``.
        images: (n, time points, z, y, x) float16 in [0, 1], windowed; memory-mapped. None without imaging.
        rois: (n, time points, z, y, x) uint8, 1 inside the ROI. None without imaging.
        flow: STARD counts: included, and per exclusion code how many patients.
        order: (n,) int32, how many of the site's patients have an earlier date; -1 without a date. None where the
            study has no date.

    """

    keys: tuple[str, ...]
    labels: NDArray[np.int8]
    numeric: dict[str, NDArray[np.float64]]
    categorical: dict[str, NDArray[np.int16]]
    split: NDArray[np.str_]
    images: NDArray[np.float16] | None
    rois: NDArray[np.uint8] | None
    flow: dict[str, int]
    order: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def rows(self, split: SplitName) -> NDArray[np.intp]:
        """Row numbers of one split, in key order."""
        return np.flatnonzero(self.split == split)

"""What intake hands to learning: one site's eligible patients as arrays."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedescc.common.disclosure.groups import one_group

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
        acquisition: how the scans were acquired, by name, each (n, time points): categories of
            `fedescc.common.acquisition` as int8 index of a level, -1 = unknown or no CT; numbers as float64, NaN =
            missing. Empty without imaging.
        group: (n,) number of the group that k folds are made of, for their sums differ by whole groups; None outside k
            folds.
        block: (n,) which fold tests the group; None outside k folds.

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
    acquisition: dict[str, NDArray[Any]] = field(default_factory=dict)
    group: NDArray[np.intp] | None = None
    block: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def rows(self, split: SplitName) -> NDArray[np.intp]:
        """Row numbers of one split, in key order."""
        return np.flatnonzero(self.split == split)

    def groups(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Group numbers of some rows, (n,); outside k folds all are of one group."""
        return one_group(len(rows)) if self.group is None else self.group[rows]

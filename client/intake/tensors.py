"""Patients' CTs and ROIs as arrays on disk, several at a time."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from fedescc.client.imaging.masks import Mask
from fedescc.client.imaging.preprocess import Preprocessed, grid_spec, preprocess
from fedescc.client.imaging.series import Series
from fedescc.client.imaging.volume import open_volume
from fedescc.client.intake.cache import IMAGES, ROIS
from fedescc.client.intake.eligibility import Scans
from fedescc.client.intake.rois import MaskFolder
from fedescc.client.intake.timepoints import Choice
from fedescc.common.console import Advance
from fedescc.common.errors import Refusal
from fedescc.common.study import Imaging, TimePoint

_WHOLE_SHARE = 0.999  # a voxel or two beyond the grid's border are no loss
_ROI_CODES = frozenset({"empty_roi", "roi_exceeds_grid"})
_WORKERS = 2  # reading overlaps with resampling; more would hold more volumes in memory


@dataclass(frozen=True)
class Task:
    """One patient to prepare: the CT of every time point, where its masks are, and the study's ROI and grid."""

    patient_id: str
    choices: Mapping[TimePoint, Choice]
    masks: MaskFolder
    imaging: Imaging


@dataclass(frozen=True)
class Failure:
    """Why a patient has no tensors: codes of refused volumes, or a missing ROI, each with its time point."""

    quality: tuple[str, ...]
    roi: bool
    details: tuple[str, ...]

    def of(self, scans: Scans) -> Scans:
        """The patient's scans with this failure."""
        return replace(scans, quality=self.quality, roi=self.roi, details=scans.details + self.details)


class Written(NamedTuple):
    """Failures by key, and the number of patients written whose ROI the grid cuts."""

    failures: dict[str, Failure]
    cut: int


class _Tensors(NamedTuple):
    images: NDArray[np.float16]
    rois: NDArray[np.uint8]
    share_in_grid: float


def write_tensors(draft: Path, tasks: Mapping[str, Task], advance: Advance) -> Written:
    """Prepare every task and write the successful ones, in the order given.

    ``images.npy`` is (n, time points, z, y, x) float16 in [0, 1], ``rois.npy`` the same shape as uint8; neither is
    written when no task succeeds.

    Args:
        draft: folder to write to.
        tasks: salted key -> patient.
        advance: called once a patient.
    """
    failures: dict[str, Failure] = {}
    cut = 0
    images, rois = _Rows(draft / IMAGES, len(tasks)), _Rows(draft / ROIS, len(tasks))
    with ThreadPoolExecutor(_WORKERS) as pool:
        for key, result in zip(tasks, pool.map(_prepare, tasks.values()), strict=True):
            if isinstance(result, Failure):
                failures[key] = result
            else:
                images.append(result.images)
                rois.append(result.rois)
                cut += result.share_in_grid < _WHOLE_SHARE
            advance()
    images.close()
    rois.close()
    return Written(failures, cut)


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


def _prepare(task: Task) -> _Tensors | Failure:
    quality: list[str] = []
    details: list[str] = []
    has_roi, done = True, []
    for time_point, choice in task.choices.items():
        assert choice.series is not None, "only patients with every CT are prepared"
        mask = _mask(task, time_point, choice.series)
        if isinstance(mask, str):
            has_roi = False
            details.append(f"{time_point}:{mask}")
            continue
        tensors = _tensors(choice.series, mask, task.imaging)
        if isinstance(tensors, str):
            if tensors in _ROI_CODES:
                has_roi = False
            else:
                quality.append(tensors)
            details.append(f"{time_point}:{tensors}")
        else:
            done.append(tensors)
    if len(done) < len(task.choices):
        return Failure(tuple(quality), has_roi, tuple(details))
    return _Tensors(
        np.stack([one.image for one in done]).astype(np.float16),
        np.stack([one.roi for one in done]),
        min(one.share_in_grid for one in done),
    )


def _mask(task: Task, time_point: TimePoint, series: Series) -> Mask | str:
    try:
        return task.masks.read(task.patient_id, time_point, series)
    except Refusal as refusal:
        return refusal.code
    except Exception as error:  # noqa: BLE001 - whatever one patient's file does, the others go on
        return f"unexpected_{type(error).__name__}"


def _tensors(series: Series, mask: Mask, imaging: Imaging) -> Preprocessed | str:
    spec, least = grid_spec(imaging.grid), imaging.roi.min_share_in_grid
    try:
        return preprocess(open_volume(series), mask, spec, min_share_in_grid=least)
    except Refusal as refusal:
        return refusal.code
    except Exception as error:  # noqa: BLE001 - whatever one patient's file does, the others go on
        return f"unexpected_{type(error).__name__}"

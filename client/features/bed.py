"""The tumour bed of one scan, cut out of the model's grid and smoothed, ready to be measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.common.imaging import Grid

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

# The border between fat and other soft tissue: adipose tissue has -190 to -30 HU.
SOFT_HU = -30.0
# Air and bone count as this much and no more, so that smoothing does not spread them, whatever the study's window.
_CLIP_HU = (-160.0, 340.0)
_FINE_MM, _COARSE_MM = 1.0, 2.0  # SD of the smoothing
_MARGIN_MM = 9.0  # of the surroundings that are measured too, and of what smoothing reaches
# Nearer than this to what is no soft tissue a voxel shows both, and smoothed by 2 mm it still does somewhat farther in.
_RIND_MM = 1.6
_SMOOTH_RIND_MM = 2.9
_LEAST_VOXELS = 30


@dataclass(frozen=True)
class Bed:
    """A box around the tumour bed; all arrays (z, y, x).

    Attributes:
        hu: clipped to -160..340.
        fine, coarse: the same, smoothed by a Gaussian of 1 and 2 mm SD.
        roi: the bed.
        tissue: its voxels of soft tissue.
        depth_mm: distance of each to the nearest that is none or lies outside the bed, by the fine image; else 0.
        core: soft tissue without the voxels at its surface; all of it where too little would be left.
        deep: soft tissue that smoothing mixes with no other; the core where too little would be left.
        spacing_zyx_mm: of voxels.

    """

    hu: Floats
    fine: Floats
    coarse: Floats
    roi: Bools
    tissue: Bools
    depth_mm: NDArray[np.float64]
    core: Bools
    deep: Bools
    spacing_zyx_mm: tuple[float, float, float]

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel."""
        return float(np.prod(self.spacing_zyx_mm)) / 1000


def cut_bed(hu: Floats, roi: Bools, grid: Grid) -> Bed:
    """The bed of a scan on the model's grid.

    Args:
        hu: (z, y, x), finite.
        roi: the same shape; not empty.
        grid: the study's.

    """
    spacing = spacing_of(grid)
    box = _box(roi, spacing)
    inner, marked = np.clip(hu[box], *_CLIP_HU), roi[box]
    least = max(SOFT_HU, grid.window_hu[0])
    fine = _smooth(inner, _FINE_MM, spacing)
    soft = marked & (fine > least)
    depth = distance_mm(soft, spacing)
    core = _if_enough(depth > _RIND_MM, soft)
    return Bed(
        hu=inner,
        fine=fine,
        coarse=_smooth(inner, _COARSE_MM, spacing),
        roi=marked,
        tissue=marked & (inner > least),
        depth_mm=depth,
        core=core,
        deep=_if_enough(depth > _SMOOTH_RIND_MM, core),
        spacing_zyx_mm=spacing,
    )


def spacing_of(grid: Grid) -> tuple[float, float, float]:
    """Spacing (z, y, x), mm, of a grid, which has been checked to have three axes."""
    z, y, x = grid.spacing_zyx_mm
    return z, y, x


def distance_mm(inside: Bools, spacing_zyx_mm: Sequence[float]) -> NDArray[np.float64]:
    """Distance (z, y, x) from each voxel inside to the nearest outside, and the array's border is outside."""
    from scipy import ndimage

    padded = ndimage.distance_transform_edt(np.pad(inside, 1), sampling=spacing_zyx_mm)
    distance: NDArray[np.float64] = padded[1:-1, 1:-1, 1:-1]
    return distance


def _if_enough(part: Bools, whole: Bools) -> Bools:
    return part if np.count_nonzero(part) >= _LEAST_VOXELS else whole


def _box(roi: Bools, spacing_zyx_mm: Sequence[float]) -> tuple[slice, ...]:
    """What holds the ROI and a margin."""
    box = []
    for axis, step in enumerate(spacing_zyx_mm):
        marked = np.flatnonzero(roi.any(axis=tuple(other for other in range(3) if other != axis)))
        margin = int(np.ceil(_MARGIN_MM / step))
        box.append(slice(max(0, marked[0] - margin), marked[-1] + 1 + margin))
    return tuple(box)


def _smooth(hu: Floats, width_mm: float, spacing_zyx_mm: Sequence[float]) -> Floats:
    from scipy import ndimage

    widths = [width_mm / step for step in spacing_zyx_mm]
    smooth: Any = ndimage.gaussian_filter(hu, widths, mode="nearest", truncate=3)
    return np.asarray(smooth, np.float32)

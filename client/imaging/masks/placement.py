"""Voxels of another file put where they lie on a CT's grid, or refused: nothing is interpolated or shifted."""

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedescc.client.imaging.volumes.geometry import POSITION_REFUSE_MM, POSITION_WARN_MM, Geometry
from fedescc.common.errors import Refusal

# Files keep their grid as 32-bit floats or decimal strings: voxel centres of the same grid agree to far better than
# this part of a voxel.
GRID_REFUSE_VOXELS = 0.02
# A plane need only be told from its neighbours: its CT's slices may lie a little off a regular grid themselves.
PLANE_REFUSE_FRACTION = 0.1
# Beyond this part of a gap the next slice may be meant, however thin slices are.
_NEAREST_FRACTION = 0.4
_LARGEST_INDEX = 2**31


class Placement(NamedTuple):
    """Where voxels of a file lie on a CT's grid: the first one's index (x, y, z), and the step along each file axis.

    ``step`` is (3, n): column k is 1 or -1 at the CT axis along which file axis k runs.
    """

    start_xyz: NDArray[np.int64]
    step: NDArray[np.int64]


def align(origin_xyz_mm: ArrayLike, axes_mm: ArrayLike, sizes: tuple[int, ...], target: Geometry) -> Placement:
    """Where a plane or a volume lies on a CT's grid; its axes may be flipped or permuted, and it may be a part.

    Args:
        origin_xyz_mm: centre of its first voxel, LPS.
        axes_mm: (3, n), the step from a voxel to the next along each of its n axes, LPS.
        sizes: number of voxels along each axis, in the order of ``axes_mm``.
        target: the CT's grid.

    Raises:
        Refusal: other_geometry, where its voxel centres are none of the CT's.

    """
    origin, axes = np.asarray(origin_xyz_mm, dtype=np.float64), np.asarray(axes_mm, dtype=np.float64)
    corners = np.asarray(list(product(*((0, size - 1) for size in sizes))), dtype=np.float64)
    if np.isfinite(origin).all() and np.isfinite(axes).all():
        mapped = target.physical_to_index(origin + corners @ axes.T)
        step = np.rint(np.linalg.inv(target.matrix) @ axes)
        along = np.abs(step)
        start = np.rint(mapped[0])
        off = np.abs(mapped - start - corners @ step.T)
        tolerance = np.where(along.sum(axis=1) > 0, GRID_REFUSE_VOXELS, plane_tolerance(target))
        one_axis_each = (along.sum(axis=0) == 1).all() and (along.sum(axis=1) <= 1).all()
        if one_axis_each and (off <= tolerance).all() and np.abs(start).max() < _LARGEST_INDEX:
            return Placement(start.astype(np.int64), step.astype(np.int64))
    raise Refusal(
        "other_geometry",
        f"voxels {sizes} at {origin.round(3).tolist()} mm are not those of the CT's grid {target.shape_zyx}",
        "save the mask on the CT's own grid",
    )


def plane_tolerance(target: Geometry) -> float:
    """How far, as a part of the gap between slices, a plane may lie off the slice of a CT's grid that it belongs to.

    A slice of an accepted CT may itself lie POSITION_REFUSE_MM off the grid; what was drawn on it then does too, and
    is rounded in its own file.
    """
    own = (POSITION_REFUSE_MM + POSITION_WARN_MM) / target.spacing_zyx_mm[0]
    return min(max(PLANE_REFUSE_FRACTION, own), _NEAREST_FRACTION)


def align_volume(grid: Geometry, target: Geometry, *, part: bool) -> Placement:
    """Where a label map lies on a CT's grid.

    Args:
        grid: the label map's.
        target: the CT's.
        part: whether it may lack slices, rows or columns of the CT, or reach beyond it.

    Raises:
        Refusal: other_geometry.

    """
    sizes = grid.shape_zyx[::-1]
    placement = align(grid.origin_xyz_mm, grid.matrix, sizes, target)
    last = placement.start_xyz + placement.step @ (np.asarray(sizes) - 1)
    low, high = np.minimum(placement.start_xyz, last), np.maximum(placement.start_xyz, last)
    if not part and (low.any() or (high + 1 != target.shape_zyx[::-1]).any()):
        what = f"the mask has {grid.shape_zyx} voxels (z, y, x), the CT {target.shape_zyx}"
        raise Refusal("other_geometry", what, "save the mask on the CT's own grid")
    return placement


def paste(marked: NDArray[np.bool_], placement: Placement, mask: NDArray[np.bool_]) -> None:
    """Set the voxels of ``mask`` (z, y, x), in place, on which the marked ones of a file (its axes reversed) lie.

    Raises:
        Refusal: roi_truncated, where a marked voxel lies beyond the CT.

    """
    index = placement.start_xyz[:, None] + placement.step @ np.stack(np.nonzero(marked)[::-1])
    if (index < 0).any() or (index >= np.asarray(mask.shape[::-1])[:, None]).any():
        raise Refusal("roi_truncated", "the ROI reaches beyond the image", "use the CT it was drawn on")
    mask[tuple(index[::-1])] = True

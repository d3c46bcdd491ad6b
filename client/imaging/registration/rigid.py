"""Rigid motions of patient coordinates (LPS, mm), and masks moved by them from one grid to another."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedescc.client.imaging.masks.contours import Mask
from fedescc.client.imaging.volumes.geometry import FloatArray, Geometry

Box = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Rigid:
    """The motion ``rotation @ point + translation``: plain numbers, so that it travels between processes.

    Args:
        rotation: 3x3 rotation matrix in LPS, row-major.
        translation_mm: x, y, z.

    """

    rotation: tuple[float, ...]
    translation_mm: tuple[float, ...]

    @classmethod
    def of(cls, rotation: ArrayLike, translation_xyz_mm: ArrayLike) -> "Rigid":
        """The motion with a 3x3 rotation matrix and a translation (xyz, mm) given as arrays."""
        parts = (np.asarray(part, dtype=np.float64).ravel() for part in (rotation, translation_xyz_mm))
        return cls(*(tuple(float(value) for value in part) for part in parts))

    @property
    def matrix(self) -> FloatArray:
        """The rotation as a 3x3 array."""
        return np.asarray(self.rotation, dtype=np.float64).reshape(3, 3)

    @property
    def angle_deg(self) -> float:
        """Angle of the rotation about its axis, 0 to 180 degrees."""
        return float(np.degrees(np.arccos(np.clip((np.trace(self.matrix) - 1) / 2, -1, 1))))

    def apply(self, points_xyz_mm: ArrayLike) -> FloatArray:
        """Where points (..., xyz) come to lie, mm."""
        points = np.asarray(points_xyz_mm, dtype=np.float64)
        moved: FloatArray = points @ self.matrix.T + np.asarray(self.translation_mm)
        return moved

    def inverse(self) -> "Rigid":
        """The motion back."""
        return Rigid.of(self.matrix.T, -self.matrix.T @ np.asarray(self.translation_mm))


def move_mask(motion: Rigid, mask: Mask, source: Geometry, target: Geometry) -> Mask:
    """Mask (z, y, x) on the target's grid: a voxel is marked if its centre, moved back, lies in a marked voxel.

    Nearest neighbour, because an interpolation that smooths rounds off what is thin, and so shrinks small regions.
    What falls beyond the target's grid is lost.
    """
    moved = np.zeros(target.shape_zyx, dtype=np.bool_)
    if not mask.any():
        return moved
    lo, hi = clipped_box(target.physical_to_index(motion.apply(box_corners(mask, source))), target)
    part = tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))
    x, y, z = np.meshgrid(*(np.arange(a, b) for a, b in zip(lo[::-1], hi[::-1], strict=True)), indexing="ij")
    points = target.index_to_physical(np.stack([x, y, z], axis=-1).transpose(2, 1, 0, 3))
    index = np.rint(source.physical_to_index(motion.inverse().apply(points))[..., ::-1]).astype(np.int64)
    within = ((index >= 0) & (index < np.asarray(source.shape_zyx))).all(axis=-1)
    moved[part][within] = mask[tuple(index[within].T)]
    return moved


def share_inside(motion: Rigid, mask: Mask, source: Geometry, target: Geometry) -> float:
    """Part of the mask's voxels whose centres, moved, lie within the target's voxels; 0 for an empty mask."""
    index = target.physical_to_index(motion.apply(source.index_to_physical(np.argwhere(mask)[:, ::-1])))
    inside = ((index >= -0.5) & (index <= np.asarray(target.shape_zyx[::-1]) - 0.5)).all(axis=1)
    return float(inside.mean()) if inside.size else 0.0


def bounding_box(mask: Mask) -> Box:
    """First index (z, y, x) of the marked voxels of a mask that is not empty, and one past the last."""
    spans = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    return np.array([span[0] for span in spans]), np.array([span[-1] + 1 for span in spans])


def box_corners(mask: Mask, geometry: Geometry) -> FloatArray:
    """Corners (8, xyz) of the mask's bounding box, at the outer faces of its voxels, mm."""
    ends = np.stack(bounding_box(mask))[:, ::-1] - 0.5
    return geometry.index_to_physical([[ends[i, 0], ends[j, 1], ends[k, 2]] for i, j, k in np.ndindex(2, 2, 2)])


def clipped_box(index_xyz: FloatArray, geometry: Geometry, margin_mm: float = 0.0) -> Box:
    """First index (z, y, x) and one past the last of the part of a grid around continuous indices (n, xyz)."""
    margin = margin_mm / np.asarray(geometry.spacing_zyx_mm)
    shape = np.asarray(geometry.shape_zyx)
    lo = np.clip(np.floor(index_xyz.min(axis=0)[::-1] - margin).astype(np.int64), 0, shape)
    hi = np.clip(np.ceil(index_xyz.max(axis=0)[::-1] + margin).astype(np.int64) + 1, lo, shape)
    return lo, hi

"""Exact geometry of an axial stack of slices, from positions and orientations alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedescc.common.errors import Refusal

# Coordinates are decimal strings that scanners round, most of them to 1e-3 mm or finer and a few to 0.1 mm: above
# the first tolerance we warn, above the second the stack is not the regular grid that a tensor needs.
POSITION_WARN_MM = 1e-3
POSITION_REFUSE_MM = 0.1
# Two slices closer than this are one position twice.
DUPLICATE_MM = 1e-2
# A gap within this fraction of twice, three times ... the usual gap means lost slices rather than uneven ones.
MISSING_FRACTION = 0.1
# Direction cosines: difference from a unit, orthogonal pair; the first also between slices.
ORIENTATION_WARN = 1e-5
ORIENTATION_REFUSE = 1e-3
# Between slices: what moves the far corner of the widest field, 0.5 m, by POSITION_REFUSE_MM.
ORIENTATION_DRIFT_REFUSE = 2e-4
SPACING_REFUSE_MM = 1e-4
# Pixels of a micro-CT and of a coarse survey; gaps of the finest and the sparsest series. Beyond, the unit is not mm.
PIXEL_MM = (0.05, 10.0)
GAP_MM = (0.05, 50.0)
# A table that is a little off plumb or an axial series reconstructed along the couch is still axial; a reformat is not.
AXIAL_WARN_DEG = 0.5
AXIAL_REFUSE_DEG = 5.0
# No scanner's gantry leans further; a steeper shear is an error in the positions.
TILT_REFUSE_DEG = 30.0

Tilt = Literal["refuse", "correct"]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Geometry:
    """A regular grid in patient coordinates (LPS, mm), as SimpleITK and ITK define it.

    Args:
        shape_zyx: number of slices, rows and columns.
        spacing_zyx_mm: distance between voxel centres along each axis.
        origin_xyz_mm: centre of voxel (0, 0, 0).
        direction: 3x3 matrix, row-major; its columns are the image axes x (along a row), y (along a column), z. They
            are unit vectors; z is perpendicular to the others unless the stack is sheared (gantry tilt), where it
            points from one slice to the next.

    """

    shape_zyx: tuple[int, int, int]
    spacing_zyx_mm: tuple[float, float, float]
    origin_xyz_mm: tuple[float, float, float]
    direction: tuple[float, ...]

    @property
    def matrix(self) -> FloatArray:
        """3x3 matrix from index (x, y, z) to mm, without the origin."""
        direction: FloatArray = np.asarray(self.direction, dtype=np.float64).reshape(3, 3)
        matrix: FloatArray = direction * np.asarray(self.spacing_zyx_mm[::-1])
        return matrix

    @property
    def tilt_deg(self) -> float:
        """Angle between the way from slice to slice and the slices' normal; 0 without gantry tilt."""
        x, y, z = np.asarray(self.direction, dtype=np.float64).reshape(3, 3).T
        normal = np.cross(x, y)
        return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(normal, z)), normal @ z)))

    def index_to_physical(self, index_xyz: ArrayLike) -> FloatArray:
        """Patient coordinates (..., xyz) in mm of continuous voxel indices (..., xyz)."""
        index = np.asarray(index_xyz, dtype=np.float64)
        physical: FloatArray = index @ self.matrix.T + np.asarray(self.origin_xyz_mm)
        return physical

    def physical_to_index(self, point_xyz_mm: ArrayLike) -> FloatArray:
        """Continuous voxel indices (..., xyz) of patient coordinates (..., xyz) in mm."""
        offset = np.asarray(point_xyz_mm, dtype=np.float64) - np.asarray(self.origin_xyz_mm)
        index: FloatArray = offset @ np.linalg.inv(self.matrix).T
        return index


class Stack(NamedTuple):
    """Slices in order: their grid, the order that sorts them along the normal, and warning codes."""

    geometry: Geometry
    order: tuple[int, ...]
    warnings: tuple[str, ...]


def stack_geometry(
    positions: ArrayLike,
    orientations: ArrayLike,
    spacings: ArrayLike,
    rows: Sequence[int],
    columns: Sequence[int],
    *,
    tilt: Tilt = "refuse",
) -> Stack:
    """The regular axial grid that n slices form, slices ascending along the image normal.

    Voxel (column, row, k) of the grid lies where PS3.3 C.7.6.2.1.1 puts pixel (column, row) of slice k. Gantry tilt is
    judged from positions, never from its tag, which exports drop or zero. Overlapping slices (thickness above the gap)
    are fine: thickness is not used.

    Args:
        positions: (n, 3) Image Position (Patient) (0020,0032), mm.
        orientations: (n, 6) Image Orientation (Patient) (0020,0037): cosines along a row, then along a column.
        spacings: (n, 2) Pixel Spacing (0028,0030), mm: between rows (y), then between columns (x).
        rows: n values of Rows (0028,0010).
        columns: n values of Columns (0028,0011).
        tilt: what to do with a uniform shear of up to ``TILT_REFUSE_DEG``: refuse it, or give the sheared grid with the
            warning tilt_corrected. Its direction then has a third column that is not perpendicular to the slices and
            its z spacing is the distance between slices' origins, along that column.

    Raises:
        Refusal: too_few_slices, non_finite_geometry, differing_matrix_size, differing_pixel_spacing,
            differing_orientation, invalid_pixel_spacing, invalid_orientation, duplicate_slices, gantry_tilt,
            excessive_tilt, non_uniform_shear, non_axial, missing_slices, non_uniform_gap or invalid_slice_gap.

    """
    position, orientation, spacing = (np.asarray(v, dtype=np.float64) for v in (positions, orientations, spacings))
    _check_finite(position, orientation, spacing)
    _check_alike(orientation, spacing, rows, columns)
    if len(position) < 2:
        raise Refusal("too_few_slices", "a single slice has no extent along z", "export the whole series")
    # The median does not depend on the order of slices, and is the value itself where all agree.
    axes, axes_warnings = _axes(np.median(orientation, axis=0))
    order = np.argsort(position @ axes[2], kind="stable")
    step, step_warnings = _step(position[order], axes[2], tilt)
    gap = float(np.linalg.norm(step))
    if not GAP_MM[0] <= gap <= GAP_MM[1]:
        raise Refusal("invalid_slice_gap", f"slices lie {gap:.4g} mm apart", "export the series again")
    first = position[order[0]]
    geometry = Geometry(
        (len(position), int(rows[0]), int(columns[0])),
        (gap, float(spacing[0, 0]), float(spacing[0, 1])),
        (float(first[0]), float(first[1]), float(first[2])),
        tuple(float(v) + 0.0 for v in np.stack([axes[0], axes[1], step / gap]).T.ravel()),
    )
    drift = ("orientation_varies",) if np.ptp(orientation, axis=0).max() > ORIENTATION_WARN else ()
    return Stack(geometry, tuple(int(i) for i in order), axes_warnings + drift + step_warnings)


def _check_finite(*values: FloatArray) -> None:
    if not all(np.isfinite(v).all() for v in values):
        raise Refusal("non_finite_geometry", "a position, orientation or spacing is not a number", "export again")


def _check_alike(orientation: FloatArray, spacing: FloatArray, rows: Sequence[int], columns: Sequence[int]) -> None:
    todo = "export each reconstruction as a series of its own"
    if len(set(rows)) > 1 or len(set(columns)) > 1:
        raise Refusal("differing_matrix_size", f"{len(set(zip(rows, columns, strict=True)))} matrix sizes", todo)
    if np.abs(spacing - spacing[0]).max() > SPACING_REFUSE_MM:
        raise Refusal("differing_pixel_spacing", f"pixel spacings from {spacing.min()} to {spacing.max()} mm", todo)
    if not PIXEL_MM[0] <= spacing.min() <= spacing.max() <= PIXEL_MM[1]:
        raise Refusal(
            "invalid_pixel_spacing", f"pixel spacing {spacing.min()} to {spacing.max()} mm", "export the series again"
        )
    if np.ptp(orientation, axis=0).max() > ORIENTATION_DRIFT_REFUSE:
        raise Refusal("differing_orientation", "slices of one series are not parallel", todo)


def _axes(orientation: FloatArray) -> tuple[FloatArray, tuple[str, ...]]:
    """Unit row, column and normal vectors as the rows of a 3x3 matrix."""
    row, column = orientation[:3], orientation[3:]
    fault = max(abs(row @ row - 1), abs(column @ column - 1), abs(row @ column))
    if fault > ORIENTATION_REFUSE:
        raise Refusal(
            "invalid_orientation",
            f"direction cosines are off a unit, orthogonal pair by {fault:.2g}",
            "export again",
        )
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    column = column / np.linalg.norm(column)
    warnings = ("orientation_rounded",) if fault > ORIENTATION_WARN else ()
    return np.stack([row, column, np.cross(row, column)]), warnings


def _step(position: FloatArray, normal: FloatArray, tilt: Tilt) -> tuple[FloatArray, tuple[str, ...]]:
    """Vector from one slice's position to the next, of positions that ascend along the normal."""
    along = (position - position[0]) @ normal
    gaps = np.diff(along)
    if gaps.min() < DUPLICATE_MM:
        raise Refusal(
            "duplicate_slices",
            f"two of {len(position)} slices lie within {DUPLICATE_MM} mm of each other",
            "export one reconstruction and one copy of it",
        )
    sideways = position - position[0] - np.outer(along, normal)
    drift = float(np.linalg.norm(sideways, axis=1).max())
    line, warnings = normal, tuple[str, ...]()
    if drift > POSITION_REFUSE_MM:
        shear = sideways[-1] / along[-1]
        drift = float(np.linalg.norm(sideways - np.outer(along, shear), axis=1).max())
        line, warnings = normal + shear, _check_tilt(shear, drift, tilt)
    warnings += _check_axial(normal, line)
    step = line * (along[-1] / (len(along) - 1))
    uneven = float(np.abs(along - np.arange(len(along)) * (step @ normal)).max() * np.linalg.norm(line))
    if uneven > POSITION_REFUSE_MM:
        _refuse_uneven(gaps * np.linalg.norm(line))
    return step, warnings + (("positions_rounded",) if max(drift, uneven) > POSITION_WARN_MM else ())


def _check_tilt(shear: FloatArray, off_line_mm: float, tilt: Tilt) -> tuple[str, ...]:
    """Judge a shear: mm sideways for each mm along the normal, and how far positions stray from that line."""
    angle = float(np.degrees(np.arctan(np.linalg.norm(shear))))
    if off_line_mm > POSITION_REFUSE_MM:
        raise Refusal(
            "non_uniform_shear",
            f"slices are shifted sideways, up to {off_line_mm:.2f} mm off one line",
            "choose a series whose slices lie in line",
        )
    if tilt == "refuse":
        raise Refusal(
            "gantry_tilt",
            f"slices are sheared by {angle:.2f} degrees",
            "use a series reconstructed without gantry tilt, or let the study correct tilt",
        )
    if angle > TILT_REFUSE_DEG:
        raise Refusal(
            "excessive_tilt",
            f"slices are sheared by {angle:.1f} degrees, above {TILT_REFUSE_DEG:g}",
            "use a series reconstructed without gantry tilt",
        )
    return ("tilt_corrected",)


def _check_axial(normal: FloatArray, line: FloatArray) -> tuple[str, ...]:
    """Judge how far the slices, or where they are tilted the couch's way through them, are from axial."""
    cosine = max(abs(float(normal[2])), abs(float(line[2])) / float(np.linalg.norm(line)))
    angle = float(np.degrees(np.arccos(min(1.0, cosine))))
    if angle > AXIAL_REFUSE_DEG:
        raise Refusal("non_axial", f"image normal is {angle:.1f} degrees off the z axis", "choose an axial series")
    return ("oblique",) if angle > AXIAL_WARN_DEG else ()


def _refuse_uneven(gaps: FloatArray) -> None:
    # The lower middle, not the median, which may lie between a usual and a doubled gap when slices are few.
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    multiples = gaps / usual
    off = np.abs(multiples - np.rint(multiples)) / np.rint(multiples).clip(min=1)
    if off.max() <= MISSING_FRACTION and multiples.min() > 1 - MISSING_FRACTION:
        lost = int(np.rint(multiples).sum()) - len(gaps)
        raise Refusal("missing_slices", f"{lost} slices are missing (usual gap {usual:.4g} mm)", "export them too")
    raise Refusal(
        "non_uniform_gap",
        f"gaps run from {gaps.min():.4g} to {gaps.max():.4g} mm",
        "choose an evenly spaced series",
    )

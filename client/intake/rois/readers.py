"""Agreement of two readers' ROIs on one CT."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from fedescc.client.imaging.masks.contours import Mask
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.common.errors import Refusal

_LIMIT_SDS = 1.96  # about 95 % of differences, if they are normal, lie within so many SDs of their mean


@dataclass(frozen=True)
class Agreement:
    """How far two ROIs agree; definitions as in Taha and Hanbury 2015 (doi:10.1186/s12880-015-0068-x).

    A surface is the centres of the voxels of an ROI that share a face with a voxel outside it (or with the border of
    the image). Each of its points has a distance to the nearest point of the other surface.

    Attributes:
        dice: 2 |A ∩ B| / (|A| + |B|).
        jaccard: |A ∩ B| / |A ∪ B|.
        volume_one_cm3, volume_other_cm3: voxels times the volume of one.
        volume_ratio: one's volume by the other's.
        surface_mean_mm: mean distance over the points of both surfaces.
        hausdorff95_mm: 95th percentile of the distances from either surface, the larger of the two.
        hausdorff_mm: largest distance.
        centre_distance_mm: between the centres of gravity.

    """

    dice: float
    jaccard: float
    volume_one_cm3: float
    volume_other_cm3: float
    volume_ratio: float
    surface_mean_mm: float
    hausdorff95_mm: float
    hausdorff_mm: float
    centre_distance_mm: float


@dataclass(frozen=True)
class ReadersRow:
    """One measure over all pairs; ``None`` where two pairs at least would be needed.

    ``lower`` and ``upper`` are Bland and Altman's 95 % limits of agreement, of the volume alone.
    """

    measure: str
    n: int
    mean: float
    sd: float | None
    least: float
    largest: float
    lower: float | None = None
    upper: float | None = None


def compare_readers(one: Mask, other: Mask, geometry: Geometry) -> Agreement:
    """Agreement of two masks (z, y, x) on one CT grid, sheared grids included: all is measured in patient mm.

    Raises:
        Refusal: shape_mismatch or empty_roi.

    """
    if one.shape != geometry.shape_zyx or other.shape != geometry.shape_zyx:
        what = f"masks {one.shape} and {other.shape} on grid {geometry.shape_zyx}"
        raise Refusal("shape_mismatch", what, "draw both on the same CT")
    counts = int(np.count_nonzero(one)), int(np.count_nonzero(other))
    if not all(counts):
        raise Refusal("empty_roi", "a reader's ROI has no voxel", "draw it")
    shared = int(np.count_nonzero(one & other))
    voxel_cm3 = float(abs(np.linalg.det(geometry.matrix))) / 1000
    apart = _surface_distances(one, other, geometry)
    centres = [geometry.index_to_physical(np.mean(np.nonzero(mask), axis=1)[::-1]) for mask in (one, other)]
    return Agreement(
        dice=2 * shared / sum(counts),
        jaccard=shared / (sum(counts) - shared),
        volume_one_cm3=counts[0] * voxel_cm3,
        volume_other_cm3=counts[1] * voxel_cm3,
        volume_ratio=counts[0] / counts[1],
        surface_mean_mm=float(np.concatenate(apart).mean()),
        hausdorff95_mm=max(float(np.percentile(distances, 95)) for distances in apart),
        hausdorff_mm=max(float(distances.max()) for distances in apart),
        centre_distance_mm=float(np.linalg.norm(centres[0] - centres[1])),
    )


def _surface_distances(one: Mask, other: Mask, geometry: Geometry) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances in mm from each surface point of one mask to the other's surface, and the reverse."""
    from scipy.spatial import cKDTree

    first, second = (geometry.index_to_physical(_surface(mask)) for mask in (one, other))
    return cKDTree(second).query(first)[0], cKDTree(first).query(second)[0]


def _surface(mask: Mask) -> NDArray[np.int64]:
    """Indices (n, xyz) of the voxels on the surface."""
    from scipy.ndimage import binary_erosion

    voxels = np.nonzero(mask)
    box = tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in voxels)
    # Beyond the box lies nothing of the ROI, so its border counts as outside, as binary_erosion takes it.
    edge = np.argwhere(mask[box] & ~binary_erosion(mask[box]))
    corner = np.asarray([axis.start for axis in box])
    surface: NDArray[np.int64] = (edge + corner)[:, ::-1]
    return surface


def readers_table(pairs: Sequence[Agreement]) -> tuple[ReadersRow, ...]:
    """Each measure over all pairs of readings: mean, SD (n - 1), extremes, and limits of agreement of the volume.

    Limits of agreement (Bland and Altman, Lancet 1986;327:307, doi:10.1016/S0140-6736(86)90837-8) are the mean
    difference, one minus other, and 1.96 SD on either side. Readers differ by more on large tumours, so those of the
    ratio, taken on the log scale (Stat Methods Med Res 1999;8:135, doi:10.1177/096228029900800204), are
    the ones to read; the row's mean is then the geometric one.

    Raises:
        Refusal: no-second-reader, where there is no pair.

    """
    if not pairs:
        raise Refusal("no-second-reader", "no CT has two readers' ROIs", "draw some a second time")
    rows = [_row(name, [read(pair) for pair in pairs]) for name, read in _MEASURES.items()]
    differences = _row("volume_difference_cm3", [pair.volume_one_cm3 - pair.volume_other_cm3 for pair in pairs])
    logs = _row("volume_ratio", [log(pair.volume_ratio) for pair in pairs])
    return (*rows, _with_limits(differences), _exponential(_with_limits(logs)))


_MEASURES: dict[str, Callable[[Agreement], float]] = {
    "dice": lambda pair: pair.dice,
    "jaccard": lambda pair: pair.jaccard,
    "surface_mean_mm": lambda pair: pair.surface_mean_mm,
    "hausdorff95_mm": lambda pair: pair.hausdorff95_mm,
    "hausdorff_mm": lambda pair: pair.hausdorff_mm,
    "centre_distance_mm": lambda pair: pair.centre_distance_mm,
}


def _row(measure: str, values: Sequence[float]) -> ReadersRow:
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return ReadersRow(measure, len(values), float(np.mean(values)), sd, min(values), max(values))


def _with_limits(row: ReadersRow) -> ReadersRow:
    if row.sd is None:
        return row
    reach = _LIMIT_SDS * row.sd
    return ReadersRow(row.measure, row.n, row.mean, row.sd, row.least, row.largest, row.mean - reach, row.mean + reach)


def _exponential(row: ReadersRow) -> ReadersRow:
    """A row of logarithms as ratios; the SD stays one of logarithms, as a ratio has none of its own scale."""
    lower, upper = (None if bound is None else exp(bound) for bound in (row.lower, row.upper))
    return ReadersRow(row.measure, row.n, exp(row.mean), row.sd, exp(row.least), exp(row.largest), lower, upper)

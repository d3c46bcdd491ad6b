"""What a radiologist would say of one scan's tumour bed, in numbers.

The ROI after treatment is the tumour bed, which is the baseline tumour's shape carried over: its size says nothing of
the response, so all of these are about the tissue that is found in it.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.client.features.bed import SOFT_HU, Bed, Bools, Floats, cut_bed
from fedescc.client.features.blood import blood_hu
from fedescc.common.imaging import Grid
from fedescc.common.tabular.features import NAMED_MEASURES

_PLAIN_HU = 40.0  # soft tissue and blood before contrast medium
_FAT_FLOOR_HU = -155.0  # next to the clipped end lie lung and air
_RING_MM = (2.0, 8.0)
_LEAST_VOXELS = 5


def measure_scan(image: NDArray[np.float16], roi: NDArray[np.uint8], grid: Grid) -> dict[str, float]:
    """Every named measure (``NAMED_MEASURES``) of one scan; NaN for what cannot be measured.

    That is all of them if the scan is missing (all voxels 0) or not finite or its ROI empty, and what is about the
    tissue's attenuation where there is no soft tissue.

    Args:
        image: (z, y, x) in [0, 1], windowed.
        roi: the same shape, 1 inside the tumour bed.
        grid: the study's.

    """
    inside = roi.astype(bool)
    hu = windowed_hu(image, grid)
    if not inside.any() or not np.isfinite(hu).all() or not image.any():
        return dict.fromkeys(NAMED_MEASURES, math.nan)
    bed = cut_bed(hu, inside, grid)
    found = {name: measure(bed) for name, measure in _OF_BED.items()}
    blood = blood_hu(hu, inside, grid)
    return found | {"tumour_enhancement": (found["tumour_hu"] - _PLAIN_HU) / (blood - _PLAIN_HU)}


def windowed_hu(image: NDArray[np.float16], grid: Grid) -> Floats:
    """HU of a windowed image; what lay outside the window is at its ends."""
    low, high = grid.window_hu
    return image.astype(np.float32) * np.float32(high - low) + np.float32(low)


def _volume(bed: Bed) -> float:
    """Soft tissue in the bed, ml."""
    return float(np.count_nonzero(bed.tissue)) * bed.voxel_ml


def _area_max(bed: Bed) -> float:
    """The largest area, cm2, of soft tissue in an axial slice."""
    _, dy, dx = bed.spacing_zyx_mm
    return float(bed.tissue.sum(axis=(1, 2)).max()) * dy * dx / 100


def _tissue_share(bed: Bed) -> float:
    """The part of the bed that is soft tissue: what the tumour has left becomes fat or lumen."""
    return float(np.mean(bed.tissue[bed.roi]))


def _thickness_max(bed: Bed) -> float:
    """Thickness, mm, in the axial slice where it is greatest."""
    slices = [depths[depths > 0] for depths in bed.depth_mm]
    return max((_thickness(depths, bed) for depths in slices if depths.size >= _LEAST_VOXELS), default=0.0)


def _thickness_mean(bed: Bed) -> float:
    """Thickness, mm, over all of the bed."""
    return _thickness(bed.depth_mm[bed.depth_mm > 0], bed)


def _thickness(depths: NDArray[np.float64], bed: Bed) -> float:
    """Thickness of the wall whose voxels lie as deep on average; a solid ball counts as thick as its radius.

    A mean, because the deepest voxel alone errs by the grid's coarseness. Half a voxel less: depth runs to the centre
    of the first voxel outside, and the surface lies before it.
    """
    return max(0.0, 4 * (float(depths.mean()) - min(bed.spacing_zyx_mm) / 2)) if depths.size else 0.0


def _hu(bed: Bed) -> float:
    """Median HU of the core."""
    values = bed.hu[bed.core]
    return float(np.median(values)) if values.size >= _LEAST_VOXELS else math.nan


def _heterogeneity(bed: Bed) -> float:
    """Spread of the core's HU above its median; what lies below holds the fluid of the lumen too."""
    return _spread_above(bed.hu[bed.core])


def _heterogeneity_coarse(bed: Bed) -> float:
    """The same of the image smoothed by 2 mm, in which noise is averaged out, farther from the surface."""
    return _spread_above(bed.coarse[bed.deep])


def _hypodensity(bed: Bed) -> float:
    """Spread of the deep tissue's HU below its median, smoothed by 1 mm: necrosis, fluid, oedema."""
    return _spread_above(-bed.fine[bed.deep])


def _spread_above(values: Floats) -> float:
    """Root mean square of the excess over the median: the SD, were the values symmetric (semideviation)."""
    if values.size < _LEAST_VOXELS:
        return math.nan
    excess = values.astype(np.float64) - float(np.median(values))
    return float(np.sqrt(np.mean(excess[excess >= 0] ** 2)))


def _edge_sharpness(bed: Bed) -> float:
    """Mean gradient, HU/mm, at the bed's border: high where a tumour still meets fat there."""
    from scipy import ndimage

    border = bed.roi & ~ndimage.binary_erosion(bed.roi)
    gradient: Any = np.gradient(bed.fine, *bed.spacing_zyx_mm)
    return float(np.mean(np.linalg.norm([part[border] for part in gradient], axis=0)))


def _fat_stranding(bed: Bed) -> float:
    """SD of the HU of the fat 2 to 8 mm around the bed; NaN where there is none."""
    fat = bed.fine[_ring(bed) & (bed.fine < SOFT_HU) & (bed.fine > _FAT_FLOOR_HU)]
    return float(np.std(fat, dtype=np.float64)) if fat.size >= _LEAST_VOXELS else math.nan


def _ring(bed: Bed) -> Bools:
    from scipy import ndimage

    inner, outer = _RING_MM
    distance = ndimage.distance_transform_edt(~bed.roi, sampling=bed.spacing_zyx_mm)
    ring: Bools = (distance > inner) & (distance <= outer)
    return ring


_OF_BED: dict[str, Callable[[Bed], float]] = {
    "tumour_volume": _volume,
    "tumour_area_max": _area_max,
    "bed_tissue_share": _tissue_share,
    "wall_thickness_max": _thickness_max,
    "wall_thickness_mean": _thickness_mean,
    "tumour_hu": _hu,
    "tumour_heterogeneity": _heterogeneity,
    "tumour_heterogeneity_coarse": _heterogeneity_coarse,
    "tumour_hypodensity": _hypodensity,
    "edge_sharpness": _edge_sharpness,
    "fat_stranding": _fat_stranding,
}

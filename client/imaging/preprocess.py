"""ROI-first preprocessing: one interpolation from the CT's own grid straight to the model's."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedescc.client.imaging.geometry import Geometry
from fedescc.client.imaging.itk import simple_itk
from fedescc.client.imaging.masks import Mask
from fedescc.client.imaging.volume import CtVolume
from fedescc.common.errors import Refusal
from fedescc.common.study import Grid

AIR_HU = -1024.0
# Where the grid is coarser than the scan by more than this, finer detail would alias.
PREFILTER_RATIO = 1.2
# Standard deviation of a Gaussian whose full width at half maximum is 1.
_SIGMA_PER_FWHM = 1 / (2 * np.sqrt(2 * np.log(2)))
_TRUNCATE_SIGMAS = 4.0
# Two grids of one patient must agree whatever summed their voxels, so the centre is kept to this many decimals (mm).
_CENTRE_DECIMALS = 2


@dataclass(frozen=True)
class GridSpec:
    """The model's input grid: voxels, their distance in mm, and the HU that map to 0 and 1."""

    size_zyx: tuple[int, int, int]
    spacing_zyx_mm: tuple[float, float, float]
    window_hu: tuple[float, float]


def grid_spec(grid: Grid) -> GridSpec:
    """A study's grid, which has been checked to have three axes."""
    z, y, x = grid.size_zyx
    dz, dy, dx = grid.spacing_zyx_mm
    return GridSpec((z, y, x), (dz, dy, dx), grid.window_hu)


class Preprocessed(NamedTuple):
    """What the network sees: float32 image in [0, 1] and uint8 ROI in {0, 1}, both (z, y, x).

    ``share_in_grid`` is the part of the ROI's volume that lies inside the grid.
    """

    image: NDArray[np.float32]
    roi: NDArray[np.uint8]
    share_in_grid: float


def preprocess(
    volume: CtVolume,
    roi_mask: Mask,
    spec: GridSpec,
    *,
    centre_xyz_mm: tuple[float, float, float] | None = None,
    min_share_in_grid: float = 0.0,
) -> Preprocessed:
    """Image and ROI on a grid in patient axes (LPS, z towards the head) around the ROI.

    CT is interpolated linearly, the ROI by nearest neighbour, each once, from the slices that the grid touches; only
    those are read. Along an axis where the grid is coarser than the scan by more than ``PREFILTER_RATIO`` the CT is
    first smoothed by a Gaussian of FWHM sqrt(grid spacing^2 - scan spacing^2), so that the point spread widens from
    one spacing to the other (Cardoso et al., MICCAI 2015, doi:10.1007/978-3-319-24571-3_81), cut at 4 SD. Outside
    the scan there is air. The same HU and grid give the same bits, from files or from memory.

    Args:
        volume: the CT.
        roi_mask: bool (z, y, x) on the CT's grid.
        spec: the grid.
        centre_xyz_mm: LPS centre of the grid; None takes the centre of the ROI's bounding box, to 0.01 mm.
        min_share_in_grid: least part of the ROI's volume inside the grid.

    Raises:
        Refusal: shape_mismatch, empty_roi (also where the grid is too coarse for it), roi_exceeds_grid,
            grid_outside_scan, or what reading the volume refuses.

    """
    if roi_mask.shape != volume.geometry.shape_zyx:
        raise Refusal(
            "shape_mismatch",
            f"ROI {roi_mask.shape}, CT {volume.geometry.shape_zyx}",
            "give the ROI on the CT's grid",
        )
    grid = model_grid(spec, centre_xyz_mm or roi_centre(roi_mask, volume.geometry))
    share = _share_in_grid(roi_mask, volume.geometry, grid, min_share_in_grid)
    sigma = _prefilter_sigma(volume.geometry, spec)
    lo, hi = _touched(volume.geometry, grid, np.ceil(_TRUNCATE_SIGMAS * sigma).astype(int) + 2)
    part = _crop(volume.geometry, lo, hi)
    inside = tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))
    hu = volume.slices(int(lo[0]), int(hi[0]))[:, inside[1], inside[2]]
    image = _resample(_smooth(hu, sigma), part, grid, linear=True)
    low, high = spec.window_hu
    window = np.clip((image - np.float32(low)) / np.float32(high - low), 0, 1)
    roi = _resample(roi_mask[inside].astype(np.uint8), part, grid, linear=False)
    if not roi.any():
        raise Refusal("empty_roi", "the ROI marks no voxel of the model's grid", "check the ROI")
    return Preprocessed(window.astype(np.float32, copy=False), roi, share)


def roi_centre(roi_mask: Mask, geometry: Geometry) -> tuple[float, float, float]:
    """Centre (LPS, mm, to 0.01 mm) of the ROI's bounding box on the CT's grid.

    The bounding box, not the centroid: what matters is that all of a long, curved tumour fits the grid.

    Raises:
        Refusal: empty_roi.

    """
    extent = [np.flatnonzero(roi_mask.any(axis=axes)) for axes in ((0, 1), (0, 2), (1, 2))]
    if not extent[0].size:
        raise Refusal("empty_roi", "the ROI marks no voxel", "draw the ROI")
    middle = geometry.index_to_physical([(float(e[0]) + float(e[-1])) / 2 for e in extent])
    x, y, z = (float(v) for v in np.round(middle, _CENTRE_DECIMALS))
    return x, y, z


def model_grid(spec: GridSpec, centre_xyz_mm: tuple[float, float, float]) -> Geometry:
    """The grid as a geometry: identity direction, its middle at the centre (LPS, mm)."""
    extent = (np.asarray(spec.size_zyx[::-1]) - 1) * np.asarray(spec.spacing_zyx_mm[::-1])
    x, y, z = (float(v) for v in np.asarray(centre_xyz_mm) - extent / 2)
    return Geometry(spec.size_zyx, spec.spacing_zyx_mm, (x, y, z), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))


def _share_in_grid(roi_mask: Mask, geometry: Geometry, grid: Geometry, least: float) -> float:
    """Part of the ROI's voxels whose centre lies within the grid's voxels, of its borders those at the lower end."""
    index = grid.physical_to_index(geometry.index_to_physical(np.argwhere(roi_mask)[:, ::-1])).round(6)
    inside = (index >= -0.5) & (index < np.asarray(grid.shape_zyx[::-1]) - 0.5)
    share = float(inside.all(axis=1).mean()) if len(index) else 0.0
    if share < least:
        raise Refusal(
            "roi_exceeds_grid",
            f"{share:.0%} of the ROI lie in the model's grid",
            "check the ROI; the study sets grid and imaging.roi.min_share_in_grid",
        )
    return share


def _prefilter_sigma(source: Geometry, spec: GridSpec) -> NDArray[np.float64]:
    """Gaussian SD (z, y, x) in source voxels; 0 along axes that need none."""
    direction = np.asarray(source.direction).reshape(3, 3)
    # Grid spacing seen along each axis of the source, which may be turned against the patient's axes.
    grid_mm = np.linalg.norm(direction.T * np.asarray(spec.spacing_zyx_mm[::-1]), axis=1)[::-1]
    ratio = grid_mm / np.asarray(source.spacing_zyx_mm)
    sigma: NDArray[np.float64] = np.where(
        ratio > PREFILTER_RATIO, np.sqrt(np.maximum(ratio**2 - 1, 0)) * _SIGMA_PER_FWHM, 0.0
    )
    return sigma


def _touched(source: Geometry, grid: Geometry, margin: NDArray[np.int_]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """First and one past the last source index (z, y, x) that the grid and the filter's margin need."""
    last = np.asarray(grid.shape_zyx[::-1]) - 1
    corners = np.stack(np.meshgrid(*[(0, n) for n in last], indexing="ij"), axis=-1).reshape(-1, 3)
    index = source.physical_to_index(grid.index_to_physical(corners))[:, ::-1]
    shape = np.asarray(source.shape_zyx)
    lo = np.clip(np.floor(index.min(axis=0)).astype(int) - margin, 0, shape)
    hi = np.clip(np.ceil(index.max(axis=0)).astype(int) + margin + 1, 0, shape)
    if (hi <= lo).any():
        raise Refusal("grid_outside_scan", "the grid does not meet the scan", "check the ROI and the centre")
    return lo, hi


def _crop(source: Geometry, lo: NDArray[np.int_], hi: NDArray[np.int_]) -> Geometry:
    x, y, z = (float(v) for v in source.index_to_physical(lo[::-1]))
    depth, height, width = (int(n) for n in hi - lo)
    return Geometry((depth, height, width), source.spacing_zyx_mm, (x, y, z), source.direction)


def _smooth(hu: NDArray[np.int16], sigma: NDArray[np.float64]) -> NDArray[np.int16] | NDArray[np.float32]:
    if not sigma.any():
        return hu
    from scipy.ndimage import gaussian_filter1d

    smooth = hu.astype(np.float32)
    for axis, width in enumerate(sigma):
        if width:
            smooth = gaussian_filter1d(smooth, width, axis=axis, mode="nearest", truncate=_TRUNCATE_SIGMAS)
    return smooth


def _resample(values: NDArray[Any], source: Geometry, grid: Geometry, *, linear: bool) -> NDArray[Any]:
    itk = simple_itk()
    resampler = itk.ResampleImageFilter()
    resampler.SetReferenceImage(_image(None, grid))
    resampler.SetInterpolator(itk.sitkLinear if linear else itk.sitkNearestNeighbor)
    resampler.SetDefaultPixelValue(AIR_HU if linear else 0)
    resampler.SetOutputPixelType(itk.sitkFloat32 if linear else itk.sitkUInt8)
    # ITK cuts the output by thread; one thread keeps the bits the same on every machine.
    resampler.SetNumberOfThreads(1)
    resampled: NDArray[Any] = itk.GetArrayFromImage(resampler.Execute(_image(values, source)))
    return resampled


def _image(values: NDArray[Any] | None, geometry: Geometry) -> Any:
    itk = simple_itk()
    empty = values is None
    image = itk.Image(geometry.shape_zyx[::-1], itk.sitkUInt8) if empty else itk.GetImageFromArray(values)
    image.SetSpacing(geometry.spacing_zyx_mm[::-1])
    image.SetOrigin(geometry.origin_xyz_mm)
    image.SetDirection(geometry.direction)
    return image

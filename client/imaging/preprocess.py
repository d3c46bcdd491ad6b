"""ROI-first preprocessing: one interpolation from the CT's own grid straight to the model's."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedescc.client.imaging.itk import simple_itk
from fedescc.client.imaging.masks.contours import Mask
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.client.imaging.volumes.volume import CtVolume
from fedescc.common.errors import Refusal
from fedescc.common.imaging import Grid

# Nothing is less dense than air: lower values are padding outside the reconstruction circle, such as -2000 or -3024.
AIR_HU = -1024
# Where the grid is coarser than the scan by more than this, finer detail would alias.
PREFILTER_RATIO = 1.2
# Standard deviation of a Gaussian whose full width at half maximum is 1.
_SIGMA_PER_FWHM = 1 / (2 * np.sqrt(2 * np.log(2)))
_TRUNCATE_SIGMAS = 4.0
# Two grids of one patient must agree whatever summed their voxels, so the centre is kept to this many decimals (mm).
_CENTRE_DECIMALS = 2
# Voxel indices agree to this many decimals whatever order floating-point arithmetic took to them.
_INDEX_DECIMALS = 6
# As halfway between two voxels counts what is this close to it.
_HALFWAY = 10**-_INDEX_DECIMALS
# A few slices at a time, so that memory does not grow with the grid: of each only a part is kept.
_SLICES_AT_ONCE = 4

Index = NDArray[np.int_]
Box = tuple[Index, Index]  # first and one past the last index (z, y, x)


@dataclass(frozen=True)
class GridSpec:
    """The model's input grid: voxels, their distance in mm, and the HU that map to 0 and 1.

    What of the ROI lies nearer than ``margin_mm`` to the grid's border counts as outside it.
    """

    size_zyx: tuple[int, int, int]
    spacing_zyx_mm: tuple[float, float, float]
    window_hu: tuple[float, float]
    margin_mm: float = 0.0


def grid_spec(grid: Grid) -> GridSpec:
    """A study's grid, which has been checked to have three axes."""
    z, y, x = grid.size_zyx
    dz, dy, dx = grid.spacing_zyx_mm
    return GridSpec((z, y, x), (dz, dy, dx), grid.window_hu, grid.margin_mm)


class Preprocessed(NamedTuple):
    """What the network sees: float32 image in [0, 1] and uint8 ROI in {0, 1}, both (z, y, x).

    ``share_in_grid`` is the part of the ROI's volume that lies inside the grid, its margin left out.
    """

    image: NDArray[np.float32]
    roi: NDArray[np.uint8]
    share_in_grid: float


def preprocess(
    volume: CtVolume,
    roi_mask: Mask,
    spec: GridSpec,
    *,
    more: Mask | None = None,
    centre_xyz_mm: tuple[float, float, float] | None = None,
    min_share_in_grid: float = 0.0,
) -> Preprocessed:
    """Image and ROI on a grid in patient axes (LPS, z towards the head) around the ROI.

    CT is interpolated linearly, the ROI by nearest neighbour, each once, from the slices that the grid touches; only
    those are read. Along an axis where the grid is coarser than the scan by more than ``PREFILTER_RATIO`` the CT is
    first smoothed by a Gaussian of FWHM sqrt(grid spacing^2 - scan spacing^2), so that the point spread widens from
    one spacing to the other (Cardoso et al., MICCAI 2015, doi:10.1007/978-3-319-24571-3_81), cut at 4 SD. Outside
    the scan there is air, and so there is in place of HU below ``AIR_HU``: pixel padding would else bleed into the
    tissue beside it. The slices of a sheared stack (gantry tilt) are put upright by the same interpolation. The same
    HU and grid give the same bits, from files or from memory.

    Args:
        volume: the CT.
        roi_mask: bool (z, y, x) on the CT's grid.
        spec: the grid.
        more: what else is of interest, such as lymph nodes, also on the CT's grid. It joins the ROI as far as the grid
            meets it, and has no say in where the grid lies, nor in the share.
        centre_xyz_mm: LPS centre of the grid; None takes the centre of the ROI's bounding box, to 0.01 mm.
        min_share_in_grid: least part of the ROI's volume inside the grid, its margin left out.

    Raises:
        Refusal: shape_mismatch, empty_roi (also where the grid is too coarse for it), roi_exceeds_grid,
            grid_outside_scan, or what reading the volume refuses.

    """
    source = volume.geometry
    _check_shape(roi_mask, source)
    if more is not None:
        _check_shape(more, source)
    box = _bounding_box(roi_mask)
    grid = model_grid(spec, centre_xyz_mm or _middle(box, source))
    share = _share_in_grid(roi_mask, box, source, grid, spec.margin_mm)
    _check_share(share, min_share_in_grid)
    sigma = _prefilter_sigma(source, spec)
    lo, hi = _touched(source, grid, sigma)
    roi = _nearest(roi_mask, source, grid)
    if not roi.any():
        raise Refusal("empty_roi", "the ROI marks no voxel of the model's grid", "check the ROI")
    if more is not None:
        roi |= _nearest(more, source, grid)
    image = _linear(_smooth(_read(volume, lo, hi), sigma), _crop(source, lo, hi), grid)
    return Preprocessed(_window(image, spec.window_hu), roi, share)


def roi_centre(roi_mask: Mask, geometry: Geometry) -> tuple[float, float, float]:
    """Centre (LPS, mm, to 0.01 mm) of the ROI's bounding box on the CT's grid.

    The bounding box, not the centroid: what matters is that all of a long, curved tumour fits the grid.

    Raises:
        Refusal: empty_roi.

    """
    return _middle(_bounding_box(roi_mask), geometry)


def model_grid(spec: GridSpec, centre_xyz_mm: tuple[float, float, float]) -> Geometry:
    """The grid as a geometry: identity direction, its middle at the centre (LPS, mm)."""
    extent = (np.asarray(spec.size_zyx[::-1]) - 1) * np.asarray(spec.spacing_zyx_mm[::-1])
    x, y, z = (float(v) for v in np.asarray(centre_xyz_mm) - extent / 2)
    return Geometry(spec.size_zyx, spec.spacing_zyx_mm, (x, y, z), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))


def _check_shape(mask: Mask, source: Geometry) -> None:
    if mask.shape != source.shape_zyx:
        raise Refusal("shape_mismatch", f"ROI {mask.shape}, CT {source.shape_zyx}", "give the ROI on the CT's grid")


def _bounding_box(roi_mask: Mask) -> Box:
    """The smallest box that holds all that the ROI marks."""
    z = np.flatnonzero(roi_mask.any(axis=(1, 2)))
    if not z.size:
        raise Refusal("empty_roi", "the ROI marks no voxel", "draw the ROI")
    plane: Mask = np.logical_or.reduce(roi_mask[z[0] : z[-1] + 1])
    extent = (z, np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0)))
    return np.array([e[0] for e in extent]), np.array([e[-1] + 1 for e in extent])


def _middle(box: Box, geometry: Geometry) -> tuple[float, float, float]:
    lo, hi = box
    middle = geometry.index_to_physical((lo + hi - 1)[::-1] / 2)
    x, y, z = (float(v) for v in np.round(middle, _CENTRE_DECIMALS))
    return x, y, z


def _share_in_grid(roi_mask: Mask, box: Box, source: Geometry, grid: Geometry, margin_mm: float) -> float:
    """Part of the ROI's voxels whose centre lies within the grid's voxels, of its borders those at the lower end."""
    low = (margin_mm / np.asarray(grid.spacing_zyx_mm[::-1]) - 0.5).round(_INDEX_DECIMALS)
    high = np.asarray(grid.shape_zyx[::-1]) - 1 - low
    part = _crop(source, *box)
    inside = drawn = 0
    for k, plane in enumerate(roi_mask[_slices(*box)]):  # one by one: coordinates take far more memory than a mask
        y, x = np.nonzero(plane)
        points = part.index_to_physical(np.stack([x, y, np.full_like(x, k)], axis=-1))
        index = grid.physical_to_index(points).round(_INDEX_DECIMALS)
        inside += int(((index >= low) & (index < high)).all(axis=1).sum())
        drawn += len(x)
    return inside / drawn


def _check_share(share: float, least: float) -> None:
    if share < least:
        raise Refusal(
            "roi_exceeds_grid",
            f"{share:.0%} of the ROI lie in the model's grid",
            "check the ROI; the study sets grid, margin and imaging.roi.min_share_in_grid",
        )


def _prefilter_sigma(source: Geometry, spec: GridSpec) -> NDArray[np.float64]:
    """Gaussian SD (z, y, x) in source voxels; 0 along axes that need none.

    Each axis of the source is taken with the grid spacing seen along it, as a scan may be turned against the
    patient's axes. Of sheared slices the distance along their normal counts, not the longer step from one to the
    next. The filter itself follows that step, so it also blurs within the plane, by tan(tilt) of its width: at 25
    degrees the point spread on an isotropic grid becomes wider by a tenth at most, and only where slices lie closer
    together than the grid's points.
    """
    axes = np.asarray(source.direction).reshape(3, 3).T.copy()
    distance = np.asarray(source.spacing_zyx_mm[::-1])
    normal = np.cross(axes[0], axes[1])
    distance[2] *= abs(float(axes[2] @ normal))
    axes[2] = normal
    ratio = (np.linalg.norm(axes * np.asarray(spec.spacing_zyx_mm[::-1]), axis=1) / distance)[::-1]
    sigma: NDArray[np.float64] = np.where(
        ratio > PREFILTER_RATIO, np.sqrt(np.maximum(ratio**2 - 1, 0)) * _SIGMA_PER_FWHM, 0.0
    )
    return sigma


def _touched(source: Geometry, grid: Geometry, sigma: NDArray[np.float64]) -> Box:
    """The box of the source that the grid and the filter's kernel need."""
    last = np.asarray(grid.shape_zyx[::-1]) - 1
    corners = np.stack(np.meshgrid(*[(0, n) for n in last], indexing="ij"), axis=-1).reshape(-1, 3)
    index = source.physical_to_index(grid.index_to_physical(corners))[:, ::-1].round(_INDEX_DECIMALS)
    reach = np.ceil(_TRUNCATE_SIGMAS * sigma).astype(int)
    shape = np.asarray(source.shape_zyx)
    lo = np.clip(np.floor(index.min(axis=0)).astype(int) - reach, 0, shape)
    hi = np.clip(np.ceil(index.max(axis=0)).astype(int) + reach + 1, 0, shape)
    if (hi <= lo).any():
        raise Refusal("grid_outside_scan", "the grid does not meet the scan", "check the ROI and the centre")
    return lo, hi


def _slices(lo: Index, hi: Index) -> tuple[slice, ...]:
    return tuple(slice(int(a), int(b)) for a, b in zip(lo, hi, strict=True))


def _read(volume: CtVolume, lo: Index, hi: Index) -> NDArray[np.int16]:
    """HU of a box, shape hi - lo, with air in place of padding."""
    hu = np.empty(hi - lo, dtype=np.int16)
    first, last = int(lo[0]), int(hi[0])
    plane = (slice(None), *_slices(lo[1:], hi[1:]))
    for start in range(first, last, _SLICES_AT_ONCE):
        stop = min(start + _SLICES_AT_ONCE, last)
        hu[start - first : stop - first] = volume.slices(start, stop)[plane]
    return np.maximum(hu, np.int16(AIR_HU), out=hu)


def _crop(source: Geometry, lo: Index, hi: Index) -> Geometry:
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


def _nearest(mask: Mask, source: Geometry, grid: Geometry) -> NDArray[np.uint8]:
    """The mask at each grid point: of the nearest voxel, halfway between two of the one with the higher index.

    Grids often meet the scan halfway, since both have round spacings; rounding errors shall not choose there.
    """
    first = source.physical_to_index(grid.origin_xyz_mm)[::-1] + 0.5 + _HALFWAY
    steps = np.linalg.solve(source.matrix, grid.matrix)[::-1, ::-1]
    points = np.ogrid[_slices(np.zeros(3, int), np.asarray(grid.shape_zyx))]
    at, known = [], np.ones((1, 1, 1), dtype=bool)
    for size, start, step in zip(mask.shape, first, steps, strict=True):
        # Without the terms that are 0, axes that lie along each other give an open mesh, which is far quicker.
        index = np.floor(start + sum(s * n for s, n in zip(step, points, strict=True) if s)).astype(np.intp)
        known = known & (index >= 0) & (index < size)
        at.append(index.clip(0, size - 1))
    marked: NDArray[np.uint8] = (mask[tuple(at)] & known).astype(np.uint8)
    return marked


def _linear(hu: NDArray[Any], source: Geometry, grid: Geometry) -> NDArray[np.float32]:
    """HU at each grid point, linear between the voxels around it; air outside the scan."""
    itk = simple_itk()
    resampler = itk.ResampleImageFilter()
    resampler.SetReferenceImage(_image(None, grid))
    resampler.SetInterpolator(itk.sitkLinear)
    resampler.SetDefaultPixelValue(AIR_HU)
    resampler.SetOutputPixelType(itk.sitkFloat32)
    # ITK cuts the output by thread; one thread keeps the bits the same on every machine.
    resampler.SetNumberOfThreads(1)
    resampled: NDArray[np.float32] = itk.GetArrayFromImage(resampler.Execute(_image(hu, source)))
    return resampled


def _window(image: NDArray[np.float32], window_hu: tuple[float, float]) -> NDArray[np.float32]:
    """The image itself, its HU scaled in place so that the window runs from 0 to 1."""
    low, high = window_hu
    image -= np.float32(low)
    image /= np.float32(high - low)
    return np.clip(image, 0, 1, out=image)


def _image(values: NDArray[Any] | None, geometry: Geometry) -> Any:
    itk = simple_itk()
    empty = values is None
    image = itk.Image(geometry.shape_zyx[::-1], itk.sitkUInt8) if empty else itk.GetImageFromArray(values)
    image.SetSpacing(geometry.spacing_zyx_mm[::-1])
    image.SetOrigin(geometry.origin_xyz_mm)
    image.SetDirection(geometry.direction)
    return image

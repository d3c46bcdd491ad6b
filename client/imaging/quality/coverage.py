"""How far a scan reaches beyond the ROI, whether it cuts the body, and how near the ROI metal lies."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedescc.client.imaging.masks.contours import Mask
from fedescc.client.imaging.quality.tissue import AIR_HU, PADDING_HU, Bools, Sample, beyond_round_field
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.client.imaging.volumes.volume import CtVolume
from fedescc.common.errors import Refusal

# Padding farther than this from the ROI is not measured.
_FIELD_SEARCH_MM = 30.0
# Bone, calcification and contrast medium stay below this on clinical scans; 12-bit scanners end at 3071.
_METAL_HU = 2500.0
_BODY_HU = -300.0
# A couch's shells and the rims of clothes are thinner than the blocks that opening takes away.
_OPENING_BLOCKS = 2
_NEAR_ROI_MM = 10.0


class Box(NamedTuple):
    """First and last index (z, y, x) of the ROI's voxels."""

    first: tuple[int, int, int]
    last: tuple[int, int, int]


def roi_box(roi: Mask, geometry: Geometry) -> Box:
    """The ROI's bounding box.

    Raises:
        Refusal: shape_mismatch or empty_roi.

    """
    if roi.shape != geometry.shape_zyx:
        raise Refusal("shape_mismatch", f"ROI {roi.shape}, CT {geometry.shape_zyx}", "give the ROI on the CT's grid")
    z = np.flatnonzero(roi.any(axis=(1, 2)))
    if not z.size:
        raise Refusal("empty_roi", "the ROI marks no voxel", "draw the ROI")
    flat = np.asarray(roi[z[0] : z[-1] + 1].any(axis=0))
    y, x = np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))
    return Box((int(z[0]), int(y[0]), int(x[0])), (int(z[-1]), int(y[-1]), int(x[-1])))


def margin_mm(volume: CtVolume, roi: Mask, box: Box) -> float:
    """Least distance from the ROI's surface to where nothing was scanned.

    That is beyond the first or last slice, beyond the matrix, or in the padding around the reconstructed field, which
    is looked for in the slice at the ROI's middle and up to 30 mm away.

    Raises:
        Refusal: what reading that slice refuses.

    """
    geometry = volume.geometry
    before = np.asarray(box.first)
    after = np.asarray(geometry.shape_zyx) - 1 - np.asarray(box.last)
    room = float((np.minimum(before, after) * np.asarray(geometry.spacing_zyx_mm)).min())
    middle = (box.first[0] + box.last[0]) // 2
    outline = np.asarray(roi[box.first[0] : box.last[0] + 1].any(axis=0))
    return min(room, _field_margin_mm(volume.slices(middle, middle + 1)[0], outline, box, geometry))


def _field_margin_mm(hu: NDArray[np.int16], outline: Mask, box: Box, geometry: Geometry) -> float:
    from scipy import ndimage

    spacing = np.asarray(geometry.spacing_zyx_mm[1:])
    reach = np.ceil(_FIELD_SEARCH_MM / spacing).astype(int)
    first = np.maximum(np.asarray(box.first[1:]) - reach, 0)
    last = np.asarray(box.last[1:]) + reach
    near = tuple(slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True))
    padding = _padding(hu)[near]
    if not padding.any():
        return float("inf")
    distance = ndimage.distance_transform_edt(~padding, sampling=spacing)
    # From centre to centre; what lies between the two surfaces is a pixel less.
    return max(0.0, float(distance[outline[near]].min() - spacing.min()))


def _padding(hu: NDArray[np.int16]) -> Bools:
    """Pixels (y, x) outside the reconstructed field: joined to a corner, and of its value.

    A value that air has too counts only beyond a round field.
    """
    from scipy import ndimage

    beyond = beyond_round_field(hu)
    found = np.zeros(hu.shape, bool)
    for value in {int(hu[i, j]) for i in (0, -1) for j in (0, -1)}:
        if value >= AIR_HU:
            continue
        alike = (hu == value) if value < PADDING_HU else (hu == value) & beyond
        label, _ = ndimage.label(alike)
        corners = {int(label[i, j]) for i in (0, -1) for j in (0, -1)} - {0}
        found |= np.isin(label, list(corners))
    return found


def cut_edge_mm(sample: Sample, box: Box | None, slice_mm: float) -> float:
    """Length over which the trunk touches the edge of the reconstructed field, in the slice where it is longest.

    Near the ROI (10 mm), or anywhere without one. The trunk is the largest piece of what is denser than -300 HU after
    opening by 6 mm, which leaves out the couch; an arm counts only where it touches the trunk.
    """
    from scipy import ndimage

    chosen = _slices_near(sample, box, slice_mm)
    square = np.ones((1, 3, 3), bool)
    body = ndimage.binary_opening(sample.hu[chosen] > _BODY_HU, square, _OPENING_BLOCKS)
    label, count = ndimage.label(body)
    if not count:
        return 0.0
    trunk = label == 1 + int(np.bincount(label.ravel())[1:].argmax())
    field = ~ndimage.binary_dilation(sample.unscanned[chosen], square)
    edge = field & ~ndimage.binary_erosion(field, square)
    return float((trunk & edge).sum(axis=(1, 2)).max() * np.mean(sample.spacing_zyx_mm[1:]))


def _slices_near(sample: Sample, box: Box | None, slice_mm: float) -> Bools:
    if box is None:
        return np.ones(len(sample.slices), bool)
    z = np.asarray(sample.slices) * slice_mm
    distance = np.maximum(box.first[0] * slice_mm - z, z - box.last[0] * slice_mm)
    return np.asarray(distance <= max(_NEAR_ROI_MM, float(distance.min())))


def metal_mm(sample: Sample, box: Box, geometry: Geometry) -> float | None:
    """Distance from the ROI's bounding box to the nearest metal in the sampled slices; None where there is none.

    Only what is dense itself is found; a clip between two sampled slices, and streaks without their source, are not.
    """
    where: NDArray[Any] = np.argwhere(sample.brightest >= _METAL_HU).astype(np.float64)
    if not len(where):
        return None
    where[:, 0] = np.asarray(sample.slices)[where[:, 0].astype(int)]
    where[:, 1:] = (where[:, 1:] + 0.5) * sample.block - 0.5
    outside = np.maximum(np.asarray(box.first) - where, where - np.asarray(box.last)).clip(min=0)
    return float(np.linalg.norm(outside * np.asarray(geometry.spacing_zyx_mm), axis=1).min())

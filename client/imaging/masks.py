"""Regions of interest on the CT grid, exactly: contours by voxel centre, label maps voxel by voxel."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedescc.client.imaging.geometry import Geometry
from fedescc.client.imaging.labelmap import on_grid, read_label_map, select_label
from fedescc.client.imaging.structures import Roi, read_structures
from fedescc.common.errors import Refusal

# Planning systems write contour coordinates to 0.01 mm or so; a tenth of the gap between slices is another plane.
PLANE_REFUSE_FRACTION = 0.1
# Vertices that planning systems put on voxel centres or borders stay there despite the division by the spacing.
_INDEX_DECIMALS = 6

Mask = NDArray[np.bool_]


def read_rtstruct(path: Path, geometry: Geometry, roi: str, *, frame_of_reference_uid: str = "") -> Mask:
    """Mask (z, y, x) of one ROI of an RTSTRUCT on a CT grid.

    Args:
        path: the RTSTRUCT file.
        geometry: the CT's grid.
        roi: regular expression that exactly one ROI Name (3006,0026) matches in full, letter case ignored.
        frame_of_reference_uid: the CT's; "" skips the check.

    Raises:
        Refusal: mask_unreadable, roi_not_found, roi_ambiguous, wrong_frame_of_reference, unsupported_contour_type,
            malformed_contour, or what ``rasterise`` refuses.

    """
    structures = read_structures(path)
    names = [r.name for r in structures.rois] + list(structures.faults)
    matches = [name for name in names if re.fullmatch(roi, name.strip(), re.IGNORECASE)]
    if len(matches) != 1:
        code = "roi_ambiguous" if matches else "roi_not_found"
        raise Refusal(code, f"{len(matches)} of {len(names)} ROIs match {roi!r}", "correct the ROI name pattern")
    if matches[0] in structures.faults:
        raise Refusal(structures.faults[matches[0]], f"ROI {matches[0]!r}", "redraw or export the ROI again")
    found = next(r for r in structures.rois if r.name == matches[0])
    return rasterise(found, geometry, frame_of_reference_uid=frame_of_reference_uid)


def rasterise(roi: Roi, geometry: Geometry, *, frame_of_reference_uid: str = "") -> Mask:
    """Mask (z, y, x): a voxel belongs to the ROI if its centre lies inside an odd number of the plane's contours.

    Centres on an edge count as inside at the left and lower end (half-open intervals), so that ROIs that share an
    edge share no voxel.

    Raises:
        Refusal: wrong_frame_of_reference, empty_roi, contour_off_slice or roi_truncated.

    """
    known = roi.frame_of_reference_uid and frame_of_reference_uid
    if known and roi.frame_of_reference_uid != frame_of_reference_uid:
        raise Refusal("wrong_frame_of_reference", f"ROI {roi.name!r} belongs to another scan", "use the ROI of this CT")
    contours = [c for c in roi.contours if len(c) >= 3]
    if not contours:
        raise Refusal("empty_roi", f"ROI {roi.name!r} has no contour", "draw it")
    size = np.asarray(geometry.shape_zyx[::-1])
    mask = np.zeros(geometry.shape_zyx, dtype=np.bool_)
    for index in (geometry.physical_to_index(contour).round(_INDEX_DECIMALS) for contour in contours):
        plane = int(np.rint(index[:, 2].mean()))
        if np.abs(index[:, 2] - plane).max() > PLANE_REFUSE_FRACTION:
            raise Refusal("contour_off_slice", f"ROI {roi.name!r} lies between slices", "use the CT it was drawn on")
        if not (0 <= plane < size[2]) or (index[:, :2] < -0.5).any() or (index[:, :2] > size[:2] - 0.5).any():
            raise Refusal("roi_truncated", f"ROI {roi.name!r} reaches beyond the image", "use the CT it was drawn on")
        _toggle(mask[plane], index[:, :2])
    if not mask.any():
        raise Refusal("empty_roi", f"ROI {roi.name!r} contains no voxel centre", "draw it")
    return mask


def _toggle(plane: Mask, polygon: NDArray[np.float64]) -> None:
    """Flip the pixels of ``plane`` (y, x) whose centre is inside ``polygon`` (n, xy in pixels), in place.

    Each edge crosses the rows between its ends; right of each crossing the parity changes.
    """
    x0, y0 = polygon.T
    x1, y1 = np.roll(polygon, -1, axis=0).T
    first, last = np.ceil(np.minimum(y0, y1)).astype(int), np.ceil(np.maximum(y0, y1)).astype(int)
    count = last - first
    edge = np.repeat(np.arange(len(polygon)), count)
    if not len(edge):
        return
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    crossing = x0[edge] + (row - y0[edge]) * (x1[edge] - x0[edge]) / (y1[edge] - y0[edge])
    column = np.ceil(crossing).astype(int)
    top, height = int(row.min()), int(row.max() - row.min() + 1)
    left, width = int(column.min()), int(column.max() - column.min() + 1)
    parity = np.zeros((height, width), dtype=np.int64)
    np.add.at(parity, (row - top, column - left), 1)
    inside = np.cumsum(parity, axis=1)[:, :-1] % 2 == 1
    plane[top : top + height, left : left + width - 1] ^= inside


def read_nifti_mask(path: Path, geometry: Geometry, *, label: int | None = None) -> Mask:
    """Mask (z, y, x) of a NIfTI label map that lies voxel for voxel on the CT grid.

    Axes may be flipped or permuted against the CT's, as dcm2niix flips rows; nothing is interpolated.

    Args:
        path: a .nii or .nii.gz file.
        geometry: the CT's grid.
        label: the value to take; None takes the only one that is not 0.

    Raises:
        Refusal: mask_unreadable, mask_not_3d, other_geometry, mask_not_integer, several_labels or empty_roi.

    """
    labels, grid = read_label_map(path)
    return select_label(on_grid(labels, grid, geometry), path.name, label)

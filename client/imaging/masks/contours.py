"""Masks on the CT grid, and contours turned into them, exactly, by voxel centre."""

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedescc.client.imaging.masks.placement import plane_tolerance
from fedescc.client.imaging.masks.planar import Outline, distinct_outlines
from fedescc.client.imaging.masks.structures import Contour, Roi
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.common.errors import Refusal

ROI_SKIPS_SLICES = "roi_skips_slices"
# Vertices that planning systems put on voxel centres or borders stay there despite the division by the spacing.
_INDEX_DECIMALS = 6

Mask = NDArray[np.bool_]


class Drawn(NamedTuple):
    """An ROI on a CT's grid: its voxels (z, y, x), and what a person should look at, by code."""

    voxels: Mask
    warnings: tuple[str, ...]


def drawn(mask: Mask, warnings: tuple[str, ...] = ()) -> Drawn:
    """A mask that is not empty with its warnings.

    roi_skips_slices: a slice without a voxel of the ROI lies between slices with some. Either there are two lesions,
    or slices were left out when drawing or got lost since.
    """
    planes = np.flatnonzero(mask.any(axis=(1, 2)))
    skips = (ROI_SKIPS_SLICES,) if np.diff(planes).max(initial=1) > 1 else ()
    return Drawn(mask, (*warnings, *skips))


def check_frame_of_reference(name: str, own: str, scan: str) -> None:
    """Refuse an ROI in another scan's coordinates; either UID may be "", unknown.

    Raises:
        Refusal: wrong_frame_of_reference.

    """
    if own and scan and own != scan:
        raise Refusal("wrong_frame_of_reference", f"ROI {name!r} belongs to another scan", "use the ROI of this CT")


def rasterise(
    roi: Roi, geometry: Geometry, *, frame_of_reference_uid: str = "", slices: Mapping[str, int] | None = None
) -> Mask:
    """Mask (z, y, x): a voxel belongs to the ROI if its centre lies inside an odd number of the plane's contours.

    A contour that is there twice counts once; see ``distinct_outlines``. Centres on an edge count as inside at the
    left and lower end (half-open intervals), so that ROIs that share an edge share no voxel.

    Args:
        roi: from ``read_structures``.
        geometry: the CT's grid.
        frame_of_reference_uid: the CT's; "" skips the check.
        slices: SOP Instance UID -> number of its slice, of the CT's images. A contour that names one of them must lie
            on it.

    Raises:
        Refusal: wrong_frame_of_reference, empty_roi, contour_off_slice, roi_truncated or contours_overlap.

    """
    check_frame_of_reference(roi.name, roi.frame_of_reference_uid, frame_of_reference_uid)
    contours = [c for c in roi.contours if len(c.points) >= 3]
    if not contours:
        raise Refusal("empty_roi", f"ROI {roi.name!r} has no contour", "draw it")
    mask = np.zeros(geometry.shape_zyx, dtype=np.bool_)
    pixel_mm = np.asarray(geometry.spacing_zyx_mm[:0:-1])
    planes: defaultdict[int, list[Outline]] = defaultdict(list)
    for contour in contours:
        plane, polygon = _locate(contour, roi.name, geometry, slices or {})
        planes[plane].append(Outline(polygon * pixel_mm, _inside(polygon, mask.shape[1:]), contour.xor))
    for plane, outlines in planes.items():
        for outline in distinct_outlines(outlines):
            mask[plane] ^= outline.pixels
    if not mask.any():
        raise Refusal("empty_roi", f"ROI {roi.name!r} contains no voxel centre", "draw it")
    return mask


def _locate(
    contour: Contour, name: str, geometry: Geometry, slices: Mapping[str, int]
) -> tuple[int, NDArray[np.float64]]:
    """The slice that a contour lies on, and its vertices (n, xy) there, in pixels."""
    size = np.asarray(geometry.shape_zyx[::-1])
    index = geometry.physical_to_index(contour.points).round(_INDEX_DECIMALS)
    plane = int(np.rint(index[:, 2].mean()))
    if np.abs(index[:, 2] - plane).max() > plane_tolerance(geometry):
        raise Refusal("contour_off_slice", f"ROI {name!r} lies between slices", "use the CT it was drawn on")
    if not (0 <= plane < size[2]) or (index[:, :2] < -0.5).any() or (index[:, :2] > size[:2] - 0.5).any():
        raise Refusal("roi_truncated", f"ROI {name!r} reaches beyond the image", "use the CT it was drawn on")
    named = {slices[uid] for uid in contour.sop_uids if uid in slices}
    if named and plane not in named:
        what = f"ROI {name!r} has a contour on slice {plane} that names slice {min(named)}"
        raise Refusal("contour_off_slice", what, "export CT and ROI again, in the same coordinates")
    return plane, index[:, :2]


def _inside(polygon: NDArray[np.float64], shape_yx: tuple[int, ...]) -> Mask:
    """Pixels (y, x) whose centre is inside ``polygon`` (n, xy in pixels), which lies on the image.

    Each edge crosses the rows between its ends; right of each crossing the parity changes.
    """
    plane = np.zeros(shape_yx, dtype=np.bool_)
    x0, y0 = polygon.T
    x1, y1 = np.roll(polygon, -1, axis=0).T
    first, last = np.ceil(np.minimum(y0, y1)).astype(int), np.ceil(np.maximum(y0, y1)).astype(int)
    count = last - first
    edge = np.repeat(np.arange(len(polygon)), count)
    if not len(edge):
        return plane
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    crossing = x0[edge] + (row - y0[edge]) * (x1[edge] - x0[edge]) / (y1[edge] - y0[edge])
    column = np.ceil(crossing).astype(int)
    top, height = int(row.min()), int(row.max() - row.min() + 1)
    left, width = int(column.min()), int(column.max() - column.min() + 1)
    parity = np.zeros((height, width), dtype=np.int64)
    np.add.at(parity, (row - top, column - left), 1)
    plane[top : top + height, left : left + width - 1] = np.cumsum(parity, axis=1)[:, :-1] % 2 == 1
    return plane

"""Regions of interest whatever file they come from: list them, and put one on a CT's grid."""

from collections import Counter
from collections.abc import Mapping

from fedescc.client.imaging.headers.index import MaskFile
from fedescc.client.imaging.masks.contours import Drawn, drawn, rasterise
from fedescc.client.imaging.masks.labelmap import Label, place_label, read_labels
from fedescc.client.imaging.masks.roiset import RoiSet
from fedescc.client.imaging.masks.segmentation import Segment, place_segment, read_segmentation
from fedescc.client.imaging.masks.structures import Roi, read_structures
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.client.imaging.volumes.series import Series
from fedescc.common.errors import Refusal

Region = Roi | Segment | Label


def read_regions(file: MaskFile) -> RoiSet[Region]:
    """The ROIs of a mask file; voxels are left in it.

    Raises:
        Refusal: mask_unreadable, or what ``read_structures``, ``read_segmentation`` or ``read_labels`` refuses.

    """
    try:
        if file.kind == "rtstruct":
            return read_structures(file.path)
        if file.kind == "seg":
            return read_segmentation(file.path)
        return RoiSet(read_labels(file.path), {})
    except OSError as error:
        raise Refusal("mask_unreadable", f"{file.file} cannot be read", "check its permissions") from error


def frame_of_reference(region: Region) -> str:
    """The frame of reference that a region was drawn in; "" where its file does not say."""
    return "" if isinstance(region, Label) else region.frame_of_reference_uid


def place_on(region: Region, series: Series) -> Drawn:
    """A region's voxels on the grid of an accepted series, with all checks that its images allow.

    Raises:
        Refusal: what ``place`` refuses.

    """
    assert series.geometry is not None
    # Frames of a multi-frame object share a UID, which then names no slice.
    names = Counter(row.sop_uid for row in series.rows)
    slices = {row.sop_uid: k for k, row in enumerate(series.rows) if row.sop_uid and names[row.sop_uid] == 1}
    frame = series.rows[0].frame_of_reference_uid
    return place(region, series.geometry, frame_of_reference_uid=frame, slices=slices)


def place(
    region: Region, geometry: Geometry, *, frame_of_reference_uid: str = "", slices: Mapping[str, int] | None = None
) -> Drawn:
    """A region's voxels on a CT's grid, exactly, and warnings.

    Args:
        region: from ``read_regions``.
        geometry: the CT's grid.
        frame_of_reference_uid: the CT's; "" skips the check.
        slices: as in ``rasterise``.

    Raises:
        Refusal: what ``rasterise``, ``place_segment`` or ``place_label`` refuses.

    """
    match region:
        case Roi():
            return drawn(rasterise(region, geometry, frame_of_reference_uid=frame_of_reference_uid, slices=slices))
        case Segment():
            return place_segment(region, geometry, frame_of_reference_uid=frame_of_reference_uid)
        case Label():
            return drawn(place_label(region, geometry))

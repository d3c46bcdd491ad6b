"""The ROIs of an RTSTRUCT as plain contours."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedescc.client.imaging.headers.header import read_header
from fedescc.client.imaging.masks.roiset import RoiSet
from fedescc.client.imaging.quiet import quiet_pydicom
from fedescc.common.errors import Refusal

if TYPE_CHECKING:
    from pydicom import Dataset


@dataclass(frozen=True)
class Roi:
    """One ROI of an RTSTRUCT: its contours, each (n, 3) in patient coordinates, mm."""

    name: str = field(repr=False)
    frame_of_reference_uid: str = field(repr=False)
    contours: tuple[NDArray[np.float64], ...] = field(repr=False)


def read_structures(path: Path) -> RoiSet[Roi]:
    """All ROIs of an RTSTRUCT; those whose contours cannot be used are faults.

    unsupported_contour_type: a point or an open line encloses nothing, so what it was meant to say is unknown.
    malformed_contour: coordinates are missing or no numbers.

    Raises:
        Refusal: mask_unreadable, or what ``read_header`` refuses (truncated among them).

    """
    from pydicom import dcmread

    with quiet_pydicom():
        # pydicom reads a file that was cut short as if the lost contours had never been.
        read_header(str(path.parent), path.name)
        try:
            return _structures(dcmread(path, force=True))
        except Exception as error:
            raise Refusal(
                "mask_unreadable", f"{path.name}: {type(error).__name__}", "export the structure set again"
            ) from error


def _structures(dataset: "Dataset") -> RoiSet[Roi]:
    drawn = {int(item.ReferencedROINumber): item for item in dataset.get("ROIContourSequence", None) or ()}
    rois: list[Roi] = []
    faults: dict[str, str] = {}
    for item in dataset.StructureSetROISequence:
        name = str(item.get("ROIName", ""))
        contours = (
            (drawn[int(item.ROINumber)].get("ContourSequence", None) or ()) if int(item.ROINumber) in drawn else ()
        )
        try:
            points = tuple(_points(contour) for contour in contours or ())
        except Refusal as refusal:
            faults[name] = refusal.code
        else:
            rois.append(Roi(name, str(item.get("ReferencedFrameOfReferenceUID", "") or ""), points))
    return RoiSet(tuple(rois), faults, *_referenced_images(dataset, list(drawn.values())))


def _points(contour: "Dataset") -> NDArray[np.float64]:
    """Vertices (n, 3) of one contour, mm."""
    kind = str(contour.get("ContourGeometricType", ""))
    if kind not in {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}:
        raise Refusal("unsupported_contour_type", f"contour type {kind}", "draw closed planar contours")
    # pydicom gives a lone coordinate as it is, not as a sequence of one.
    values = np.atleast_1d(np.asarray(contour.get("ContourData", None) or (), dtype=np.float64))
    stated = contour.get("NumberOfContourPoints", None)
    if len(values) % 3 or not np.isfinite(values).all() or (stated is not None and int(stated) != len(values) // 3):
        raise Refusal("malformed_contour", f"{len(values)} coordinates for {stated} points", "export it again")
    return values.reshape(-1, 3)


def _referenced_images(dataset: "Dataset", drawn: list[Any]) -> tuple[frozenset[str], frozenset[str]]:
    series = {
        str(one.SeriesInstanceUID)
        for frame in dataset.get("ReferencedFrameOfReferenceSequence", None) or ()
        for study in frame.get("RTReferencedStudySequence", None) or ()
        for one in study.get("RTReferencedSeriesSequence", None) or ()
    }
    images = {
        str(image.ReferencedSOPInstanceUID)
        for item in drawn
        for contour in item.get("ContourSequence", None) or ()
        for image in contour.get("ContourImageSequence", None) or ()
    }
    return frozenset(series), frozenset(images)

"""The ROIs of an RTSTRUCT as plain contours."""

from collections import Counter, defaultdict
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

_XOR = "CLOSEDPLANAR_XOR"
_CLOSED = frozenset({"CLOSED_PLANAR", _XOR})
# Less than any pixel, more than the rounding of points on one line makes.
_NO_AREA_MM2 = 1e-3


@dataclass(frozen=True)
class Contour:
    """One closed planar contour.

    Attributes:
        points: (n, 3) vertices in patient coordinates, mm.
        xor: whether its type is CLOSEDPLANAR_XOR.
        sop_uids: the images that it says it was drawn on, in Contour Image Sequence (3006,0016).

    """

    points: NDArray[np.float64] = field(repr=False)
    xor: bool = False
    sop_uids: frozenset[str] = field(default=frozenset(), repr=False)


@dataclass(frozen=True)
class Roi:
    """One ROI of an RTSTRUCT."""

    name: str = field(repr=False)
    frame_of_reference_uid: str = field(repr=False)
    contours: tuple[Contour, ...] = field(repr=False)


def read_structures(path: Path) -> RoiSet[Roi]:
    """All ROIs of an RTSTRUCT; those whose contours cannot be used are faults.

    unsupported_contour_type: a point or an open line encloses nothing, so what it was meant to say is unknown.
    Stray marks of one or two points beside closed contours are left out.
    malformed_contour: coordinates are missing or no numbers, or several ROIs have one number, or several lists of
    contours: two versions, or two halves, the file does not say.

    Raises:
        Refusal: mask_unreadable, or what ``read_header`` refuses (truncated among them).

    """
    from pydicom import dcmread

    with quiet_pydicom():
        # pydicom reads a file that was cut short as if the lost contours had never been.
        header = read_header(str(path.parent), path.name)
        try:
            return _structures(dcmread(path, force=True), header.patient_id)
        except Exception as error:
            raise Refusal(
                "mask_unreadable", f"{path.name}: {type(error).__name__}", "export the structure set again"
            ) from error


def _structures(dataset: "Dataset", patient_id: str) -> RoiSet[Roi]:
    drawn = [item for item in dataset.get("ROIContourSequence", None) or () if item.get("ContourSequence", None)]
    lists: defaultdict[int, list[Any]] = defaultdict(list)
    for item in drawn:
        lists[int(item.ReferencedROINumber)].append(item.ContourSequence)
    numbers = Counter(int(item.ROINumber) for item in dataset.StructureSetROISequence)
    rois: list[Roi] = []
    faults: dict[str, str] = {}
    for item in dataset.StructureSetROISequence:
        name, number = str(item.get("ROIName", "")), int(item.ROINumber)
        try:
            if max(numbers[number], len(lists[number])) > 1:
                raise Refusal("malformed_contour", f"several ROIs have number {number}", "export it again")
            contours = _contours([contour for one in lists[number] for contour in one])
        except Refusal as refusal:
            faults[name] = refusal.code
        else:
            rois.append(Roi(name, str(item.get("ReferencedFrameOfReferenceUID", "") or ""), contours))
    return RoiSet(tuple(rois), faults, *_referenced_images(dataset, drawn), patient_id)


def _contours(items: "list[Dataset]") -> tuple[Contour, ...]:
    """The closed contours of one ROI.

    Raises:
        Refusal: malformed_contour or unsupported_contour_type.

    """
    drawn = [(str(item.get("ContourGeometricType", "")), _points(item), item) for item in items]
    encloses = any(kind in _CLOSED and _area_mm2(points) > _NO_AREA_MM2 for kind, points, _ in drawn)
    kept = []
    for kind, points, item in drawn:
        if encloses and len(points) <= 2:
            continue
        if kind not in _CLOSED:
            raise Refusal("unsupported_contour_type", f"contour type {kind}", "draw closed planar contours")
        kept.append(Contour(points, kind == _XOR, _images(item)))
    return tuple(kept)


def _area_mm2(points: NDArray[np.float64]) -> float:
    """Area that a closed planar contour (n, 3) encloses, mm2."""
    if len(points) < 3:
        return 0.0
    arms = points - points[0]
    return float(np.linalg.norm(np.cross(arms[:-1], arms[1:]).sum(axis=0)) / 2)


def _points(contour: "Dataset") -> NDArray[np.float64]:
    """Vertices (n, 3) of one contour, mm."""
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
    images = (_images(contour) for item in drawn for contour in item.ContourSequence)
    return frozenset(series - {""}), frozenset[str]().union(*images)


def _images(contour: "Dataset") -> frozenset[str]:
    """UIDs of the images that a contour names; an anonymiser may have emptied them."""
    named = {str(image.ReferencedSOPInstanceUID) for image in contour.get("ContourImageSequence", None) or ()}
    return frozenset(named - {""})

"""The segments of a DICOM SEG, each frame put exactly where it lies on a CT's grid."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedescc.client.imaging.headers.header import DEFLATED, NATIVE_SYNTAXES, read_header
from fedescc.client.imaging.masks.contours import Drawn, Mask, check_frame_of_reference, drawn
from fedescc.client.imaging.masks.placement import align, paste
from fedescc.client.imaging.masks.roiset import RoiSet
from fedescc.client.imaging.quiet import quiet_pydicom
from fedescc.client.imaging.volumes.geometry import ORIENTATION_REFUSE, Geometry
from fedescc.client.imaging.volumes.reasons import ALWAYS_LOSSY, MAYBE_LOSSY
from fedescc.common.errors import Refusal

if TYPE_CHECKING:
    from pydicom import Dataset

FRACTIONAL_SEGMENTATION = "fractional_segmentation"
_BACKGROUND = 0  # which a label map may describe like a segment
_TYPES = {"BINARY": "binary", "FRACTIONAL": "fractional", "LABELMAP": "labelmap"}
# Transfer syntaxes in which single bits lie as PS3.5 8.2 has them.
_PLAIN = frozenset([*NATIVE_SYNTAXES[:2], DEFLATED])


@dataclass(frozen=True)
class Segment:
    """One segment (PS3.3 C.8.20) and the frames that hold it.

    Attributes:
        path: the file.
        name: Segment Label (0062,0005), or where that is empty Segment Description (0062,0006).
        frame_of_reference_uid: Frame of Reference UID (0020,0052).
        kind: Segmentation Type (0062,0001).
        number: Segment Number (0062,0004).
        maximum: Maximum Fractional Value (0062,000E); 1 in a binary one.
        frames: (n,) numbers of its frames from 0; of a label map all frames.
        positions: (n, 3) centre of each frame's first pixel, mm.
        axes: (n, 3, 2) step from a pixel to the next along a row and along a column, mm.
        shape_yx: rows and columns of a frame.
        packed: whether a pixel takes one bit.

    """

    path: Path = field(repr=False)
    name: str = field(repr=False)
    frame_of_reference_uid: str = field(repr=False)
    kind: Literal["binary", "fractional", "labelmap"]
    number: int
    maximum: int
    frames: NDArray[np.int64] = field(repr=False)
    positions: NDArray[np.float64] = field(repr=False)
    axes: NDArray[np.float64] = field(repr=False)
    shape_yx: tuple[int, int]
    packed: bool


def read_segmentation(path: Path) -> RoiSet[Segment]:
    """All segments of a DICOM SEG or label-map SEG, without their pixels.

    Raises:
        Refusal: mask_unreadable, mask_truncated, mask_lossy, unsupported_mask_format, unsupported_segmentation_type,
            missing_geometry, invalid_orientation, invalid_pixel_spacing, or what ``read_header`` refuses (truncated
            among them).

    """
    from pydicom import dcmread

    with quiet_pydicom():
        row = read_header(str(path.parent), path.name)
        if not row.has_pixels:
            raise Refusal("mask_truncated", f"{path.name} has no pixels", "copy or export the segmentation again")
        # Values that lossy compression changed are no labels any more.
        if row.transfer_syntax in ALWAYS_LOSSY or (row.lossy and row.transfer_syntax in MAYBE_LOSSY):
            raise Refusal("mask_lossy", f"{path.name}: lossy compression changed its values", "export it lossless")
        if row.bits_allocated == 1 and row.transfer_syntax not in _PLAIN:
            what = f"{path.name}: single bits in transfer syntax {row.transfer_syntax}"
            raise Refusal("unsupported_mask_format", what, "export it as Explicit VR Little Endian")
        try:
            return _segments(path, dcmread(path, stop_before_pixels=True, force=True), row.patient_id)
        except Refusal:
            raise
        except Exception as error:
            what = f"{path.name}: {type(error).__name__}"
            raise Refusal("mask_unreadable", what, "export the segmentation again") from error


def _segments(path: Path, dataset: "Dataset", patient_id: str) -> RoiSet[Segment]:
    kind: Any = _TYPES.get(str(dataset.get("SegmentationType", "")))
    if kind is None:
        raise Refusal(
            "unsupported_segmentation_type", f"{path.name} is none of {sorted(_TYPES)}", "export it as BINARY"
        )
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence", None) or ()
    count = int(dataset.get("NumberOfFrames", 1) or 1)
    if len(per_frame) != count:
        what = f"{path.name} states {count} frames and describes {len(per_frame)}"
        raise Refusal("mask_truncated", what, "copy or export the segmentation again")
    shared = (dataset.get("SharedFunctionalGroupsSequence", None) or [None])[0]
    numbers, positions, axes = _frames(kind, per_frame, shared)
    maximum = int(dataset.MaximumFractionalValue) if kind == "fractional" else 1
    if maximum < 1:
        raise Refusal("mask_unreadable", f"{path.name}: largest value {maximum}", "export the segmentation again")
    rois = tuple(
        Segment(
            path,
            str(item.get("SegmentLabel", "") or item.get("SegmentDescription", "") or "").strip(),
            str(dataset.get("FrameOfReferenceUID", "") or ""),
            kind,
            int(item.SegmentNumber),
            maximum,
            np.flatnonzero(mine := (numbers == int(item.SegmentNumber)) | (kind == "labelmap")),
            positions[mine],
            axes[mine],
            (int(dataset.Rows), int(dataset.Columns)),
            packed=int(dataset.BitsAllocated) == 1,
        )
        for item in dataset.SegmentSequence
        if int(item.SegmentNumber) != _BACKGROUND
    )
    return RoiSet(rois, {}, *_referenced_images(dataset, per_frame), patient_id)


def _frames(kind: str, per_frame: Sequence[Any], shared: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Of each frame: number of its segment (0 in a label map, as it holds all), position (3) and axes (3, 2), mm."""
    numbers, positions, axes = [], [], []
    for groups in per_frame:
        position = _group(groups, shared, "PlanePositionSequence").get("ImagePositionPatient", None)
        cosines = _group(groups, shared, "PlaneOrientationSequence").get("ImageOrientationPatient", None)
        spacing = _group(groups, shared, "PixelMeasuresSequence").get("PixelSpacing", None)
        if position is None or cosines is None or spacing is None:
            raise Refusal("missing_geometry", "a frame lacks position, orientation or spacing", "export it again")
        segment = None if kind == "labelmap" else _group(groups, shared, "SegmentIdentificationSequence")
        numbers.append(0 if segment is None else int(segment.ReferencedSegmentNumber))
        positions.append([float(v) for v in position])
        axes.append(_axes(cosines, spacing))
    return np.asarray(numbers), np.reshape(positions, (-1, 3)), np.reshape(axes, (-1, 3, 2))


def _axes(cosines: Sequence[float], spacing: Sequence[float]) -> NDArray[np.float64]:
    directions = np.asarray([float(v) for v in cosines]).reshape(2, 3)
    if not np.abs(directions @ directions.T - np.eye(2)).max() <= ORIENTATION_REFUSE:  # NaN neither
        raise Refusal("invalid_orientation", "a frame's axes are no unit, orthogonal pair", "export it again")
    between_rows, between_columns = (float(v) for v in spacing)
    if not min(between_rows, between_columns) > 0:
        raise Refusal("invalid_pixel_spacing", f"pixel spacing {between_rows} by {between_columns} mm", "export again")
    return directions.T * (between_columns, between_rows)


def _group(groups: Any, shared: Any, keyword: str) -> Any:
    """A functional group, which a frame has for itself or in common with all others (PS3.3 C.7.6.16)."""
    for holder in (groups, shared):
        if holder is not None and holder.get(keyword, None):
            return holder[keyword].value[0]
    return {}


def _referenced_images(dataset: "Dataset", per_frame: Sequence[Any]) -> tuple[frozenset[str], frozenset[str]]:
    series = dataset.get("ReferencedSeriesSequence", None) or ()
    images = {
        str(image.ReferencedSOPInstanceUID)
        for one in series
        for image in one.get("ReferencedInstanceSequence", None) or ()
    }
    sources = {
        str(image.ReferencedSOPInstanceUID)
        for groups in per_frame
        for derivation in groups.get("DerivationImageSequence", None) or ()
        for image in derivation.get("SourceImageSequence", None) or ()
    }
    uids = {str(one.SeriesInstanceUID) for one in series if "SeriesInstanceUID" in one}
    return frozenset(uids - {""}), frozenset((images | sources) - {""})


def place_segment(segment: Segment, geometry: Geometry, *, frame_of_reference_uid: str = "") -> Drawn:
    """Mask (z, y, x) of one segment on a CT's grid.

    A plane without a frame is empty. A frame may cover a part of its plane and lie flipped on it; its pixel centres
    must be voxel centres. A fractional segment takes in what is at least half inside, and warns.

    Raises:
        Refusal: wrong_frame_of_reference, empty_roi, other_geometry, duplicate_frames, roi_truncated,
            mask_truncated or mask_not_integer.

    """
    check_frame_of_reference(segment.name, segment.frame_of_reference_uid, frame_of_reference_uid)
    sizes = segment.shape_yx[::-1]
    places = [align(*frame, sizes, geometry) for frame in zip(segment.positions, segment.axes, strict=True)]
    if len({place.start_xyz.tobytes() for place in places}) < len(places):
        what = f"segment {segment.number} has two frames in one place"
        raise Refusal("duplicate_frames", what, "export each segment and time point once")
    mask = np.zeros(geometry.shape_zyx, dtype=np.bool_)
    for place, marked in zip(places, _marked(segment), strict=True):
        paste(marked, place, mask)
    if not mask.any():
        raise Refusal("empty_roi", f"segment {segment.number} marks no voxel", "draw it")
    return drawn(mask, (FRACTIONAL_SEGMENTATION,) if segment.kind == "fractional" else ())


def _marked(segment: Segment) -> list[Mask]:
    """Pixels of the segment in each of its frames (y, x)."""
    try:
        with quiet_pydicom():
            stored = _stored(segment)
    except Refusal:
        raise
    except Exception as error:
        what = f"{segment.path.name}: frames cannot be decoded ({type(error).__name__})"
        raise Refusal("mask_truncated", what, "copy or export the segmentation again") from error
    if len(stored) != len(segment.frames) or any(plane.shape != segment.shape_yx for plane in stored):
        raise Refusal("mask_truncated", f"{segment.path.name} lacks frames", "export the segmentation again")
    if segment.kind == "labelmap":
        return [plane == segment.number for plane in stored]
    if any(plane.max() > segment.maximum for plane in stored):
        what = f"{segment.path.name} holds values above {segment.maximum}"
        raise Refusal("mask_not_integer", what, "export the segmentation again")
    return [2 * plane.astype(np.int64) >= segment.maximum for plane in stored]


def _stored(segment: Segment) -> list[NDArray[Any]]:
    """Stored values of each of the segment's frames (y, x)."""
    from pydicom import dcmread
    from pydicom.pixels.utils import iter_pixels

    frames = segment.frames.tolist()
    if not frames:
        return []
    if not segment.packed:
        return [np.asarray(plane) for plane in iter_pixels(segment.path, indices=frames, raw=True)]
    # One bit a pixel, the first in the lowest bit; a frame may start inside a byte (PS3.5 8.1.1 and 8.2), which
    # pydicom 3.0 gets wrong when it reads frame by frame.
    content = np.frombuffer(dcmread(segment.path, specific_tags=["PixelData"], force=True).PixelData, np.uint8)
    size = segment.shape_yx[0] * segment.shape_yx[1]
    planes = []
    for first in (frame * size for frame in frames):
        bits = np.unpackbits(content[first // 8 : -(-(first + size) // 8)], bitorder="little")
        planes.append(bits[first % 8 :][:size].reshape(segment.shape_yx))
    return planes

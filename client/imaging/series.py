"""Group indexed images into volumes and say which are axial CT on an exact grid."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

import numpy as np

from fedescc.client.imaging.geometry import DUPLICATE_MM, Geometry, stack_geometry
from fedescc.client.imaging.header import CT_IMAGE, DicomRow
from fedescc.client.imaging.index import RejectedFile
from fedescc.common.errors import Refusal

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_LOCALIZER = frozenset({"LOCALIZER", "SCOUT", "SURVIEW", "REF_SURVIEW", "TOPOGRAM"})
# Values 3 and on of Image Type (0008,0008), as vendors write them, of images that are no reconstruction of a scan.
_REFORMAT = frozenset(
    [
        "MPR",
        "REFORMATTED",
        "CURVED",
        "MIP",
        "MINIP",
        "MAXIP",
        "AVERAGE",
        "MEAN",
        "VRT",
        "VOLREN",
        "VOLUME_RENDERED",
        "3D",
        "PROJECTION",
        "PERFUSION",
        "SUBTRACTION",
        "FUSION",
        "ENDO",
        "OTHER_REFORMAT",
        "PANORAMA",
    ]
)
_LOSSY_SYNTAXES = frozenset(
    f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 81, 91, 93, 203, 112)
)  # JPEG baseline and extended, JPEG-LS near-lossless, JPEG 2000, its multi-component part, HTJ2K, JPEG XL
# Slices of one series this far from parallel belong to different volumes.
_SPLIT_COSINE = 1e-2

DAMAGED_NEARBY = "damaged_files_nearby"
_DAMAGED = frozenset({"truncated", "unreadable", "zero_filled"})
# No DICOM at all any more, unless they never were: judged by their file name's ending.
_MAYBE_DAMAGED = frozenset({"empty_file", "not_dicom"})

Key = Callable[[DicomRow], Hashable]


@dataclass(frozen=True)
class Series:
    """One volume's worth of images; ``rows`` ascend along the normal where the geometry is known.

    ``uid`` is Series Instance UID (0020,000E), "" where an anonymiser emptied it; a series that held several volumes
    gives several of these with the same ``uid``. ``reasons`` are the codes for which it was refused.
    """

    uid: str
    rows: tuple[DicomRow, ...]
    geometry: Geometry | None
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def verdict(self) -> Literal["accepted", "refused"]:
        """Whether geometry and headers allow the volume to be read."""
        return "refused" if self.reasons else "accepted"


def group_series(rows: Iterable[DicomRow], rejected: Iterable[RejectedFile] = ()) -> tuple[Series, ...]:
    """Volumes among the rows, each accepted or refused with reason codes; every row is in exactly one.

    A series is split by matrix, image type, orientation and frame of reference. Where slices still coincide it is
    split by acquisition (or image type, time point, kernel) if that leaves no two slices in one place. Acquisitions
    that do not coincide stay together: cut apart, each half of a stack with a missing slice could look complete.

    Reason codes: those of ``stack_geometry`` and modality_not_ct, no_pixel_data, not_ct_image, secondary_capture,
    localizer, derived_reformat, multi_frame, not_monochrome, not_16_bit, unsupported_bit_layout, missing_geometry,
    missing_rescale, invalid_rescale, rescale_type_not_hu.

    Args:
        rows: images of one folder.
        rejected: the same folder's rejected files. A series of which a file is damaged may lack its first or last
            slice, which no gap shows; it gets the warning damaged_files_nearby. Where a damaged file does not say
            whose it is, that goes for every series (of the patient, if it names one) in its folder.

    """
    volumes: list[Series] = []
    groups = _partition(sorted(rows, key=lambda row: row.file), _series_key)
    damaged = _damaged(groups, list(rejected))
    for number, group in enumerate(groups):
        parts = [part for alike in _partition(group, _volume_key) for part in _parallel(alike)]
        parts = [volume for part in parts for volume in _split_coincident(part)]
        split = ("several_volumes_in_series",) if len(parts) > 1 else ()
        lacking = (DAMAGED_NEARBY,) if number in damaged else ()
        volumes += [_judge(part, split + lacking) for part in parts]
    return tuple(volumes)


def _damaged(groups: list[list[DicomRow]], rejected: list[RejectedFile]) -> set[int]:
    """Numbers of the groups of which a rejected file may have been a slice."""
    beside: defaultdict[PurePosixPath, set[int]] = defaultdict(set)
    endings: defaultdict[PurePosixPath, set[str]] = defaultdict(set)
    by_owner: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for number, group in enumerate(groups):
        by_owner[group[0].patient_id, group[0].series_uid].add(number)
        for file in (PurePosixPath(row.file) for row in group):
            beside[file.parent].add(number)
            endings[file.parent].add(file.suffix)
    damaged: set[int] = set()
    for one in rejected:
        file = PurePosixPath(one.file)
        # Nearly any text file without an ending is no DICOM, an empty one hardly is anything else.
        like_dicom = file.suffix in endings[file.parent] and bool(file.suffix or one.reason == "empty_file")
        if one.reason not in _DAMAGED and not (one.reason in _MAYBE_DAMAGED and like_dicom):
            continue
        if one.series_uid:
            damaged |= by_owner[one.patient_id, one.series_uid]
        else:
            damaged |= {n for n in beside[file.parent] if one.patient_id in {"", groups[n][0].patient_id}}
    return damaged


def _partition(rows: Iterable[DicomRow], key: Key) -> list[list[DicomRow]]:
    groups: defaultdict[Hashable, list[DicomRow]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return list(groups.values())


def _series_key(row: DicomRow) -> Hashable:
    # Patient and study too: an anonymiser may give two patients the same series UID. Without UIDs, folders.
    fallback = () if row.series_uid else (row.series_number, PurePosixPath(row.file).parent)
    return row.series_uid, row.study_uid, row.patient, fallback


def _volume_key(row: DicomRow) -> Hashable:
    return (
        (row.modality, row.sop_class, row.image_type[:3], row.frame_of_reference_uid),
        (row.rows, row.columns, row.samples_per_pixel, row.has_pixels),
    )


def _parallel(rows: list[DicomRow]) -> list[list[DicomRow]]:
    groups: list[list[DicomRow]] = []
    for row in rows:
        for group in groups:
            if _cosine_difference(row, group[0]) < _SPLIT_COSINE:
                group.append(row)
                break
        else:
            groups.append([row])
    return groups


def _cosine_difference(one: DicomRow, other: DicomRow) -> float:
    if one.orientation is None or other.orientation is None:
        return 0.0 if one.orientation is other.orientation else np.inf
    difference = float(np.abs(np.subtract(one.orientation, other.orientation)).max())
    return difference if np.isfinite(difference) else 0.0


def _split_coincident(rows: list[DicomRow]) -> list[list[DicomRow]]:
    if not _coincident(rows):
        return [rows]
    keys: tuple[Key, ...] = (
        lambda row: row.acquisition_number,
        lambda row: row.image_type,
        lambda row: row.temporal_position,
        lambda row: row.kernel,
    )
    for key in keys:
        groups = _partition(rows, key)
        if len(groups) > 1 and not any(_coincident(group) for group in groups):
            return groups
    return [rows]


def _coincident(rows: list[DicomRow]) -> bool:
    """Whether two slices lie in one place; False where that cannot be told."""
    first = rows[0].orientation
    positions = [row.position for row in rows if row.position is not None]
    if first is None or len(positions) < max(2, len(rows)):
        return False
    along = np.sort(np.asarray(positions) @ np.cross(first[:3], first[3:]))
    return bool(np.diff(along).min() < DUPLICATE_MM)


def _judge(rows: list[DicomRow], warnings: tuple[str, ...]) -> Series:
    reasons = tuple(dict.fromkeys(code for row in rows for code in _row_reasons(row)))
    warnings = _row_warnings(rows) + warnings
    try:
        stack = (
            stack_geometry(
                [row.position or () for row in rows],
                [row.orientation or () for row in rows],
                [row.pixel_spacing or () for row in rows],
                [row.rows for row in rows],
                [row.columns for row in rows],
            )
            if "missing_geometry" not in reasons
            else None
        )
    except Refusal as refusal:
        return Series(rows[0].series_uid, tuple(rows), None, (*reasons, refusal.code), warnings)
    if stack is None:
        return Series(rows[0].series_uid, tuple(rows), None, reasons, warnings)
    ordered = tuple(rows[i] for i in stack.order)
    return Series(rows[0].series_uid, ordered, stack.geometry, reasons, warnings + stack.warnings)


def _row_reasons(row: DicomRow) -> list[str]:
    flags = {value.upper() for value in " ".join(row.image_type[2:]).replace("\\", " ").split()}
    secondary = row.sop_class.startswith(_SECONDARY_CAPTURE)
    checks = {
        "modality_not_ct": row.modality != "CT",
        "no_pixel_data": not row.has_pixels,
        "secondary_capture": secondary,
        "not_ct_image": not secondary and row.sop_class not in {"", CT_IMAGE},
        "localizer": bool(flags & _LOCALIZER),
        "derived_reformat": bool(flags & _REFORMAT),
        "multi_frame": row.frames > 1,
        "not_monochrome": row.samples_per_pixel != 1 or row.photometric != "MONOCHROME2",
        "not_16_bit": row.bits_allocated != 16,
        "unsupported_bit_layout": not 0 < row.bits_stored <= 16 or row.high_bit != row.bits_stored - 1,
        "missing_geometry": None in {row.position, row.orientation, row.pixel_spacing} or not row.rows * row.columns,
        # PS3.3 C.8.2.1 makes both type 1: without them stored values have no stated relation to HU.
        "missing_rescale": row.slope is None or row.intercept is None,
        "invalid_rescale": not np.isfinite([row.slope or 0.0, row.intercept or 0.0]).all() or row.slope == 0,
        "rescale_type_not_hu": row.rescale_type.upper() not in {"", "HU", "US"},
    }
    return [code for code, fails in checks.items() if fails]


def _row_warnings(rows: list[DicomRow]) -> tuple[str, ...]:
    checks = {
        "missing_series_uid": not rows[0].series_uid,
        "lossy_compression": any(row.lossy or row.transfer_syntax in _LOSSY_SYNTAXES for row in rows),
        "derived_image": any(row.image_type[:1] == ("DERIVED",) for row in rows),
        "mixed_transfer_syntax": len({row.transfer_syntax for row in rows}) > 1,
        "rescale_varies": len({(row.slope, row.intercept) for row in rows}) > 1,
        "rescale_type_unspecified": any(row.rescale_type.upper() == "US" for row in rows),
    }
    return tuple(code for code, applies in checks.items() if applies)

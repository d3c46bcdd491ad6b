"""Group indexed images into volumes and say which are axial CT on an exact grid."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fedescc.client.imaging.headers.header import DicomRow
from fedescc.client.imaging.headers.index import RejectedFile
from fedescc.client.imaging.volumes.copies import without_copies
from fedescc.client.imaging.volumes.damage import damaged_series
from fedescc.client.imaging.volumes.geometry import Geometry, Tilt, stack_geometry
from fedescc.client.imaging.volumes.reasons import image_reasons, series_warnings, spacing_warnings
from fedescc.client.imaging.volumes.splitting import alike_in, is_bolus_tracking, series_in, volumes_in
from fedescc.common.errors import Refusal

DAMAGED_NEARBY = "damaged_files_nearby"
_SEVERAL, _COPIES, _TRACKING = "several_volumes_in_series", "duplicate_files_dropped", "bolus_tracking"


@dataclass(frozen=True)
class Series:
    """One volume's worth of images; ``rows`` ascend along the normal where the geometry is known.

    ``uid`` is Series Instance UID (0020,000E), "" where an anonymiser emptied it; a series that held several volumes
    gives several of these with the same ``uid``. ``reasons`` are the codes for which it was refused, explained with
    those of ``warnings`` in ``reasons.py``. ``copies`` are images that lay in the folder again, byte for byte.
    """

    uid: str
    rows: tuple[DicomRow, ...]
    geometry: Geometry | None
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    copies: tuple[DicomRow, ...] = ()

    @property
    def verdict(self) -> Literal["accepted", "refused"]:
        """Whether geometry and headers allow the volume to be read."""
        return "refused" if self.reasons else "accepted"

    @property
    def files(self) -> int:
        """Number of files it came in, copies included; a multi-frame file is one."""
        return len({row.path for row in self.rows + self.copies})


def group_series(
    rows: Iterable[DicomRow], rejected: Iterable[RejectedFile] = (), *, tilt: Tilt = "refuse"
) -> tuple[Series, ...]:
    """Volumes among the rows, each accepted or refused with reason codes; every row is in exactly one.

    A series is split by class, image type, kernel, frame of reference, matrix, pixel size and orientation. Where
    slices coincide or interleave it is split by acquisition, image type, time point and thickness, if that parts them.
    Acquisitions that follow one another stay together: cut apart, each half of a stack with a missing slice could look
    complete.

    Args:
        rows: images of one folder; a multi-frame object as its frames (``frame_rows``).
        rejected: the same folder's rejected files. A series of which a file is damaged or missing may lack its first
            or last slice, which no gap shows; it gets the warning damaged_files_nearby. Where such a file does not say
            whose it is, that goes for every series (of the patient, if it names one) in its folder.
        tilt: whether to refuse a uniform gantry tilt or to give the sheared grid.

    """
    series = series_in(rows)
    damaged = damaged_series(series, rejected)
    found: list[Series] = []
    for number, images in enumerate(series):
        found += _judge_series(images, (DAMAGED_NEARBY,) if number in damaged else (), tilt)
    return tuple(found)


def _judge_series(images: list[DicomRow], warnings: tuple[str, ...], tilt: Tilt) -> list[Series]:
    kept, copies = without_copies(images)
    volumes: list[tuple[list[DicomRow], tuple[str, ...]]] = []
    for part in alike_in(kept):
        if is_bolus_tracking(part):
            volumes.append((part, (_TRACKING,)))
        else:
            volumes += [(volume, ()) for volume in volumes_in(part)]
    several = (_SEVERAL,) if len(volumes) > 1 else ()
    return [_judge(volume, copies, reasons, several + warnings, tilt) for volume, reasons in volumes]


def _judge(
    rows: list[DicomRow], copies: list[DicomRow], reasons: tuple[str, ...], warnings: tuple[str, ...], tilt: Tilt
) -> Series:
    images = {(row.sop_uid, row.frame) for row in rows}
    own = tuple(row for row in copies if (row.sop_uid, row.frame) in images)
    reasons = tuple(dict.fromkeys([*(code for row in rows for code in image_reasons(row)), *reasons]))
    warnings = series_warnings(rows) + warnings + ((_COPIES,) if own else ())
    uid, unordered = rows[0].series_uid, tuple(rows)
    if {"missing_geometry", _TRACKING} & set(reasons):
        return Series(uid, unordered, None, reasons, warnings, own)
    try:
        stack = stack_geometry(
            [row.position or () for row in rows],
            [row.orientation or () for row in rows],
            [row.pixel_spacing or () for row in rows],
            [row.rows for row in rows],
            [row.columns for row in rows],
            tilt=tilt,
        )
    except Refusal as refusal:
        return Series(uid, unordered, None, (*reasons, refusal.code), warnings, own)
    ordered = tuple(rows[i] for i in stack.order)
    warnings += stack.warnings + spacing_warnings(ordered, stack.geometry)
    return Series(uid, ordered, stack.geometry, reasons, warnings, own)

"""Group indexed images into volumes and say which are axial CT on an exact grid."""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Literal

from fedescc.client.imaging.headers.header import DicomRow
from fedescc.client.imaging.headers.index import RejectedFile
from fedescc.client.imaging.volumes.copies import Pair, without_copies
from fedescc.client.imaging.volumes.damage import damaged_series
from fedescc.client.imaging.volumes.geometry import Geometry, Tilt, stack_geometry
from fedescc.client.imaging.volumes.mixing import apart, halves_of_one, mixing_reasons, mixing_warnings
from fedescc.client.imaging.volumes.reasons import image_reasons, series_warnings, spacing_warnings
from fedescc.client.imaging.volumes.splitting import (
    alike_in,
    frames_vary,
    is_bolus_tracking,
    series_in,
    volumes_in,
)
from fedescc.client.imaging.volumes.wholeness import (
    are_halves,
    is_cut,
    share_numbers,
    thickness_warnings,
    wholeness_warnings,
)
from fedescc.common.errors import Refusal

DAMAGED_NEARBY = "damaged_files_nearby"
_SEVERAL, _COPIES, _TRACKING = "several_volumes_in_series", "duplicate_files_dropped", "bolus_tracking"
_AMBIGUOUS, _APART, _CUT, _FRAMES = "ambiguous_interleave", "separate_scans", "volume_cut", "frame_of_reference_varies"

_UNEVEN = {"missing_slices", "non_uniform_gap"}


@dataclass(frozen=True)
class Series:
    """One volume's worth of images; ``rows`` ascend along the normal where the geometry is known.

    ``uid`` is Series Instance UID (0020,000E), "" where an anonymiser emptied it; a series that held several volumes
    gives several of these with the same ``uid``. ``reasons`` are the codes for which it was refused, explained with
    those of ``warnings`` in ``reasons.py``. ``copies`` are images that lay in the folder again, pixel for pixel.
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

    A series is split by study date, series number, class, image type, kernel, frame of reference, matrix, pixel size
    and orientation. Where slices coincide or interleave it is split by what belongs to a scan (``telling_labels``), if
    that parts them. Acquisitions that follow one another stay together: cut apart, each half of a stack with a missing
    slice could look complete. What is neither surely one volume nor surely several is refused. So are volumes of one
    UID that go on from each other or lie between each other's slices, if of two studies or patients, too: an anonymiser
    may have changed some images only.

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
    owners: list[int] = []
    for number, images in enumerate(series):
        found += _judge_series(images, (DAMAGED_NEARBY,) if number in damaged else (), tilt)
        owners += [number] * (len(found) - len(owners))
    return _without_parts(found, owners)


def _judge_series(images: list[DicomRow], warnings: tuple[str, ...], tilt: Tilt) -> list[Series]:
    kept, copies = without_copies(images)
    volumes: list[tuple[list[DicomRow], tuple[str, ...]]] = []
    for part in alike_in(kept):
        if is_bolus_tracking(part):
            volumes.append((part, (_TRACKING,)))
            continue
        parts = volumes_in(part)
        reasons = (_AMBIGUOUS,) if halves_of_one(parts) else ()
        volumes += [(volume, reasons) for volume in parts]
    warnings = ((_SEVERAL,) if len(volumes) > 1 else ()) + warnings + wholeness_warnings(kept)
    warnings += (_FRAMES,) if frames_vary(kept) else ()
    return [_judge(volume, copies, reasons, warnings, tilt) for volume, reasons in volumes]


def _judge(
    rows: list[DicomRow], copies: list[Pair], reasons: tuple[str, ...], warnings: tuple[str, ...], tilt: Tilt
) -> Series:
    images = set(map(id, rows))
    own = tuple(copy for copy, original in copies if id(original) in images)
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
        code = _APART if refusal.code in _UNEVEN and apart(rows) else refusal.code
        return Series(uid, unordered, None, (*reasons, code), warnings, own)
    ordered = tuple(rows[i] for i in stack.order)
    reasons = tuple(dict.fromkeys([*reasons, *mixing_reasons(ordered)]))
    warnings += stack.warnings + spacing_warnings(ordered, stack.geometry) + mixing_warnings(ordered)
    warnings += thickness_warnings(ordered)
    return Series(uid, ordered, stack.geometry, reasons, warnings, own)


def _without_parts(found: list[Series], owners: list[int]) -> tuple[Series, ...]:
    """All volumes; those of which slices are found in another of the same UID, and that other, refused.

    ``owners`` are the numbers of the series that the volumes come from: one UID may be that of several.
    """
    groups: defaultdict[Hashable, list[int]] = defaultdict(list)
    for number, one in enumerate(found):
        if _TRACKING not in one.reasons:
            groups[one.uid or owners[number]].append(number)
    codes: defaultdict[int, dict[str, None]] = defaultdict(dict)
    for group in groups.values():
        for number, other in permutations(group, 2):
            for code in _parts_of_one(found[number], found[other], owners[number] == owners[other]):
                codes[number][code] = codes[other][code] = None
    return tuple(
        replace(one, reasons=tuple(dict.fromkeys([*one.reasons, *codes[k]]))) if k in codes else one
        for k, one in enumerate(found)
    )


def _parts_of_one(one: Series, other: Series, of_one_series: bool) -> list[str]:
    """Codes of why a volume without reasons may lack the slices of another of the same UID."""
    if one.geometry is None or one.reasons:
        return []
    if not of_one_series and _of_two_patients(one.rows, other.rows):
        return []
    checks = {
        _CUT: is_cut(one.rows, one.geometry, other.rows),
        # What ``volumes_in`` parted has been compared.
        _AMBIGUOUS: not (of_one_series and len(alike_in([one.rows[0], other.rows[0]])) == 1)
        and are_halves(one.rows, other.rows),
    }
    return [code for code, applies in checks.items() if applies]


def _of_two_patients(rows: tuple[DicomRow, ...], others: tuple[DicomRow, ...]) -> bool:
    """Whether an anonymiser gave two scans one UID: they are numbered alike, or lie in folders of two patients."""
    by_folder = rows[0].patient != others[0].patient and "" in {rows[0].patient_id, others[0].patient_id}
    return by_folder or share_numbers(rows, others)

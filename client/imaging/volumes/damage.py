"""Which series a damaged or missing file may have belonged to."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from fedescc.client.imaging.headers.header import DicomRow
from fedescc.client.imaging.headers.index import RejectedFile

# Rejected files that were an image, and one that a DICOMDIR names but its medium does not hold.
_DAMAGED = frozenset(
    {"truncated", "unreadable", "zero_filled", "missing_from_media", "syntax_contradicted", "repeated_element"}
)
# No DICOM at all any more, unless they never were: judged by their file name's ending.
_MAYBE_DAMAGED = frozenset({"empty_file", "not_dicom"})
# What desktop systems leave in folders; "._IM0001.dcm" beside IM0001.dcm holds what macOS knows of it besides.
_OF_THE_DESKTOP = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
_APPLE_DOUBLE = "._"


def damaged_series(series: list[list[DicomRow]], rejected: Iterable[RejectedFile]) -> set[int]:
    """Numbers of the series of which a rejected file may have been a slice.

    One that names its series was of it, whatever is wrong with it. One that does not, if it looks like a damaged image,
    may belong to every series (of its patient, if it names one) in its folder.
    """
    rejected = list(rejected)
    if not rejected:
        return set()
    beside: defaultdict[PurePosixPath, set[int]] = defaultdict(set)
    endings: defaultdict[PurePosixPath, set[str]] = defaultdict(set)
    by_owner: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for number, rows in enumerate(series):
        by_owner[rows[0].patient_id, rows[0].series_uid].add(number)
        for file in (PurePosixPath(row.file) for row in rows):
            beside[file.parent].add(number)
            endings[file.parent].add(file.suffix)
    damaged: set[int] = set()
    for one in rejected:
        if one.series_uid:
            damaged |= by_owner[one.patient_id, one.series_uid]
            continue
        file = PurePosixPath(one.file)
        if one.reason in _MAYBE_DAMAGED and (file.name in _OF_THE_DESKTOP or file.name.startswith(_APPLE_DOUBLE)):
            continue
        # Nearly any text file without an ending is no DICOM, an empty one hardly is anything else.
        like_dicom = file.suffix in endings[file.parent] and bool(file.suffix or one.reason == "empty_file")
        if one.reason in _DAMAGED or (one.reason in _MAYBE_DAMAGED and like_dicom):
            damaged |= {n for n in beside[file.parent] if one.patient_id in {"", series[n][0].patient_id}}
    return damaged

"""The same image twice in one export."""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from operator import attrgetter
from pathlib import Path

import numpy as np

from fedescc.client.imaging.headers.header import NATIVE_SYNTAXES, DicomRow
from fedescc.client.imaging.volumes.pixels import stored_values
from fedescc.common.errors import Refusal

_CHUNK = 1 << 20
# What a copy shares besides its pixels: all that decides which values lie where.
_meaning = attrgetter(
    *("rows", "columns", "samples_per_pixel", "photometric", "frames", "bits_allocated", "bits_stored", "high_bit"),
    *("signed", "position", "orientation", "pixel_spacing", "slope", "intercept"),
)
# Under another UID, also what would tell its volume from the other's.
_scan = attrgetter(
    *("study_date", "series_number", "acquisition_number", "temporal_position", "phase_percent", "stack_id"),
    *("image_type", "kernel", "slice_thickness_mm", "series_description", "frame_of_reference_uid"),
    *("contrast_agent", "acquisition_date", "acquisition_time", "kvp", "manufacturer", "accession_number"),
)

Pair = tuple[DicomRow, DicomRow]


def without_copies(rows: Iterable[DicomRow]) -> tuple[list[DicomRow], list[Pair]]:
    """Rows of one series without copies of another; and each copy with the row that it is a copy of.

    A copy has the geometry, rescale and pixel values of an earlier row, and its SOP Instance UID or all that belongs to
    a scan: an archive that stores an image anew may give it another UID, pack its pixels otherwise and add to its
    header. Only files that agree in that are read. What shares the UID alone is no copy and stays.
    """
    kept, copies = list(rows), list[Pair]()
    readings = _Readings()
    for keys in (_same_image, _twin):
        groups: defaultdict[Hashable, list[DicomRow]] = defaultdict(list)
        for row in kept:
            if key := keys(row):
                groups[key].append(row)
        found = [pair for group in groups.values() if len(group) > 1 for pair in _equal(group, readings)]
        dropped = {id(copy) for copy, _ in found}
        kept = [row for row in kept if id(row) not in dropped]
        copies += found
    return kept, copies


def _same_image(row: DicomRow) -> Hashable:
    return (row.sop_uid, row.frame, *_meaning(row)) if row.sop_uid else None


def _twin(row: DicomRow) -> Hashable:
    return (*_meaning(row), *_scan(row)) if row.position else None


def _equal(group: Sequence[DicomRow], readings: "_Readings") -> list[Pair]:
    """Those of a group whose pixels equal an earlier one's, with that one."""
    # Packed alike is cheaper to see than equal once unpacked.
    packed: dict[Hashable, DicomRow] = {}
    copies: list[Pair] = []
    for row in group:
        first = packed.setdefault(readings.packed(row), row)
        if first is not row:
            copies.append((row, first))
    values: dict[Hashable, DicomRow] = {}
    if len(packed) > 1:
        for row in packed.values():
            first = values.setdefault(readings.values(row), row)
            if first is not row:
                copies.append((row, first))
    return copies


class _Readings:
    """Digests of files and of pixel values, each made once; what cannot be read equals nothing."""

    def __init__(self) -> None:
        self._files: dict[tuple[Path, int | None], bytes] = {}
        self._values: dict[int, bytes] = {}

    def packed(self, row: DicomRow) -> Hashable:
        """Of the file from the row's pixels to its end; of the whole file where they are deflated."""
        at = row.path, row.pixel_offset
        if row.frame and row.transfer_syntax in NATIVE_SYNTAXES:
            return id(row)  # its values lie apart from the other frames'
        try:
            if at not in self._files:
                self._files[at] = _digest(row)
        except OSError:
            return id(row)
        return row.transfer_syntax, row.frame, self._files[at]

    def values(self, row: DicomRow) -> Hashable:
        """Of the stored values, whatever packs them."""
        try:
            if id(row) not in self._values:
                stored = np.ascontiguousarray(stored_values(row), dtype="<i4")
                self._values[id(row)] = hashlib.sha256(stored.data).digest()
        except (OSError, Refusal):
            return id(row)
        return self._values[id(row)]


def _digest(row: DicomRow) -> bytes:
    digest = hashlib.sha256()
    with row.path.open("rb") as stream:
        stream.seek(row.pixel_offset or 0)
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.digest()

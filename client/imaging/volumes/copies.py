"""The same image twice in one export."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from fedescc.client.imaging.headers.header import DicomRow

_CHUNK = 1 << 20
# What a copy shares besides its pixels: all that decides which values lie where.
_MEANING = (
    *("transfer_syntax", "rows", "columns", "samples_per_pixel", "photometric", "frames", "bits_allocated"),
    *("bits_stored", "high_bit", "signed", "position", "orientation", "pixel_spacing", "slope", "intercept"),
)


def without_copies(rows: Iterable[DicomRow]) -> tuple[list[DicomRow], list[DicomRow]]:
    """Rows of one series without copies of another, and the copies.

    A copy has the SOP Instance UID, geometry, rescale and, byte for byte, the pixel data of an earlier row. Only files
    whose UID occurs twice are read. What shares the UID alone is no copy and stays.
    """
    seen: defaultdict[tuple[str, int], list[DicomRow]] = defaultdict(list)
    digests: dict[Path, bytes] = {}
    kept: list[DicomRow] = []
    copies: list[DicomRow] = []
    for row in rows:
        earlier = seen[row.sop_uid, row.frame]
        if row.sop_uid and any(_is_copy(row, other, digests) for other in earlier):
            copies.append(row)
        else:
            earlier.append(row)
            kept.append(row)
    return kept, copies


def _is_copy(row: DicomRow, other: DicomRow, digests: dict[Path, bytes]) -> bool:
    if any(getattr(row, name) != getattr(other, name) for name in _MEANING):
        return False
    try:
        return _digest(row, digests) == _digest(other, digests)
    except OSError:
        return False


def _digest(row: DicomRow, digests: dict[Path, bytes]) -> bytes:
    """Hash of a file from its first row's pixels to its end; of the whole file where they are deflated."""
    if row.path not in digests:
        digest = hashlib.sha256()
        with row.path.open("rb") as stream:
            stream.seek(row.pixel_offset or 0)
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
        digests[row.path] = digest.digest()
    return digests[row.path]

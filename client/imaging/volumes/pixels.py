"""Stored pixel values of one image or frame, from whatever its file packs them in."""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedescc.client.imaging.headers.header import NATIVE_SYNTAXES, DicomRow
from fedescc.client.imaging.quiet import quiet_pydicom
from fedescc.common.errors import Refusal

Stored = NDArray[np.integer]
_ITEM = b"\xfe\xff\x00\xe0"
# Fragment tables kept of the last multi-frame files, so that reading n frames does not walk the file n times.
_TABLES = 4


def stored_values(row: DicomRow) -> Stored:
    """Pixel values (y, x) as stored, before rescale: bits above Bits Stored dropped, the sign extended (PS3.5 8.1.1).

    Only the frame's own part of a file is read and decoded, except of a deflated file.

    Raises:
        Refusal: pixel_decode_failed, or sign_contradicted where the values show that Pixel Representation (0028,0103)
            is wrong.

    """
    try:
        words = _words(row).reshape(row.rows, row.columns)
    except Exception as error:
        raise Refusal(
            "pixel_decode_failed", f"{row.file}: {type(error).__name__}", "export it again, uncompressed"
        ) from error
    return _significant_bits(words, row)


def _words(row: DicomRow) -> Stored:
    if row.pixel_offset is None or (row.transfer_syntax in NATIVE_SYNTAXES and row.bits_allocated != 16):
        return _parsed(row)
    if row.transfer_syntax in NATIVE_SYNTAXES:
        return _native(row, row.pixel_offset)
    return _decoded(row, row.pixel_offset)


def _native(row: DicomRow, offset: int) -> Stored:
    # Straight from the file at the offset the index found: parsing the header again would cost more than the pixels.
    order = ">" if row.transfer_syntax == NATIVE_SYNTAXES[2] else "<"
    dtype = np.dtype(f"{order}{'i' if row.signed else 'u'}2")
    return np.fromfile(row.path, dtype=dtype, count=row.rows * row.columns, offset=offset)


def _parsed(row: DicomRow) -> Stored:
    """By pydicom from the whole file: what the index could not locate (deflated) or nobody's CT has (8 bits)."""
    from pydicom import dcmread
    from pydicom.pixels.utils import pixel_array
    from pydicom.uid import UID

    with quiet_pydicom():
        dataset = dcmread(row.path, force=True)
        dataset.file_meta.TransferSyntaxUID = UID(row.transfer_syntax)
        return pixel_array(dataset, index=max(row.frame - 1, 0))


def _decoded(row: DicomRow, offset: int) -> Stored:
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    options: dict[str, Any] = {
        "rows": row.rows,
        "columns": row.columns,
        "number_of_frames": 1,
        "samples_per_pixel": row.samples_per_pixel,
        "photometric_interpretation": row.photometric,
        "planar_configuration": 0,
        "bits_allocated": row.bits_allocated,
        "bits_stored": row.bits_stored,
        "pixel_representation": int(row.signed),
        "pixel_keyword": "PixelData",
    }
    with quiet_pydicom():
        source = encapsulate([_compressed(row, offset)], has_bot=False)
        return get_decoder(UID(row.transfer_syntax)).as_array(source, index=0, raw=True, **options)[0]


def _compressed(row: DicomRow, offset: int) -> bytes:
    """The compressed bytes of an image or frame."""
    state = row.path.stat()
    table = _fragment_table(row.path, offset, (state.st_mtime_ns, state.st_size))
    with row.path.open("rb") as stream:
        parts = []
        for start, length in _of_frame(table, row.frames, max(row.frame - 1, 0)):
            stream.seek(start)
            parts.append(stream.read(length))
    return b"".join(parts)


class _Table(NamedTuple):
    """Basic Offset Table, and (start in the file, length) of each fragment."""

    offsets: tuple[int, ...]
    fragments: tuple[tuple[int, int], ...]


@lru_cache(maxsize=_TABLES)
def _fragment_table(path: Path, offset: int, _version: tuple[int, int]) -> _Table:
    """Where the fragments of encapsulated pixel data lie (PS3.5 A.4); only their headers are read."""
    with path.open("rb") as stream:
        stream.seek(offset)
        length = _item(stream)
        offsets = np.frombuffer(stream.read(length or 0), dtype="<u4")
        fragments = []
        while (length := _item(stream)) is not None:
            fragments.append((stream.tell(), length))
            stream.seek(length, os.SEEK_CUR)
    return _Table(tuple(offsets.tolist()), tuple(fragments))


def _item(stream: BinaryIO) -> int | None:
    """Length of the item that starts here; None at the end of the sequence or of the file."""
    head = stream.read(8)
    return int.from_bytes(head[4:], "little") if len(head) == 8 and head[:4] == _ITEM else None


def _of_frame(table: _Table, frames: int, index: int) -> Sequence[tuple[int, int]]:
    """The fragments of one frame: all of a single one, one each, or what the offset table says."""
    offsets, fragments = table
    if frames == 1:
        return fragments
    if len(fragments) == frames:
        return fragments[index : index + 1]
    if len(offsets) != frames or not fragments:
        raise ValueError("fragments cannot be assigned to frames")
    first = fragments[0][0]
    bounds = [first + offset for offset in offsets] + [fragments[-1][0] + 1]
    return [part for part in fragments if bounds[index] <= part[0] < bounds[index + 1]]


def _significant_bits(words: Stored, row: DicomRow) -> Stored:
    unused = row.bits_allocated - row.bits_stored
    if unused <= 0:
        return words
    native = words.astype(words.dtype.newbyteorder("="))
    values: Stored = (native << unused) >> unused
    if values.dtype.itemsize == 2 and 0 < row.bits_stored < 16:
        (_check_signed if row.signed else _check_unsigned)(native, values, row)
    return values


def _check_unsigned(words: Stored, values: Stored, row: DicomRow) -> None:
    """Refuse unsigned values of which every high one has its sign extended: they are negative."""
    high = words != values
    if high.any():
        negative = (words >> (row.bits_stored - 1)) == 0xFFFF >> (row.bits_stored - 1)
        if np.array_equal(high, negative):
            raise _contradicted(row)


def _check_signed(words: Stored, values: Stored, row: DicomRow) -> None:
    """Refuse signed values whose sign is not extended and that vary more smoothly when read as unsigned.

    The standard lets a writer leave the unused bits 0, so such values are negative, unless they lie beside the largest
    positive ones: bone and metal that wrapped around.
    """
    half = 1 << (row.bits_stored - 1)
    if words.max(initial=0) < half:
        return
    unsigned = words.astype(np.int32) & (2 * half - 1)
    if _jumps(values.astype(np.int32), half) > _jumps(unsigned, half):
        raise _contradicted(row)


def _jumps(values: NDArray[np.int32], size: int) -> int:
    """Number of neighbouring pixels along a row or column that differ by more than a size."""
    return sum(int((np.abs(np.diff(values, axis=axis)) > size).sum()) for axis in (0, 1))


def _contradicted(row: DicomRow) -> Refusal:
    kind = "signed" if row.signed else "unsigned"
    return Refusal("sign_contradicted", f"{row.file} calls its values {kind}, which they are not", "export it again")

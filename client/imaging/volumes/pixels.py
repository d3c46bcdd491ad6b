"""Stored pixel values of one image or frame, from whatever its file packs them in."""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from fedescc.client.imaging.headers.header import NATIVE_SYNTAXES, DicomRow
from fedescc.client.imaging.quiet import quiet_pydicom
from fedescc.client.imaging.volumes.extended_jpeg import decode_extended
from fedescc.client.imaging.volumes.jpeg_stream import parse_jpeg
from fedescc.client.imaging.volumes.stored_bits import Stored, significant_bits
from fedescc.common.errors import Refusal

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.pixels.decoders.base import Decoder

_Version = tuple[int, int]  # time of modification, size
_JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
_LOSSLESS_JPEG = frozenset({"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"})
# pydicom else drops what lies above Bits Stored, unseen.
_ALL_BITS: dict[str, Any] = {"correct_unused_bits": False}
_NOT_OURS = "pillow"  # of pydicom's decoders
_ITEM = b"\xfe\xff\x00\xe0"
# Fragment tables kept of the last multi-frame files, so that reading n frames does not walk the file n times.
_TABLES = 4


def stored_values(row: DicomRow) -> Stored:
    """Pixel values (y, x) as stored, before rescale.

    Only the frame's own part of a file is read and decoded, except of a deflated file.

    Raises:
        Refusal: pixel_decode_failed, unsupported_compression (no decoder for its transfer syntax),
            fragments_ambiguous (frames in more fragments than one, without a table of which is whose), and those of
            ``significant_bits``.

    """
    try:
        return significant_bits(_words(row).reshape(row.rows, row.columns), row)
    except Refusal:
        raise
    except Exception as error:
        raise Refusal(
            "pixel_decode_failed", f"{row.file}: {type(error).__name__}", "export it again, uncompressed"
        ) from error


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
    from pydicom.pixels.utils import pixel_array

    with quiet_pydicom():
        dataset = _dataset(row.path, row.transfer_syntax, _version(row.path))
        return pixel_array(dataset, index=max(row.frame - 1, 0), **_ALL_BITS)


@lru_cache(maxsize=1)
def _dataset(path: Path, syntax: str, _version: _Version) -> "Dataset":
    """A whole file. The last one is kept: one of 300 frames would be inflated 300 times."""
    from pydicom import dcmread
    from pydicom.uid import UID

    dataset = dcmread(path, force=True)
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    return dataset


def _version(path: Path) -> _Version:
    state = path.stat()
    return state.st_mtime_ns, state.st_size


def _decoded(row: DicomRow, offset: int) -> Stored:
    code, bits = _compressed(row, offset), row.bits_stored
    if row.transfer_syntax == _JPEG_EXTENDED and row.bits_allocated == 16 and row.samples_per_pixel == 1:
        return decode_extended(code, row.rows, row.columns)
    if row.transfer_syntax in _LOSSLESS_JPEG:
        # GDCM would drop bits of the stream beyond those stored, unseen.
        parsed = parse_jpeg(code)
        code, bits = (parsed[1], max(bits, parsed[0].bits)) if parsed else (code, row.bits_allocated)
    return _decoded_by_pydicom(row, code, bits)


def _decoded_by_pydicom(row: DicomRow, code: bytes, bits: int) -> Stored:
    from pydicom.encaps import encapsulate

    try:
        decoder = _decoder(row.transfer_syntax)
    except NotImplementedError as error:
        what = f"{row.file} is compressed in a way that nothing here decodes"
        raise Refusal("unsupported_compression", what, "export it uncompressed") from error
    options: dict[str, Any] = {
        "rows": row.rows,
        "columns": row.columns,
        "number_of_frames": 1,
        "samples_per_pixel": row.samples_per_pixel,
        "photometric_interpretation": row.photometric,
        "planar_configuration": 0,
        "bits_allocated": row.bits_allocated,
        "bits_stored": bits,
        "pixel_representation": int(row.signed),
        "pixel_keyword": "PixelData",
        **_ALL_BITS,
    }
    with quiet_pydicom():
        source = encapsulate([code], has_bot=False)
        return decoder.as_array(source, index=0, raw=True, **options)[0]


@lru_cache
def _decoder(syntax: str) -> "Decoder":
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    decoder = get_decoder(UID(syntax))
    # Other libraries bring it along: what a file says must not depend on whether they are installed.
    if _NOT_OURS in decoder.available_plugins:
        decoder.remove_plugin(_NOT_OURS)
    return decoder


def _compressed(row: DicomRow, offset: int) -> bytes:
    """The compressed bytes of an image or frame."""
    table = _fragment_table(row.path, offset, _version(row.path))
    with row.path.open("rb") as stream:
        parts = []
        for start, length in _of_frame(table, row):
            stream.seek(start)
            parts.append(stream.read(length))
    return b"".join(parts)


class _Table(NamedTuple):
    """Basic Offset Table, and (start in the file, length) of each fragment."""

    offsets: tuple[int, ...]
    fragments: tuple[tuple[int, int], ...]


@lru_cache(maxsize=_TABLES)
def _fragment_table(path: Path, offset: int, _version: _Version) -> _Table:
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


def _of_frame(table: _Table, row: DicomRow) -> Sequence[tuple[int, int]]:
    """The fragments of one frame: all of a single one, one each, or what the offset table says."""
    offsets, fragments = table
    index = max(row.frame - 1, 0)
    if row.frames == 1:
        return fragments
    if len(fragments) == row.frames:
        return fragments[index : index + 1]
    if len(offsets) != row.frames or not fragments:
        what = f"{row.file}: {len(fragments)} fragments for {row.frames} frames, and no table of which is whose"
        raise Refusal("fragments_ambiguous", what, "export it uncompressed, or as single frames")
    first = fragments[0][0]
    bounds = [first + offset for offset in offsets] + [fragments[-1][0] + 1]
    return [part for part in fragments if bounds[index] <= part[0] < bounds[index + 1]]

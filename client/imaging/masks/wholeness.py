"""Whether a file still holds all the data that its header speaks of: ITK fills what is missing with 0."""

import zlib
from pathlib import Path
from typing import Literal

from fedescc.common.errors import Refusal

_CHUNK = 1 << 20
_WINDOW_BITS = {"gzip": 31, "zlib": 15}  # of zlib's inflate, which then also compares the checksum


def check_data(path: Path, offset: int, size: int, encoding: Literal["raw", "gzip", "zlib"]) -> None:
    """Refuse a file whose data, from ``offset`` to its end, are fewer than ``size`` bytes or damaged.

    Compressed data must be one stream: readers differ in what they make of a second one.

    Raises:
        Refusal: mask_truncated or mask_unreadable.

    """
    try:
        whole = path.stat().st_size - offset >= size if encoding == "raw" else _inflated(path, offset, encoding) >= size
    except OSError as error:
        raise Refusal("mask_unreadable", f"{path.name} cannot be read", "check its permissions") from error
    if not whole:
        raise Refusal("mask_truncated", f"{path.name} is cut short or damaged", "copy or save the mask again")


def _inflated(path: Path, offset: int, encoding: str) -> int:
    """Bytes that a compressed file holds; -1 where it does not end as it should."""
    inflate = zlib.decompressobj(_WINDOW_BITS[encoding])
    size = 0
    with path.open("rb") as stream:
        stream.seek(offset)
        try:
            while chunk := stream.read(_CHUNK):
                size += len(inflate.decompress(chunk))
        except zlib.error:
            return -1
    return size if inflate.eof and not inflate.unused_data else -1

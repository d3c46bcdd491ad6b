"""Whether the pixels of a DICOM file are encoded as it says, all there, and there once."""

from io import FileIO
from struct import Struct

from fedescc.client.imaging.headers.elements import (
    ENCAPSULATED,
    IMPLICIT_LITTLE,
    ITEM_TAGS,
    LONG_LENGTHS,
    NATIVE,
    PIXEL_DATA,
    UNDEFINED_LENGTH,
    Header,
)

_SEQUENCE_DELIMITER = b"\xfe\xff\xdd\xe0"  # encapsulated pixel data is always little endian
_TAG = {True: Struct("<HH"), False: Struct(">HH")}
_SHORT = {True: Struct("<H"), False: Struct(">H")}
_LONG = {True: Struct("<L"), False: Struct(">L")}


def pixel_fault(file: FileIO, header: Header, size: int, expected: int) -> str:
    """The code of what is wrong with the pixel data of a file; "" where nothing is, or where there is none.

    - syntax_contradicted: compressed fragments under a transfer syntax that has none, or the reverse. Fragments taken
      for values would give an image, shifted, with the fragments' headers among its HU.
    - truncated: less than ``expected``, or a fragment or the delimiter behind the last one is missing.
    - repeated_element: pixels, or anything that was read before them, come again behind them.

    Args:
        file: open, at any place.
        header: of that file.
        size: its length.
        expected: bytes that its pixels take where they are not compressed; 0 where that is unknown.

    """
    if header.pixels is None:
        return ""
    start, length = header.pixels
    if header.inflated:
        return _native_fault(length, length, expected)
    if header.transfer_syntax in NATIVE:
        fault = _native_fault(length, size - start, expected)
        # More than was expected, and it starts as fragments do.
        if not fault and length > expected and _read(file, start, 4) in ITEM_TAGS:
            fault = "syntax_contradicted"
    else:
        fault = _compressed_fault(file, header, size)
    if fault:
        return fault
    end = start + length if length != UNDEFINED_LENGTH else _fragments_end(file, start, size) or size
    return "repeated_element" if _repeats(file, end, size, header) else ""


def _native_fault(length: int, there: int, expected: int) -> str:
    if length == UNDEFINED_LENGTH:
        return "syntax_contradicted"
    return "" if expected <= length <= there else "truncated"


def _compressed_fault(file: FileIO, header: Header, size: int) -> str:
    """The fault of fragments, and of whatever a private transfer syntax may hold."""
    start, length = header.pixels or (size, 0)
    if length == UNDEFINED_LENGTH:
        return "" if _fragments_end(file, start, size) else "truncated"
    if not 0 < length <= size - start:
        return "truncated"
    known = ENCAPSULATED.fullmatch(header.transfer_syntax)
    return "syntax_contradicted" if known and not _holds_fragments(file, start, start + length) else ""


def _fragments_end(file: FileIO, at: int, stop: int) -> int | None:
    """Where encapsulated pixel data ends (PS3.5 A.4): the offset table, at least one fragment, the delimiter.

    None where any of these is missing or reaches beyond ``stop``. Without the delimiter the file may have been cut
    between two fragments, of which a decoder would not complain.
    """
    items = 0
    while True:
        head, at = _read(file, at, 8), at + 8
        if len(head) < 8 or head[:4] != ITEM_TAGS[0]:
            return at if items >= 2 and head[:4] == _SEQUENCE_DELIMITER else None
        at += int.from_bytes(head[4:], "little")
        items += 1
        if at > stop:
            return None


def _holds_fragments(file: FileIO, at: int, end: int) -> bool:
    """Whether a value of known length is nothing but items, with or without the delimiter that it does not need."""
    items = 0
    while at < end:
        head = _read(file, at, 8)
        if head[:4] == _SEQUENCE_DELIMITER:
            return items >= 2 and at + 8 == end
        if head[:4] != ITEM_TAGS[0]:
            return False
        at += 8 + int.from_bytes(head[4:], "little")
        items += 1
    return items >= 2 and at == end


def _repeats(file: FileIO, at: int, size: int, header: Header) -> bool:
    """Whether an element that was read stands behind the pixels again; what is no element ends the search."""
    last = PIXEL_DATA
    explicit, little = header.transfer_syntax != IMPLICIT_LITTLE, header.little
    while at + 8 <= size:
        head = _read(file, at, 12).ljust(12, b"\0")
        group, element = _TAG[little].unpack_from(head)
        tag = group << 16 | element
        if tag == PIXEL_DATA or tag in header.stored:
            return True
        long = LONG_LENGTHS.get(head[4:6]) if explicit else False
        if tag <= last or long is None:
            return False
        last = tag
        if explicit and not long:
            at += 8 + int(_SHORT[little].unpack_from(head, 6)[0])
        else:
            start = 8 if explicit else 4
            at += start + 4 + int(_LONG[little].unpack_from(head, start)[0])
    return False


def _read(file: FileIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)

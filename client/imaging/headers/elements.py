"""The stored values of a well-formed DICOM header, found by walking its elements (PS3.5 section 7).

Walking a hundred elements of which forty are kept takes a third of the time that a general reader needs. It gives up on
anything unusual, which is then left to pydicom: it must never read a file otherwise than pydicom does.
"""

import re
import struct
from collections.abc import Mapping
from typing import NamedTuple

UNDEFINED_LENGTH = 0xFFFFFFFF
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED_LITTLE = "1.2.840.10008.1.2.1.99"
NATIVE = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG)
TRANSFER_SYNTAX = 0x00020010
PIXEL_DATA = 0x7FE00010
PIXEL_ELEMENTS = frozenset({0x7FE00008, 0x7FE00009, PIXEL_DATA})  # float, double float, integer
# JPEG, JPEG-LS, JPEG 2000, HTJ2K and RLE: explicit VR little endian around encapsulated pixels (PS3.5 A.4).
ENCAPSULATED = re.compile(r"1\.2\.840\.10008\.1\.2\.(4\.\d+|5)")
_META_START = 132
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
# Value representation -> whether its length takes 4 bytes, after 2 reserved ones (PS3.5 7.1.2).
LONG_LENGTHS = dict.fromkeys(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split(), False)
LONG_LENGTHS |= dict.fromkeys(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split(), True)
# pydicom refuses or guesses at other names of a character set.
CHARACTER_SET = 0x00080005
_CHARACTER_SETS = re.compile(rb"[A-Z0-9_ \\]*")
_GROUP_LENGTH = 0x00020000
_META, _DATA_SET = range(_GROUP_LENGTH, 0x00030000), range(0x00040000, 0xFFFE0000)
ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # as stored, little and big endian
_DEEPEST = 16  # sequences within sequences

Wanted = Mapping[int, tuple[bytes, ...]]


class Header(NamedTuple):
    """Stored values, by tag, of the elements asked for, and where the pixels are.

    Attributes:
        stored: tag -> the value's bytes; of a sequence, only those of its first item's tag.
        transfer_syntax: as the file states it.
        little: whether binary values are little endian.
        pixels: start and length of the value of Pixel Data (7FE0,0010); None where there is none.
        cut: whether an element before the pixels reaches beyond the end of the file.
        inflated: whether the file is deflated, so that ``pixels`` is no place in it.
        repeated: whether an element asked for comes twice; which of its values was meant cannot be known.

    """

    stored: dict[int, bytes]
    transfer_syntax: str
    little: bool
    pixels: tuple[int, int] | None
    cut: bool = False
    inflated: bool = False
    repeated: bool = False


class _Order(NamedTuple):
    """How numbers are laid out: readers of an element's head and of a length."""

    explicit: struct.Struct
    implicit: struct.Struct
    length: struct.Struct


_LITTLE = _Order(struct.Struct("<HH2sH"), struct.Struct("<HHL"), struct.Struct("<L"))
_BIG = _Order(struct.Struct(">HH2sH"), struct.Struct(">HHL"), struct.Struct(">L"))


class NeedsMore(Exception):
    """The header goes on beyond the bytes given."""


class _UnusualError(Exception):
    """Something that a well-formed header does not hold."""


def scan(data: bytes, size: int, wanted: Wanted) -> Header | None:
    """Walk a header from its preamble to its pixels; None where anything about it is unusual.

    Unusual are: no preamble or transfer syntax, deflated data, tags out of order, a value representation that is
    unknown or not the one wanted, an undefined length outside sequences, a length that leads beyond the file's end.

    Args:
        data: the file's first bytes.
        size: length of the whole file.
        wanted: tag -> value representations that it may have.

    Raises:
        NeedsMore: ``data`` ends before the header does.

    """
    if data[128:132] != b"DICM":
        return None
    walker = _Walker(data, size, wanted)
    try:
        start = walker.explicit(_META_START, _LITTLE, _META)
        syntax = walker.stored.get(TRANSFER_SYNTAX, b"").rstrip(b"\0").decode("ascii", errors="replace")
        if syntax == IMPLICIT_LITTLE:
            walker.implicit(start)
        elif syntax in {EXPLICIT_LITTLE, EXPLICIT_BIG} or ENCAPSULATED.fullmatch(syntax):
            walker.explicit(start, _BIG if syntax == EXPLICIT_BIG else _LITTLE, _DATA_SET)
        else:
            return None
    except _UnusualError:
        return None
    return Header(walker.stored, syntax, syntax != EXPLICIT_BIG, walker.pixels)


class _Walker:
    """One pass over a header."""

    def __init__(self, data: bytes, size: int, wanted: Wanted) -> None:
        self._data, self._size, self._wanted = data, size, wanted
        self.stored: dict[int, bytes] = {}
        self.pixels: tuple[int, int] | None = None

    def explicit(self, at: int, order: _Order, tags: range) -> int:
        """Walk elements with explicit VR to the pixels, the end, or the first tag beyond ``tags``; returns where."""
        data, known, wanted = self._data, len(self._data), self._wanted.get
        head, long_length, is_long = order.explicit.unpack_from, order.length.unpack_from, LONG_LENGTHS.get
        last = tags.start - 1
        while True:
            if at + 12 > known:
                if at == self._size:
                    return at
                self._demand(at + 12)
            group, element, vr, length = head(data, at)
            tag = group << 16 | element
            if tag >= tags.stop and tags is _META:
                return at
            long = is_long(vr)
            if tag <= last or tag >= tags.stop or long is None:
                raise _UnusualError
            last, start = tag, at + 8
            if long:
                start, length = at + 12, long_length(data, at + 8)[0]
            if tag in PIXEL_ELEMENTS:
                return self._at_pixels(tag, start, length)
            at = start + length
            if length == UNDEFINED_LENGTH:
                if vr != b"SQ":
                    raise _UnusualError
                at = self._items(start, order, explicit=True)
            if allowed := wanted(tag):
                if vr not in allowed:
                    raise _UnusualError
                self._keep(tag, start, at, is_sequence=vr == b"SQ")

    def implicit(self, at: int) -> None:
        """Walk little endian elements with implicit VR to the pixels or the end."""
        data, known, wanted, head = self._data, len(self._data), self._wanted.get, _LITTLE.implicit.unpack_from
        if data[at + 4 : at + 6].isalpha() and data[at + 4 : at + 6].isupper():
            raise _UnusualError  # explicit VR after all
        last = _DATA_SET.start - 1
        while at != self._size:
            if at + 12 > known:
                self._demand(at + 12)
            group, element, length = head(data, at)
            tag = group << 16 | element
            if tag <= last or tag >= _DATA_SET.stop:
                raise _UnusualError
            last, start = tag, at + 8
            if tag in PIXEL_ELEMENTS:
                self._at_pixels(tag, start, length)
                return
            at = start + length
            allowed = wanted(tag)
            if length == UNDEFINED_LENGTH:
                if allowed and b"SQ" not in allowed:
                    raise _UnusualError
                at = self._items(start, _LITTLE, explicit=False)
            if allowed:
                self._keep(tag, start, at, is_sequence=b"SQ" in allowed)

    def _demand(self, end: int) -> None:
        """Ask for the bytes up to ``end``."""
        raise NeedsMore if end <= self._size else _UnusualError

    def _keep(self, tag: int, start: int, end: int, *, is_sequence: bool) -> None:
        self._need(end)
        value = self._data[start : min(end, start + 4) if is_sequence else end]
        if tag == CHARACTER_SET and not _CHARACTER_SETS.fullmatch(value):
            raise _UnusualError
        self.stored[tag] = value

    def _at_pixels(self, tag: int, start: int, length: int) -> int:
        if tag == PIXEL_DATA:
            self.pixels = (start, length)
        return start

    def _items(self, at: int, order: _Order, *, explicit: bool, depth: int = 0) -> int:
        """Walk a sequence of undefined length (PS3.5 7.5); returns where it ends."""
        if depth > _DEEPEST:
            raise _UnusualError
        while True:
            tag, length = self._tag_and_length(at, order)
            at += 8
            if tag == _SEQUENCE_END and length == 0:
                return at
            if tag != _ITEM:
                raise _UnusualError
            end = None if length == UNDEFINED_LENGTH else at + length
            # pydicom reads what is in an item of known length too, and goes on where that ends.
            at = self._item(at, end, order, explicit=explicit, depth=depth)

    def _item(self, at: int, end: int | None, order: _Order, *, explicit: bool, depth: int) -> int:
        """Walk the elements of one item up to ``end``, or to its delimiter; returns where the next item starts."""
        while end is None or at < end:
            tag, length = self._tag_and_length(at, order)
            if tag == _ITEM_END and length == 0 and end is None:
                return at + 8
            if tag >> 16 == _ITEM >> 16:
                raise _UnusualError
            start, vr = at + 8, b""
            if explicit:
                vr, length = order.explicit.unpack_from(self._data, at)[2:]
                long = LONG_LENGTHS.get(vr)
                if long is None:
                    raise _UnusualError
                if long:
                    self._need(at + 12)
                    start, length = at + 12, order.length.unpack_from(self._data, at + 8)[0]
            if length != UNDEFINED_LENGTH:
                at = start + length
            elif vr in {b"", b"SQ"}:
                at = self._items(start, order, explicit=explicit, depth=depth + 1)
            else:
                raise _UnusualError
        if at != end:
            raise _UnusualError
        return at

    def _tag_and_length(self, at: int, order: _Order) -> tuple[int, int]:
        self._need(at + 8)
        group, element, length = order.implicit.unpack_from(self._data, at)
        return group << 16 | element, length

    def _need(self, end: int) -> None:
        if end > len(self._data):
            self._demand(end)

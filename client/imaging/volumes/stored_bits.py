"""Which bits of a pixel's word count, and whether the others agree with that."""

import numpy as np
from numpy.typing import NDArray

from fedescc.client.imaging.headers.header import DicomRow
from fedescc.client.imaging.quiet import quiet_pydicom
from fedescc.common.errors import Refusal

Stored = NDArray[np.integer]
_OVERLAY_GROUPS = range(0x6000, 0x6020, 2)
_BITS_ALLOCATED, _BIT_POSITION, _OVERLAY_DATA = 0x0100, 0x0102, 0x3000
_AIR_HU = -1000


def significant_bits(words: Stored, row: DicomRow) -> Stored:
    """Pixel values (y, x) from words of which Bits Stored (0028,0101) count (PS3.5 8.1.1).

    The bits above may only say what is known without them: 0, or of all negative values the sign. Anything else is a
    value that needs more bits than the header says, such as the padding or the metal of a system that rewrote the
    pixels and not the header: without its high bits it would be another value that looks like tissue. The exception
    are overlays that the file declares in these bits (60xx,0102), as old systems wrote them, and the padding that it
    declares (0028,0120): where that is negative and no denser than air, its words keep their full value, also under a
    header that calls the values unsigned. The result is then signed.

    Raises:
        Refusal: bits_contradicted, or sign_contradicted where the values show that Pixel Representation (0028,0103) is
            wrong.

    """
    native = words.astype(words.dtype.newbyteorder("="), copy=False)
    unused = 8 * native.dtype.itemsize - row.bits_stored
    if unused <= 0:
        return native
    values: Stored = (native << unused) >> unused
    if np.array_equal(native, values):
        return values
    full = native.view(f"i{native.dtype.itemsize}")
    padding = _padding(row, 8 * full.itemsize)
    padded = full == padding if padding else np.zeros(full.shape, dtype=np.bool_)
    if padded.all():
        return full
    if padded.any():
        # A value of the image in its place, the lowest: it can neither contradict the others nor excuse them.
        lowest = np.where(padded, np.iinfo(values.dtype).max, values).argmin()
        native, values = (np.where(padded, one.flat[lowest], one) for one in (native, values))
    if not np.array_equal(native, values):
        (_check_signed if row.signed else _check_unsigned)(native, values, row)
    return np.where(padded, full, values.view(full.dtype)) if padded.any() else values


def _padding(row: DicomRow, bits: int) -> int | None:
    """The declared padding as a signed word of so many bits; None where there is none below air."""
    word = (row.pixel_padding or 0) & ((1 << bits) - 1)
    value = word - ((word >> (bits - 1)) << bits)
    below_air = value * (row.slope or 1.0) + (row.intercept or 0.0) <= _AIR_HU
    return value if value < 0 and below_air else None


def _check_unsigned(words: Stored, values: Stored, row: DicomRow) -> None:
    """Refuse high bits that belong to no overlay; by another code if every one extends a sign: it is negative."""
    high = _high_bits(words, row)
    negative = (high == _all_ones(words, row)) & (values >> (row.bits_stored - 1) == 1)
    if np.array_equal(high > 0, negative):
        raise _sign_contradicted(row)
    if (high & ~_overlay_bits(row)).any():
        raise _bits_contradicted(row)


def _check_signed(words: Stored, values: Stored, row: DicomRow) -> None:
    """Refuse high bits that belong to no overlay and extend the sign of some values but not of all."""
    high = _high_bits(words, row)
    if high.any():
        free = _all_ones(words, row) & ~_overlay_bits(row)
        if free and np.array_equal(high & free, np.where(values < 0, free, 0)):
            return
        if (high & free).any():
            raise _bits_contradicted(row)
    _check_unextended(values, row)


def _check_unextended(values: Stored, row: DicomRow) -> None:
    """Refuse signed values whose sign is not extended and that vary more smoothly when read as unsigned.

    The standard lets a writer leave the unused bits 0, so such values are negative, unless they lie beside the largest
    positive ones: bone and metal that wrapped around.
    """
    half = 1 << (row.bits_stored - 1)
    signed = values.astype(np.int64)
    if _jumps(signed, half) > _jumps(signed & (2 * half - 1), half):
        raise _sign_contradicted(row)


def _jumps(values: NDArray[np.int64], size: int) -> int:
    """Number of neighbouring pixels along a row or column that differ by more than a size."""
    return sum(int((np.abs(np.diff(values, axis=axis)) > size).sum()) for axis in (0, 1))


def _high_bits(words: Stored, row: DicomRow) -> NDArray[np.int64]:
    """What each word holds above Bits Stored, as a number."""
    return (words.astype(np.int64) >> row.bits_stored) & _all_ones(words, row)


def _all_ones(words: Stored, row: DicomRow) -> int:
    """The number that all bits above Bits Stored make."""
    return (1 << (8 * words.dtype.itemsize - row.bits_stored)) - 1


def _overlay_bits(row: DicomRow) -> int:
    """The high bits in which the file declares overlays.

    The overlay's own Bits Allocated is then the pixels'; some writers put 1 or nothing there, as for an overlay stored
    apart in Overlay Data (60xx,3000), and put none.
    """
    from pydicom import Dataset, dcmread

    def number(header: Dataset, group: int, element: int) -> int:
        value = header[group, element].value if (group, element) in header else 0
        return value if isinstance(value, int) else 0

    def embedded(header: Dataset, group: int) -> bool:
        allocated = number(header, group, _BITS_ALLOCATED)
        return allocated == row.bits_allocated or (allocated <= 1 and (group, _OVERLAY_DATA) not in header)

    elements = (_BITS_ALLOCATED, _BIT_POSITION, _OVERLAY_DATA)
    tags = [group << 16 | element for group in _OVERLAY_GROUPS for element in elements]
    with quiet_pydicom():
        header = dcmread(row.path, stop_before_pixels=True, force=True, specific_tags=list(tags))
        places = {number(header, group, _BIT_POSITION) for group in _OVERLAY_GROUPS if embedded(header, group)}
    return sum(1 << (place - row.bits_stored) for place in places if row.bits_stored <= place < row.bits_allocated)


def _sign_contradicted(row: DicomRow) -> Refusal:
    kind = "signed" if row.signed else "unsigned"
    return Refusal("sign_contradicted", f"{row.file} calls its values {kind}, which they are not", "export it again")


def _bits_contradicted(row: DicomRow) -> Refusal:
    what = f"{row.file} has values that need more than the {row.bits_stored} bits it states"
    return Refusal("bits_contradicted", what, "export the original series")

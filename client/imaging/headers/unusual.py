"""The stored values of a DICOM header that is unusual, as pydicom reads it, which forgives much."""

from io import BufferedReader, FileIO
from typing import TYPE_CHECKING, Any

from fedescc.client.imaging.headers.elements import (
    CHARACTER_SET,
    DEFLATED_LITTLE,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    ITEM_TAGS,
    PIXEL_DATA,
    PIXEL_ELEMENTS,
    UNDEFINED_LENGTH,
    Header,
)
from fedescc.client.imaging.headers.fields import WANTED, is_readable

if TYPE_CHECKING:
    from pydicom import Dataset


def read_unusual(file: FileIO, head: bytes, size: int) -> Header:
    """The header as pydicom reads it.

    Args:
        file: open, at any place.
        head: its first 1024 bytes.
        size: its length.

    Raises:
        Exception: whatever pydicom raises on a file that it does not understand.

    """
    from pydicom.filereader import read_partial
    from pydicom.tag import BaseTag

    pixels: tuple[int, int] | None = None
    cut = repeated = False
    seen: set[int] = set()
    deflated = DEFLATED_LITTLE.encode() in head  # its offsets mean nothing before it is inflated

    def at_pixels(tag: BaseTag, _vr: str | None, length: int) -> bool:
        nonlocal cut, pixels, repeated
        offset, element = stream.tell(), int(tag)
        # An empty one beside it leaves no doubt; pydicom also asks about the first element twice, without its length.
        if length and (element in WANTED or element == PIXEL_DATA):
            repeated |= element in seen
            seen.add(element)
        if element == PIXEL_DATA:
            pixels = (offset, length)
        elif not deflated and length != UNDEFINED_LENGTH and offset + length > size:
            cut = True
        # What follows the pixels of an inflated file is in memory, and can be looked at here only.
        return cut or (element in PIXEL_ELEMENTS and not (deflated and length != UNDEFINED_LENGTH))

    stream = BufferedReader(file)
    try:
        stream.seek(0)
        dataset = read_partial(stream, stop_when=at_pixels, force=True, specific_tags=list(WANTED))
    finally:
        stream.detach()  # it would close the file with itself
    stored = {tag: _stored(source, tag) for source in (dataset, dataset.file_meta) for tag in WANTED if tag in source}
    little = bool(dataset.original_encoding[1])
    return Header(stored, _transfer_syntax(dataset), little, pixels, cut=cut, inflated=deflated, repeated=repeated)


def _stored(dataset: "Dataset", tag: int) -> bytes:
    """A value as the file stores it, of a sequence the tag of its first item; b"" where it cannot be relied on."""
    element = dataset.get_item(tag)
    if not is_readable(tag, element.VR):
        return b""
    value: Any = element.value
    if WANTED[tag] == (b"SQ",):
        return value[:4] if isinstance(value, bytes) else ITEM_TAGS[0] * bool(value)
    if isinstance(value, bytes):
        return value
    if tag == CHARACTER_SET:  # pydicom has parsed it already, to read on
        return "\\".join([value] if isinstance(value, str) else value or ()).encode()
    return b""


def _transfer_syntax(dataset: "Dataset") -> str:
    """The stated transfer syntax, or the one pydicom inferred for a file without file meta information."""
    stated = dataset.file_meta.get("TransferSyntaxUID")
    if stated:
        return str(stated)
    implicit, little = dataset.original_encoding
    if implicit:
        return IMPLICIT_LITTLE
    return EXPLICIT_LITTLE if little else EXPLICIT_BIG

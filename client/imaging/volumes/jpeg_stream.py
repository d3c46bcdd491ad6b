"""What a JPEG stream says of its image (ITU-T T.81 annex B)."""

from typing import NamedTuple

_START, _MARKER = b"\xff\xd8", 0xFF
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA
_APPLICATIONS = frozenset([*range(0xE0, 0xF0), 0xFE])  # APPn and comments
_SHORTEST = 10  # bytes, of a frame header with one component or of a scan header with what follows it


class JpegFrame(NamedTuple):
    """A frame header (B.2.2): kind is the second byte of its marker, bits the precision of its samples."""

    kind: int
    bits: int
    rows: int
    columns: int
    components: int


def parse_jpeg(code: bytes) -> tuple[JpegFrame, bytes] | None:
    """The frame header, and the stream without what only applications read; None unless its segments join up.

    Over a remark on such a segment, or on what lies between two, GDCM may end the whole process while it tries its
    decoders in turn.

    Args:
        code: one image.

    """
    frame, kept, at = None, bytearray(_START), len(_START)
    while code.startswith(_START) and at + _SHORTEST <= len(code) and code[at] == _MARKER:
        kind, length = code[at + 1], int.from_bytes(code[at + 2 : at + 4])
        if kind == _SCAN:
            return (frame, bytes(kept) + code[at:]) if frame else None
        if kind in _FRAME_HEADERS:
            rows, columns = (int.from_bytes(code[start : start + 2]) for start in (at + 5, at + 7))
            frame = JpegFrame(kind, code[at + 4], rows, columns, code[at + 9])
        if kind not in _APPLICATIONS:
            kept += code[at : at + 2 + length]
        at += 2 + length
    return None

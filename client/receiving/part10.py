"""The head of a DICOM file: preamble and file meta information (PS3.10 7.1)."""

import re
import struct

from fedescc.common.errors import Refusal

# Drawn once from a UUID (PS3.5 B.2). Constant over versions, so that an object sent again makes the same file.
IMPLEMENTATION_CLASS_UID = "2.25.278742153489727984410665553119211445387"
IMPLEMENTATION_VERSION_NAME = "FEDESCC"
_UID = re.compile(r"[0-9.]{1,64}")  # leading zeros are wrong but real


def file_head(sop_class: str, sop_uid: str, transfer_syntax: str) -> bytes:
    """What precedes a data set in a file, a function of these three alone: no date, no sender.

    Raises:
        Refusal: invalid_uid.

    """
    for uid in (sop_class, sop_uid, transfer_syntax):
        if not _UID.fullmatch(uid):
            raise Refusal("invalid_uid", "a UID is empty, too long or holds other characters", "export it again")
    meta = (
        struct.pack("<HH2sHL2s", 0x0002, 0x0001, b"OB", 0, 2, b"\0\1")
        + _element(0x0002, b"UI", sop_class)
        + _element(0x0003, b"UI", sop_uid)
        + _element(0x0010, b"UI", transfer_syntax)
        + _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID)
        + _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME)
    )
    return bytes(128) + b"DICM" + struct.pack("<HH2sHL", 0x0002, 0x0000, b"UL", 4, len(meta)) + meta


def _element(number: int, vr: bytes, text: str) -> bytes:
    """A short element of group 0002, explicit VR little endian, padded to an even length (PS3.5 6.2, 7.1.2)."""
    value = text.encode("ascii")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 0x0002, number, vr, len(value)) + value

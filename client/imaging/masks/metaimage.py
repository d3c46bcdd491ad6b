"""The header of a MetaImage file (.mha)."""

from math import prod
from pathlib import Path
from typing import NamedTuple

from fedescc.client.imaging.masks.wholeness import check_data
from fedescc.common.errors import Refusal

_LONGEST_HEADER = 1 << 16
_DATA_FILE = "elementdatafile"
# https://itk.org/Wiki/MetaIO/Documentation
_BYTES = {
    "MET_CHAR": 1,
    "MET_UCHAR": 1,
    "MET_SHORT": 2,
    "MET_USHORT": 2,
    "MET_INT": 4,
    "MET_UINT": 4,
    "MET_FLOAT": 4,
    "MET_LONG_LONG": 8,
    "MET_ULONG_LONG": 8,
    "MET_DOUBLE": 8,
}
_PLACE = ({"offset", "position", "origin"}, {"transformmatrix", "rotation", "orientation"}, {"elementspacing"})


class MetaHeader(NamedTuple):
    """Fields by lower-case name, and the byte at which the data start."""

    fields: dict[str, str]
    offset: int


def read_meta_header(path: Path) -> MetaHeader:
    """The header of a MetaImage that holds its own data and says where it lies.

    Raises:
        Refusal: mask_unreadable, mask_detached or mask_orientation_unclear.

    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_LONGEST_HEADER)
    except OSError as error:
        raise Refusal("mask_unreadable", f"{path.name} cannot be read", "check its permissions") from error
    fields: dict[str, str] = {}
    offset = 0
    while _DATA_FILE not in fields:
        end = head.find(b"\n", offset)
        name, equals, value = head[offset:end].decode("utf-8", "replace").partition("=")
        if end < 0 or not equals:
            what = f"{path.name} is no MetaImage file, or ends inside its header"
            raise Refusal("mask_unreadable", what, "copy or save the mask again")
        fields[name.strip().lower()] = value.strip()
        offset = end + 1
    if fields[_DATA_FILE].upper() != "LOCAL":
        raise Refusal("mask_detached", f"{path.name} keeps its voxels in another file", "save the mask as one .mha")
    if any(not names & fields.keys() for names in _PLACE):
        what = f"{path.name} does not say where in the patient it lies"
        raise Refusal("mask_orientation_unclear", what, "save the mask again from the CT it was drawn on")
    return MetaHeader(fields, offset)


def check_metaimage(path: Path) -> None:
    """Refuse a MetaImage that lacks data or is damaged inside.

    Raises:
        Refusal: mask_truncated, unsupported_mask_format, or what ``read_meta_header`` refuses.

    """
    fields, offset = read_meta_header(path)
    unit = _BYTES.get(fields.get("elementtype", "").upper())
    binary = fields.get("binarydata", "true").lower() == "true" and fields.get("headersize", "0") == "0"
    if unit is None or not binary:
        raise Refusal("unsupported_mask_format", f"{path.name}: text, or other voxels", "save it again in 3D Slicer")
    try:
        sizes = [int(size) for size in fields.get("dimsize", "").split()]
        channels = int(fields.get("elementnumberofchannels", "1"))
    except ValueError as error:
        raise Refusal("mask_unreadable", f"{path.name}: sizes are no numbers", "save the mask again") from error
    zipped = fields.get("compresseddata", "false").lower() == "true"
    check_data(path, offset, unit * channels * prod(sizes), "zlib" if zipped else "raw")

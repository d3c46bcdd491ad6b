"""The header of a NRRD file, and the segments that 3D Slicer writes into it."""

import re
from math import prod
from pathlib import Path
from typing import Literal, NamedTuple

from fedescc.client.imaging.masks.wholeness import check_data
from fedescc.common.errors import Refusal

_LONGEST_HEADER = 1 << 22  # Slicer writes a terminology entry and an extent for each segment
_LINE = re.compile(r"([^:]*):(=| )(.*)", re.DOTALL)
# Spaces that ITK turns into LPS; any other it takes for LPS as it stands.
_SPACES = frozenset(
    ["left-posterior-superior", "lps", "right-anterior-superior", "ras", "left-anterior-superior", "las"]
)
# https://teem.sourceforge.net/nrrd/format.html#type
_BYTES = {
    name: size
    for size, names in {
        1: "signed char|int8|int8_t|uchar|unsigned char|uint8|uint8_t",
        2: "short|short int|signed short|signed short int|int16|int16_t|ushort|unsigned short|unsigned short int|uint16"
        "|uint16_t",
        4: "int|signed int|int32|int32_t|uint|unsigned int|uint32|uint32_t|float",
        8: "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t|ulonglong"
        "|unsigned long long|unsigned long long int|uint64|uint64_t|double",
    }.items()
    for name in names.split("|")
}


class NrrdHeader(NamedTuple):
    """Fields by lower-case name, key/value pairs, and the byte at which the data start."""

    fields: dict[str, str]
    keys: dict[str, str]
    offset: int


class NrrdSegment(NamedTuple):
    """One segment of a .seg.nrrd file: its label, in which layer of the file."""

    name: str
    label: int
    layer: int


def read_nrrd_header(path: Path) -> NrrdHeader:
    """The header of a NRRD file that holds its own data in patient coordinates.

    Raises:
        Refusal: mask_unreadable, mask_detached, mask_orientation_unclear or unsupported_mask_format.

    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_LONGEST_HEADER)
    except OSError as error:
        raise Refusal("mask_unreadable", f"{path.name} cannot be read", "check its permissions") from error
    end = re.search(rb"\r?\n\r?\n", head)
    if not head.startswith(b"NRRD000") or (end is None and b"data" not in head):
        raise Refusal("mask_unreadable", f"{path.name} is no NRRD file, or ends inside its header", "save it again")
    text = head[: end.start() if end else len(head)].decode("utf-8", "replace")
    header = NrrdHeader({}, {}, end.end() if end else len(head))
    for match in map(_LINE.fullmatch, text.splitlines()[1:]):
        if match and not match[1].startswith("#"):
            name, kind, value = match.groups()
            if kind == "=":
                header.keys[name.strip()] = value.strip()
            else:
                header.fields[name.strip().lower().replace(" ", "")] = value.strip()
    _check_fields(path, header.fields, ended=end is not None)
    return header


def _check_fields(path: Path, fields: dict[str, str], *, ended: bool) -> None:
    if "datafile" in fields:
        raise Refusal("mask_detached", f"{path.name} keeps its voxels in another file", "save the mask as one .nrrd")
    if not ended or {"sizes", "type", "encoding"} - fields.keys():
        raise Refusal("mask_unreadable", f"{path.name} ends inside its header", "copy or save the mask again")
    if fields.get("lineskip", "0") != "0" or fields.get("byteskip", "0") != "0":
        raise Refusal("unsupported_mask_format", f"{path.name} skips bytes or lines", "save it again in 3D Slicer")
    placed = {"spacedirections", "spaceorigin"} <= fields.keys()
    if fields.get("space", "").lower() not in _SPACES or not placed:
        what = f"{path.name} does not say where in the patient it lies"
        raise Refusal("mask_orientation_unclear", what, "save the mask again from the CT it was drawn on")


def check_nrrd(path: Path) -> None:
    """Refuse a NRRD file that lacks data or is damaged inside.

    Raises:
        Refusal: mask_truncated, unsupported_mask_format, or what ``read_nrrd_header`` refuses.

    """
    fields, _, offset = read_nrrd_header(path)
    encodings: dict[str, Literal["raw", "gzip"]] = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}
    encoding, unit = encodings.get(fields["encoding"].lower()), _BYTES.get(fields["type"].lower())
    if encoding is None or unit is None:
        what = f"{path.name}: {fields['type']} voxels in {fields['encoding']} encoding"
        raise Refusal("unsupported_mask_format", what, "save it again in 3D Slicer")
    try:
        sizes = [int(size) for size in fields["sizes"].split()]
    except ValueError as error:
        raise Refusal("mask_unreadable", f"{path.name}: sizes are no numbers", "save the mask again") from error
    check_data(path, offset, unit * prod(sizes), encoding)


def nrrd_segments(header: NrrdHeader) -> tuple[NrrdSegment, ...]:
    """The segments by 3D Slicer's convention (vtkMRMLSegmentationStorageNode), none where the file has none.

    Segment N has ``SegmentN_Name``, ``SegmentN_LabelValue`` and, as segments may overlap, ``SegmentN_Layer``.

    Raises:
        Refusal: mask_unreadable, where a segment's label or layer is no number.

    """
    numbers = {int(match[1]) for key in header.keys if (match := re.fullmatch(r"Segment(\d+)_(?:Name|ID)", key))}
    found = []
    for number in sorted(numbers):
        prefix = f"Segment{number}_"
        name = header.keys.get(f"{prefix}Name", header.keys.get(f"{prefix}ID", ""))
        # Before segments could share a layer, each was label 1 of its own.
        label = header.keys.get(f"{prefix}LabelValue", "1")
        layer = header.keys.get(f"{prefix}Layer", str(number))
        if not (label.isdecimal() and layer.isdecimal()):
            raise Refusal("mask_unreadable", f"label {label}, layer {layer}", "save the segmentation again")
        found.append(NrrdSegment(name, int(label), int(layer)))
    return tuple(found)

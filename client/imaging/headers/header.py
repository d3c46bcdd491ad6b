"""One DICOM image's header as a plain row, and where in the file its pixels lie."""

import os
import struct
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from fedescc.client.imaging.headers.elements import (
    DEFLATED_LITTLE,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    ITEM_TAGS,
    UNDEFINED_LENGTH,
    Header,
    NeedsMore,
    scan,
)
from fedescc.client.imaging.headers.fields import WANTED, own_fields, shared_fields
from fedescc.client.imaging.headers.unusual import read_unusual
from fedescc.common.errors import Refusal

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
DEFLATED = DEFLATED_LITTLE
NATIVE_SYNTAXES = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG)
_SEQUENCE_DELIMITER = b"\xfe\xff\xdd\xe0"  # encapsulated pixel data is always little endian
_FIRST_READ, _LARGEST_READ = 1 << 15, 1 << 22  # bytes; nearly every header lies within the first 32 KiB


class DicomRow(NamedTuple):
    """What later steps need of one DICOM image; text is as stored, "" or None where the file has none.

    The first fields are an image's own, the others nearly always its series': an index keeps the latter once.
    The representation leaves out what may identify a patient, so that a log cannot hold it.

    Attributes:
        root, name: the indexed folder, and the file relative to it as the operating system names it.
        frame: number of the frame in a multi-frame file, from 1; 0 for a file that is one image.
        pixel_offset: byte at which the value of Pixel Data starts; None in a deflated file.
        position: Image Position (Patient), mm; orientation: 6 cosines; pixel_spacing: between rows, between columns.
        has_pixels: whether there is a Pixel Data (7FE0,0010) element.
        frames: Number of Frames (0028,0008) of the file.
        slope, intercept: rescale to HU; None where absent or no number.
        contrast_agent: Contrast/Bolus Agent (0018,0010); where that is empty, "sequence", "volume" or "start_time" if
            Contrast/Bolus Agent Sequence (0018,0012) has items, or there is a Contrast/Bolus Volume (0018,1041) above
            0 or a Start Time (0018,1042).
        pixel_padding: Pixel Padding Value (0028,0120), a stored value before rescaling.
        gantry_tilt: Gantry/Detector Tilt (0018,1120), degrees; neither its presence nor its sign can be trusted.
        patient_position: Patient Position (0018,5100), HFS, FFS and so on.

    """

    root: str
    name: str
    frame: int
    pixel_offset: int | None
    sop_uid: str
    instance_number: int | None
    position: tuple[float, ...] | None
    transfer_syntax: str
    has_pixels: bool
    sop_class: str
    series_uid: str
    study_uid: str
    frame_of_reference_uid: str
    modality: str
    image_type: tuple[str, ...]
    manufacturer: str
    patient_id: str
    accession_number: str
    study_date: str
    acquisition_date: str
    series_description: str
    series_number: int | None
    acquisition_number: int | None
    temporal_position: int | None
    contrast_agent: str
    kernel: str
    slice_thickness_mm: float | None
    kvp: float | None
    rows: int
    columns: int
    samples_per_pixel: int
    photometric: str
    frames: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    slope: float | None
    intercept: float | None
    rescale_type: str
    lossy: bool
    pixel_padding: int | None
    gantry_tilt: float | None
    patient_position: str

    def __repr__(self) -> str:
        """Modality, frame and matrix: nothing that tells whose image it is."""
        return f"DicomRow({self.modality}, {self.rows} x {self.columns}, frame {self.frame})"

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.root, self.name)

    @property
    def file(self) -> str:
        """The file relative to the indexed folder, as text that can be printed and sent as JSON."""
        return printable(self.name)

    @property
    def patient(self) -> tuple[str, str]:
        """Whose image it is: PatientID and "", or where an anonymiser emptied that, "" and the topmost folder."""
        return (self.patient_id, "") if self.patient_id else ("", top_folder(self.file))


OWN_FIELDS = 7  # of DicomRow: those before transfer_syntax


def printable(name: str) -> str:
    """A file name as text: bytes that are no UTF-8 are written out (``\\xd5``)."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


class Truncated(Refusal):
    """A DICOM file that ends too early; ``row`` holds what its header still says."""

    def __init__(self, what: str, row: DicomRow) -> None:
        self.row = row
        super().__init__("truncated", what, "copy or export it again")


def top_folder(file: str) -> str:
    """The first folder on a file's path below the indexed folder; "" for a file that lies directly in it."""
    parts = PurePosixPath(file).parts
    return parts[0] if len(parts) > 1 else ""


def read_header(root: str, name: str) -> DicomRow:
    """The header of one DICOM file; pixels are located, checked for completeness, and not read.

    Args:
        root: the indexed folder.
        name: a regular file, relative to it.

    Raises:
        Truncated: it ends inside its header or its pixels, or is a CT image without pixels.
        Refusal: empty_file, not_dicom, zero_filled or unreadable.
        OSError: it cannot be opened or read.

    """
    with FileIO(f"{root}/{name}") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(_FIRST_READ)
        _check_plausible(head[:1024], printable(name))
        try:
            header = _scan(file, head, size) or read_unusual(file, head[:1024], size)
            row = _row(root, name, header)
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk or network failed, not the file
            raise Refusal("unreadable", f"{printable(name)}: {type(error).__name__}", "export it again") from error
        _check_complete(file, row, header, size)
        return row


def _check_plausible(head: bytes, file: str) -> None:
    """Refuse what does not start as DICOM does, with or without the preamble of part 10."""
    if head[128:132] == b"DICM":
        return
    if not head:
        raise Refusal("empty_file", f"{file} is empty", "copy it again")
    if len(head) >= 8:
        group, _, length = struct.unpack("<HHL", head[:8])
        has_vr = head[4:6].isalpha() and head[4:6].isupper()
        if has_vr and group in {0x0002, 0x0008, 0x0800}:  # the last is group 0008, big endian
            return
        if group in {0x0002, 0x0008} and length < 0x10000:
            return
    # What a copy leaves that was interrupted after it reserved the space.
    code = "not_dicom" if any(head) else "zero_filled"
    raise Refusal(code, f"{file} is no DICOM file", "leave it out of the export, or copy it again")


def _scan(file: FileIO, data: bytes, size: int) -> Header | None:
    """The header of a well-formed file; None of any other, or of one that is longer than is worth walking."""
    while True:
        try:
            return scan(data, size, WANTED)
        except NeedsMore:
            more = file.read(7 * len(data)) if len(data) < _LARGEST_READ else b""
            if not more:
                return None
            data += more


def _row(root: str, name: str, header: Header) -> DicomRow:
    pixels = header.pixels
    shared = shared_fields(header.stored, header.transfer_syntax, little=header.little, has_pixels=pixels is not None)
    offset = pixels[0] if pixels and not header.inflated else None
    sop_uid, instance, position = own_fields(header.stored)
    return DicomRow._make((root, name, 0, offset, sop_uid, instance, position, *shared))


def _check_complete(file: FileIO, row: DicomRow, header: Header, size: int) -> None:
    """Refuse a file that ends before its pixels do."""
    if header.cut or _lacks_pixels(row):
        raise Truncated(f"{row.file} ends inside its header", row)
    if header.pixels is None or header.inflated:
        return
    offset, length = header.pixels
    if length == UNDEFINED_LENGTH:
        complete = _fragments_complete(file, offset, size)
    else:
        expected = row.rows * row.columns * row.samples_per_pixel * row.frames * row.bits_allocated // 8
        short = row.transfer_syntax in NATIVE_SYNTAXES and not row.photometric.startswith("YBR") and length < expected
        complete = offset + length <= size and not short
    if not complete:
        raise Truncated(f"{row.file} ends inside its pixel data", row)


def _lacks_pixels(row: DicomRow) -> bool:
    """Whether a scan's image has none: cut between two elements, a header is shorter but sound.

    A file that says neither its modality nor its whole class was cut before these.
    """
    is_ct = row.sop_class == CT_IMAGE or (CT_IMAGE.startswith(row.sop_class) and row.modality in {"", "CT"})
    # A dose report under the CT class never had any.
    return is_ct and not row.has_pixels and "SCREEN SAVE" not in row.image_type


def _fragments_complete(file: FileIO, offset: int, size: int) -> bool:
    """Walk the items of encapsulated pixel data (PS3.5 A.4): the offset table, at least one fragment, the delimiter.

    Without the delimiter the file may have been cut between two fragments, of which a decoder would not complain.
    """
    items = 0
    while True:
        file.seek(offset)
        head = file.read(8)
        if len(head) < 8 or head[:4] != ITEM_TAGS[0]:
            return items >= 2 and head[:4] == _SEQUENCE_DELIMITER
        offset += 8 + int(struct.unpack("<L", head[4:])[0])
        items += 1
        if offset > size:
            return False

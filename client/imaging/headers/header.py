"""One DICOM image's header as a plain row, and where in the file its pixels lie."""

import os
import struct
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from fedescc.client.imaging.headers.elements import (
    DEFLATED_LITTLE,
    NATIVE,
    Header,
    NeedsMore,
    scan,
)
from fedescc.client.imaging.headers.fields import WANTED, own_fields, shared_fields
from fedescc.client.imaging.headers.pixel_data import pixel_fault
from fedescc.client.imaging.headers.unusual import read_unusual
from fedescc.common.errors import Refusal

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
DEFLATED = DEFLATED_LITTLE
NATIVE_SYNTAXES = NATIVE
_PREAMBLE = 128  # bytes
_FIRST_READ, _LARGEST_READ = 1 << 15, 1 << 22  # bytes; nearly every header lies within the first 32 KiB


class DicomRow(NamedTuple):
    """What later steps need of one DICOM image; text is as stored, "" or None where the file has none.

    The first fields are an image's own, the others nearly always its series': an index keeps the latter once.
    The representation leaves out what may identify a patient, so that a log cannot hold it.

    Attributes:
        root, name: the indexed folder, and the file relative to it as the operating system names it.
        frame: number of the frame in a multi-frame file, from 1; 0 for a file that is one image.
        pixel_offset: byte at which the value of Pixel Data starts; None in a deflated file.
        acquisition_time: Acquisition Time (0008,0032), HHMMSS.F; a frame's own. Axial scans have one for each slice.
        position: Image Position (Patient), mm; orientation: 6 cosines; pixel_spacing: between rows, between columns.
        stack_id: Stack ID (0020,9056) of a frame, "" of a file that is one image.
        phase_percent: part of the cardiac (0020,9241), else the respiratory cycle (0020,9245) at which it was acquired.
        images_in_acquisition: Images in Acquisition (0020,1002), which some scanners count over all reconstructions.
        images_in_series: Number of Series Related Instances (0020,1209), which a PACS may add.
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
    acquisition_time: str
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
    stack_id: str
    phase_percent: float | None
    images_in_acquisition: int | None
    images_in_series: int | None
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


OWN_FIELDS = 8  # of DicomRow: those before transfer_syntax


def printable(name: str) -> str:
    """A file name as text: bytes that are no UTF-8 are written out (``\\xd5``)."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


class Damaged(Refusal):
    """A DICOM file that is cut or contradicts itself; ``row`` holds what its header still says."""

    def __init__(self, code: str, what: str, row: DicomRow) -> None:
        self.row = row
        super().__init__(code, what, "copy or export it again")


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
        Damaged: truncated (it ends inside its header or its pixels, or is a CT image without pixels),
            syntax_contradicted or repeated_element (see ``pixel_data.py``).
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
        _check_sound(file, row, header, size)
        return row


def _check_plausible(head: bytes, file: str) -> None:
    """Refuse what does not start as DICOM does, with or without the preamble of part 10."""
    if head[_PREAMBLE : _PREAMBLE + 4] == b"DICM":
        return
    if not head:
        raise Refusal("empty_file", f"{file} is empty", "copy it again")
    if _starts_data_set(head):
        return
    if _starts_data_set(head[_PREAMBLE:]) and not any(head[:_PREAMBLE]):
        raise Refusal("unreadable", f"{file} lacks DICM after its preamble", "export it again")
    # What a copy leaves that was interrupted after it reserved the space.
    code = "not_dicom" if any(head) else "zero_filled"
    raise Refusal(code, f"{file} is no DICOM file", "leave it out of the export, or copy it again")


def _starts_data_set(head: bytes) -> bool:
    """Whether the first element is one of file meta information or of the group that follows it."""
    if len(head) < 8:
        return False
    group, _, length = struct.unpack("<HHL", head[:8])
    if head[4:6].isalpha() and head[4:6].isupper() and group in {0x0002, 0x0008, 0x0800}:
        return True  # explicit VR; the last is group 0008, big endian
    return group in {0x0002, 0x0008} and length < 0x10000


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
    return DicomRow._make((root, name, 0, offset, *own_fields(header.stored), *shared))


def _check_sound(file: FileIO, row: DicomRow, header: Header, size: int) -> None:
    """Refuse a file that is cut, or of which it cannot be known which of its values were meant."""
    bits = row.rows * row.columns * row.samples_per_pixel * row.frames * row.bits_allocated
    # Colour may be stored at half its resolution without compression.
    expected = 0 if row.photometric.startswith("YBR") else (bits + 7) // 8
    if header.cut or _lacks_pixels(row):
        fault = "truncated"
    elif header.repeated:
        fault = "repeated_element"
    else:
        fault = pixel_fault(file, header, size, expected)
    if fault:
        raise Damaged(fault, f"{row.file} is cut or contradicts itself", row)


def _lacks_pixels(row: DicomRow) -> bool:
    """Whether a scan's image has none: cut between two elements, a header is shorter but sound.

    A file that says neither its modality nor its whole class was cut before these.
    """
    is_ct = row.sop_class == CT_IMAGE or (CT_IMAGE.startswith(row.sop_class) and row.modality in {"", "CT"})
    # A dose report under the CT class never had any.
    return is_ct and not row.has_pixels and "SCREEN SAVE" not in row.image_type

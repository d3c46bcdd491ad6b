"""One DICOM image's header as a plain row, and where in the file its pixels lie."""

import os
import struct
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

from fedescc.common.errors import Refusal

if TYPE_CHECKING:
    from pydicom import Dataset

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
UNDEFINED_LENGTH = 0xFFFFFFFF
DEFLATED = "1.2.840.10008.1.2.1.99"
NATIVE_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_PIXEL_DATA = 0x7FE00010
_PIXEL_ELEMENTS = (0x7FE00008, 0x7FE00009, _PIXEL_DATA)  # float, double float, integer
_TAGS = {
    "ImageType": 0x00080008,
    "SOPClassUID": 0x00080016,
    "SOPInstanceUID": 0x00080018,
    "StudyDate": 0x00080020,
    "AcquisitionDate": 0x00080022,
    "AccessionNumber": 0x00080050,
    "Modality": 0x00080060,
    "Manufacturer": 0x00080070,
    "SeriesDescription": 0x0008103E,
    "PatientID": 0x00100020,
    "ContrastBolusAgent": 0x00180010,
    "SliceThickness": 0x00180050,
    "KVP": 0x00180060,
    "ConvolutionKernel": 0x00181210,
    "StudyInstanceUID": 0x0020000D,
    "SeriesInstanceUID": 0x0020000E,
    "SeriesNumber": 0x00200011,
    "AcquisitionNumber": 0x00200012,
    "InstanceNumber": 0x00200013,
    "ImagePositionPatient": 0x00200032,
    "ImageOrientationPatient": 0x00200037,
    "FrameOfReferenceUID": 0x00200052,
    "TemporalPositionIdentifier": 0x00200100,
    "SamplesPerPixel": 0x00280002,
    "PhotometricInterpretation": 0x00280004,
    "NumberOfFrames": 0x00280008,
    "Rows": 0x00280010,
    "Columns": 0x00280011,
    "PixelSpacing": 0x00280030,
    "BitsAllocated": 0x00280100,
    "BitsStored": 0x00280101,
    "HighBit": 0x00280102,
    "PixelRepresentation": 0x00280103,
    "RescaleIntercept": 0x00281052,
    "RescaleSlope": 0x00281053,
    "RescaleType": 0x00281054,
    "LossyImageCompression": 0x00282110,
}


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

    """
    path, file = Path(root, name), printable(name)
    size = path.stat().st_size
    if size == 0:
        raise Refusal("empty_file", f"{file} is empty", "copy it again")
    with path.open("rb") as stream:
        head = stream.read(1024)
        if not _plausible(head):
            # What a copy leaves that was interrupted after it reserved the space.
            code = "not_dicom" if any(head) else "zero_filled"
            raise Refusal(code, f"{file} is no DICOM file", "leave it out of the export, or copy it again")
        stream.seek(0)
        try:
            # Offsets into a deflated file mean nothing before it is inflated.
            return _parse(stream, root, name, None if DEFLATED.encode() in head else size)
        except Refusal:
            raise
        except Exception as error:
            raise Refusal("unreadable", f"{file}: {type(error).__name__}", "export it again") from error


def _plausible(head: bytes) -> bool:
    """Whether a file starts as DICOM does, with or without the preamble of part 10."""
    if head[128:132] == b"DICM":
        return True
    if len(head) < 8:
        return False
    group, _, length = struct.unpack("<HHL", head[:8])
    has_vr = head[4:6].isalpha() and head[4:6].isupper()
    if group in {0x0002, 0x0008}:
        return has_vr or length < 0x10000
    return has_vr and group == 0x0800  # group 0008, big endian


def _parse(stream: BinaryIO, root: str, name: str, size: int | None) -> DicomRow:
    from pydicom.filereader import read_partial
    from pydicom.tag import BaseTag

    pixels: list[tuple[int, int]] = []
    cut = False

    def at_pixels(tag: BaseTag, _vr: str | None, length: int) -> bool:
        nonlocal cut
        offset, element = stream.tell(), int(tag)
        if element == _PIXEL_DATA:
            pixels.append((offset, length))
        elif size is not None and length != UNDEFINED_LENGTH and offset + length > size:
            cut = True
        return cut or element in _PIXEL_ELEMENTS

    dataset = read_partial(stream, stop_when=at_pixels, force=True, specific_tags=list(_TAGS.values()))
    syntax = _transfer_syntax(dataset)
    offset, length = pixels[0] if pixels else (None, 0)
    row = _row(dataset, root, name, syntax, None if size is None else offset, has_pixels=bool(pixels))
    if cut or _lacks_pixels(row):
        raise Truncated(f"{row.file} ends inside its header", row)
    if row.pixel_offset is not None and size is not None:
        _check_complete(stream, row, length, size)
    return row


def _lacks_pixels(row: DicomRow) -> bool:
    """Whether a scan's image has none: cut between two elements, a header is shorter but sound.

    A file that says neither its modality nor its whole class was cut before these.
    """
    is_ct = row.sop_class == CT_IMAGE or (CT_IMAGE.startswith(row.sop_class) and row.modality in {"", "CT"})
    # A dose report under the CT class never had any.
    return is_ct and not row.has_pixels and "SCREEN SAVE" not in row.image_type


def _transfer_syntax(dataset: "Dataset") -> str:
    """The stated transfer syntax, or the one pydicom inferred for a file without file meta information."""
    stated = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    if stated:
        return str(stated)
    implicit, little = dataset.original_encoding
    if implicit:
        return NATIVE_SYNTAXES[0]
    return NATIVE_SYNTAXES[1] if little else NATIVE_SYNTAXES[2]


def _row(dataset: "Dataset", root: str, name: str, syntax: str, offset: int | None, *, has_pixels: bool) -> DicomRow:
    value = _Values(dataset)
    text, ascii_text, number, integer = value.text, value.ascii_text, value.number, value.integer
    return DicomRow(
        root=root,
        name=name,
        frame=0,
        transfer_syntax=syntax,
        has_pixels=has_pixels,
        pixel_offset=offset,
        sop_class=ascii_text("SOPClassUID") or str(dataset.file_meta.get("MediaStorageSOPClassUID", "")),
        sop_uid=ascii_text("SOPInstanceUID") or str(dataset.file_meta.get("MediaStorageSOPInstanceUID", "")),
        series_uid=ascii_text("SeriesInstanceUID"),
        study_uid=ascii_text("StudyInstanceUID"),
        frame_of_reference_uid=ascii_text("FrameOfReferenceUID"),
        modality=ascii_text("Modality"),
        image_type=tuple(v.strip() for v in ascii_text("ImageType").split("\\")),
        manufacturer=text("Manufacturer"),
        patient_id=text("PatientID"),
        accession_number=text("AccessionNumber"),
        study_date=ascii_text("StudyDate"),
        acquisition_date=ascii_text("AcquisitionDate"),
        series_description=text("SeriesDescription"),
        series_number=integer("SeriesNumber"),
        instance_number=integer("InstanceNumber"),
        acquisition_number=integer("AcquisitionNumber"),
        temporal_position=integer("TemporalPositionIdentifier"),
        contrast_agent=text("ContrastBolusAgent"),
        kernel=text("ConvolutionKernel"),
        slice_thickness_mm=number("SliceThickness"),
        kvp=number("KVP"),
        rows=value.unsigned("Rows"),
        columns=value.unsigned("Columns"),
        samples_per_pixel=value.unsigned("SamplesPerPixel") or 1,
        photometric=ascii_text("PhotometricInterpretation"),
        frames=integer("NumberOfFrames") or 1,
        bits_allocated=value.unsigned("BitsAllocated"),
        bits_stored=value.unsigned("BitsStored"),
        high_bit=value.unsigned("HighBit"),
        signed=value.unsigned("PixelRepresentation") == 1,
        position=value.numbers("ImagePositionPatient", 3),
        orientation=value.numbers("ImageOrientationPatient", 6),
        pixel_spacing=value.numbers("PixelSpacing", 2),
        slope=number("RescaleSlope"),
        intercept=number("RescaleIntercept"),
        rescale_type=ascii_text("RescaleType"),
        lossy=ascii_text("LossyImageCompression") == "01",
    )


class _Values:
    """Typed access to the values of one header.

    Numbers and ASCII text are parsed here from the stored bytes: letting pydicom convert 40 elements of every file
    takes longer than reading the file. Text that depends on the character set is left to pydicom.
    """

    def __init__(self, dataset: "Dataset") -> None:
        self._dataset = dataset
        self._order: Literal["little", "big"] = "little" if dataset.original_encoding[1] else "big"

    def text(self, keyword: str) -> str:
        stored = self._stored(keyword)
        if stored.isascii() and b"\x1b" not in stored:  # an escape would switch the character set
            return self.ascii_text(keyword)
        return str(self._dataset.get(keyword, "")).strip()

    def ascii_text(self, keyword: str) -> str:
        return self._stored(keyword).decode("ascii", errors="replace").strip("\0 \r\n\t")

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        """``count`` decimal numbers; None where the element is absent, short or no number."""
        try:
            values = tuple(float(v) for v in self.ascii_text(keyword).split("\\"))
        except ValueError:
            return None
        return values if len(values) == count else None

    def number(self, keyword: str) -> float | None:
        values = self.numbers(keyword, 1)
        return None if values is None else values[0]

    def integer(self, keyword: str) -> int | None:
        """An integer string (IS)."""
        value = self.number(keyword)
        return int(value) if value is not None and isfinite(value) else None

    def unsigned(self, keyword: str) -> int:
        """A binary number (US); 0 where absent."""
        return int.from_bytes(self._stored(keyword), self._order)

    def _stored(self, keyword: str) -> bytes:
        tag = _TAGS[keyword]
        value = self._dataset.get_item(tag).value if tag in self._dataset else b""
        return value if isinstance(value, bytes) else b""


def _check_complete(stream: BinaryIO, row: DicomRow, length: int, size: int) -> None:
    """Refuse a file that ends before its pixels do."""
    assert row.pixel_offset is not None
    if length == UNDEFINED_LENGTH:
        complete = _fragments_complete(stream, row.pixel_offset, size)
    else:
        expected = row.rows * row.columns * row.samples_per_pixel * row.frames * row.bits_allocated // 8
        short = row.transfer_syntax in NATIVE_SYNTAXES and not row.photometric.startswith("YBR") and length < expected
        complete = row.pixel_offset + length <= size and not short
    if not complete:
        raise Truncated(f"{row.file} ends inside its pixel data", row)


def _fragments_complete(stream: BinaryIO, offset: int, size: int) -> bool:
    """Walk the items of encapsulated pixel data (PS3.5 A.4): the offset table, then at least one whole fragment."""
    items = 0
    while True:
        stream.seek(offset)
        head = stream.read(8)
        if len(head) < 8 or head[:4] != b"\xfe\xff\x00\xe0":
            return items >= 2
        offset += 8 + int(struct.unpack("<L", head[4:])[0])
        items += 1
        if offset > size:
            return False

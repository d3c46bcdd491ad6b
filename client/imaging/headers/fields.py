"""Typed fields from the stored bytes of a DICOM header.

Numbers and ASCII text are parsed here: letting pydicom convert forty elements of every file takes longer than reading
the file. Text that depends on the character set is left to pydicom. What the images of a series share is parsed once
for all images that store the same bytes, and kept once.
"""

import struct
from collections.abc import Mapping
from functools import lru_cache
from math import isfinite
from typing import Any, Literal

from fedescc.client.imaging.headers.elements import ITEM_TAGS

# Keyword -> tag and value representations (PS3.6).
_ELEMENTS = {
    "MediaStorageSOPClassUID": (0x00020002, "UI"),
    "MediaStorageSOPInstanceUID": (0x00020003, "UI"),
    "TransferSyntaxUID": (0x00020010, "UI"),
    "SpecificCharacterSet": (0x00080005, "CS"),
    "ImageType": (0x00080008, "CS"),
    "SOPClassUID": (0x00080016, "UI"),
    "SOPInstanceUID": (0x00080018, "UI"),
    "StudyDate": (0x00080020, "DA"),
    "AcquisitionDate": (0x00080022, "DA"),
    "AcquisitionTime": (0x00080032, "TM"),
    "AccessionNumber": (0x00080050, "SH"),
    "Modality": (0x00080060, "CS"),
    "Manufacturer": (0x00080070, "LO"),
    "SeriesDescription": (0x0008103E, "LO"),
    "PatientID": (0x00100020, "LO"),
    "ContrastBolusAgent": (0x00180010, "LO"),
    "ContrastBolusAgentSequence": (0x00180012, "SQ"),
    "SliceThickness": (0x00180050, "DS"),
    "KVP": (0x00180060, "DS"),
    "ContrastBolusVolume": (0x00181041, "DS"),
    "ContrastBolusStartTime": (0x00181042, "TM"),
    "GantryDetectorTilt": (0x00181120, "DS"),
    "ConvolutionKernel": (0x00181210, "SH"),
    "PatientPosition": (0x00185100, "CS"),
    "StudyInstanceUID": (0x0020000D, "UI"),
    "SeriesInstanceUID": (0x0020000E, "UI"),
    "SeriesNumber": (0x00200011, "IS"),
    "AcquisitionNumber": (0x00200012, "IS"),
    "InstanceNumber": (0x00200013, "IS"),
    "ImagePositionPatient": (0x00200032, "DS"),
    "ImageOrientationPatient": (0x00200037, "DS"),
    "FrameOfReferenceUID": (0x00200052, "UI"),
    "TemporalPositionIdentifier": (0x00200100, "IS"),
    "ImagesInAcquisition": (0x00201002, "IS"),
    "NumberOfSeriesRelatedInstances": (0x00201209, "IS"),
    "NominalPercentageOfCardiacPhase": (0x00209241, "FL"),
    "NominalPercentageOfRespiratoryPhase": (0x00209245, "FL"),
    "SamplesPerPixel": (0x00280002, "US"),
    "PhotometricInterpretation": (0x00280004, "CS"),
    "NumberOfFrames": (0x00280008, "IS"),
    "Rows": (0x00280010, "US"),
    "Columns": (0x00280011, "US"),
    "PixelSpacing": (0x00280030, "DS"),
    "BitsAllocated": (0x00280100, "US"),
    "BitsStored": (0x00280101, "US"),
    "HighBit": (0x00280102, "US"),
    "PixelRepresentation": (0x00280103, "US"),
    "PixelPaddingValue": (0x00280120, "US SS"),
    "RescaleIntercept": (0x00281052, "DS"),
    "RescaleSlope": (0x00281053, "DS"),
    "RescaleType": (0x00281054, "LO"),
    "LossyImageCompression": (0x00282110, "CS"),
}
WANTED = {tag: tuple(vr.encode() for vr in vrs.split()) for tag, vrs in _ELEMENTS.values()}
_ELEMENTS_BY_TAG = dict(_ELEMENTS.values())
_DECIMAL = frozenset({"DS", "IS"})
_TEXT = _DECIMAL | {"AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
_OWN = {"SOPInstanceUID", "InstanceNumber", "AcquisitionTime", "ImagePositionPatient"}
_NOT_SHARED = _OWN | {"MediaStorageSOPInstanceUID"}
_SHARED = tuple(keyword for keyword in _ELEMENTS if keyword not in _NOT_SHARED)
_SHARED_TAGS = tuple(_ELEMENTS[keyword][0] for keyword in _SHARED)
_PADDING = "\0 \r\n\t"
_SERIES_KEPT = 512
_SINGLE = 4  # bytes of one FL

Numbers = tuple[float, ...]


def is_readable(tag: int, representation: str | None) -> bool:
    """Whether the value of a wanted element may be taken as what its tag says, whatever the file calls it.

    Text of one kind may pass for another. A number that the file declares to be something else is contradictory, and
    no geometry may rest on it.
    """
    if representation in {None, "UN"}:  # implicit, or a system that did not know the tag passed it on
        return True
    proper = _ELEMENTS_BY_TAG[tag]
    if proper in _DECIMAL:
        return representation in _DECIMAL
    return representation in (_TEXT if proper in _TEXT else proper.split())


def own_fields(stored: Mapping[int, bytes]) -> tuple[str, int | None, str, Numbers | None]:
    """``DicomRow``'s sop_uid, instance_number, acquisition_time and position, from stored values by tag."""
    uid = _ascii(stored.get(0x00080018, b"")) or _ascii(stored.get(0x00020003, b""))
    time = _ascii(stored.get(0x00080032, b""))
    return uid, _integer(stored.get(0x00200013, b"")), time, _numbers(stored.get(0x00200032, b""), 3)


def shared_fields(stored: Mapping[int, bytes], syntax: str, *, little: bool, has_pixels: bool) -> tuple[Any, ...]:
    """``DicomRow``'s fields from transfer_syntax on, the same object for all images that store the same bytes.

    Args:
        stored: tag -> value, as the file has it.
        syntax: transfer syntax.
        little: whether binary values are little endian.
        has_pixels: whether there is Pixel Data.

    """
    return _shared_fields(tuple(map(stored.get, _SHARED_TAGS)), syntax, little, has_pixels)


@lru_cache(_SERIES_KEPT)
def _shared_fields(stored: tuple[bytes | None, ...], syntax: str, little: bool, has_pixels: bool) -> tuple[Any, ...]:
    value = _Values(dict(zip(_SHARED, stored, strict=True)), "little" if little else "big")
    text, ascii_text, number, integer, unsigned = value.text, value.ascii, value.number, value.integer, value.unsigned
    return (
        syntax,
        has_pixels,
        ascii_text("SOPClassUID") or ascii_text("MediaStorageSOPClassUID"),
        ascii_text("SeriesInstanceUID"),
        ascii_text("StudyInstanceUID"),
        ascii_text("FrameOfReferenceUID"),
        ascii_text("Modality"),
        tuple(v.strip() for v in ascii_text("ImageType").split("\\")),
        text("Manufacturer"),
        text("PatientID"),
        text("AccessionNumber"),
        ascii_text("StudyDate"),
        ascii_text("AcquisitionDate"),
        text("SeriesDescription"),
        integer("SeriesNumber"),
        integer("AcquisitionNumber"),
        integer("TemporalPositionIdentifier"),
        "",  # only frames have a stack
        value.phase(),
        integer("ImagesInAcquisition"),
        integer("NumberOfSeriesRelatedInstances"),
        value.contrast(),
        text("ConvolutionKernel"),
        number("SliceThickness"),
        number("KVP"),
        unsigned("Rows"),
        unsigned("Columns"),
        unsigned("SamplesPerPixel") or 1,
        ascii_text("PhotometricInterpretation"),
        integer("NumberOfFrames") or 1,
        unsigned("BitsAllocated"),
        unsigned("BitsStored"),
        unsigned("HighBit"),
        unsigned("PixelRepresentation") == 1,
        value.numbers("ImageOrientationPatient", 6),
        value.numbers("PixelSpacing", 2),
        number("RescaleSlope"),
        number("RescaleIntercept"),
        ascii_text("RescaleType"),
        ascii_text("LossyImageCompression") == "01",
        value.padding(),
        number("GantryDetectorTilt"),
        ascii_text("PatientPosition"),
    )


class _Values:
    """Typed access to stored values by keyword."""

    def __init__(self, stored: Mapping[str, bytes | None], order: Literal["little", "big"]) -> None:
        self._values = stored
        self._order = order

    def ascii(self, keyword: str) -> str:
        return _ascii(self._stored(keyword))

    def text(self, keyword: str) -> str:
        """Text in the file's character set."""
        stored = self._stored(keyword)
        if stored.isascii() and b"\x1b" not in stored:  # an escape would switch the character set
            return _ascii(stored)
        return _decoded(stored, _ELEMENTS[keyword][1], self.ascii("SpecificCharacterSet"))

    def numbers(self, keyword: str, count: int) -> Numbers | None:
        return _numbers(self._stored(keyword), count)

    def number(self, keyword: str) -> float | None:
        values = self.numbers(keyword, 1)
        return None if values is None else values[0]

    def integer(self, keyword: str) -> int | None:
        return _integer(self._stored(keyword))

    def unsigned(self, keyword: str) -> int:
        """A binary number (US); 0 where absent."""
        return int.from_bytes(self._stored(keyword), self._order)

    def padding(self) -> int | None:
        """Pixel Padding Value (0028,0120), whose sign is that of the pixels whatever its stated representation."""
        stored = self._stored("PixelPaddingValue")
        signed = self.unsigned("PixelRepresentation") == 1
        return int.from_bytes(stored, self._order, signed=signed) if stored else None

    def phase(self) -> float | None:
        """Percentage of the cardiac, else of the respiratory cycle; None where neither is a number."""
        for keyword in ("NominalPercentageOfCardiacPhase", "NominalPercentageOfRespiratoryPhase"):
            stored = self._stored(keyword)
            if len(stored) == _SINGLE:
                (value,) = struct.unpack("<f" if self._order == "little" else ">f", stored)
                if isfinite(value):
                    return float(value)
        return None

    def contrast(self) -> str:
        """The agent's name, or by what else the header says that there was one."""
        volume = self.number("ContrastBolusVolume")
        others = {
            "sequence": self._stored("ContrastBolusAgentSequence") in ITEM_TAGS,
            "volume": volume is not None and volume > 0,
            "start_time": bool(self.ascii("ContrastBolusStartTime")),
        }
        return self.text("ContrastBolusAgent") or next((name for name, there in others.items() if there), "")

    def _stored(self, keyword: str) -> bytes:
        return self._values[keyword] or b""


def _ascii(stored: bytes) -> str:
    return stored.decode("ascii", errors="replace").strip(_PADDING)


def _decoded(stored: bytes, representation: str, character_sets: str) -> str:
    from pydicom.charset import convert_encodings
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import BaseTag
    from pydicom.values import convert_value

    raw = RawDataElement(BaseTag(0), representation, len(stored), stored, 0, False, True)
    return str(convert_value(representation, raw, convert_encodings(character_sets.split("\\")))).strip()


def _numbers(stored: bytes, count: int) -> Numbers | None:
    """``count`` decimal strings (DS); None where there are not as many or one is no number."""
    text = _ascii(stored)
    if "_" in text:  # Python reads 1_0 as 10
        return None
    try:
        values = tuple(map(float, text.split("\\")))
    except ValueError:
        return None
    return values if len(values) == count else None


def _integer(stored: bytes) -> int | None:
    """An integer string (IS)."""
    values = _numbers(stored, 1)
    return int(values[0]) if values and isfinite(values[0]) else None

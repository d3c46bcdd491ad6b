"""Small DICOM SEG files and label maps, written field by field."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SegmentationStorage,
    generate_uid,
)

Frame = tuple[int, NDArray[Any], Sequence[float]]  # number of its segment, pixels (y, x), position in mm
AXIAL = (1, 0, 0, 0, 1, 0)
_ENCODERS = {RLELossless: "pydicom", JPEGLSLossless: "pyjpegls", JPEG2000Lossless: "pylibjpeg"}
SPACE = "space: left-posterior-superior\n"


def item(**elements: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def write_seg(
    path: Path,
    names: Sequence[str],
    frames: Sequence[Frame],
    *,
    kind: str = "BINARY",
    orientation: Sequence[float] = AXIAL,
    spacing: Sequence[float] = (0.8, 0.7),
    series_uid: str = "",
    sop_uids: Sequence[str] = (),
    shared: bool = True,
    syntax: str = ExplicitVRLittleEndian,
    **tags: Any,
) -> Path:
    """Segment k + 1 is named ``names[k]``; ``shared`` puts orientation and spacing into the shared groups."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.stack([plane for _, plane, _ in frames])
    bits = 1 if kind == "BINARY" else 8
    common = {
        "PlaneOrientationSequence": [item(ImageOrientationPatient=list(orientation))],
        "PixelMeasuresSequence": [item(PixelSpacing=list(spacing), SliceThickness=2)],
    }
    dataset = item(
        SOPClassUID=SegmentationStorage,
        SOPInstanceUID=generate_uid(),
        Modality="SEG",
        PatientID="PAT-1",
        FrameOfReferenceUID="1.2.3.5",
        SegmentationType=kind,
        SegmentSequence=[item(SegmentNumber=k, SegmentLabel=name) for k, name in enumerate(names, start=1)],
        NumberOfFrames=len(frames),
        Rows=pixels.shape[1],
        Columns=pixels.shape[2],
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=bits,
        BitsStored=bits,
        HighBit=bits - 1,
        PixelRepresentation=0,
        SharedFunctionalGroupsSequence=[item(**(common if shared else {}))],
        PerFrameFunctionalGroupsSequence=[
            item(**_groups(kind, number, position, {} if shared else common)) for number, _, position in frames
        ],
    )
    if kind == "FRACTIONAL":
        dataset.MaximumFractionalValue = 200
    if series_uid or sop_uids:
        images = [item(ReferencedSOPInstanceUID=uid) for uid in sop_uids]
        dataset.ReferencedSeriesSequence = [item(SeriesInstanceUID=series_uid, ReferencedInstanceSequence=images)]
    dataset.PixelData = packed(pixels) if bits == 1 else padded(pixels.astype(np.uint8).tobytes())
    dataset["PixelData"].VR = "OB"
    for keyword, value in tags.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if syntax != ExplicitVRLittleEndian:
        # gdcm, which would otherwise be asked first, ends the process on odd sizes.
        dataset.compress(syntax, encoding_plugin=_ENCODERS[syntax])
    dataset.save_as(path, enforce_file_format=True)
    return path


def _groups(kind: str, number: int, position: Sequence[float], common: Mapping[str, Any]) -> dict[str, Any]:
    groups = {"PlanePositionSequence": [item(ImagePositionPatient=[float(v) for v in position])], **common}
    if kind != "LABELMAP":
        groups["SegmentIdentificationSequence"] = [item(ReferencedSegmentNumber=number)]
    return groups


def packed(pixels: NDArray[Any]) -> bytes:
    """One bit a pixel, the first in the lowest bit, frames without a gap between them (PS3.5 8.1.1)."""
    return padded(np.packbits(pixels.astype(bool).ravel(), bitorder="little").tobytes())


def padded(value: bytes) -> bytes:
    return value + b"\0" * (len(value) % 2)


def write_nrrd(
    path: Path,
    values: NDArray[np.uint8],
    *,
    place: str = SPACE,
    directions: str = "(0.7,0,0) (0,0.8,0) (0,0,2.5)",
    origin: str = "(-10,-20,30)",
    encoding: str = "raw",
    extra: str = "",
    keys: Mapping[str, str] | None = None,
) -> Path:
    """A NRRD file of values (z, y, x), or (z, y, x, layer), as 3D Slicer writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    layers = values.ndim == 4
    header = f"NRRD0004\n# a remark\ntype: unsigned char\ndimension: {values.ndim}\n{place}"
    header += f"sizes: {' '.join(map(str, values.shape[::-1]))}\n"
    header += f"space directions: {'none ' * layers}{directions}\nkinds: {'list ' * layers}domain domain domain\n"
    header += f"encoding: {encoding}\nspace origin: {origin}\n{extra}"
    header += "".join(f"{key}:={value}\n" for key, value in (keys or {}).items())
    data = values.tobytes()
    if encoding == "gzip":
        squeeze = zlib.compressobj(wbits=31)
        data = squeeze.compress(data) + squeeze.flush()
    path.write_bytes(header.encode() + b"\n" + data)
    return path


def segment_keys(*segments: tuple[str, int, int]) -> dict[str, str]:
    """3D Slicer's keys for segments: name, label, layer."""
    keys = {"Segmentation_ReferenceImageExtentOffset": "0 0 0"}
    for number, (name, label, layer) in enumerate(segments):
        keys |= {
            f"Segment{number}_ID": f"Segment_{number + 1}",
            f"Segment{number}_Name": name,
            f"Segment{number}_LabelValue": str(label),
            f"Segment{number}_Layer": str(layer),
        }
    return keys


def write_mha(
    path: Path,
    values: NDArray[np.uint8],
    *,
    matrix: str = "1 0 0 0 1 0 0 0 1",
    origin: str = "-10 -20 30",
    compressed: bool = False,
    changes: Mapping[str, str | None] | None = None,
) -> Path:
    """A MetaImage of values (z, y, x)."""
    data = zlib.compress(values.tobytes()) if compressed else values.tobytes()
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": str(compressed),
        **({"CompressedDataSize": str(len(data))} if compressed else {}),
        "TransformMatrix": matrix,
        "Offset": origin,
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": "0.7 0.8 2.5",
        "DimSize": " ".join(map(str, values.shape[::-1])),
        "ElementType": "MET_UCHAR",
        **(changes or {}),
    }
    # The last line of a header, whatever comes before.
    fields["ElementDataFile"] = fields.pop("ElementDataFile", "LOCAL")
    lines = [f"{name} = {value}\n" for name, value in fields.items() if value is not None]
    path.write_bytes("".join(lines).encode() + data)
    return path

"""Write a synthetic CT and its ROI as DICOM CT Image Storage and RT Structure Set (PS3.3 A.3 and A.19).

Files are explicit VR little endian. UIDs are derived from the seed and the patient, so that the same seed
gives the same bytes. Elements that do not change between slices are encoded once a series.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedescc.simulations.patients.contours import outlines
from fedescc.simulations.patients.phantom import PhantomCase, Scan
from fedescc.simulations.patients.scanners import Scanner, scanner

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileMetaDataset

_UNSIGNED_INTERCEPT_HU = -1024
_ROI_NAMES = ("GTV", "tumour_bed")
_IMPLEMENTATION_UID = "1.2.826.0.1.3680043.8.498.1"


def write_ct(folder: Path, case: PhantomCase, time_point: int, seed: int) -> None:
    """Write every slice of one CT, ``IM0001.dcm`` and so on in instance order.

    Args:
        folder: study folder; created.
        case: the patient.
        time_point: 0 before, 1 after treatment.
        seed: of the cohort; enters the UIDs.

    """
    folder.mkdir(parents=True, exist_ok=True)
    scan = _scan(case, time_point)
    ids, protocol = _identity(case, time_point, seed), scanner(case.site)
    shared = _encoded(_series(case, scan, ids, protocol, time_point))
    preamble = _preamble(ids)
    count = scan.hu.shape[0]
    for k in range(count):
        instance = count - k if protocol.descending else k + 1
        parts = {**shared, **_encoded(_slice(scan, ids, protocol, k, instance))}
        meta = preamble.replace(_placeholder(ids).encode(), ids.image(k).encode())
        body = b"".join(parts[tag] for tag in sorted(parts))
        (folder / f"IM{instance:04d}.dcm").write_bytes(meta + body)


def write_rtstruct(folder: Path, case: PhantomCase, time_point: int, seed: int) -> None:
    """Write the ROI of one CT as ``RS.dcm``: outlines along pixel edges, which give back the exact mask."""
    import pydicom
    from pydicom.filewriter import dcmwrite

    scan, ids = _scan(case, time_point), _identity(case, time_point, seed)
    name = _ROI_NAMES[time_point]
    data = _patient(case, scan, ids)
    data.SOPClassUID, data.SOPInstanceUID = pydicom.uid.RTStructureSetStorage, ids.uid("rtstruct")
    data.SeriesInstanceUID, data.Modality, data.SeriesNumber = ids.uid("rtseries"), "RTSTRUCT", "9"
    data.SeriesDescription, data.StructureSetLabel = "ROI", name
    data.StructureSetDate, data.StructureSetTime = data.StudyDate, "120000"
    data.ReferencedFrameOfReferenceSequence = [_referenced_frame(ids, scan)]
    data.StructureSetROISequence = [
        _item(ROINumber=1, ReferencedFrameOfReferenceUID=ids.uid("frame"), ROIName=name,
              ROIGenerationAlgorithm="MANUAL")
    ]  # fmt: skip
    data.ROIContourSequence = [
        _item(ROIDisplayColor=[255, 0, 0], ContourSequence=_contours(scan, ids), ReferencedROINumber=1)
    ]
    data.RTROIObservationsSequence = [
        _item(ObservationNumber=1, ReferencedROINumber=1, RTROIInterpretedType="GTV", ROIInterpreter="")
    ]
    data.file_meta = _file_meta(data.SOPClassUID, data.SOPInstanceUID)
    dcmwrite(folder / "RS.dcm", data, enforce_file_format=True)


@dataclass(frozen=True)
class _Identity:
    """UIDs of one study, from (seed, patient, time point)."""

    seed: int
    patient: str
    time_point: int

    def uid(self, what: str) -> str:
        from pydicom.uid import generate_uid

        source = [f"fedescc-phantom/{self.seed}/{self.patient}/{self.time_point}/{what}"]
        return str(generate_uid(entropy_srcs=source))

    @cached_property
    def _images(self) -> str:
        return self.uid("series")[:56]

    def image(self, k: int) -> str:
        """SOP Instance UID of slice ``k``; all have the same length, so the encoded header can be patched."""
        return f"{self._images}.{1001 + k}"


def _scan(case: PhantomCase, time_point: int) -> Scan:
    return (case.pre, case.post)[time_point]


def _identity(case: PhantomCase, time_point: int, seed: int) -> _Identity:
    return _Identity(seed, case.patient_id, time_point)


def _item(**elements: object) -> "Dataset":
    from pydicom.dataset import Dataset

    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _patient(case: PhantomCase, scan: Scan, ids: _Identity) -> "Dataset":
    return _item(
        PatientName=f"{case.patient_id}^Synthetic",
        PatientID=case.patient_id,
        PatientBirthDate="",
        PatientSex="M" if case.clinical["sex"] == "male" else "F",
        PatientIdentityRemoved="YES",
        StudyInstanceUID=ids.uid("study"),
        StudyDate=f"{scan.study_date:%Y%m%d}",
        StudyTime="101500",
        AccessionNumber=f"{case.patient_id[4:]}-{ids.time_point + 1}",
        StudyID=str(ids.time_point + 1),
        StudyDescription="CT chest",
        ReferringPhysicianName="",
    )


def _series(case: PhantomCase, scan: Scan, ids: _Identity, protocol: Scanner, time_point: int) -> "Dataset":
    import pydicom

    data = _patient(case, scan, ids)
    data.update(
        _item(
            SOPClassUID=pydicom.uid.CTImageStorage,
            ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
            Modality="CT",
            Manufacturer=protocol.manufacturer,
            ManufacturerModelName=protocol.model,
            SeriesDescription=("CHEST CE BASELINE", "CHEST CE PREOP")[time_point],
            BodyPartExamined="CHEST",
            PatientPosition="HFS",
            SeriesInstanceUID=ids.uid("series"),
            SeriesNumber="2",
            SeriesDate=f"{scan.study_date:%Y%m%d}",
            AcquisitionDate=f"{scan.study_date:%Y%m%d}",
            FrameOfReferenceUID=ids.uid("frame"),
            PositionReferenceIndicator="",
            ContrastBolusAgent="IOHEXOL 350",
            KVP="120",
            ConvolutionKernel=protocol.kernel,
            GantryDetectorTilt="0",
            SliceThickness=_decimal(scan.grid.spacing_zyx_mm[0]),
            PixelSpacing=[_decimal(v) for v in scan.grid.spacing_zyx_mm[1:]],
            ImageOrientationPatient=[_decimal(v) for v in (1, 0, 0, 0, 1, 0)],
        )
    )
    data.update(_pixel_format(scan, protocol))
    return data


def _pixel_format(scan: Scan, protocol: Scanner) -> "Dataset":
    return _item(
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        Rows=scan.hu.shape[1],
        Columns=scan.hu.shape[2],
        BitsAllocated=16,
        BitsStored=16,
        HighBit=15,
        PixelRepresentation=int(protocol.signed),
        WindowCenter="40",
        WindowWidth="400",
        RescaleIntercept=str(_intercept(protocol)),
        RescaleSlope="1",
        RescaleType="HU",
    )


def _slice(scan: Scan, ids: _Identity, protocol: Scanner, k: int, instance: int) -> "Dataset":
    stored = scan.hu[k].astype(np.int32) - _intercept(protocol)
    position = [_decimal(v) for v in _position(scan, k)]
    data = _item()
    _add_text(data, "SOPInstanceUID", "UI", ids.image(k))
    _add_text(data, "InstanceNumber", "IS", str(instance))
    _add_text(data, "ImagePositionPatient", "DS", "\\".join(position))
    _add_text(data, "SliceLocation", "DS", position[2])
    data.add_new("PixelData", "OW", stored.astype("<i2" if protocol.signed else "<u2").tobytes())
    return data


def _add_text(data: "Dataset", keyword: str, representation: str, text: str) -> None:
    """Add an element as it will be encoded: pydicom's parsing of long number lists costs more than the image."""
    from pydicom.dataelem import DataElement

    data.add(DataElement(keyword, representation, text, already_converted=True))


def _intercept(protocol: Scanner) -> int:
    return 0 if protocol.signed else _UNSIGNED_INTERCEPT_HU


def _position(scan: Scan, k: int) -> tuple[float, float, float]:
    x, y, z = scan.grid.origin_xyz_mm
    return x, y, z + k * scan.grid.spacing_zyx_mm[0]


def _decimal(value: float) -> str:
    """A DICOM decimal string; three decimals are exact for every grid and outline of this phantom."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _encoded(data: "Dataset") -> dict[int, bytes]:
    """Every element in explicit VR little endian, by tag."""
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_data_element

    encoded = {}
    for element in data:
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        write_data_element(buffer, element)
        encoded[int(element.tag)] = buffer.getvalue()
    return encoded


def _placeholder(ids: _Identity) -> str:
    return ids.image(8998)


def _preamble(ids: _Identity) -> bytes:
    """128 zero bytes, ``DICM`` and the file meta group of a slice, with a placeholder instance UID."""
    import pydicom
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_file_meta_info

    buffer = DicomBytesIO()
    buffer.write(bytes(128) + b"DICM")
    write_file_meta_info(buffer, _file_meta(pydicom.uid.CTImageStorage, _placeholder(ids)))
    return buffer.getvalue()


def _file_meta(sop_class: str, instance: str) -> "FileMetaDataset":
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(instance)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(_IMPLEMENTATION_UID)
    return meta


def _referenced_frame(ids: _Identity, scan: Scan) -> "Dataset":
    import pydicom

    images = [_reference(ids, k) for k in range(scan.hu.shape[0])]
    series = _item(SeriesInstanceUID=ids.uid("series"), ContourImageSequence=images)
    study = _item(
        ReferencedSOPClassUID=pydicom.uid.UID("1.2.840.10008.3.1.2.3.1"),
        ReferencedSOPInstanceUID=ids.uid("study"),
        RTReferencedSeriesSequence=[series],
    )
    return _item(FrameOfReferenceUID=ids.uid("frame"), RTReferencedStudySequence=[study])


def _reference(ids: _Identity, k: int) -> "Dataset":
    from pydicom.uid import CTImageStorage

    item = _item()
    _add_text(item, "ReferencedSOPClassUID", "UI", CTImageStorage)
    _add_text(item, "ReferencedSOPInstanceUID", "UI", ids.image(k))
    return item


def _contours(scan: Scan, ids: _Identity) -> list["Dataset"]:
    return [
        _contour(scan, ids, int(k), polygon)
        for k in np.flatnonzero(scan.roi.any(axis=(1, 2)))
        for polygon in outlines(scan.roi[k])
    ]


def _contour(scan: Scan, ids: _Identity, k: int, polygon: NDArray[np.float64]) -> "Dataset":
    x, y, z = _position(scan, k)
    _, row_mm, column_mm = scan.grid.spacing_zyx_mm
    points = [(x + column * column_mm, y + row * row_mm, z) for row, column in polygon.tolist()]
    item = _item(
        ContourImageSequence=[_reference(ids, k)],
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=len(points),
    )
    _add_text(item, "ContourData", "DS", "\\".join(_decimal(v) for point in points for v in point))
    return item

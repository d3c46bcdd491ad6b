"""Small synthetic CT files for the intake's tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

AXIAL = (1, 0, 0, 0, 1, 0)


@pytest.fixture
def ct_slice() -> Callable[..., Dataset]:
    """Factory of one CT image: stored values (y, x) and any DICOM keyword to override."""
    return make_slice


@pytest.fixture
def ct_series() -> Callable[..., list[Path]]:
    """Factory of a folder with one CT series: stored values (z, y, x), spacing and per-slice overrides."""
    return write_series


@pytest.fixture
def rtstruct() -> Callable[..., Path]:
    """Factory of an RTSTRUCT: ROI name -> contours (n, 3) in mm, or (contour, DICOM keywords to override)."""
    return write_rtstruct


def make_slice(stored: np.ndarray, *, syntax: str = ExplicitVRLittleEndian, **tags: Any) -> Dataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = syntax
    dataset = Dataset()
    dataset.file_meta = meta
    defaults = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "FrameOfReferenceUID": "1.2.3.5",
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "Manufacturer": "SIEMENS at Mercy Hospital",
        "PatientID": "PAT-1",
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
        "ImagePositionPatient": [0.0, 0.0, 0.0],
        "ImageOrientationPatient": list(AXIAL),
        "PixelSpacing": [0.8, 0.7],
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
    }
    for keyword, value in (defaults | tags).items():
        if value is not None:
            setattr(dataset, keyword, value)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def write_series(
    folder: Path,
    stored: np.ndarray,
    *,
    gap: float = 2.0,
    origin: tuple[float, float, float] = (-10.0, -20.0, 30.0),
    orientation: tuple[float, ...] = AXIAL,
    names: list[str] | None = None,
    syntax: str = ExplicitVRLittleEndian,
    per_slice: Callable[[int], dict[str, Any]] = lambda _: {},
    **tags: Any,
) -> list[Path]:
    """Files of one series, slice k at origin + k * gap * normal; returns their paths in that order."""
    folder.mkdir(parents=True, exist_ok=True)
    normal = np.cross(orientation[:3], orientation[3:])
    paths = []
    for k, plane in enumerate(stored):
        place = {
            "ImagePositionPatient": [float(v) for v in np.asarray(origin) + k * gap * normal],
            "ImageOrientationPatient": list(orientation),
        }
        path = folder / (names[k] if names else f"{k:04}")
        make_slice(plane, syntax=syntax, **(place | tags | per_slice(k))).save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def write_rtstruct(
    path: Path,
    rois: dict[str, list[Any]],
    *,
    frame: str = "1.2.3.5",
    series_uid: str = "",
    sop_uid: str = "",
) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = RTStructureSetStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.9"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.Modality = "RTSTRUCT"
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(rois.items(), start=1):
        item, drawn = Dataset(), Dataset()
        item.ROINumber, item.ROIName, item.ReferencedFrameOfReferenceUID = number, name, frame
        drawn.ReferencedROINumber = number
        drawn.ContourSequence = [_contour(c, sop_uid) for c in contours]
        dataset.StructureSetROISequence.append(item)
        dataset.ROIContourSequence.append(drawn)
    if series_uid:
        series, study, reference = Dataset(), Dataset(), Dataset()
        series.SeriesInstanceUID = series_uid
        study.RTReferencedSeriesSequence = [series]
        reference.FrameOfReferenceUID, reference.RTReferencedStudySequence = frame, [study]
        dataset.ReferencedFrameOfReferenceSequence = [reference]
    dataset.save_as(path, enforce_file_format=True)
    return path


def _contour(contour: Any, sop_uid: str) -> Dataset:
    points, tags = contour if isinstance(contour, tuple) else (contour, {})
    item = Dataset()
    item.ContourGeometricType = "CLOSED_PLANAR"
    item.NumberOfContourPoints = len(points)
    item.ContourData = [round(float(v), 5) for v in np.ravel(points)]
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    if sop_uid:
        image = Dataset()
        image.ReferencedSOPInstanceUID = sop_uid
        item.ContourImageSequence = [image]
    return item

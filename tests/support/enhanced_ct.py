"""Small synthetic enhanced multi-frame CT objects."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian

Groups = dict[str, dict[str, Any] | None]

SHARED: Groups = {
    "PlaneOrientationSequence": {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
    "PixelMeasuresSequence": {"PixelSpacing": [0.8, 0.7], "SliceThickness": 2.5},
    "PixelValueTransformationSequence": {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"},
    "CTImageFrameTypeSequence": {
        "FrameType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
    },
    "CTReconstructionSequence": {"ConvolutionKernel": "B30f"},
    "CTXRayDetailsSequence": {"KVP": 120.0},
}


def write_enhanced_ct(
    path: Path,
    stored: np.ndarray,
    *,
    gap: float = 2.0,
    per_frame: Callable[[int], Groups] = lambda _: {},
    shared: Groups | None = None,
    syntax: str = ExplicitVRLittleEndian,
    frames: list[bytes] | None = None,
    **tags: Any,
) -> Path:
    """Write stored values (frame, y, x); frame k lies k * gap above the first.

    Groups are sequence keyword -> {keyword: value}, merged over the defaults; None leaves a group out. ``frames`` are
    the encoded frames of an encapsulated syntax.
    """
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    defaults = {
        "SOPClassUID": EnhancedCTImageStorage,
        "SOPInstanceUID": "1.2.3.9",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "FrameOfReferenceUID": "1.2.3.5",
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        "PatientID": "PAT-1",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
        "NumberOfFrames": len(stored),
        "Rows": stored.shape[1],
        "Columns": stored.shape[2],
        "SharedFunctionalGroupsSequence": [_item(SHARED | (shared or {}))],
        "PerFrameFunctionalGroupsSequence": [
            _item({"PlanePositionSequence": {"ImagePositionPatient": [-10, -20, 30 + k * gap]}} | per_frame(k))
            for k in range(len(stored))
        ],
    }
    for keyword, value in (defaults | tags).items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    native = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    dataset.PixelData = encapsulate(frames) if frames else native
    dataset["PixelData"].VR = "OB" if frames else "OW"
    dataset.save_as(path, enforce_file_format=True)
    return path


def _item(groups: Groups) -> Dataset:
    item = Dataset()
    for sequence, values in groups.items():
        if values is not None:
            group = Dataset()
            for keyword, value in values.items():
                setattr(group, keyword, value)
            setattr(item, sequence, [group])
    return item

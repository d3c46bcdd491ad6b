"""The ROI of a CT from label maps and structure sets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from fedescc.client.intake.index import index_folder
from fedescc.client.intake.rois import MaskFolder, read_mask_folder
from fedescc.client.intake.series import Series, group_series
from fedescc.common.errors import Refusal

PATTERN = "(?i)^(gtv|tumou?r|lesion).*$"
BOX = np.zeros((6, 10, 12), np.uint8)
BOX[2:5, 3:7, 4:9] = 1


@pytest.fixture
def series(tmp_path: Path, ct_series: Callable[..., list[Path]]) -> Series:
    folder = tmp_path / "dicom" / "P"
    ct_series(folder, np.zeros(BOX.shape, np.uint16), PixelSpacing=[1.0, 1.0], SOPInstanceUID=None)
    (one,) = group_series(index_folder(folder).rows)
    return one


def label_map(path: Path, values: np.ndarray = BOX, origin: tuple[float, float, float] = (-10, -20, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((1.0, 1.0, 2.0))
    image.SetOrigin(origin)
    sitk.WriteImage(image, str(path))


def structure_set(
    path: Path,
    names: tuple[str, ...],
    series_uid: str = "1.2.3.4",
    frame: str = "1.2.3.5",
    patient: str = "PAT-1",
) -> None:
    """An RTSTRUCT whose ROIs are all the box, drawn along the borders of its voxels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = item(
        SOPClassUID=RTStructureSetStorage,
        SOPInstanceUID=meta.MediaStorageSOPInstanceUID,
        Modality="RTSTRUCT",
        PatientID=patient,
        StructureSetROISequence=[
            item(ROINumber=k, ROIName=name, ReferencedFrameOfReferenceUID=frame) for k, name in enumerate(names)
        ],
        ROIContourSequence=[item(ReferencedROINumber=k, ContourSequence=contours()) for k, _ in enumerate(names)],
    )
    if series_uid:
        reference = item(RTReferencedSeriesSequence=[item(SeriesInstanceUID=series_uid)])
        data.ReferencedFrameOfReferenceSequence = [
            item(FrameOfReferenceUID=frame, RTReferencedStudySequence=[reference])
        ]
    data.file_meta = meta
    data.save_as(path, enforce_file_format=True)


def item(**elements: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def contours() -> list[Dataset]:
    x0, x1, y0, y1 = 3.5 - 10, 8.5 - 10, 2.5 - 20, 6.5 - 20
    made = []
    for k in (2, 3, 4):
        z = 30.0 + 2 * k
        points = [x0, y0, z, x1, y0, z, x1, y1, z, x0, y1, z]
        made.append(item(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=4, ContourData=points))
    return made


def masks(folder: Path) -> MaskFolder:
    return read_mask_folder(index_folder(folder).masks, PATTERN)


def code(folder: Path, series: Series, time_point: Any = "pre") -> str:
    with pytest.raises(Refusal) as caught:
        masks(folder).read("P", time_point, series)
    return caught.value.code


def test_a_label_map_named_like_the_time_point(tmp_path: Path, series: Series) -> None:
    label_map(tmp_path / "masks" / "P" / "pre.nii.gz")
    label_map(tmp_path / "masks" / "Q" / "pre.nii.gz", 1 - BOX)
    found = masks(tmp_path / "masks")
    np.testing.assert_array_equal(found.read("P", "pre", series), BOX == 1)
    assert found.drawn("P", "pre", series)
    assert not found.drawn("P", "post", series)
    assert code(tmp_path / "masks", series, "post") == "no_mask"


def test_a_label_map_of_any_name_is_placed_by_its_grid(tmp_path: Path, series: Series) -> None:
    label_map(tmp_path / "masks" / "P" / "first.nii.gz")
    label_map(tmp_path / "masks" / "P" / "second.nii.gz", 1 - BOX, origin=(0, 0, 0))
    np.testing.assert_array_equal(masks(tmp_path / "masks").read("P", "pre", series), BOX == 1)
    label_map(tmp_path / "masks" / "P" / "third.nii.gz", 1 - BOX)
    assert code(tmp_path / "masks", series) == "roi_ambiguous"


def test_a_label_map_of_another_grid_or_empty_is_refused(tmp_path: Path, series: Series) -> None:
    label_map(tmp_path / "masks" / "P" / "pre.nii.gz", origin=(0, 0, 0))
    assert code(tmp_path / "masks", series) == "other_geometry"
    label_map(tmp_path / "masks" / "P" / "pre.nii.gz", np.zeros_like(BOX))
    assert code(tmp_path / "masks", series) == "empty_roi"


@pytest.mark.parametrize("name", ["GTV", "gtvp", "Tumour", "tumor_bed", " Lesion 1 "])
def test_the_roi_of_a_structure_set_by_its_name(tmp_path: Path, series: Series, name: str) -> None:
    structure_set(tmp_path / "rt" / "RS.dcm", ("Heart", name, "Not a GTV"))
    found = masks(tmp_path / "rt")
    np.testing.assert_array_equal(found.read("P", "pre", series), BOX == 1)
    assert found.drawn("P", "pre", series)
    assert [roi.name.strip() for roi in found.drawings[0].structure.rois] == [name.strip()]


def test_an_roi_whose_contours_cannot_be_used_says_why(tmp_path: Path, series: Series) -> None:
    path = tmp_path / "rt" / "RS.dcm"
    structure_set(path, ("GTV", "Heart"))
    data = dcmread(path)
    data.ROIContourSequence[0].ContourSequence[1].NumberOfContourPoints = 5
    data.save_as(path)
    assert code(tmp_path / "rt", series) == "malformed_contour"
    assert masks(tmp_path / "rt").drawn("P", "pre", series)


def test_a_structure_set_belongs_to_the_series_it_refers_to(tmp_path: Path, series: Series) -> None:
    structure_set(tmp_path / "rt" / "RS1.dcm", ("GTV",), series_uid="9.9", frame="9.9")
    assert not masks(tmp_path / "rt").drawn("P", "pre", series)
    assert code(tmp_path / "rt", series) == "no_mask"


def test_a_structure_set_of_another_patient_with_the_same_uids_is_not_taken(tmp_path: Path, series: Series) -> None:
    structure_set(tmp_path / "rt" / "RS1.dcm", ("GTV",), patient="PAT-2")
    assert not masks(tmp_path / "rt").drawn("P", "pre", series)
    assert code(tmp_path / "rt", series) == "no_mask"


def test_the_frame_of_reference_serves_where_no_series_is_named(tmp_path: Path, series: Series) -> None:
    structure_set(tmp_path / "rt" / "RS.dcm", ("GTV",), series_uid="")
    found = masks(tmp_path / "rt")
    np.testing.assert_array_equal(found.read("P", "pre", series), BOX == 1)
    assert not found.drawn("P", "pre", series)
    # A structure set that names the series wins over it.
    structure_set(tmp_path / "rt" / "RS2.dcm", ("GTV",))
    np.testing.assert_array_equal(masks(tmp_path / "rt").read("P", "pre", series), BOX == 1)


def test_two_rois_of_the_pattern_are_ambiguous(tmp_path: Path, series: Series) -> None:
    structure_set(tmp_path / "rt" / "RS.dcm", ("GTVp", "GTVn"))
    assert code(tmp_path / "rt", series) == "roi_ambiguous"
    structure_set(tmp_path / "rt" / "RS.dcm", ("GTVp",))
    structure_set(tmp_path / "rt" / "RS2.dcm", ("GTVp",))
    assert code(tmp_path / "rt", series) == "roi_ambiguous"


def test_files_of_no_use_are_counted(tmp_path: Path, series: Series) -> None:
    structure_set(tmp_path / "rt" / "RS.dcm", ("Heart", "Lung"))
    found = masks(tmp_path / "rt")
    assert (found.nameless, found.unusable, found.drawings) == (1, 0, ())
    assert code(tmp_path / "rt", series) == "no_mask"

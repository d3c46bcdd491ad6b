"""The ROI of a CT from label maps and structure sets."""

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid
from segmentations import segment_keys, write_nrrd, write_seg

from fedescc.client.imaging.headers.index import index_folder
from fedescc.client.imaging.volumes.series import Series, group_series
from fedescc.client.intake.rois.mask_folder import MaskFolder, read_mask_folder
from fedescc.client.intake.rois.roi_files import Wanted
from fedescc.common.errors import Refusal
from fedescc.common.imaging import Roi as StudyRoi
from fedescc.common.study import read_study

ROI = StudyRoi(name_pattern="(?i)^(?!tumou?r[ _-]?bed)(gtv|tumou?r|lesion).*$")
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


def masks(folder: Path, roi: StudyRoi = ROI) -> MaskFolder:
    """The masks below a folder; the CT lies beside it."""
    return read_mask_folder(index_folder(folder).masks, roi, index_folder(folder.parent).rows)


def code(folder: Path, series: Series, time_point: Any = "pre") -> str:
    with pytest.raises(Refusal) as caught:
        masks(folder).read("P", time_point, series)
    return caught.value.code


def test_a_label_map_named_like_the_time_point(tmp_path: Path, series: Series) -> None:
    label_map(tmp_path / "masks" / "P" / "pre.nii.gz")
    label_map(tmp_path / "masks" / "Q" / "pre.nii.gz", 1 - BOX)
    found = masks(tmp_path / "masks")
    np.testing.assert_array_equal(found.read("P", "pre", series).voxels, BOX == 1)
    assert found.drawn("P", "pre", series)
    assert not found.drawn("P", "post", series)
    assert code(tmp_path / "masks", series, "post") == "no_mask"


def test_a_label_map_named_like_the_roi_is_placed_by_its_grid(tmp_path: Path, series: Series) -> None:
    label_map(tmp_path / "masks" / "P" / "GTV 1.2.nii.gz")
    label_map(tmp_path / "masks" / "P" / "GTV second.nii.gz", 1 - BOX, origin=(0, 0, 0))
    np.testing.assert_array_equal(masks(tmp_path / "masks").read("P", "pre", series).voxels, BOX == 1)
    label_map(tmp_path / "masks" / "P" / "Lesion.nii.gz", 1 - BOX)
    assert code(tmp_path / "masks", series) == "roi_ambiguous"


@pytest.mark.parametrize("name", ["heart.nii.gz", "CHEST_2.nii", "a GTV.nii.gz", "post.nii.gz", "tumour_bed.nii.gz"])
def test_a_label_map_of_another_name_is_no_mask(tmp_path: Path, series: Series, name: str) -> None:
    label_map(tmp_path / "masks" / "P" / name, 1 - BOX)
    assert not masks(tmp_path / "masks").drawn("P", "pre", series)
    assert code(tmp_path / "masks", series) == "no_mask"
    structure_set(tmp_path / "masks" / "P" / "RS.dcm", ("GTV",))
    np.testing.assert_array_equal(masks(tmp_path / "masks").read("P", "pre", series).voxels, BOX == 1)


def test_a_label_map_and_a_structure_set_on_one_ct_are_ambiguous(tmp_path: Path, series: Series) -> None:
    label_map(tmp_path / "masks" / "P" / "pre.nii.gz")
    structure_set(tmp_path / "masks" / "P" / "RS.dcm", ("GTV",))
    assert code(tmp_path / "masks", series) == "roi_ambiguous"


def test_a_label_map_on_another_grid_leaves_the_structure_set(tmp_path: Path, series: Series) -> None:
    label_map(tmp_path / "masks" / "P" / "pre.nii.gz", origin=(0, 0, 0))
    structure_set(tmp_path / "masks" / "P" / "RS.dcm", ("GTV",))
    np.testing.assert_array_equal(masks(tmp_path / "masks").read("P", "pre", series).voxels, BOX == 1)


def test_a_damaged_label_map_is_not_passed_over(tmp_path: Path, series: Series) -> None:
    path = tmp_path / "masks" / "P" / "pre.nii.gz"
    label_map(path)
    path.write_bytes(path.read_bytes()[:-9])
    assert code(tmp_path / "masks", series) == "mask_truncated"
    structure_set(tmp_path / "masks" / "P" / "RS.dcm", ("GTV",))
    assert code(tmp_path / "masks", series) == "roi_ambiguous"


def test_only_the_topmost_folder_names_the_patient_of_a_label_map(tmp_path: Path, series: Series) -> None:
    label_map(tmp_path / "masks" / "12" / "P" / "pre.nii.gz")
    assert code(tmp_path / "masks", series) == "no_mask"
    label_map(tmp_path / "masks" / "P" / "2024" / "pre.nii.gz")
    np.testing.assert_array_equal(masks(tmp_path / "masks").read("P", "pre", series).voxels, BOX == 1)


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "mha"])
def test_label_maps_of_every_format(tmp_path: Path, series: Series, suffix: str) -> None:
    label_map(tmp_path / "masks" / "P" / f"pre.{suffix}")
    found = masks(tmp_path / "masks")
    assert (len(found.maps), found.unusable) == (1, 0)
    assert found.drawn("P", "pre", series)
    np.testing.assert_array_equal(found.read("P", "pre", series).voxels, BOX == 1)


@pytest.mark.parametrize("suffix", ["nhdr", "mhd"])
def test_a_detached_header_says_so_when_its_roi_is_asked_for(tmp_path: Path, series: Series, suffix: str) -> None:
    label_map(tmp_path / "masks" / "P" / f"pre.{suffix}")
    assert not masks(tmp_path / "masks").drawn("P", "pre", series)
    assert code(tmp_path / "masks", series) == "mask_detached"
    assert code(tmp_path / "masks", series, "post") == "no_mask"


@pytest.mark.parametrize("name", ["tumour_bed", "Tumor Bed 1", "TUMOURBED", "tumor-bed"])
def test_after_treatment_the_roi_is_the_tumour_bed_alone(tmp_path: Path, series: Series, name: str) -> None:
    structure_set(tmp_path / "rt" / "RS.dcm", (name, "GTV residual"))
    found = masks(tmp_path / "rt")
    assert [roi.name for roi in found._drawings(Wanted("post", False), series)[0].found.rois] == [name]
    assert [roi.name for roi in found._drawings(Wanted("pre", False), series)[0].found.rois] == ["GTV residual"]
    np.testing.assert_array_equal(found.read("P", "post", series).voxels, BOX == 1)


def test_a_residual_tumour_is_no_roi_after_treatment(tmp_path: Path, series: Series) -> None:
    """Complete responders would have none, and the outcome would decide who takes part."""
    structure_set(tmp_path / "rt" / "RS.dcm", ("GTV residual",))
    assert code(tmp_path / "rt", series, "post") == "baseline_roi_on_second_ct"
    assert not masks(tmp_path / "rt").drawn("P", "post", series)


def test_a_label_map_of_another_grid_or_empty_is_refused(tmp_path: Path, series: Series) -> None:
    label_map(tmp_path / "masks" / "P" / "pre.nii.gz", origin=(0, 0, 0))
    assert code(tmp_path / "masks", series) == "other_geometry"
    label_map(tmp_path / "masks" / "P" / "pre.nii.gz", np.zeros_like(BOX))
    assert code(tmp_path / "masks", series) == "empty_roi"


@pytest.mark.parametrize("name", ["GTV", "gtvp", "Tumour", "tumor_1", " Lesion 1 "])
def test_the_roi_of_a_structure_set_by_its_name(tmp_path: Path, series: Series, name: str) -> None:
    structure_set(tmp_path / "rt" / "RS.dcm", ("Heart", name, "Not a GTV"))
    found = masks(tmp_path / "rt")
    np.testing.assert_array_equal(found.read("P", "pre", series).voxels, BOX == 1)
    assert found.drawn("P", "pre", series)
    assert [roi.name.strip() for roi in found.drawings[0].found.rois] == [name.strip()]


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
    np.testing.assert_array_equal(found.read("P", "pre", series).voxels, BOX == 1)
    assert not found.drawn("P", "pre", series)
    # One that names this series wins over it.
    structure_set(tmp_path / "rt" / "RS2.dcm", ("GTV",))
    np.testing.assert_array_equal(masks(tmp_path / "rt").read("P", "pre", series).voxels, BOX == 1)
    assert masks(tmp_path / "rt").absent_drawings == 0


def test_what_was_drawn_on_images_that_the_export_lacks_is_counted(tmp_path: Path, series: Series) -> None:
    """It may have been another phase or the CT of a PET/CT: one frame of reference, other anatomy."""
    structure_set(tmp_path / "rt" / "RS.dcm", ("GTV",), series_uid="9.9")
    seg(tmp_path / "rt" / "seg.dcm", ("tumour bed",), series_uid="9.8")
    found = masks(tmp_path / "rt")
    assert (found.absent_drawings, found.unclaimed_drawings) == (2, 0)
    assert code(tmp_path / "rt", series, "pre") == code(tmp_path / "rt", series, "post") == "no_mask"


def test_a_drawing_of_another_patient_s_images_names_none_of_its_own(
    tmp_path: Path, series: Series, ct_series: Callable[..., list[Path]]
) -> None:
    ct_series(tmp_path / "dicom" / "Q", np.zeros(BOX.shape, np.uint16), SeriesInstanceUID="9.9", PatientID="PAT-2")
    structure_set(tmp_path / "rt" / "RS.dcm", ("GTV",), series_uid="9.9")
    assert code(tmp_path / "rt", series) == "no_mask"
    assert masks(tmp_path / "rt").absent_drawings == 1


def test_masks_of_nobody_are_counted(tmp_path: Path, series: Series) -> None:
    """A reader's correction that would go unseen: wrong identifier, folder, letter case or name."""
    structure_set(tmp_path / "masks" / "RS.dcm", ("tumour bed",), patient="TPS-77")
    for name in ("P/pst.nii.gz", "p/post.nii.gz", "stranger/pre.nii.gz", "post.nii.gz", "P/pre.nii.gz"):
        label_map(tmp_path / "masks" / name)
    found = masks(tmp_path / "masks")
    assert (found.unclaimed_drawings, found.absent_drawings) == (1, 0)
    assert (found.unknown_maps, found.unclaimed_maps({"P", "Q"}), found.unclaimed_maps(())) == (1, 3, 4)
    assert code(tmp_path / "masks", series, "post") == "no_mask"


def test_a_baseline_roi_on_the_second_ct_is_refused_where_no_bed_is_drawn(tmp_path: Path, series: Series) -> None:
    """Residual tumour, or a bed under the wrong name: either way not to be passed over in silence."""
    structure_set(tmp_path / "rt" / "RS.dcm", ("GTV", "Heart"))
    assert code(tmp_path / "rt", series, "post") == "baseline_roi_on_second_ct"
    data = dcmread(tmp_path / "rt" / "RS.dcm")
    data.ROIContourSequence[0].ContourSequence[1].NumberOfContourPoints = 5
    data.save_as(tmp_path / "rt" / "RS.dcm")
    assert code(tmp_path / "rt", series, "post") == "baseline_roi_on_second_ct"
    structure_set(tmp_path / "rt" / "bed.dcm", ("tumour_bed",))
    np.testing.assert_array_equal(masks(tmp_path / "rt").read("P", "post", series).voxels, BOX == 1)


@pytest.mark.parametrize(
    ("names", "changes"),
    [
        (("GTV_reader2",), {}),
        (("Heart",), {}),
        (("GTV",), {"series_uid": ""}),
        (("GTV",), {"series_uid": "9.9"}),
        (("GTV",), {"patient": "PAT-2"}),
        (("GTV",), {"frame": "9.9"}),
    ],
)
def test_what_is_no_baseline_roi_on_the_second_ct(
    tmp_path: Path, series: Series, names: tuple[str, ...], changes: dict[str, str]
) -> None:
    structure_set(tmp_path / "rt" / "RS.dcm", names, **changes)
    assert code(tmp_path / "rt", series, "post") == "no_mask"


def test_the_same_files_in_two_folders_count_once(tmp_path: Path, series: Series) -> None:
    """The folder of masks is the CT export's, lies in it, or holds it; by another name, too."""
    structure_set(tmp_path / "dicom" / "P" / "RS.dcm", ("GTV",))
    label_map(tmp_path / "dicom" / "masks" / "P" / "post.nii.gz")
    (tmp_path / "again").symlink_to(tmp_path / "dicom" / "masks")
    rows = index_folder(tmp_path / "dicom").rows
    for folders in (["dicom", "dicom/masks"], ["dicom/masks", "dicom"], ["dicom", "again"], [".", "dicom/masks"]):
        files = [file for folder in folders for file in index_folder(tmp_path / folder).masks]
        found = read_mask_folder(files, ROI, rows)
        assert len(found.files) == 2
        np.testing.assert_array_equal(found.read("P", "pre", series).voxels, BOX == 1)
        np.testing.assert_array_equal(found.read("P", "post", series).voxels, BOX == 1)


def test_a_structure_set_that_was_sent_twice_counts_once(tmp_path: Path, series: Series) -> None:
    path, again = tmp_path / "rt" / "RS.dcm", tmp_path / "rt" / "RS2.dcm"
    structure_set(path, ("GTV",))
    again.write_bytes(path.read_bytes())
    np.testing.assert_array_equal(masks(tmp_path / "rt").read("P", "pre", series).voxels, BOX == 1)
    data = dcmread(again)
    data.ROIContourSequence[0].ContourSequence.pop()
    data.save_as(again)
    assert code(tmp_path / "rt", series) == "roi_ambiguous"


def test_the_fingerprint_follows_what_verdicts_depend_on(
    tmp_path: Path, series: Series, ct_series: Callable[..., list[Path]]
) -> None:
    """A series that arrives later may change what a drawing refers to, though neither file nor candidate changed."""
    structure_set(tmp_path / "rt" / "RS.dcm", ("GTV",), series_uid="9.9")
    seg(tmp_path / "rt" / "seg.dcm", ("tumour bed",))
    label_map(tmp_path / "rt" / "P" / "pre.nii.gz")

    def fingerprint() -> str:
        return json.dumps(masks(tmp_path / "rt").of("P", [series]).fingerprint())

    before = fingerprint()
    assert before == fingerprint()
    assert "tumour bed" in before
    ct_series(tmp_path / "dicom" / "other", np.zeros(BOX.shape, np.uint16), SeriesInstanceUID="9.9")
    assert fingerprint() != before
    structure_set(tmp_path / "rt" / "RS.dcm", ("GTV",), patient="PAT-2")
    assert "GTV" not in fingerprint()


def test_the_frame_of_reference_does_not_serve_for_a_drawing_on_another_series_of_the_export(
    tmp_path: Path, series: Series, ct_series: Callable[..., list[Path]]
) -> None:
    """The CT of a PET/CT shares the frame of the diagnostic CT that was drawn on."""
    ct_series(tmp_path / "dicom" / "other", np.zeros(BOX.shape, np.uint16), SeriesInstanceUID="9.9")
    structure_set(tmp_path / "rt" / "RS.dcm", ("GTV",), series_uid="9.9")
    assert code(tmp_path / "rt", series) == "no_mask"


def test_structure_sets_of_patients_without_identifier_are_told_apart_by_folder(
    tmp_path: Path, ct_series: Callable[..., list[Path]]
) -> None:
    ct_series(tmp_path / "P" / "ct", np.zeros(BOX.shape, np.uint16), PixelSpacing=[1.0, 1.0], PatientID="")
    (one,) = group_series(index_folder(tmp_path).rows)
    structure_set(tmp_path / "Q" / "RS.dcm", ("GTV",), patient="")
    assert not read_mask_folder(index_folder(tmp_path).masks, ROI, one.rows).drawn("P", "pre", one)
    structure_set(tmp_path / "P" / "RS.dcm", ("GTV",), patient="")
    assert read_mask_folder(index_folder(tmp_path).masks, ROI, one.rows).drawn("P", "pre", one)


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


@pytest.mark.parametrize("roi", [StudyRoi(), read_study("escc-pcr").imaging.roi])  # type: ignore[union-attr]
def test_no_name_is_both_tumour_and_tumour_bed(roi: StudyRoi) -> None:
    for name in ("tumour_bed", "Tumor Bed", "TUMOURBED 2", "tumor-bed"):
        assert re.fullmatch(roi.post_name_pattern, name)
        assert not re.fullmatch(roi.name_pattern, name)
    for name in ("GTV", "tumour", "Tumor 1", "lesion"):
        assert re.fullmatch(roi.name_pattern, name)
        assert not re.fullmatch(roi.post_name_pattern, name)


@pytest.mark.parametrize(
    "changes", [{"post_name_pattern": "(bed"}, {"min_share_in_grid": 1.1}, {"min_share_in_grid": -0.1}]
)
def test_faults_of_a_studys_roi_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        StudyRoi(**changes)


def seg(path: Path, names: tuple[str, ...], values: np.ndarray = BOX, **tags: Any) -> None:
    """A DICOM SEG whose segments are all the box, on the series by UID unless said otherwise."""
    planes = [(k, np.asarray(values[k], np.uint8), (-10, -20, 30 + 2 * k)) for k in range(len(values))]
    frames = [(number, *plane[1:]) for number, _ in enumerate(names, start=1) for plane in planes]
    write_seg(path, names, frames, spacing=(1, 1), **({"series_uid": "1.2.3.4"} | tags))


def seg_nrrd(path: Path, *segments: tuple[str, np.ndarray], origin: str = "(-10,-20,30)") -> None:
    """3D Slicer's segmentation, each segment a layer of its own."""
    values = np.stack([values for _, values in segments], axis=3)
    keys = segment_keys(*((name, 1, layer) for layer, (name, _) in enumerate(segments)))
    directions = "(1,0,0) (0,1,0) (0,0,2)"
    write_nrrd(path, values, keys=keys, directions=directions, origin=origin, encoding="gzip")


OTHER = np.roll(BOX, 2, axis=2)


def test_a_segmentation_by_the_names_of_its_segments(tmp_path: Path, series: Series) -> None:
    seg(tmp_path / "rt" / "seg.dcm", ("Heart", "GTV", "tumour bed"))
    found = masks(tmp_path / "rt")
    assert [roi.name for roi in found.drawings[0].found.rois] == ["GTV", "tumour bed"]
    assert found.drawn("P", "pre", series)
    np.testing.assert_array_equal(found.read("P", "pre", series).voxels, BOX == 1)
    np.testing.assert_array_equal(found.read("P", "post", series).voxels, BOX == 1)
    structure_set(tmp_path / "rt" / "RS.dcm", ("GTV",))
    assert code(tmp_path / "rt", series) == "roi_ambiguous"


def test_a_segmentation_of_another_patient_or_scan_is_not_taken(tmp_path: Path, series: Series) -> None:
    seg(tmp_path / "rt" / "seg.dcm", ("GTV",), PatientID="PAT-2")
    assert code(tmp_path / "rt", series) == "no_mask"
    seg(tmp_path / "rt" / "seg.dcm", ("GTV",), FrameOfReferenceUID="9.9")
    assert code(tmp_path / "rt", series) == "wrong_frame_of_reference"
    seg(tmp_path / "rt" / "seg.dcm", ("GTV",), FrameOfReferenceUID="9.9", series_uid="9.8")
    assert code(tmp_path / "rt", series) == "no_mask"
    seg(tmp_path / "rt" / "seg.dcm", ("GTV",), series_uid="9.8")
    assert code(tmp_path / "rt", series) == "no_mask"
    seg(tmp_path / "rt" / "seg.dcm", ("GTV",), series_uid="")
    np.testing.assert_array_equal(masks(tmp_path / "rt").read("P", "pre", series).voxels, BOX == 1)


def test_segmentations_of_no_use_are_counted(tmp_path: Path, series: Series) -> None:
    seg(tmp_path / "rt" / "heart.dcm", ("Heart",))
    seg(tmp_path / "rt" / "broken.dcm", ("GTV",), SegmentationType="SURFACE")
    found = masks(tmp_path / "rt")
    assert (found.nameless, found.unusable, found.files) == (1, 1, ())


def test_warnings_come_with_the_roi(tmp_path: Path, series: Series) -> None:
    gap = BOX.copy()
    gap[3] = 0
    label_map(tmp_path / "masks" / "P" / "pre.nii.gz", gap)
    assert masks(tmp_path / "masks").read("P", "pre", series).warnings == ("roi_skips_slices",)
    seg(tmp_path / "rt" / "seg.dcm", ("GTV",), BOX * 120, kind="FRACTIONAL")
    assert masks(tmp_path / "rt").read("P", "pre", series).warnings == ("fractional_segmentation",)


@pytest.mark.parametrize("name", ["pre.seg.nrrd", "Segmentation.seg.nrrd", "GTV.seg.nrrd"])
def test_segments_of_slicer_go_by_their_names(tmp_path: Path, series: Series, name: str) -> None:
    seg_nrrd(tmp_path / "masks" / "P" / name, ("Heart", OTHER), ("GTV", BOX))
    np.testing.assert_array_equal(masks(tmp_path / "masks").read("P", "pre", series).voxels, BOX == 1)
    assert code(tmp_path / "masks", series, "post") == "no_mask"


def test_a_file_of_slicer_speaks_for_its_only_segment(tmp_path: Path, series: Series) -> None:
    """The name that 3D Slicer gives a segment by itself."""
    seg_nrrd(tmp_path / "masks" / "P" / "pre.seg.nrrd", ("Segment_1", BOX))
    np.testing.assert_array_equal(masks(tmp_path / "masks").read("P", "pre", series).voxels, BOX == 1)
    seg_nrrd(tmp_path / "masks" / "P" / "pre.seg.nrrd", ("Segment_1", BOX), ("Segment_2", OTHER))
    assert code(tmp_path / "masks", series) == "mask_not_3d"
    seg_nrrd(tmp_path / "masks" / "P" / "Segmentation.seg.nrrd", ("Segment_1", BOX))
    (tmp_path / "masks" / "P" / "pre.seg.nrrd").unlink()
    assert code(tmp_path / "masks", series) == "no_mask"


def test_a_residual_tumour_in_a_file_named_post_is_no_tumour_bed(tmp_path: Path, series: Series) -> None:
    seg_nrrd(tmp_path / "masks" / "P" / "post.seg.nrrd", ("GTV", BOX))
    assert code(tmp_path / "masks", series, "post") == "baseline_roi_on_second_ct"
    with pytest.raises(Refusal, match="no_mask"):
        masks(tmp_path / "masks").read("Q", "post", series)
    assert code(tmp_path / "masks", series, "pre") == "no_mask"
    seg_nrrd(tmp_path / "masks" / "P" / "post.seg.nrrd", ("GTV", OTHER), ("tumour bed", BOX))
    np.testing.assert_array_equal(masks(tmp_path / "masks").read("P", "post", series).voxels, BOX == 1)
    assert code(tmp_path / "masks", series, "pre") == "no_mask"


def test_the_second_reader_s_label_map_is_kept_apart(tmp_path: Path, series: Series) -> None:
    label_map(tmp_path / "masks" / "P" / "pre.reader2.nii.gz", OTHER)
    found = masks(tmp_path / "masks")
    assert not found.drawn("P", "pre", series)
    assert code(tmp_path / "masks", series) == "no_mask"
    label_map(tmp_path / "masks" / "P" / "pre.nii.gz")
    found = masks(tmp_path / "masks")
    np.testing.assert_array_equal(found.read("P", "pre", series).voxels, BOX == 1)
    np.testing.assert_array_equal(found.read_second("P", "pre", series), OTHER == 1)
    assert found.read_second("P", "post", series) is None


def test_the_second_reader_s_rois_are_kept_apart(tmp_path: Path, series: Series) -> None:
    structure_set(tmp_path / "rt" / "RS.dcm", ("GTV", "GTV_reader2", "tumour bed reader_2"))
    found = masks(tmp_path / "rt")
    for point in ("pre", "post"):
        second = found.read_second("P", point, series)  # type: ignore[arg-type] # both are time points
        np.testing.assert_array_equal(second, BOX == 1)
    np.testing.assert_array_equal(found.read("P", "pre", series).voxels, BOX == 1)
    assert code(tmp_path / "rt", series, "post") == "baseline_roi_on_second_ct"
    seg(tmp_path / "rt" / "seg.dcm", ("GTV R2",))
    with pytest.raises(Refusal, match="roi_ambiguous"):
        masks(tmp_path / "rt").read_second("P", "pre", series)


def test_a_file_of_the_second_reader_makes_all_its_segments_his(tmp_path: Path, series: Series) -> None:
    seg_nrrd(tmp_path / "masks" / "P" / "pre.reader2.seg.nrrd", ("GTV", OTHER), ("Heart", BOX))
    seg_nrrd(tmp_path / "masks" / "P" / "pre.seg.nrrd", ("GTV", BOX), ("Heart", BOX))
    found = masks(tmp_path / "masks")
    np.testing.assert_array_equal(found.read("P", "pre", series).voxels, BOX == 1)
    np.testing.assert_array_equal(found.read_second("P", "pre", series), OTHER == 1)


def test_nodes_are_all_that_the_first_reader_drew(tmp_path: Path, series: Series) -> None:
    roi = StudyRoi(name_pattern=ROI.name_pattern, nodal_name_pattern="(?i)^gtvn.*$")
    seg(tmp_path / "rt" / "seg.dcm", ("GTVp", "GTVn left", "GTVn_reader2"))
    seg(tmp_path / "rt" / "more.dcm", ("GTVn 2",), OTHER)
    found = masks(tmp_path / "rt", roi)
    np.testing.assert_array_equal(found.read("P", "pre", series).voxels, BOX == 1)
    np.testing.assert_array_equal(found.read_nodes("P", series), (BOX | OTHER) == 1)
    # Without a pattern for them they are tumours like any other.
    assert masks(tmp_path / "rt").read_nodes("P", series) is None
    assert code(tmp_path / "rt", series) == "roi_ambiguous"


def test_nodes_of_label_maps_lie_on_the_first_ct(tmp_path: Path, series: Series) -> None:
    roi = StudyRoi(name_pattern=ROI.name_pattern, nodal_name_pattern="(?i)^gtvn.*$")
    label_map(tmp_path / "masks" / "P" / "GTVn.nii.gz", OTHER)
    seg_nrrd(tmp_path / "masks" / "P" / "pre.seg.nrrd", ("GTV", BOX), ("GTVn", np.roll(BOX, 3, axis=1)))
    seg_nrrd(tmp_path / "masks" / "P" / "post.seg.nrrd", ("GTVn", 1 - BOX))
    found = masks(tmp_path / "masks", roi)
    np.testing.assert_array_equal(found.read("P", "pre", series).voxels, BOX == 1)
    np.testing.assert_array_equal(found.read_nodes("P", series), (OTHER | np.roll(BOX, 3, axis=1)) == 1)


def test_a_damaged_node_is_not_left_out(tmp_path: Path, series: Series) -> None:
    roi = StudyRoi(name_pattern=ROI.name_pattern, nodal_name_pattern="(?i)^gtvn.*$")
    label_map(tmp_path / "masks" / "P" / "GTVn.nii.gz", OTHER)
    path = tmp_path / "masks" / "P" / "GTVn 2.nii.gz"
    label_map(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(Refusal, match="mask_truncated"):
        masks(tmp_path / "masks", roi).read_nodes("P", series)


def test_one_patient_s_masks_travel_to_another_process(tmp_path: Path, series: Series) -> None:
    structure_set(tmp_path / "rt" / "RS.dcm", ("GTV_reader2",))
    structure_set(tmp_path / "rt" / "other.dcm", ("GTV",), patient="PAT-2")
    seg(tmp_path / "rt" / "seg.dcm", ("tumour bed",))
    label_map(tmp_path / "rt" / "P" / "pre.nii.gz")
    label_map(tmp_path / "rt" / "Q" / "pre.nii.gz")
    whole = masks(tmp_path / "rt")
    mine = pickle.loads(pickle.dumps(whole.of("P", [series])))
    assert {file.name for file in mine.files} == {"RS.dcm", "seg.dcm", "P/pre.nii.gz"}
    assert len(whole.files) == 5
    np.testing.assert_array_equal(mine.read("P", "pre", series).voxels, BOX == 1)
    np.testing.assert_array_equal(mine.read("P", "post", series).voxels, BOX == 1)
    np.testing.assert_array_equal(mine.read_second("P", "pre", series), BOX == 1)
    assert "PAT-1" not in repr(mine)
    assert str(tmp_path) not in repr(mine)

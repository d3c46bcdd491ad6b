"""Real contours and label maps: voxel for voxel what the reference rule gives."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from fedescc.client.imaging.headers.index import MaskFile, index_folder
from fedescc.client.imaging.inspection import inspect_folder
from fedescc.client.imaging.masks.contours import Mask
from fedescc.client.imaging.masks.labelmap import place_label, read_labels
from fedescc.client.imaging.masks.regions import place, read_regions
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.client.imaging.volumes.series import group_series
from fedescc.client.imaging.volumes.volume import DicomVolume, open_volume
from fedescc.common.errors import Refusal

pytestmark = pytest.mark.real_data

PATIENTS = {
    "ibsi1_lung_ct": ("image", "mask/DCM_RS_00060.dcm", "nifti/mask.nii.gz", "GTV-1"),
    "sts_019_ct_rtstruct": ("CT/image", "CT/mask/RS.dcm", "nifti/CT_mask.nii.gz", "GTV_Mass_CT"),
}


def ct(real_data: Path, patient: str) -> DicomVolume:
    (series,) = group_series(index_folder(real_data / patient / PATIENTS[patient][0]).rows)
    return open_volume(series)


def contours(path: Path, geometry: Geometry, roi: str, frame: str = "") -> Mask:
    (one,) = [one for one in read_regions(MaskFile(str(path.parent), path.name, "rtstruct")).rois if one.name == roi]
    found = place(one, geometry, frame_of_reference_uid=frame)
    assert found.warnings == ()
    return found.voxels


def label_map(path: Path, geometry: Geometry) -> Mask:
    (one,) = read_labels(path)
    return place_label(one, geometry)


def expected(real_data: Path, patient: str) -> dict[str, Any]:
    table = json.loads((real_data / "shared_masks.json").read_text(encoding="utf-8"))
    return dict(table[f"shared/{patient}"][PATIENTS[patient][3]])


@pytest.mark.parametrize("patient", PATIENTS)
def test_contours_give_the_reference_mask(real_data: Path, patient: str) -> None:
    volume, reference = ct(real_data, patient), expected(real_data, patient)
    _, path, _, roi = PATIENTS[patient]
    frame = volume.rows[0].frame_of_reference_uid
    mask = contours(real_data / patient / path, volume.geometry, roi, frame)
    assert mask.sum() == reference["voxels"]
    assert mask.sum(axis=(1, 2)).tolist() == reference["voxels_per_slice"]
    assert hashlib.sha256(mask.astype(np.uint8).tobytes()).hexdigest() == reference["mask_sha256_uint8_zyx"]
    hu = volume.slices(0, volume.geometry.shape_zyx[0])[mask]
    assert hu.mean() == pytest.approx(reference["mean_HU"], abs=1e-4)
    assert (hu.min(), hu.max()) == (reference["min_HU"], reference["max_HU"])
    volume_cm3 = mask.sum() * np.prod(volume.geometry.spacing_zyx_mm) / 1000
    assert volume_cm3 == pytest.approx(reference["analytic_volume_cm3_all_contours"], rel=0.01)


@pytest.mark.parametrize("patient", PATIENTS)
def test_label_map_and_contours_differ_in_no_voxel(real_data: Path, patient: str) -> None:
    geometry = ct(real_data, patient).geometry
    _, structures, nifti, roi = PATIENTS[patient]
    drawn = contours(real_data / patient / structures, geometry, roi)
    np.testing.assert_array_equal(label_map(real_data / patient / nifti, geometry), drawn)


def test_ibsi_chest_phantom_has_the_published_voxels_and_values(real_data: Path) -> None:
    """IBSI 1, configuration A (Zwanenburg et al. 2020, doi:10.1148/radiol.2020191145): re-segmented to [-500, 400]."""
    (mask,) = [m for m in inspect_folder(real_data / "ibsi1_lung_ct")["masks"] if m["roi"] == "GTV-1"]
    assert mask["voxels"] == 125256
    assert mask["mean_hu"] == pytest.approx(-46.9, abs=0.05)
    volume = ct(real_data, "ibsi1_lung_ct")
    roi = contours(real_data / "ibsi1_lung_ct" / "mask/DCM_RS_00060.dcm", volume.geometry, "GTV-1")
    hu = volume.slices(0, volume.geometry.shape_zyx[0])[roi]
    segmented = hu[(hu >= -500) & (hu <= 400)]
    assert len(segmented) == 114596
    assert segmented.mean() == pytest.approx(13.4, abs=0.05)
    assert np.median(segmented) == 46


def test_masks_of_another_patient_are_refused(real_data: Path) -> None:
    volume = ct(real_data, "ibsi1_lung_ct")
    other = real_data / "sts_019_ct_rtstruct"
    frame = volume.rows[0].frame_of_reference_uid
    with pytest.raises(Refusal, match="wrong_frame_of_reference"):
        contours(other / "CT/mask/RS.dcm", volume.geometry, "GTV_Mass_CT", frame)
    with pytest.raises(Refusal, match=r"roi_truncated|contour_off_slice"):
        contours(other / "CT/mask/RS.dcm", volume.geometry, "GTV_Mass_CT")
    with pytest.raises(Refusal, match="other_geometry"):
        label_map(other / "nifti/CT_mask.nii.gz", volume.geometry)


def test_inspection_matches_each_mask_to_its_series(real_data: Path) -> None:
    for patient in PATIENTS:
        report = inspect_folder(real_data / patient)
        (series_uid,) = {s["series_uid"] for s in report["series"]}
        reference = expected(real_data, patient)
        found = [mask for mask in report["masks"] if mask["verdict"] == "accepted"]
        assert len(found) == 2
        for mask in found:
            assert mask["series_uid"] == series_uid
            assert mask["voxels"] == reference["voxels"]
            assert mask["mean_hu"] == pytest.approx(reference["mean_HU"], abs=1e-4)


# ROI of the SEG -> file and label that its author converted it from.
SEGMENTS = {
    ("liver.dcm", "Liver"): ("liver_seg.nrrd", 1),
    ("partial_overlaps.dcm", "GREEN"): ("partial_overlaps-1.nrrd", 1),
    ("partial_overlaps.dcm", "ORANGE"): ("partial_overlaps-2.nrrd", 2),
    ("partial_overlaps.dcm", "PURPLE"): ("partial_overlaps-3.nrrd", 3),
    ("partial_overlaps.dcm", "LIGHT_BLUE"): ("partial_overlaps-1.nrrd", 4),
    ("partial_overlaps.dcm", "DARK_BLUE"): ("partial_overlaps-1.nrrd", 5),
}


@pytest.mark.parametrize(("source", "original"), SEGMENTS.items())
def test_segments_equal_the_label_maps_they_were_made_from(real_data: Path, source: Any, original: Any) -> None:
    folder = real_data / "ge_ct_seg"
    (series,) = group_series(index_folder(folder / "ct").rows)
    volume = open_volume(series)
    regions = read_regions(MaskFile(str(folder), source[0], "seg"))
    (segment,) = [one for one in regions.rois if one.name == source[1]]
    frame = series.rows[0].frame_of_reference_uid
    found = place(segment, volume.geometry, frame_of_reference_uid=frame)
    image = sitk.ReadImage(str(folder / original[0]))
    np.testing.assert_array_equal(found.voxels, sitk.GetArrayFromImage(image) == original[1])
    np.testing.assert_allclose(image.GetOrigin(), volume.geometry.origin_xyz_mm, atol=1e-4)
    assert regions.series_uids == {series.uid}
    assert regions.sop_uids == {row.sop_uid for row in series.rows}


def test_inspection_lists_segments_and_label_maps(real_data: Path) -> None:
    report = inspect_folder(real_data / "ge_ct_seg")
    (series,) = report["series"]
    masks = {(mask["source"], mask["roi"]): (mask["reasons"], mask["voxels"]) for mask in report["masks"]}
    assert masks == {
        ("liver.dcm", "Liver"): ([], 107098),
        ("liver_seg.nrrd", "liver_seg"): ([], 107098),
        ("partial_overlaps.dcm", "GREEN"): ([], 9602),
        ("partial_overlaps.dcm", "ORANGE"): ([], 11888),
        ("partial_overlaps.dcm", "PURPLE"): ([], 10743),
        ("partial_overlaps.dcm", "LIGHT_BLUE"): ([], 6693),
        ("partial_overlaps.dcm", "DARK_BLUE"): ([], 4713),
        ("partial_overlaps-1.nrrd", "partial_overlaps-1"): (["several_labels"], None),
        ("partial_overlaps-2.nrrd", "partial_overlaps-2"): ([], 11888),
        ("partial_overlaps-3.nrrd", "partial_overlaps-3"): ([], 10743),
    }
    assert {mask["series_uid"] for mask in report["masks"]} == {series["series_uid"]}


def test_image_and_foreign_label_map_are_no_masks(real_data: Path) -> None:
    masks = inspect_folder(real_data / "sts_019_ct_rtstruct")["masks"]
    (image,) = [mask for mask in masks if mask["roi"] == "CT_image"]
    assert (image["verdict"], image["reasons"]) == ("refused", ["several_labels"])

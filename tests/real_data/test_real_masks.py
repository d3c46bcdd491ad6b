"""Real contours and label maps: voxel for voxel what the reference rule gives."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedescc.client.imaging.index import index_folder
from fedescc.client.imaging.inspection import inspect_folder
from fedescc.client.imaging.masks import read_nifti_mask, read_rtstruct
from fedescc.client.imaging.series import group_series
from fedescc.client.imaging.volume import DicomVolume, open_volume
from fedescc.common.errors import Refusal

pytestmark = pytest.mark.real_data

PATIENTS = {
    "ibsi1_lung_ct": ("image", "mask/DCM_RS_00060.dcm", "nifti/mask.nii.gz", "GTV-1"),
    "sts_019_ct_rtstruct": ("CT/image", "CT/mask/RS.dcm", "nifti/CT_mask.nii.gz", "GTV_Mass_CT"),
}


def ct(real_data: Path, patient: str) -> DicomVolume:
    (series,) = group_series(index_folder(real_data / patient / PATIENTS[patient][0]).rows)
    return open_volume(series)


def expected(real_data: Path, patient: str) -> dict[str, Any]:
    table = json.loads((real_data / "shared_masks.json").read_text(encoding="utf-8"))
    return dict(table[f"shared/{patient}"][PATIENTS[patient][3]])


@pytest.mark.parametrize("patient", PATIENTS)
def test_contours_give_the_reference_mask(real_data: Path, patient: str) -> None:
    volume, reference = ct(real_data, patient), expected(real_data, patient)
    _, path, _, roi = PATIENTS[patient]
    frame = volume.rows[0].frame_of_reference_uid
    mask = read_rtstruct(real_data / patient / path, volume.geometry, roi, frame_of_reference_uid=frame)
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
    _, contours, label_map, roi = PATIENTS[patient]
    drawn = read_rtstruct(real_data / patient / contours, geometry, roi)
    np.testing.assert_array_equal(read_nifti_mask(real_data / patient / label_map, geometry), drawn)


def test_ibsi_chest_phantom_has_the_published_voxels_and_mean(real_data: Path) -> None:
    """IBSI 1, configuration A before resegmentation (Zwanenburg et al. 2020, doi:10.1148/radiol.2020191145)."""
    (mask,) = [m for m in inspect_folder(real_data / "ibsi1_lung_ct")["masks"] if m["roi"] == "GTV-1"]
    assert mask["voxels"] == 125256
    assert mask["mean_hu"] == pytest.approx(-46.9, abs=0.05)


def test_masks_of_another_patient_are_refused(real_data: Path) -> None:
    volume = ct(real_data, "ibsi1_lung_ct")
    other = real_data / "sts_019_ct_rtstruct"
    frame = volume.rows[0].frame_of_reference_uid
    with pytest.raises(Refusal, match="wrong_frame_of_reference"):
        read_rtstruct(other / "CT/mask/RS.dcm", volume.geometry, ".*", frame_of_reference_uid=frame)
    with pytest.raises(Refusal, match=r"roi_truncated|contour_off_slice"):
        read_rtstruct(other / "CT/mask/RS.dcm", volume.geometry, ".*")
    with pytest.raises(Refusal, match="other_geometry"):
        read_nifti_mask(other / "nifti/CT_mask.nii.gz", volume.geometry)


def test_inspection_matches_each_mask_to_its_series(real_data: Path) -> None:
    report = inspect_folder(real_data)
    accepted = {mask["source"]: mask for mask in report["masks"] if mask["verdict"] == "accepted"}
    assert len(accepted) == 4
    for patient in PATIENTS:
        (series_uid,) = {s["series_uid"] for s in inspect_folder(real_data / patient)["series"]}
        reference = expected(real_data, patient)
        found = [mask for source, mask in accepted.items() if source.startswith(patient)]
        assert len(found) == 2
        for mask in found:
            assert mask["series_uid"] == series_uid
            assert mask["voxels"] == reference["voxels"]
            assert mask["mean_hu"] == pytest.approx(reference["mean_HU"], abs=1e-4)


def test_formats_that_are_not_read_are_listed_as_refused(real_data: Path) -> None:
    masks = inspect_folder(real_data / "ge_ct_seg")["masks"]
    assert len(masks) == 6
    assert {tuple(mask["reasons"]) for mask in masks} == {("unsupported_mask_format",)}


def test_image_and_foreign_label_map_are_no_masks(real_data: Path) -> None:
    masks = inspect_folder(real_data / "sts_019_ct_rtstruct")["masks"]
    (image,) = [mask for mask in masks if mask["roi"] == "CT_image"]
    assert (image["verdict"], image["reasons"]) == ("refused", ["several_labels"])

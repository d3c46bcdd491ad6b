"""Real CT series: voxels and geometry equal what pydicom, GDCM and dcm2niix agree on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from fedescc.client.imaging.headers.index import index_folder
from fedescc.client.imaging.inspection import inspect_folder
from fedescc.client.imaging.preprocess import GridSpec, preprocess
from fedescc.client.imaging.volumes.series import group_series
from fedescc.client.imaging.volumes.volume import MemoryVolume, open_volume, read_slice

pytestmark = pytest.mark.real_data

UNIFORM = ("ts_contrast_body_j2k_overlap", "ibsi1_lung_ct/image", "sts_019_ct_rtstruct/CT/image", "ge_ct_seg/ct")
LOSSLESS = ("CT1_J2KR", "CT1_JLSL", "CT1_JPLL", "CT1_RLE", "CT1_UNC.explicit_big_endian")


def expected(real_data: Path, name: str) -> dict[str, Any]:
    table = json.loads((real_data / "shared_series_geometry.json").read_text(encoding="utf-8"))
    return dict(table[f"shared/{name}"])


@pytest.mark.parametrize("name", UNIFORM)
def test_voxels_and_geometry_of_uniform_series(real_data: Path, name: str) -> None:
    (series,) = inspect_folder(real_data / name)["series"]
    reference = expected(real_data, name)
    grid, hu = reference["sitk_gdcm_same_order"], reference["pydicom_HU_sorted_by_ipp_dot_normal"]
    assert (series["verdict"], series["reasons"]) == ("accepted", [])
    assert series["files"] == reference["n_files"]
    assert series["shape_zyx"] == hu["shape_zyx"] == grid["size"][::-1]
    assert series["spacing_zyx_mm"][::-1] == pytest.approx(grid["spacing"], abs=1e-4)
    assert series["origin_xyz_mm"] == pytest.approx(grid["origin"], abs=1e-3)
    assert series["direction"] == pytest.approx(grid["direction"], abs=1e-4)
    assert series["hu"]["sha256_int16_zyx"] == hu["sha256_int16_zyx"]
    assert (series["hu"]["min"], series["hu"]["max"]) == (hu["min"], hu["max"])
    assert series["hu"]["mean"] == pytest.approx(hu["mean"], abs=1e-4)


def test_every_series_with_reference_values_is_covered(real_data: Path) -> None:
    table = json.loads((real_data / "shared_series_geometry.json").read_text(encoding="utf-8"))
    assert {f"shared/{name}" for name in (*UNIFORM, "siemens_tilt14", "ge_missing_slice")} == set(table)


@pytest.mark.parametrize(("name", "code"), [("siemens_tilt14", "gantry_tilt"), ("ge_missing_slice", "missing_slices")])
def test_irregular_series_is_refused(real_data: Path, name: str, code: str) -> None:
    (series,) = inspect_folder(real_data / name)["series"]
    assert (series["verdict"], series["reasons"], series["hu"]) == ("refused", [code], None)


def test_localizer_secondary_capture_and_dose_report_are_refused(real_data: Path) -> None:
    series = group_series(index_folder(real_data / "philips_localizer_dose_sc").rows)
    reasons = {one.rows[0].file: one.reasons for one in series}
    assert "no_pixel_data" in reasons["GE_dose_report_no_pixels.dcm"]
    assert "localizer" in reasons["S1000_I10.dcm"]
    assert "secondary_capture" in reasons["S4010_I10.dcm"]


def test_overlapping_slices_are_no_fault_and_emptied_uids_and_lost_ends_only_warnings(real_data: Path) -> None:
    (series,) = inspect_folder(real_data / "ts_contrast_body_j2k_overlap")["series"]
    assert series["warnings"] == ["missing_series_uid", "instance_numbers_start_late"]  # 20 of some 300 slices
    assert series["series_uid"] == ""
    assert series["manufacturer"] == "Siemens"


def test_one_image_in_every_lossless_syntax_has_the_same_voxels(real_data: Path) -> None:
    rows = {row.path.stem: row for row in index_folder(real_data / "wg04_ct1_ge_syntaxes").rows}
    reference = read_slice(rows["CT1_UNC.explicit_big_endian"])
    assert (reference.min(), reference.max()) == (-3024, 1254)
    for name in LOSSLESS:
        np.testing.assert_array_equal(read_slice(rows[name]), reference, err_msg=name)
    for name, bound in (("CT1_JLSN", 4), ("CT1_J2KI", 512)):
        error = np.abs(read_slice(rows[name]).astype(int) - reference)
        assert 0 < error.max() <= bound, name


def test_single_slices_are_refused_and_lossy_ones_warned_of(real_data: Path) -> None:
    series = inspect_folder(real_data / "wg04_ct1_ge_syntaxes")["series"]
    assert {one["verdict"] for one in series} == {"refused"}
    assert sorted(code for one in series for code in one["reasons"]) == [
        "duplicate_slices",
        "too_few_slices",
        "too_few_slices",
    ]
    assert any("lossy_compression" in one["warnings"] for one in series)


def test_whole_data_folder_is_accounted_for(real_data: Path) -> None:
    index = index_folder(real_data)
    files = [path for path in real_data.rglob("*") if path.is_file()]
    assert len(index.rows) + len(index.masks) + len(index.rejected) == len(files)
    assert {rejected.reason for rejected in index.rejected} == {"not_dicom"}


def test_tensor_of_a_real_series_is_the_same_from_files_and_memory(real_data: Path) -> None:
    (series,) = group_series(index_folder(real_data / "sts_019_ct_rtstruct" / "CT" / "image").rows)
    files = open_volume(series)
    memory = MemoryVolume(files.slices(0, files.geometry.shape_zyx[0]), files.geometry)
    roi = np.zeros(files.geometry.shape_zyx, bool)
    roi[20:25, 60:70, 50:64] = True
    spec = GridSpec((32, 48, 48), (2.0, 1.25, 1.25), (-160.0, 240.0))
    one, other = preprocess(files, roi, spec), preprocess(memory, roi, spec)
    assert one.image.tobytes() == other.image.tobytes()
    assert one.roi.tobytes() == other.roi.tobytes()
    assert 0 <= one.image.min() < one.image.max() <= 1


def test_tilt_of_fourteen_degrees_is_corrected_where_asked(real_data: Path) -> None:
    """Every voxel stays where its own header puts it; the tag (0018,1120) is not asked."""
    (series,) = group_series(index_folder(real_data / "siemens_tilt14").rows, tilt="correct")
    assert (series.verdict, series.warnings) == ("accepted", ("tilt_corrected",))
    assert series.geometry is not None
    assert series.geometry.tilt_deg == pytest.approx(14.0, abs=0.05)
    volume = open_volume(series)
    for k, row in enumerate(series.rows):
        dataset = pydicom.dcmread(row.path)
        np.testing.assert_array_equal(
            volume.slices(k, k + 1)[0], dataset.pixel_array * dataset.RescaleSlope + dataset.RescaleIntercept
        )
        along_row, along_column = np.reshape([float(v) for v in dataset.ImageOrientationPatient], (2, 3))
        dy, dx = (float(v) for v in dataset.PixelSpacing)
        for column, line in ((0, 0), (511, 0), (0, 511), (511, 511), (250, 260)):
            place = np.array([float(v) for v in dataset.ImagePositionPatient])
            place = place + along_row * dx * column + along_column * dy * line
            assert series.geometry.index_to_physical([column, line, k]) == pytest.approx(place, abs=2e-3)


def test_tilted_voxels_resampled_by_simpleitk_are_those_of_the_slices(real_data: Path) -> None:
    """At the slices' own voxel centres, computed from the headers alone, the sheared grid gives back the stored HU."""
    (series,) = group_series(index_folder(real_data / "siemens_tilt14").rows, tilt="correct")
    assert series.geometry is not None
    hu = open_volume(series).slices(0, 4)
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing(series.geometry.spacing_zyx_mm[::-1])
    image.SetOrigin(series.geometry.origin_xyz_mm)
    image.SetDirection(series.geometry.direction)
    rng = np.random.default_rng(0)
    for k, row in enumerate(series.rows):
        along_row, along_column = np.reshape(row.orientation, (2, 3))
        assert row.position is not None
        assert row.pixel_spacing is not None
        for line, column in rng.integers(0, 512, (50, 2)).tolist():
            place = np.add(row.position, along_row * row.pixel_spacing[1] * column)
            place = place + along_column * row.pixel_spacing[0] * line
            assert image[image.TransformPhysicalPointToIndex(place.tolist())] == hu[k, line, column]

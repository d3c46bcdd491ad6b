"""The contract of `inspect --json`, on synthetic folders."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from fedescc.client.imaging.headers.index import index_folder
from fedescc.client.imaging.inspection import inspect_folder, vendor
from fedescc.client.imaging.volumes.series import group_series
from fedescc.common.errors import Refusal

Factory = Callable[..., list[Path]]
STORED = np.random.default_rng(3).integers(0, 2000, (4, 6, 7)).astype(np.uint16)
SERIES_KEYS = {
    *("series_uid", "modality", "manufacturer", "files", "verdict", "reasons", "warnings", "transfer_syntax"),
    *("shape_zyx", "spacing_zyx_mm", "origin_xyz_mm", "direction", "hu"),
}
MASK_KEYS = {"source", "roi", "series_uid", "verdict", "reasons", "warnings", "voxels", "mean_hu"}


def save_mask(path: Path, series_folder: Path, mask: np.ndarray) -> None:
    """A NIfTI mask on the grid of the series in a folder."""
    geometry = group_series(index_folder(series_folder).rows)[0].geometry
    assert geometry is not None
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(geometry.spacing_zyx_mm[::-1])
    image.SetOrigin(geometry.origin_xyz_mm)
    image.SetDirection(geometry.direction)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def roi() -> np.ndarray:
    mask = np.zeros(STORED.shape, bool)
    mask[1:3, 2:4, 3:6] = True
    return mask


def masks_in(folder: Path) -> dict[str, dict[str, Any]]:
    return {mask["source"]: mask for mask in inspect_folder(folder)["masks"]}


def test_report_has_the_keys_of_the_contract_and_is_json(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path / "ct", STORED)
    ct_series(tmp_path / "scout", STORED[:1], SeriesInstanceUID="1.9", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    save_mask(tmp_path / "roi.nii.gz", tmp_path / "ct", roi())
    (tmp_path / "readme.txt").write_text("not an image", encoding="utf-8")
    report = inspect_folder(tmp_path)
    assert json.loads(json.dumps(report)) == report
    assert set(report) == {"series", "masks", "rejected_files"}
    assert all(set(series) == SERIES_KEYS for series in report["series"])
    assert all(set(mask) == MASK_KEYS for mask in report["masks"])
    assert report["rejected_files"] == [{"file": "readme.txt", "reason": "not_dicom"}]


def test_accepted_series_is_described_in_full(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path, STORED)
    (series,) = inspect_folder(tmp_path)["series"]
    hu = series.pop("hu")
    assert set(hu) == {"min", "max", "mean", "sha256_int16_zyx"}
    assert hu["mean"] == pytest.approx(STORED.mean() - 1024)
    assert series == {
        "series_uid": "1.2.3.4",
        "modality": "CT",
        "manufacturer": "Siemens",
        "files": 4,
        "verdict": "accepted",
        "reasons": [],
        "warnings": [],
        "transfer_syntax": "1.2.840.10008.1.2.1",
        "shape_zyx": [4, 6, 7],
        "spacing_zyx_mm": [2.0, 0.8, 0.7],
        "origin_xyz_mm": [-10.0, -20.0, 30.0],
        "direction": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
    }


def test_refused_series_has_null_where_nothing_is_known(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path, STORED)[2].unlink()
    (series,) = inspect_folder(tmp_path)["series"]
    assert (series["verdict"], series["reasons"]) == ("refused", ["missing_slices"])
    assert [series[key] for key in ("shape_zyx", "spacing_zyx_mm", "origin_xyz_mm", "direction", "hu")] == [None] * 5


def test_series_whose_pixels_cannot_be_read_is_refused(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path / "ct", STORED, RescaleSlope=30)
    save_mask(tmp_path / "roi.nii", tmp_path / "ct", roi())
    report = inspect_folder(tmp_path)
    assert report["series"][0]["reasons"] == ["hu_out_of_range"]
    assert report["series"][0]["shape_zyx"] == [4, 6, 7]
    assert report["masks"][0]["reasons"] == ["series_refused"]


def test_corrupt_slice_is_counted_and_spares_the_other_series(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path / "good", STORED)
    bad = ct_series(tmp_path / "bad", STORED, SeriesInstanceUID="1.9")[1]
    bad.write_bytes(bad.read_bytes()[:-10])
    report = inspect_folder(tmp_path)
    assert report["rejected_files"] == [{"file": "bad/0001", "reason": "truncated"}]
    assert {s["series_uid"]: s["reasons"] for s in report["series"]} == {"1.9": ["missing_slices"], "1.2.3.4": []}


def test_mask_is_measured_on_its_series(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path / "ct", STORED)
    save_mask(tmp_path / "roi.nii.gz", tmp_path / "ct", roi())
    assert inspect_folder(tmp_path)["masks"] == [
        {
            "source": "roi.nii.gz",
            "roi": "roi",
            "series_uid": "1.2.3.4",
            "verdict": "accepted",
            "reasons": [],
            "warnings": [],
            "voxels": 12,
            "mean_hu": pytest.approx(STORED[roi()].mean() - 1024, rel=1e-12),
        }
    ]


def test_what_is_doubtful_in_an_accepted_mask_is_said(
    tmp_path: Path, ct_series: Factory, rtstruct: Callable[..., Path]
) -> None:
    """An ROI drawn on the first and the last of four slices: two lesions, or slices that were left out."""
    ct_series(tmp_path / "ct", STORED)
    square = np.array([(-9.0, -19.0), (-6.0, -19.0), (-6.0, -16.0), (-9.0, -16.0)])
    contours = [np.column_stack([square, np.full(4, z)]) for z in (30.0, 36.0)]
    rtstruct(tmp_path / "roi.dcm", {"GTV": contours}, series_uid="1.2.3.4")
    (mask,) = inspect_folder(tmp_path)["masks"]
    assert (mask["verdict"], mask["reasons"], mask["warnings"]) == ("accepted", [], ["roi_skips_slices"])


def test_mask_belongs_to_the_nearest_of_series_on_one_grid(tmp_path: Path, ct_series: Factory) -> None:
    for name in ("a", "b"):
        ct_series(tmp_path / name / "ct", STORED, PatientID=name, SeriesInstanceUID=f"1.{ord(name)}")
        save_mask(tmp_path / name / "roi.nii", tmp_path / name / "ct", roi())
    save_mask(tmp_path / "stray.nii", tmp_path / "a" / "ct", roi())
    found = masks_in(tmp_path)
    assert found["a/roi.nii"]["series_uid"] == f"1.{ord('a')}"
    assert found["b/roi.nii"]["series_uid"] == f"1.{ord('b')}"
    assert found["stray.nii"]["reasons"] == ["series_ambiguous"]
    assert found["stray.nii"]["series_uid"] is None


def test_masks_that_fit_nothing_say_why(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path / "ct", STORED)
    ct_series(tmp_path / "other", STORED[:, :5], SeriesInstanceUID="1.9")
    save_mask(tmp_path / "empty.nii", tmp_path / "ct", roi() & False)
    (tmp_path / "broken.nii").write_bytes(b"x" * 400)
    (tmp_path / "later.nrrd").touch()
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((2, 2, 2), np.uint8)), str(tmp_path / "elsewhere.nii"))
    assert {name: mask["reasons"] for name, mask in masks_in(tmp_path).items()} == {
        "empty.nii": ["empty_roi"],
        "broken.nii": ["mask_unreadable"],
        "later.nrrd": ["mask_unreadable"],
        "elsewhere.nii": ["other_geometry"],
    }


def test_mask_without_any_series_is_refused(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((2, 2, 2), np.uint8)), str(tmp_path / "roi.nii"))
    assert masks_in(tmp_path)["roi.nii"]["reasons"] == ["no_series"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("GE MEDICAL SYSTEMS", "GE"),
        ("GE", "GE"),
        ("SIEMENS of Mercy Hospital", "Siemens"),
        ("Siemens Healthineers", "Siemens"),
        ("Philips Medical Systems", "Philips"),
        ("TOSHIBA", "Toshiba"),
        ("Canon Medical Systems", "Canon"),
        ("UIH", "United Imaging"),
        ("Bridge Hospital", "other"),
        ("", "other"),
    ],
)
def test_only_a_known_vendors_name_is_passed_on(text: str, name: str) -> None:
    assert vendor(text) == name


def test_progress_is_reported(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path, STORED)
    seen: list[int] = []
    inspect_folder(tmp_path, lambda done, _: seen.append(done))
    assert seen == [1, 2, 3, 4]


def test_empty_and_missing_folders_are_refused(tmp_path: Path) -> None:
    for folder, code in ((tmp_path, "empty-folder"), (tmp_path / "nowhere", "missing-folder")):
        with pytest.raises(Refusal) as caught:
            inspect_folder(folder)
        assert caught.value.code == code


def test_files_are_counted_once_whatever_they_hold(tmp_path: Path, ct_series: Factory) -> None:
    first = ct_series(tmp_path, STORED)[0]
    (tmp_path / "copy").write_bytes(first.read_bytes())
    (series,) = inspect_folder(tmp_path)["series"]
    assert (series["verdict"], series["files"], series["shape_zyx"]) == ("accepted", 5, [4, 6, 7])
    assert series["warnings"] == ["duplicate_files_dropped"]

"""Two readers' ROIs of a site, found and compared where both drew."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from pydicom import dcmread

from fedescc.client.cli import main
from fedescc.client.intake.second_reader import reader_pairs
from fedescc.client.site import read_site
from fedescc.common.errors import Refusal
from fedescc.common.study import read_study

ESCC = read_study("escc-pcr")
SHAPE = (12, 20, 20)
DATES = {"first_dose_date": "2024-01-10", "last_dose_date": "2024-03-01", "surgery_date": "2024-04-01"}


def box(rows: slice) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[4:8, rows, 8:12] = 1
    return mask


def add_kernel(site: Path, ct_series: Callable[..., list[Path]], uid: str) -> None:
    """Another reconstruction of P1's first scan, on the same grid."""
    tags = {"PatientID": "P1", "StudyDate": "20240105", "SeriesInstanceUID": uid, "FrameOfReferenceUID": uid + ".2"}
    folder = site.parent / "dicom" / "P1" / uid
    ct_series(folder, np.full(SHAPE, 1074, np.uint16), gap=1.0, PixelSpacing=[1.0, 1.0], **tags)


@pytest.fixture
def site(tmp_path: Path, ct_series: Callable[..., list[Path]]) -> Path:
    """P1 drawn twice on the first CT, P2 once, P3 twice with the first reader's missing."""
    readings = {"P1": {"pre": box(slice(8, 12)), "pre.reader2": box(slice(10, 14))}}
    readings |= {"P2": {"pre": box(slice(8, 12))}, "P3": {"pre_reader2": box(slice(8, 12))}}
    for name, masks in readings.items():
        for k, day in enumerate(("20240105", "20240320")):
            uid = f"1.2.{name[1]}.{k}"
            tags = {"PatientID": name, "StudyDate": day, "SeriesInstanceUID": uid, "FrameOfReferenceUID": uid + ".2"}
            folder = tmp_path / "dicom" / name / day
            ct_series(folder, np.full(SHAPE, 1074, np.uint16), gap=1.0, PixelSpacing=[1.0, 1.0], **tags)
        for stem, mask in masks.items():
            image = sitk.GetImageFromArray(mask)
            image.SetOrigin((-10.0, -20.0, 30.0))
            path = tmp_path / "masks" / name / f"{stem}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(image, str(path))
    with (tmp_path / "clinical.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["patient_id", *ESCC.variables], restval="")
        writer.writeheader()
        writer.writerows({"patient_id": name, **DATES} for name in readings)
    settings = {"site": "a", "clinical": {"path": "clinical.csv"}, "images": {"dicom": "dicom", "masks": "masks"}}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path / "site.yaml"


def test_pairs_are_compared_and_what_cannot_be_says_why(site: Path) -> None:
    first, third = reader_pairs(read_site(site), ESCC)
    assert (first.patient_id, first.time_point, first.code) == ("P1", "pre", "")
    assert first.agreement is not None
    # Boxes of 4 x 4 x 4 voxels of 1 mm, the second 2 mm further down: half of each is shared.
    assert first.agreement.dice == pytest.approx(0.5)
    assert first.agreement.centre_distance_mm == pytest.approx(2.0)
    assert first.agreement.volume_ratio == 1.0
    assert (third.patient_id, third.agreement, third.code) == ("P3", None, "no_mask")


def command(site: Path, monkeypatch: pytest.MonkeyPatch, *flags: str) -> int:
    monkeypatch.setattr(sys, "argv", ["fedescc-client", "readers", "--site", str(site), *flags])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_the_command(site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(site, monkeypatch, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["pairs"][0]["agreement"]["dice"] == pytest.approx(0.5)
    assert document["pairs"][1]["code"] == "no_mask"
    assert {"measure", "mean", "lower"} <= set(document["summary"][0])
    assert command(site, monkeypatch) == 0
    assert {"P1", "P3", "no_mask", "dice"} <= set(capsys.readouterr().out.split())


def test_reconstructions_of_one_scan_are_one_pair(site: Path, ct_series: Callable[..., list[Path]]) -> None:
    """Twice the same two label maps would make the SD 0 and the limits of agreement a point."""
    add_kernel(site, ct_series, "9.9")
    assert [(pair.patient_id, pair.code) for pair in reader_pairs(read_site(site), ESCC)] == [
        ("P1", ""),
        ("P3", "no_mask"),
    ]


def test_the_series_that_both_drew_on_is_taken(
    site: Path, ct_series: Callable[..., list[Path]], rtstruct: Callable[..., Path]
) -> None:
    """The first reader's structure set belongs to the second kernel; on the first there is nothing to compare."""
    add_kernel(site, ct_series, "9.9")
    (site.parent / "masks" / "P1" / "pre.nii.gz").unlink()
    # Centres of the voxels 8 to 11 in x and y, at z of the slices 4 to 7.
    square = np.array([[-2.4, -12.4], [1.4, -12.4], [1.4, -8.6], [-2.4, -8.6]])
    contours = [np.column_stack([square, np.full(4, z)]) for z in range(34, 38)]
    path = rtstruct(site.parent / "dicom" / "RS.dcm", {"GTV": contours}, frame="9.9.2", series_uid="9.9")
    dataset = dcmread(path)
    dataset.PatientID = "P1"
    dataset.save_as(path)
    first = reader_pairs(read_site(site), ESCC)[0]
    assert (first.patient_id, first.code) == ("P1", "")
    assert first.agreement is not None
    assert first.agreement.dice == pytest.approx(0.5)


def test_a_second_reading_that_fits_none_of_the_days_series_says_so(site: Path) -> None:
    path = site.parent / "masks" / "P1" / "pre.reader2.nii.gz"
    image = sitk.ReadImage(str(path))
    image.SetOrigin((0.0, 0.0, 0.0))
    sitk.WriteImage(image, str(path))
    assert [(pair.patient_id, pair.code) for pair in reader_pairs(read_site(site), ESCC)] == [
        ("P1", "other_geometry"),
        ("P3", "no_mask"),
    ]


def test_pairs_of_which_none_can_be_compared_are_shown(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (site.parent / "masks" / "P1" / "pre.nii.gz").unlink()
    assert command(site, monkeypatch, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [(pair["patient_id"], pair["code"]) for pair in document["pairs"]] == [("P1", "no_mask"), ("P3", "no_mask")]
    assert document["summary"] == []
    assert command(site, monkeypatch) == 0
    out = capsys.readouterr().out
    assert out.count("no_mask") == 2
    assert "none of these can be compared" in out


def test_without_any_second_reading_the_command_is_refused(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (site.parent / "masks").rglob("*reader2*"):
        path.unlink()
    for flags in ((), ("--json",)):
        assert command(site, monkeypatch, *flags) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert "[no-second-reader]" in printed.err


def test_a_site_without_a_second_reader_has_no_pairs(site: Path) -> None:
    for path in (site.parent / "masks").rglob("*reader2*"):
        path.unlink()
    assert reader_pairs(read_site(site), ESCC) == ()


def test_no_images_are_refused(site: Path) -> None:
    with pytest.raises(Refusal, match="no-images"):
        reader_pairs(read_site(site), read_study("heart-disease"))

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


def test_the_command(site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for flags in (["--json"], []):
        monkeypatch.setattr(sys, "argv", ["fedescc-client", "readers", "--site", str(site), *flags])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 0
        out = capsys.readouterr().out
        if flags:
            document = json.loads(out)
            assert document["pairs"][0]["agreement"]["dice"] == pytest.approx(0.5)
            assert document["pairs"][1]["code"] == "no_mask"
            assert {"measure", "mean", "lower"} <= set(document["summary"][0])
        else:
            assert {"P1", "P3", "no_mask", "dice"} <= set(out.split())


def test_a_site_without_a_second_reader_has_no_pairs(site: Path) -> None:
    for path in (site.parent / "masks").rglob("*reader2*"):
        path.unlink()
    assert reader_pairs(read_site(site), ESCC) == ()


def test_no_images_are_refused(site: Path) -> None:
    with pytest.raises(Refusal, match="no-images"):
        reader_pairs(read_site(site), read_study("heart-disease"))

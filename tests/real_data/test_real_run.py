"""The main job on real input: real CT series and structure sets, and the real records of four hospitals, end to end."""

import csv
import json
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from fedescc.common.study import read_study

pytestmark = [pytest.mark.real_data, pytest.mark.slow]

SOURCES = (("sts_019_ct_rtstruct", "CT/image", "CT/mask/RS.dcm"), ("ibsi1_lung_ct", "image", "mask/DCM_RS_00060.dcm"))
ROI_NAMES = {"pre": "GTV", "post": "tumour_bed"}
PATIENTS = 10
FIRST_DOSE = date(2022, 3, 1)
DATES = {"pre": date(2022, 2, 20), "post": date(2022, 6, 1)}


def simulate(*arguments: object) -> dict[str, Any]:
    command = [str(Path(sys.executable).with_name("fedescc-simulate")), "run", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    out = Path(str(arguments[arguments.index("--out") + 1]))
    assert (out / "report.html").stat().st_size > 10_000
    results: dict[str, Any] = json.loads((out / "results.json").read_text())
    return results


def readdress(dataset: Dataset, uids: dict[str, str]) -> None:
    """Replace every instance, series, study and frame UID, so that one real export serves as several patients."""

    def change(_: Dataset, element: Any) -> None:
        if element.VR == "UI" and element.keyword not in {"SOPClassUID", "ReferencedSOPClassUID"} and element.value:
            element.value = uids.setdefault(str(element.value), generate_uid())

    dataset.walk(change)


def write_scan(real_data: Path, out: Path, patient: str, number: int, point: str) -> None:
    folder, images, structures = SOURCES[number % 2]
    uids: dict[str, str] = {}
    files = [*sorted((real_data / folder / images).iterdir()), real_data / folder / structures]
    for position, path in enumerate(path for path in files if path.suffix == ".dcm"):
        dataset = dcmread(path)
        readdress(dataset, uids)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.PatientID, dataset.StudyDate = patient, DATES[point].strftime("%Y%m%d")
        for structure in dataset.get("StructureSetROISequence", []):
            structure.ROIName = ROI_NAMES[point]
        target = out / "dicom" / patient / point
        target.mkdir(parents=True, exist_ok=True)
        dataset.save_as(target / f"{position:03d}.dcm")


def clinical_row(patient: str, number: int) -> dict[str, object]:
    responder = number % 3 == 0
    return {
        "patient_id": patient,
        "age": 50 + number,
        "sex": ("female", "male")[number % 2],
        "cT": "cT3",
        "cN": f"cN{number % 3}",
        "cycles": 2 + number % 2,
        "histology": "ESCC",
        "neoadjuvant": "chemoimmunotherapy",
        "other_malignancy": "no",
        "other_antitumour_therapy": "no",
        "first_dose_date": FIRST_DOSE,
        "last_dose_date": FIRST_DOSE + timedelta(days=42),
        "surgery_date": DATES["post"] + timedelta(days=9),
        "ypT": "ypT0" if responder else "ypT2",
        "ypN": "ypN0",
    }


def write_hospital(real_data: Path, out: Path, first: int) -> None:
    rows = [clinical_row(f"P{number:02d}", number) for number in range(first, first + PATIENTS)]
    for number in range(first, first + PATIENTS):
        for point in DATES:
            write_scan(real_data, out, f"P{number:02d}", number, point)
    study = read_study("escc-pcr")
    names = ["patient_id", *study.variables]
    with (out / "clinical.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    site = {"site": out.name, "clinical": {"path": "clinical.csv"}, "images": {"dicom": "dicom"}}
    site["policy"] = {"min_class_count": 1, "score_histogram": "plain"}
    (out / "site.yaml").write_text(yaml.safe_dump(site))


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # the real files hold values longer than DICOM allows
def test_real_ct_series_train_a_model_across_hospitals(real_data: Path, tmp_path: Path) -> None:
    for place, name in enumerate(("north", "south")):
        write_hospital(real_data, tmp_path / "hospitals" / name, place * PATIENTS)
    study = yaml.safe_load(read_study("escc-pcr").to_yaml())
    study["imaging"]["grid"] |= {"size_zyx": [24, 24, 24], "spacing_zyx_mm": [4.5, 4.5, 4.5]}
    study["disclosure"] = {"min_class_count": 1}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    out = tmp_path / "out"
    options = ("--cohort", tmp_path / "hospitals", "--study", tmp_path / "study.yaml", "--out", out)
    results = simulate(*options, "--rounds", 3, "--comparators", "none")
    assert [entry["sites"] for entry in results["rounds"]] == [["north", "south"]] * 3
    assert {name: flow["included"] for name, flow in results["flow"].items()} == {"north": PATIENTS, "south": PATIENTS}
    assert np.isfinite([entry["train_loss"] for entry in results["rounds"]]).all()
    assert set(results["final"]["sites"]) == {"north", "south"}
    assert "synthetic_test" not in results


def test_four_real_hospitals_learn_together(
    real_data: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDESCC_REAL_DATA", str(real_data))
    cohort = repository / "configs" / "cohorts" / "heart-disease"
    results = simulate("--study", "heart-disease", "--cohort", cohort, "--out", tmp_path / "out")
    assert results["rounds"][-1]["sites"] == ["cleveland", "hungarian", "switzerland", "va"]
    assert {name: flow["included"] for name, flow in results["flow"].items()} == {
        "cleveland": 303,
        "hungarian": 294,
        "switzerland": 123,
        "va": 200,
    }
    pooled = results["final"]["pooled"]
    assert pooled["auc"] > 0.85  # published single-hospital AUCs of logistic regression: .83-.92
    assert results["comparators"]["centralised"]["pooled"]["auc"] - pooled["auc"] < 0.05
    assert results["final"]["sites"]["switzerland"]["suppressed"]["auc"] == "class-count-below-minimum"
    assert results["explanation"]["pooled"]["st_depression"]["mean_abs"] > 0

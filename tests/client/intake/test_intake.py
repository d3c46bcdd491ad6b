"""Intake from files to cohort, on small handmade sites and on the synthetic cohort."""

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import yaml

from fedescc.client.intake.intake import IntakeResult, load_cohort, run_intake, source_remarks
from fedescc.client.intake.keys import patient_keys
from fedescc.client.intake.patient import died, prepare_patient
from fedescc.client.site import read_site
from fedescc.common.acquisition import PHASES, VENDORS, vendor_of
from fedescc.common.errors import Refusal
from fedescc.common.study import Study, read_study
from fedescc.simulations.patients.scanners import scanner

ESCC = read_study("escc-pcr")
SHAPE = (12, 20, 20)
GOOD: dict[str, str] = {
    "age": "61",
    "sex": "male",
    "cT": "cT3",
    "cN": "cN1",
    "cycles": "2",
    "histology": "ESCC",
    "neoadjuvant": "chemoimmunotherapy",
    "other_malignancy": "no",
    "other_antitumour_therapy": "no",
    "first_dose_date": "2024-01-10",
    "last_dose_date": "2024-03-01",
    "surgery_date": "2024-04-01",
    "ypT": "ypT0",
    "ypN": "ypN0",
}
Factory = Callable[..., list[Path]]


def small_study(**changes: Any) -> Study:
    data = yaml.safe_load(ESCC.to_yaml())
    data["imaging"]["grid"] = {
        "size_zyx": [8, 8, 8],
        "spacing_zyx_mm": [1.0, 1.0, 1.0],
        "window_hu": [-200, 300],
    }
    # Constant HU are no thorax: nothing to judge and nothing to register.
    data["imaging"]["quality"]["refuse"] = []
    data["imaging"]["roi"]["post_rule"] = "drawn"
    return Study.model_validate({**data, **changes})


STUDY = small_study()


class Hospital:
    """A site folder with CTs of constant HU per patient, so that a mixed-up row shows."""

    def __init__(self, folder: Path, ct_series: Factory) -> None:
        self.folder, self._ct_series = folder, ct_series
        self.rows: list[dict[str, str]] = []
        (folder / "work").mkdir(parents=True)
        (folder / "work" / "salt").write_bytes(b"salt" * 8)
        (folder / "dicom").mkdir()
        (folder / "masks").mkdir()
        self.settings: dict[str, Any] = {
            "site": "a",
            "clinical": {"path": "clinical.csv"},
            "images": {"dicom": "dicom", "masks": "masks"},
        }

    def add(self, name: str, hu: int = 50, days: tuple[str, ...] = ("20240105", "20240320"), **row: str) -> None:
        for k, day in enumerate(days):
            stored = np.full(SHAPE, 1024 + hu + k, np.uint16)
            uid = f"1.2.{int.from_bytes(name.encode(), 'big')}.{k}"
            self._ct_series(
                self.folder / "dicom" / name / day,
                stored,
                gap=1.0,
                PixelSpacing=[1.0, 1.0],
                PatientID=name,
                StudyDate=day,
                SeriesInstanceUID=uid,
                StudyInstanceUID=uid + ".1",
                FrameOfReferenceUID=uid + ".2",
            )
            self.mask(name, ("pre", "post")[k])
        self.rows.append({"patient_id": name, **GOOD, **row})

    def mask(self, name: str, time_point: str, values: np.ndarray | None = None) -> None:
        if values is None:
            values = np.zeros(SHAPE, np.uint8)
            values[4:8, 8:12, 8:12] = 1
        image = sitk.GetImageFromArray(values)
        image.SetOrigin((-10.0, -20.0, 30.0))
        path = self.folder / "masks" / name / f"{time_point}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        sitk.WriteImage(image, str(path))

    def intake(self, study: Study = STUDY) -> IntakeResult:
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with (self.folder / "clinical.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, names, restval="")
            writer.writeheader()
            writer.writerows(self.rows)
        (self.folder / "site.yaml").write_text(yaml.safe_dump(self.settings))
        return run_intake(read_site(self.folder / "site.yaml"), study, quiet)

    def key(self, name: str) -> str:
        return patient_keys([name], b"salt" * 8)[0]


@contextmanager
def quiet(_description: str, _total: int) -> Iterator[Callable[[], None]]:
    yield lambda: None


@pytest.fixture
def hospital(tmp_path: Path, ct_series: Factory) -> Hospital:
    return Hospital(tmp_path / "site", ct_series)


def reasons(result: IntakeResult) -> dict[str, tuple[str, ...]]:
    return {name: codes for name, codes in result.patients if codes}


def test_eligible_patients_become_rows_in_key_order(hospital: Hospital) -> None:
    for name, hu in (("P1", -200), ("P2", 50), ("P3", 300)):
        hospital.add(name, hu, age=str(60 + hu / 100), sex="female" if name == "P2" else "male", nlr="2.5")
    cohort = hospital.intake().cohort
    by_name = {name: cohort.keys.index(hospital.key(name)) for name in ("P1", "P2", "P3")}
    assert list(cohort.keys) == sorted(cohort.keys)
    assert cohort.flow == {"included": 3}
    assert cohort.labels.tolist() == [1, 1, 1]
    assert cohort.numeric["age"][by_name["P3"]] == 63.0
    assert cohort.categorical["sex"][by_name["P2"]] == 0
    assert cohort.categorical["smoking"].tolist() == [-1, -1, -1]
    assert np.isnan(cohort.numeric["albumin"]).all()
    assert set(cohort.numeric) | set(cohort.categorical) == set(STUDY.covariates), "nothing merely recorded"
    assert cohort.images is not None
    assert cohort.rois is not None
    assert (cohort.images.shape, cohort.images.dtype) == ((3, 2, 8, 8, 8), np.float16)
    assert (cohort.rois.shape, cohort.rois.dtype) == ((3, 2, 8, 8, 8), np.uint8)
    # HU -200 .. 300 map to 0 .. 1, and the second CT is 1 HU brighter than the first.
    for name, hu in (("P1", -200), ("P2", 50)):
        np.testing.assert_allclose(cohort.images[by_name[name], 0], (hu + 200) / 500, atol=1e-3)
        np.testing.assert_allclose(cohort.images[by_name[name], 1], (hu + 201) / 500, atol=1e-3)
    # The 4x4x4 box lies in the middle of the grid around it.
    expected = np.zeros((8, 8, 8), np.uint8)
    expected[2:6, 2:6, 2:6] = 1
    # "SIEMENS at Mercy Hospital" is kept as a code alone.
    assert cohort.acquisition["vendor"].tolist() == [[VENDORS.index("siemens")] * 2] * 3
    assert np.isfinite(cohort.acquisition["slice_mm"]).all()
    for roi in cohort.rois.reshape(-1, 8, 8, 8):
        np.testing.assert_array_equal(roi, expected)


def test_whoever_fails_is_counted_and_nobody_else_is_lost(hospital: Hospital) -> None:
    for k in range(3):
        hospital.add(f"good{k}")
    hospital.add("minor", age="17")
    hospital.add("wrong-unit", albumin="4.1")
    hospital.add("unknown-code", smoking="sometimes")
    hospital.add("no-post", days=("20240105",))
    hospital.add("late", days=("20240111", "20240320"))
    hospital.add("no-endpoint", ypN="")
    hospital.add("no-mask")
    (hospital.folder / "masks" / "no-mask" / "post.nii.gz").unlink()
    hospital.add("gap")
    sorted((hospital.folder / "dicom" / "gap" / "20240320").iterdir())[5].unlink()
    hospital.rows.append({"patient_id": "no-ct", **GOOD})
    hospital.add("stranger")
    hospital.rows.pop()
    result = hospital.intake()
    assert reasons(result) == {
        "minor": ("adult",),
        "wrong-unit": ("clinical_out_of_range:albumin",),
        "unknown-code": ("clinical_unknown_category:smoking",),
        "no-post": ("ct_before_surgery",),
        "late": ("ct_before_treatment",),
        "no-endpoint": ("endpoint_unknown",),
        "no-mask": ("roi_available", "post:no_mask"),
        "gap": ("poor_quality_ct", "post:missing_slices"),
        "no-ct": ("ct_before_treatment", "ct_before_surgery"),
    }
    assert result.flow["included"] == len(result.cohort) == 3
    assert result.flow["ct_before_treatment"] == 2
    assert sum(result.flow.values()) == len(hospital.rows) == 12
    assert "2 series belong to no patient of the table" in result.warnings
    assert result.cohort.images is not None
    assert result.cohort.images.shape[0] == 3


@pytest.mark.parametrize("content", [b"", b"garbage" * 99, None], ids=["empty", "garbage", "cut"])
def test_a_corrupt_slice_excludes_its_patient(hospital: Hospital, content: bytes | None) -> None:
    hospital.add("P1")
    hospital.add("P2")
    path = sorted((hospital.folder / "dicom" / "P2" / "20240105").iterdir())[6]
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    result = hospital.intake()
    assert result.flow == {"included": 1, "poor_quality_ct": 1}
    (codes,) = reasons(result).values()
    assert codes[0] == "poor_quality_ct"
    assert "pre:missing_slices" in codes
    assert any("files of the CT export were rejected" in warning for warning in result.warnings)


@pytest.mark.parametrize("position", [0, -1])
@pytest.mark.parametrize("content", [b"", b"garbage" * 99, None], ids=["empty", "garbage", "cut"])
def test_a_corrupt_slice_at_the_end_of_the_stack_is_not_overlooked(
    hospital: Hospital, position: int, content: bytes | None
) -> None:
    """Without that file the rest is a whole, shorter stack."""
    hospital.add("P1")
    hospital.add("P2")
    folder = hospital.folder / "dicom" / "P2" / "20240320"
    for path in folder.iterdir():
        path.rename(path.with_suffix(".dcm"))
    path = sorted(folder.iterdir())[position]
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    result = hospital.intake()
    assert reasons(result) == {"P2": ("poor_quality_ct", "post:corrupt_file")}


def test_a_corrupt_mask_excludes_its_patient(hospital: Hospital) -> None:
    hospital.add("P1")
    hospital.add("P2")
    (hospital.folder / "masks" / "P2" / "pre.nii.gz").write_bytes(b"garbage")
    assert reasons(hospital.intake()) == {"P2": ("roi_available", "pre:mask_unreadable")}


def test_a_truncated_slice_in_a_flat_export_excludes_its_patient_alone(hospital: Hospital) -> None:
    for name in ("P1", "P2"):
        hospital.add(name)
        for path in sorted((hospital.folder / "dicom" / name).rglob("0*")):
            path.rename(hospital.folder / "dicom" / f"{name}_{path.parent.name}_{path.name}")
        shutil.rmtree(hospital.folder / "dicom" / name)
    path = hospital.folder / "dicom" / "P1_20240105_0011"
    content = path.read_bytes()
    for keep in (len(content) - 100, len(content) // 2):
        path.write_bytes(content[:keep])
        assert reasons(hospital.intake()) == {"P1": ("poor_quality_ct", "pre:corrupt_file")}


def test_a_patient_gets_no_ct_of_another_whose_inner_folder_is_called_alike(
    hospital: Hospital, ct_series: Factory
) -> None:
    hospital.settings["images"]["match"] = "folder"
    hospital.add("2")
    folder = hospital.folder / "dicom" / "12" / "20240107" / "2"
    stored = np.full(SHAPE, 1500, np.uint16)
    ct_series(folder, stored, gap=1.0, PixelSpacing=[1.0, 1.0], StudyDate="20240107", SeriesInstanceUID="9.9")
    result = hospital.intake()
    assert result.cohort.images is not None
    np.testing.assert_allclose(result.cohort.images[0, 0], 250 / 500, atol=1e-3)
    assert "1 series belong to no patient of the table" in result.warnings


def test_patients_without_an_roi_are_remarked_on_by_number(hospital: Hospital) -> None:
    for name in ("P1", "P2", "P3"):
        hospital.add(name)
    for name in ("P2", "P3"):
        (hospital.folder / "masks" / name / "post.nii.gz").unlink()
    result = hospital.intake()
    assert result.flow == {"included": 1, "roi_available": 2}
    (remark,) = [warning for warning in result.warnings if "usable ROI" in warning]
    assert remark.startswith("2 patients were excluded")
    assert "P2" not in remark


def test_an_roi_that_the_grid_does_not_hold(hospital: Hospital) -> None:
    """The grid is 8 mm wide: of a box of 9 mm it holds 8/9 along each axis."""
    for name in ("P1", "P2", "P3"):
        hospital.add(name)
    for name, size in (("P2", 9), ("P3", 12)):
        values = np.zeros(SHAPE, np.uint8)
        values[:size, 8:12, 8:12] = 1
        hospital.mask(name, "pre", values)
    result = hospital.intake()
    assert reasons(result) == {"P3": ("roi_available", "pre:roi_exceeds_grid")}
    assert "1 patients have an ROI that reaches beyond the model's grid" in result.warnings


def test_an_roi_smaller_than_the_grids_voxels_excludes_its_patient(hospital: Hospital) -> None:
    hospital.add("P1")
    hospital.add("P2")
    values = np.zeros(SHAPE, np.uint8)
    values[5:7, 9:11, 9:11] = 1
    hospital.mask("P1", "post", values)
    data = yaml.safe_load(STUDY.to_yaml())["imaging"]
    data["grid"]["spacing_zyx_mm"] = [3.0, 3.0, 3.0]
    result = hospital.intake(small_study(imaging=data))
    assert reasons(result)["P1"] == ("roi_available", "post:empty_roi")


def test_an_unreadable_folder_is_remarked_on_and_read_when_it_can_be(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital.add("P1")
    hospital.add("P2")
    scandir = os.scandir

    def listing(path: str) -> Any:
        if str(path).endswith(("P2/20240105", "masks/P1")):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    with monkeypatch.context() as closed:
        closed.setattr(os, "scandir", listing)
        with pytest.raises(Refusal, match="empty-site"):
            hospital.intake()
        hospital.mask("P1", "pre")
        closed.setattr(os, "scandir", lambda path: listing(path) if "masks" not in str(path) else scandir(path))
        result = hospital.intake()
        assert reasons(result) == {"P2": ("ct_before_treatment",)}
        assert "1 folders could not be listed: unreadable_folder" in result.warnings
    again = hospital.intake()
    assert (again.reused, again.flow) == (False, {"included": 2})


def test_drafts_of_killed_processes_go_when_the_next_cohort_is_made(hospital: Hospital) -> None:
    hospital.add("P1")
    hospital.intake()
    stale = hospital.folder / "work" / "cache" / "draft-killed"
    stale.mkdir()
    hospital.add("P2")
    hospital.intake()
    assert not stale.exists()


def test_a_reader_that_died_is_tried_again(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    """For want of memory, say: what went wrong once is no verdict on the patient."""
    hospital.add("P1")
    hospital.add("P2")
    with monkeypatch.context() as short:
        short.setattr(
            "fedescc.client.intake.scans.prepare_patient",
            lambda task: died() if task.patient_id == "P2" else prepare_patient(task),
        )
        assert reasons(hospital.intake()) == {"P2": ("poor_quality_ct", "reader_died")}
    again = hospital.intake()
    assert (again.reused, again.flow) == (False, {"included": 2})
    assert hospital.intake().reused


def test_files_that_change_places_are_seen_whatever_their_dates_say(hospital: Hospital) -> None:
    """Archives give copies one date, and CTs of one protocol one size."""
    hospital.settings["images"]["match"] = "folder"
    for name, hu in (("P1", 0), ("P2", 100)):
        hospital.add(name, hu)
    for path in (hospital.folder / "dicom").rglob("*"):
        os.utime(path, (1, 1))
    export = hospital.folder / "dicom"

    def brightness(name: str) -> float:
        cohort = hospital.intake().cohort
        assert cohort.images is not None
        return float(cohort.images[cohort.keys.index(hospital.key(name)), 0].astype(float).mean())

    before = brightness("P1")
    for old, new in (("P1", "aside"), ("P2", "P1"), ("aside", "P2")):
        (export / old).rename(export / new)
    for path in (hospital.folder / "masks").rglob("*.nii.gz"):
        os.utime(path, (1, 1))
    assert brightness("P1") == pytest.approx(before + 100 / 500, abs=1e-3)


def test_a_folder_of_masks_is_empty_until_a_reader_saves_one(hospital: Hospital) -> None:
    hospital.add("P1")
    shutil.rmtree(hospital.folder / "masks")
    (hospital.folder / "masks").mkdir()
    with pytest.raises(Refusal, match="roi_available 1") as caught:
        hospital.intake()
    assert "fedescc-client worklist" in str(caught.value)


def test_unchanged_inputs_are_not_prepared_again(hospital: Hospital) -> None:
    hospital.add("P1")
    hospital.add("P2", age="17")
    first = hospital.intake()
    again = hospital.intake()
    assert (first.reused, again.reused) == (False, True)
    assert again.patients == first.patients
    assert again.flow == first.flow == {"included": 1, "adult": 1}


def test_changed_inputs_make_a_new_cache(hospital: Hospital) -> None:
    hospital.add("P1")
    assert hospital.intake().reused is False
    hospital.add("P2")
    second = hospital.intake()
    assert (second.reused, second.flow) == (False, {"included": 2})
    other = hospital.intake(small_study(title="Other"))
    assert other.reused is False
    assert other.cohort.keys == second.cohort.keys


def test_no_identifier_enters_the_cache_or_the_parts(hospital: Hospital, caplog: pytest.LogCaptureFixture) -> None:
    hospital.add("Zhang-Wei-4711")
    hospital.add("Li-Na-0815", age="17")
    hospital.add("Wu-Fei-0042")
    (hospital.folder / "masks" / "Wu-Fei-0042" / "post.nii.gz").unlink()
    path = sorted((hospital.folder / "dicom" / "Wu-Fei-0042" / "20240105").iterdir())[3]
    path.write_bytes(path.read_bytes()[:-100])
    result = hospital.intake()
    (cache,) = (hospital.folder / "work" / "cache").iterdir()
    assert sorted(path.name for path in cache.iterdir()) == [
        "cohort.json",
        "images.npy",
        "rois.npy",
        "tables.npz",
    ]
    files = [*cache.iterdir(), *(hospital.folder / "work" / "parts" / STUDY.name).iterdir()]
    assert len(files) == 5
    content = b"".join(str(path.name).encode() + path.read_bytes() for path in files)
    content += repr((result.warnings, result.flow, result.cohort)).encode() + caplog.text.encode()
    for name in ("Zhang-Wei-4711", "Wu-Fei-0042"):
        assert str(int.from_bytes(name.encode(), "big")).encode() not in content, "a UID"
    for secret in (b"4711", b"Zhang", b"0815", b"0042", b"20240105", b"2024-01-10", b"2024-04-01", b"dicom", b"masks"):
        assert secret not in content
    json.loads((cache / "cohort.json").read_text())


def test_what_names_patients_is_readable_by_its_owner_alone(hospital: Hospital) -> None:
    hospital.add("P1")
    hospital.intake()
    work = hospital.folder / "work"
    for path in (work / "index" / "dicom.sqlite", work / "index" / "masks.sqlite", work / "records" / "escc-pcr.json"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_new_patient_costs_no_other_patients_work(hospital: Hospital) -> None:
    hospital.add("P1")
    hospital.add("P2")
    hospital.intake()
    folder = hospital.folder / "work" / "parts" / STUDY.name
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    hospital.add("P3")
    assert len(hospital.intake().cohort) == 3
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert before.items() < after.items()
    assert len(after) == 3
    hospital.rows = hospital.rows[1:]
    hospital.intake()
    assert len(list(folder.iterdir())) == 2, "a patient who was withdrawn leaves nothing behind"


def test_a_changed_mask_or_override_makes_its_part_anew(hospital: Hospital) -> None:
    hospital.add("P1")
    hospital.add("P2")
    cohort = hospital.intake().cohort
    assert cohort.rois is not None
    was = int(cohort.rois[cohort.keys.index(hospital.key("P1")), 0].sum())
    larger = np.zeros(SHAPE, np.uint8)
    larger[3:9, 8:12, 8:12] = 1
    hospital.mask("P1", "pre", larger)
    cohort = hospital.intake().cohort
    assert cohort.rois is not None
    assert int(cohort.rois[cohort.keys.index(hospital.key("P1")), 0].sum()) == was // 4 * 6
    hospital.settings["images"]["overrides"] = "overrides.csv"
    overrides = hospital.folder / "overrides.csv"
    overrides.write_text("patient_id,time_point,action,value,reader\nP1,pre,refuse_ct,,A\nP9,pre,accept,noisy,A\n")
    result = hospital.intake()
    assert reasons(result) == {"P1": ("poor_quality_ct", "pre:refused_by_reader")}
    assert "overrides of 1 patients are ignored: the table has no such patient" in result.warnings
    overrides.write_text("patient_id,time_point,action,value,reader\nP1,pre,accept,noisy,A\n")
    result = hospital.intake()
    assert reasons(result) == {}
    (entry,) = result.records["P1"].overrides
    assert (entry.reader, entry.used) == ("A", False)
    assert "pre:override_unused:accept:noisy" in result.records["P1"].notes, "nothing was noisy"


def test_each_series_of_a_patient_is_on_record(hospital: Hospital, ct_series: Factory) -> None:
    hospital.add("P1")
    tags = {"PatientID": "P1", "StudyDate": "20240105", "PixelSpacing": [1.0, 1.0]}
    ct_series(
        hospital.folder / "dicom" / "P1" / "thick",
        np.full((6, 20, 20), 1074, np.uint16),
        gap=2.0,
        SeriesInstanceUID="7.7",
        FrameOfReferenceUID="7.8",
        **tags,
    )
    result = hospital.intake()
    for again in (result, hospital.intake()):
        entries = {one.folder: (one.time_point, one.code) for one in again.records["P1"].series}
        assert entries == {
            "P1/20240105": ("pre", "chosen"),
            "P1/20240320": ("post", "chosen"),
            "P1/thick": ("pre", "not_drawn_on"),
        }


@pytest.mark.parametrize(
    ("drawn", "warned"), [([True] * 6 + [False] * 6, True), ([True, False] * 6, False), ([False] * 12, False)]
)
def test_beds_that_are_drawn_for_one_outcome_alone_are_warned_of(drawn: list[bool], warned: bool) -> None:
    """Six responders, six others: Fisher's p is .002 where all responders' beds were drawn and nobody else's."""
    labels = [1] * 6 + [0] * 6
    found = source_remarks([not one for one in drawn], labels)
    assert bool(found) == warned
    assert source_remarks([None] * 12, labels) == ()


def test_an_empty_site_is_refused_with_its_reasons(hospital: Hospital) -> None:
    hospital.add("P1", age="17")
    hospital.add("P2", histology="other")
    with pytest.raises(Refusal, match="empty-site") as caught:
        hospital.intake()
    assert "none of 2 patients is eligible (adult 1, escc_confirmed 1)" in str(caught.value)


@pytest.mark.parametrize(
    ("images", "code"),
    [
        (None, "no-images"),
        ({"dicom": "absent"}, "missing-input"),
        ({"dicom": "dicom", "masks": "absent"}, "missing-input"),
        ({"dicom": "empty"}, "empty-folder"),
    ],
)
def test_folders_that_are_not_there_are_refused(hospital: Hospital, images: dict[str, str] | None, code: str) -> None:
    hospital.add("P1")
    (hospital.folder / "empty").mkdir()
    hospital.settings["images"] = images
    with pytest.raises(Refusal, match=code):
        hospital.intake()


def test_matching_by_folder(hospital: Hospital) -> None:
    hospital.add("P1")
    for row in hospital.rows:
        row["patient_id"] = "folder-1"
    shutil.move(hospital.folder / "dicom" / "P1", hospital.folder / "dicom" / "folder-1")
    shutil.move(hospital.folder / "masks" / "P1", hospital.folder / "masks" / "folder-1")
    hospital.settings["images"]["match"] = "folder"
    assert hospital.intake().flow == {"included": 1}


def test_a_clinical_study_needs_no_images(hospital: Hospital) -> None:
    (hospital.folder / "clinical.csv").write_text("age,sex,num\n61,male,0\n62,female,2\n63,male,\n")
    hospital.settings = {"site": "a", "clinical": {"path": "clinical.csv", "patient_id": "row_number"}}
    (hospital.folder / "site.yaml").write_text(yaml.safe_dump(hospital.settings))
    cohort = load_cohort(read_site(hospital.folder / "site.yaml"), read_study("heart-disease"))
    assert cohort.flow == {"included": 2, "endpoint_unknown": 1}
    assert (cohort.images, cohort.rois) == (None, None)
    by_age = dict(zip(cohort.numeric["age"].tolist(), cohort.labels.tolist(), strict=True))
    assert by_age == {61.0: 0, 62.0: 1}


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from fedescc.simulations.patients.cohort import write_cohort

    out = tmp_path_factory.mktemp("synthetic") / "cohort"
    write_cohort(out, [6, 2], 3, ESCC, workers=1)
    return out


@pytest.mark.parametrize("name", ["site-a", "site-b"])
def test_the_synthetic_cohort_goes_through(synthetic: Path, name: str) -> None:
    """Structure sets at one site, label maps and local names at the other; labels as the generator drew them."""
    result = run_intake(read_site(synthetic / name / "site.yaml"), ESCC, quiet)
    with (synthetic / name / "clinical.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert sum(result.flow.values()) == len(table)
    assert set(result.flow) <= {"included", "escc_confirmed", "other_malignancy"} | {
        rule.code for rule in ESCC.eligibility.inclusion + ESCC.eligibility.exclusion
    }
    assert result.flow["included"] >= len(table) // 2
    salt = (synthetic / name / "work" / "salt").read_bytes()
    cohort = result.cohort
    assert cohort.images is not None
    assert cohort.rois is not None
    for row, key in zip(table, patient_keys([row["patient_id"] for row in table], salt), strict=True):
        if key in cohort.keys:
            i = cohort.keys.index(key)
            assert cohort.labels[i] == int(row["ypT"] == "ypT0" and row["ypN"] == "ypN0")
    assert cohort.images.shape[1:] == (2, 48, 48, 48)
    machine = scanner("ab".index(name[-1]))
    assert (cohort.acquisition["vendor"] == VENDORS.index(vendor_of(machine.manufacturer) or "other")).all()
    assert (cohort.acquisition["phase"] == PHASES.index("enhanced")).mean() > 0.9
    assert np.nanmedian(cohort.acquisition["slice_mm"]) == pytest.approx(machine.slice_mm)
    assert np.nanmedian(cohort.acquisition["noise_hu"]) == pytest.approx(machine.noise_hu, rel=0.4)
    assert 0 <= float(cohort.images.min()) < float(cohort.images.max()) <= 1
    assert (cohort.rois.reshape(len(cohort) * 2, -1).sum(axis=1) > 0).all()


def test_the_rois_of_the_synthetic_cohort_are_soft_tissue(synthetic: Path) -> None:
    cohort = load_cohort(read_site(synthetic / "site-b" / "site.yaml"), ESCC)
    assert cohort.images is not None
    assert cohort.rois is not None
    low, high = ESCC.imaging.grid.window_hu if ESCC.imaging else (0, 0)
    for image, roi in zip(cohort.images[:, 0], cohort.rois[:, 0], strict=True):
        hu = float(image[roi == 1].astype(np.float64).mean()) * (high - low) + low
        assert 0 < hu < 150


def test_a_site_without_drawn_beds_gets_them_from_the_first_ct(synthetic: Path, tmp_path: Path) -> None:
    """The default rule on whole patients: the same people are included, with the same images and a like bed."""
    drawn = run_intake(read_site(synthetic / "site-b" / "site.yaml"), ESCC, quiet)
    site = Path(shutil.copytree(synthetic / "site-b", tmp_path / "site-b"))
    for path in site.glob("masks/*/post.nii.gz"):
        path.unlink()
    carried = run_intake(read_site(site / "site.yaml"), ESCC, quiet)
    assert carried.cohort.keys == drawn.cohort.keys
    included = [name for name, codes in carried.patients if not codes]
    assert all(carried.records[name].propagated for name in included)
    assert not any(drawn.records[name].propagated for name in included)
    assert carried.cohort.rois is not None
    assert drawn.cohort.rois is not None
    for carried_roi, drawn_roi in zip(carried.cohort.rois, drawn.cohort.rois, strict=True):
        np.testing.assert_array_equal(carried_roi[0], drawn_roi[0])
        shared = 2 * int((carried_roi[1] & drawn_roi[1]).sum())
        assert shared / (int(carried_roi[1].sum()) + int(drawn_roi[1].sum())) > 0.8, "Dice; grids are centred alike"

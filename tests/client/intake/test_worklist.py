"""What is left to do, for whom it makes sense to do it."""

import csv
import dataclasses
import re
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fedescc.client.cohort import SiteCohort
from fedescc.client.intake.disk.record import PatientRecord, SeriesEntry
from fedescc.client.intake.eligibility import Scans, decide
from fedescc.client.intake.intake import IntakeResult
from fedescc.client.intake.rois.roi_codes import FAULTY, NOT_CARRIED, NOT_DRAWN
from fedescc.client.intake.worklist import Todo, worklist, write_csv
from fedescc.common.errors import Refusal
from fedescc.common.imaging import QualityCode
from fedescc.common.study import Study, read_study

ESCC = read_study("escc-pcr")
CHOSEN = (SeriesEntry("pre", "1.2.1", 2, "P/pre", "chosen"), SeriesEntry("post", "1.2.2", 2, "P/post", "chosen"))
RECORD = PatientRecord(series=(*CHOSEN, SeriesEntry("pre", "1.2.3", 3, "P/thin", "thicker_slices")))
REPLACE = "replace the file that holds the faulty one: of two ROIs neither is used"


def variant(*, post_rule: str = "propagate", without: frozenset[str] = frozenset()) -> Study:
    """The trial's study with another rule for the bed, or without some built-in rules."""
    data = yaml.safe_load(ESCC.to_yaml())
    data["imaging"]["roi"]["post_rule"] = post_rule
    for rules in data["eligibility"].values():
        rules[:] = [rule for rule in rules if rule["built_in"] not in without]
    return Study.model_validate(data)


DRAWN = variant(post_rule="drawn")
BUILT_IN = frozenset({"ct_pre", "ct_post", "ct_quality", "roi", "chronology", "complete_clinical_data"})
BARE = variant(without=BUILT_IN)


def result(record: PatientRecord = RECORD, **patients: tuple[str, ...]) -> IntakeResult:
    nobody = SiteCohort((), np.zeros(0, np.int8), {}, {}, np.zeros(0, "<U10"), None, None, {})
    return IntakeResult(nobody, {}, (), tuple(patients.items()), dict.fromkeys(patients, record), reused=False)


def todos(*codes: str, study: Study = ESCC, record: PatientRecord = RECORD) -> list[Todo]:
    return list(worklist(result(record, P=codes), study))


def tasks(*codes: str, study: Study = ESCC, record: PatientRecord = RECORD) -> list[tuple[str, str, str]]:
    return [(todo.time_point, todo.task, todo.code) for todo in todos(*codes, study=study, record=record)]


@pytest.mark.parametrize(
    ("code", "todo"),
    [
        ("pre:no_mask", Todo("P", "pre", "draw_roi", "no_mask", "1.2.1", "P/pre", "P/pre.nii.gz")),
        ("post:no_mask", Todo("P", "post", "draw_bed", "no_mask", "1.2.2", "P/post", "P/post.nii.gz")),
        (
            "pre:roi_ambiguous",
            Todo("P", "pre", "correct_roi", "roi_ambiguous", "1.2.1", "P/pre", "P/pre.nii.gz", REPLACE),
        ),
        ("post:low_similarity", Todo("P", "post", "review_bed", "low_similarity", "1.2.2", "P/post", "P/post.nii.gz")),
        (
            "post:registration_failed",
            Todo("P", "post", "review_bed", "registration_failed", "1.2.2", "P/post", "P/post.nii.gz"),
        ),
    ],
)
def test_rois(code: str, todo: Todo) -> None:
    assert todos("roi_available", code, study=DRAWN) == [todo]


def test_where_the_roi_is_carried_over_nobody_is_asked_to_draw_the_bed_for_want_of_the_first_roi() -> None:
    """Whose bed is drawn would follow from who lacked a baseline ROI, and the model could read it off."""
    assert tasks("roi_available", "pre:no_mask", "post:needs_baseline_roi") == [("pre", "draw_roi", "no_mask")]
    assert tasks("roi_available", "pre:roi_truncated", "post:needs_baseline_roi") == [
        ("pre", "correct_roi", "roi_truncated")
    ]
    for code in ("needs_baseline_roi", "no_mask"):
        (todo,) = todos("roi_available", f"post:{code}")
        assert (todo.time_point, todo.task, todo.save_as) == ("pre", "draw_roi", "P/pre.nii.gz")


def test_a_carried_over_bed_is_looked_at_unless_the_first_roi_is_at_fault_itself() -> None:
    carried = dataclasses.replace(RECORD, propagated=True)
    both = ("roi_available", "pre:roi_exceeds_grid", "post:roi_exceeds_grid")
    assert tasks(*both, record=carried) == [("pre", "correct_roi", "roi_exceeds_grid")]
    assert tasks("roi_available", "post:roi_exceeds_grid", record=carried) == [
        ("post", "review_bed", "roi_exceeds_grid")
    ]
    drawn = dataclasses.replace(RECORD, propagated=False)
    assert [task for _, task, _ in tasks(*both, record=drawn)] == ["correct_roi", "correct_roi"]


def test_what_is_wrongly_drawn_on_the_second_ct_is_deleted_where_the_roi_is_carried_over() -> None:
    """Those with tumour left would otherwise be the ones whose bed a reader draws."""
    (todo,) = todos("roi_available", "post:baseline_roi_on_second_ct")
    assert (todo.task, todo.hint.startswith("delete what is drawn on this CT")) == ("correct_roi", True)
    (todo,) = todos("roi_available", "post:baseline_roi_on_second_ct", study=DRAWN)
    assert (todo.task, todo.hint) == ("correct_roi", REPLACE)


def test_a_ct_of_poor_quality_is_not_drawn_on_whatever_else_is_wrong() -> None:
    found = todos("roi_available", "poor_quality_ct", "pre:body_truncated", "post:kernel_differs", "pre:no_mask")
    assert found == [
        Todo("P", "pre", "review_ct", "body_truncated", "1.2.1", "P/pre"),
        Todo("P", "post", "review_ct", "kernel_differs", "1.2.2", "P/post"),
        Todo("P", "pre", "draw_roi", "no_mask", "1.2.1", "P/pre", "P/pre.nii.gz"),
    ]


def test_codes_of_rois_are_those_that_the_documentation_explains(repository: Path) -> None:
    text = (repository / "docs" / "intake.md").read_text(encoding="utf-8")
    table = text.split("### ROIs")[1].split("Warnings:")[0]
    rows = [row for row in table.splitlines() if row.startswith("| `") and "`inspect` alone" not in row]
    explained = {code for row in rows for code in re.findall(r"`([a-z0-9_]+)`", row.split("|")[1])}
    assert explained == FAULTY | NOT_CARRIED | NOT_DRAWN
    assert not explained & set(QualityCode.__args__)


def test_each_task_is_explained_to_the_reader(repository: Path) -> None:
    text = (repository / "docs" / "roi.md").read_text(encoding="utf-8").split("## The worklist")[1].split("\n## ")[0]
    cells = [row.split("|")[1] for row in text.splitlines() if row.startswith("| `")]
    named = re.search(r"task: (.*?)\.", Todo.__doc__ or "", flags=re.DOTALL)
    assert named is not None
    assert {task for cell in cells for task in re.findall("`([a-z_]+)`", cell)} == set(
        re.findall("[a-z]+_[a-z_]+", named[1])
    )


def test_cts() -> None:
    assert todos("poor_quality_ct", "post:thick_slices") == [
        Todo("P", "post", "review_ct", "thick_slices", "1.2.2", "P/post")
    ]
    assert tasks("ct_before_treatment", "ct_before_surgery:unknown") == [
        ("pre", "find_ct", "ct_before_treatment"),
        ("post", "find_ct", "ct_before_surgery:unknown"),
    ]
    assert tasks("poor_quality_ct", "post:refused_by_reader") == [("post", "review_ct", "refused_by_reader")]
    assert tasks("poor_quality_ct", "pre:override_names_several_series") == [
        ("pre", "correct_override", "override_names_several_series")
    ]


def test_a_study_without_rules_for_cts_lists_the_same_work() -> None:
    codes = ("missing:age", "no_ct_pre", "no_ct_post", "ct_quality", "no_roi", "no_chronology")
    assert tasks(*codes, study=BARE) == [
        ("", "complete_table", "missing:age"),
        ("pre", "find_ct", "no_ct_pre"),
        ("post", "find_ct", "no_ct_post"),
        ("", "review_ct", "ct_quality"),
        ("", "correct_roi", "no_roi"),
        ("", "check_dates", "no_chronology"),
    ]
    assert tasks("ct_quality", "no_roi", "pre:gantry_tilt", "post:empty_roi", study=BARE) == [
        ("pre", "review_ct", "gantry_tilt"),
        ("post", "correct_roi", "empty_roi"),
    ]


def test_a_fault_of_fedescc_or_of_a_file_that_ends_its_reader_is_to_be_reported() -> None:
    assert tasks("poor_quality_ct", "reader_died") == [("", "report_fault", "reader_died")]
    assert tasks("poor_quality_ct", "unexpected_KeyError") == [("", "report_fault", "unexpected_KeyError")]
    assert todos("poor_quality_ct", "post:unexpected_KeyError") == [
        Todo("P", "post", "report_fault", "unexpected_KeyError", "1.2.2", "P/post")
    ]


def test_table() -> None:
    found = todos(
        "clinical_out_of_range:albumin", "incomplete_clinical_data", "pcr_with_positive_nodes", "endpoint_unknown"
    )
    assert [(todo.task, todo.code) for todo in found] == [
        ("complete_table", "clinical_out_of_range:albumin"),
        ("complete_table", "incomplete_clinical_data"),
        ("check_pathology", "pcr_with_positive_nodes"),
        ("complete_table", "endpoint_unknown"),
    ]
    # A CT without a date leaves it unknown as well as a table without one does.
    for code in ("chronology", "chronology:unknown"):
        assert todos(code) == [Todo("P", "", "check_dates", code)]


def test_whom_the_protocol_excludes_and_who_is_included_are_not_listed() -> None:
    assert todos("adult", "roi_available", "pre:no_mask") == []
    assert todos("other_malignancy", "endpoint_unknown") == []
    assert todos() == []
    assert [todo.task for todo in todos("adult:unknown")] == ["complete_table"]


GOOD = {"histology": "ESCC", "neoadjuvant": "chemoimmunotherapy", "age": 61.0, "cycles": 2.0}
DATES = ("first_dose_date", "last_dose_date", "surgery_date")
DETAILS = sorted(
    {f"{point}:{code}" for point in ("pre", "post") for code in FAULTY | NOT_CARRIED | set(QualityCode.__args__)}
    | {"pre:no_mask", "post:needs_baseline_roi", "reader_died", "unexpected_MemoryError", "post:missing_slices"}
)


@given(
    study=st.sampled_from([ESCC, DRAWN, BARE, variant(without=frozenset({"roi", "ct_quality"}))]),
    found=st.fixed_dictionaries(dict.fromkeys(("pre", "post"), st.sampled_from(["found", "none", "ambiguous"]))),
    details=st.lists(st.sampled_from(DETAILS), max_size=4, unique=True),
    quality=st.booleans(),
    dates=st.fixed_dictionaries({}, optional=dict.fromkeys(DATES, st.dates(date(2020, 1, 1), date(2024, 12, 31)))),
    propagated=st.sampled_from([None, True, False]),
    complete=st.booleans(),
)
def test_everyone_excluded_is_listed_unless_the_protocol_says_who_they_are(
    study: Study,
    found: dict[str, str],
    details: list[str],
    quality: bool,
    dates: dict[str, date],
    propagated: bool | None,
    complete: bool,
) -> None:
    known = {name: value for name, value in GOOD.items() if complete} | dates
    faults = ("x",) if quality and details else ()
    scans = Scans(found=found, quality=faults, roi=not details, details=tuple(details))  # type: ignore[arg-type]
    rules = {rule.code: rule for rule in study.eligibility.inclusion + study.eligibility.exclusion}
    codes = decide(study, known, ("clinical_out_of_range:albumin",), scans).codes + scans.details
    record = dataclasses.replace(RECORD, propagated=propagated)
    listed = todos(*codes, study=study, record=record)
    assert bool(listed) != any(code in rules and rules[code].when for code in codes)
    carried = study.imaging is not None and study.imaging.roi.post_rule == "propagate"
    for todo in listed:
        assert not (carried and todo.task == "draw_bed")
        assert todo.save_as == "" or todo.code in FAULTY | NOT_CARRIED | NOT_DRAWN


@pytest.mark.parametrize(
    "patient",
    ["2019/7", "..", ".", "a:b", "a\\b", "P?", "P*", "P.", "aux", "COM1.x", "a\tb", "\u75c5" * 86],
)
def test_an_identifier_that_names_no_folder_gets_no_path_but_a_way_out(patient: str) -> None:
    (todo,) = worklist(result(**{patient: ("roi_available", "pre:no_mask")}), ESCC)
    assert (todo.patient_id, todo.save_as, todo.series_uid) == (patient, "", "1.2.1")
    assert "RTSTRUCT or DICOM SEG" in todo.hint
    (other,) = worklist(result(**{patient: ("poor_quality_ct", "pre:noisy")}), ESCC)
    assert other.hint == "", "nothing is to be drawn"


@pytest.mark.parametrize("patient", ["P-001", "\u5f20\u4e09", "a b", "=1+1", "P.1", "auxiliary", "\u75c5" * 85])
def test_any_other_identifier_names_its_folder(patient: str) -> None:
    (todo,) = worklist(result(**{patient: ("roi_available", "pre:no_mask")}), ESCC)
    assert (todo.save_as, todo.hint) == (f"{patient}/pre.nii.gz", "")


def test_the_list_follows_the_table() -> None:
    found = worklist(result(B=("endpoint_unknown",), A=("endpoint_unknown",), C=()), ESCC)
    assert [todo.patient_id for todo in found] == ["B", "A"]


def test_the_list_as_csv(tmp_path: Path) -> None:
    path = tmp_path / "todo.csv"
    write_csv(path, todos("roi_available", "pre:no_mask"))
    with path.open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["patient_id"], row["task"], row["save_as"]) == ("P", "draw_roi", "P/pre.nii.gz")
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Refusal, match="cannot-write"):
        write_csv(tmp_path / "absent" / "todo.csv", ())


@pytest.mark.parametrize(
    "patient", ["=cmd|'/c calc'!A1", "+1", "-2+3", "@SUM(A1)", "\tx", "\r=1", " =1", "\u3000\uff1d1", "\uff0b1"]
)
def test_no_cell_of_the_csv_is_a_formula(tmp_path: Path, patient: str) -> None:
    """OWASP, CSV Injection: a quote before =, +, -, @, tab and carriage return makes a spreadsheet show the text."""
    path = tmp_path / "todo.csv"
    chosen = SeriesEntry("pre", "=1+1", 2, f"{patient}/a", "chosen")
    write_csv(path, worklist(result(PatientRecord(series=(chosen,)), **{patient: ("pre:no_mask",)}), ESCC))
    with path.open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["patient_id"] == f"'{patient}", "the identifier itself stays as it is"
    assert (row["series_uid"], row["folder"]) == ("'=1+1", f"'{patient}/a")
    assert not any(cell.strip().startswith(tuple("=+-@\uff1d\uff0b\uff0d\uff20")) for cell in row.values())

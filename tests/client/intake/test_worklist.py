"""What is left to do, for whom it makes sense to do it."""

import csv
from pathlib import Path

import numpy as np
import pytest

from fedescc.client.cohort import SiteCohort
from fedescc.client.intake.disk.record import PatientRecord, SeriesEntry
from fedescc.client.intake.intake import IntakeResult
from fedescc.client.intake.worklist import Todo, worklist, write_csv
from fedescc.common.errors import Refusal
from fedescc.common.study import read_study

ESCC = read_study("escc-pcr")
CHOSEN = (SeriesEntry("pre", "1.2.1", 2, "P/pre", "chosen"), SeriesEntry("post", "1.2.2", 2, "P/post", "chosen"))
RECORD = PatientRecord(series=(*CHOSEN, SeriesEntry("pre", "1.2.3", 3, "P/thin", "thicker_slices")))


def result(**patients: tuple[str, ...]) -> IntakeResult:
    nobody = SiteCohort((), np.zeros(0, np.int8), {}, {}, np.zeros(0, "<U10"), None, None, {})
    return IntakeResult(nobody, {}, (), tuple(patients.items()), dict.fromkeys(patients, RECORD), reused=False)


def todos(*codes: str) -> list[Todo]:
    return list(worklist(result(P=codes), ESCC))


@pytest.mark.parametrize(
    ("code", "todo"),
    [
        ("pre:no_mask", Todo("P", "pre", "draw_roi", "no_mask", "1.2.1", "P/pre", "P/pre.nii.gz")),
        ("post:no_mask", Todo("P", "post", "draw_bed", "no_mask", "1.2.2", "P/post", "P/post.nii.gz")),
        ("pre:roi_ambiguous", Todo("P", "pre", "correct_roi", "roi_ambiguous", "1.2.1", "P/pre", "P/pre.nii.gz")),
        ("post:low_similarity", Todo("P", "post", "review_bed", "low_similarity", "1.2.2", "P/post", "P/post.nii.gz")),
        (
            "post:registration_failed",
            Todo("P", "post", "review_bed", "registration_failed", "1.2.2", "P/post", "P/post.nii.gz"),
        ),
    ],
)
def test_rois(code: str, todo: Todo) -> None:
    assert todos("roi_available", code) == [todo]


def test_cts() -> None:
    assert todos("poor_quality_ct", "post:thick_slices") == [
        Todo("P", "post", "review_ct", "thick_slices", "1.2.2", "P/post")
    ]
    assert todos("ct_before_treatment", "ct_before_surgery:unknown") == [
        Todo("P", "pre", "find_ct", "ct_before_treatment"),
        Todo("P", "post", "find_ct", "ct_before_surgery:unknown"),
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
    assert [todo.task for todo in todos("chronology:unknown")] == ["complete_table"]
    assert todos("chronology") == [Todo("P", "", "check_dates", "chronology")]


def test_whom_the_protocol_excludes_and_who_is_included_are_not_listed() -> None:
    assert todos("adult", "roi_available", "pre:no_mask") == []
    assert todos("other_malignancy", "endpoint_unknown") == []
    assert todos() == []
    assert [todo.task for todo in todos("adult:unknown")] == ["complete_table"]


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

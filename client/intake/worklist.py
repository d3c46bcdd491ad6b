"""What a person still has to do so that a patient can be included."""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from fedescc.client.intake.disk.record import CHOSEN, PatientRecord
from fedescc.client.intake.eligibility import ENDPOINT_UNKNOWN
from fedescc.client.intake.intake import IntakeResult
from fedescc.client.intake.table.overrides import LOW_SIMILARITY
from fedescc.common.errors import Refusal
from fedescc.common.files import write_atomically
from fedescc.common.study import Study, TimePoint

_ABSENT = frozenset({"no_mask"})
_TIME_POINTS: tuple[TimePoint, ...] = ("pre", "post")


class Todo(NamedTuple):
    """One thing to do for one patient; stays local.

    Attributes:
        patient_id: as in the clinical table.
        time_point: of the CT it is about; "" where it is about the table.
        task: draw_roi, correct_roi, draw_bed, review_bed, review_ct, find_ct, complete_table, check_dates or
            check_pathology.
        code: why, as intake gives it.
        series_uid, folder: the CT, as far as one is known; the folder is relative to the CT export.
        save_as: where a mask belongs, relative to the folder of masks.

    """

    patient_id: str
    time_point: str
    task: str
    code: str
    series_uid: str = ""
    folder: str = ""
    save_as: str = ""


def worklist(result: IntakeResult, study: Study) -> tuple[Todo, ...]:
    """All that is left to do, in the order of the clinical table.

    Patients whom the protocol excludes for what they are (age, histology, other therapy) are not listed: nothing a
    reader does would include them.
    """
    return tuple(
        todo
        for patient, codes in result.patients
        if codes
        for todo in _todos(patient, codes, result.records.get(patient, PatientRecord()), study)
    )


def write_csv(path: Path, todos: Iterable[Todo]) -> None:
    """The list as a table, readable by its owner alone.

    Raises:
        Refusal: the file cannot be written.

    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Todo._fields)
    writer.writerows(todos)
    try:
        write_atomically(path, text.getvalue().encode("utf-8-sig"), mode=0o600)
    except OSError as error:
        raise Refusal(
            "cannot-write", f"{path}: {type(error).__name__}", "give a file in a folder that exists"
        ) from error


def _todos(patient: str, codes: tuple[str, ...], record: PatientRecord, study: Study) -> Iterator[Todo]:
    rules = {rule.code: rule for rule in study.eligibility.inclusion + study.eligibility.exclusion}
    if any(code in rules and rules[code].when for code in codes):
        return
    roi_rules = {code for code, rule in rules.items() if rule.built_in == "roi"} | {"no_roi"}
    contradictions = {rule.code for rule in study.endpoint.contradictions}
    for code in codes:
        point, _, detail = code.partition(":")
        if point in _TIME_POINTS:
            yield _about_ct(patient, point, detail, record, roi=bool(roi_rules & set(codes)))
        elif code in contradictions:
            yield Todo(patient, "", "check_pathology", code)
        elif code == ENDPOINT_UNKNOWN or point in {"clinical_out_of_range", "clinical_unknown_category", "missing"}:
            yield Todo(patient, "", "complete_table", code)
        elif point in rules:
            yield from _about_rule(patient, code, rules[point].built_in, detail)


def _about_ct(patient: str, point: str, detail: str, record: PatientRecord, *, roi: bool) -> Todo:
    chosen = next((one for one in record.series if one.time_point == point and one.code == CHOSEN), None)
    where = (chosen.uid, chosen.folder) if chosen else ("", "")
    if not roi:
        return Todo(patient, point, "review_ct", detail, *where)
    save_as = f"{patient}/{point}.nii.gz"
    if detail in _ABSENT:
        return Todo(patient, point, "draw_roi" if point == "pre" else "draw_bed", detail, *where, save_as)
    if detail == LOW_SIMILARITY or detail.startswith(("registration_", "propagated_")):
        return Todo(patient, point, "review_bed", detail, *where, save_as)
    return Todo(patient, point, "correct_roi", detail, *where, save_as)


def _about_rule(patient: str, code: str, built_in: str | None, detail: str) -> Iterator[Todo]:
    """A rule of the protocol; what concerns one CT is said by its details."""
    if built_in in {"ct_pre", "ct_post"}:
        yield Todo(patient, built_in.removeprefix("ct_"), "find_ct", code)
    elif built_in in {None, "complete_clinical_data"} or detail:
        yield Todo(patient, "", "complete_table", code)
    elif built_in == "chronology":
        yield Todo(patient, "", "check_dates", code)

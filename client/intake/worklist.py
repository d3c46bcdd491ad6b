"""What a person still has to do so that a patient can be included."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fedescc.client.intake.disk.record import CHOSEN, PatientRecord
from fedescc.client.intake.eligibility import ENDPOINT_UNKNOWN
from fedescc.client.intake.intake import IntakeResult
from fedescc.client.intake.rois.roi_codes import FAULTY, NOT_CARRIED, NOT_DRAWN
from fedescc.common.errors import Refusal
from fedescc.common.files import write_atomically
from fedescc.common.imaging import TimePoint
from fedescc.common.protocol import Rule
from fedescc.common.study import Study

# Needed where the protocol has no rule for it, and the built-in rule that it stands for.
_IMPLIED = {
    "no_ct_pre": "ct_pre",
    "no_ct_post": "ct_post",
    "ct_quality": "ct_quality",
    "no_roi": "roi",
    "no_chronology": "chronology",
    "missing": "complete_clinical_data",
}
_BY_RULE = {
    "ct_pre": ("pre", "find_ct"),
    "ct_post": ("post", "find_ct"),
    "ct_quality": ("", "review_ct"),
    "roi": ("", "correct_roi"),
    "chronology": ("", "check_dates"),
    "complete_clinical_data": ("", "complete_table"),
    None: ("", "complete_table"),
}
_BY_TABLE = frozenset({ENDPOINT_UNKNOWN, "clinical_out_of_range", "clinical_unknown_category"})
_DRAWING = frozenset({"draw_roi", "correct_roi", "draw_bed", "review_bed"})
_TIME_POINTS: tuple[TimePoint, ...] = ("pre", "post")
_MOST_BYTES = 255  # of a folder's name, on every usual file system
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_NO_FOLDER = "save as RTSTRUCT or DICOM SEG: the patient's identifier cannot name a folder"
_REPLACE = "replace the file that holds the faulty one: of two ROIs neither is used"
_DELETE = "delete what is drawn on this CT, and the first one's ROI is carried over; a tumour bed may be mended instead"
# What a spreadsheet takes for a formula (OWASP, CSV Injection), full-width forms included.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class Todo(NamedTuple):
    """One thing to do for one patient; stays local.

    Attributes:
        patient_id: as in the clinical table.
        time_point: of the CT it is about; "" where it is about the table, or about no single CT.
        task: draw_roi, correct_roi, draw_bed, review_bed, review_ct, find_ct, correct_override, complete_table,
            check_dates, check_pathology or report_fault.
        code: why, as intake gives it.
        series_uid, folder: the CT, as far as one is known; the folder is relative to the CT export.
        save_as: where a label map belongs, relative to the folder of masks; "" where none is to be drawn, or the
            patient's identifier cannot name a folder.
        hint: what else to know before drawing, in words.

    """

    patient_id: str
    time_point: str
    task: str
    code: str
    series_uid: str = ""
    folder: str = ""
    save_as: str = ""
    hint: str = ""


def worklist(result: IntakeResult, study: Study) -> tuple[Todo, ...]:
    """All that is left to do, in the order of the clinical table.

    Everyone excluded has an entry, but for patients whom the protocol excludes for what they are (age, histology,
    other therapy): nothing a reader does would include them. Where the study carries the ROI over, nobody is asked to
    draw on the second CT for want of an ROI on the first: whose bed was drawn would then follow from who lacked one.
    """
    rules = {rule.code: rule for rule in study.eligibility.inclusion + study.eligibility.exclusion}
    contradictions = frozenset(rule.code for rule in study.endpoint.contradictions)
    carried = study.imaging is not None and study.imaging.roi.post_rule == "propagate"
    return tuple(
        todo
        for patient, codes in result.patients
        if not any(code in rules and rules[code].when for code in codes)
        for todo in _Patient(
            patient, codes, result.records.get(patient, PatientRecord()), rules, contradictions, carried=carried
        ).todos()
    )


def write_csv(path: Path, todos: Iterable[Todo]) -> None:
    """The list as a table, readable by its owner alone; a cell that a spreadsheet would run begins with ``'``.

    Raises:
        Refusal: the file cannot be written.

    """
    text = io.StringIO()
    writer = csv.writer(text)  # its line end, CR LF, also has it quote a cell with a bare CR
    writer.writerow(Todo._fields)
    writer.writerows([_inert(cell) for cell in todo] for todo in todos)
    try:
        write_atomically(path, text.getvalue().encode("utf-8-sig"), mode=0o600)
    except OSError as error:
        raise Refusal(
            "cannot-write", f"{path}: {type(error).__name__}", "give a file in a folder that exists"
        ) from error


@dataclass(frozen=True)
class _Patient:
    """An excluded patient and the study's rules."""

    name: str
    codes: tuple[str, ...]
    record: PatientRecord
    rules: Mapping[str, Rule]
    contradictions: frozenset[str]
    carried: bool

    def todos(self) -> Iterator[Todo]:
        """What each code asks for; a rule on CTs or ROIs only where no code says which."""
        detailed = any(self._detail(code) for code in self.codes)
        for code in self.codes:
            if detail := self._detail(code):
                yield from self._about_ct(*detail)
            elif not (detailed and self._built_in(code) in {"ct_quality", "roi"}):
                yield self._about_rule(code)

    def _detail(self, code: str) -> tuple[str, str] | None:
        """Time point, if one is named, and code of what was wrong with a CT; None for a rule's or the table's code."""
        head, _, rest = code.partition(":")
        if head in self.rules or head in _IMPLIED or head in _BY_TABLE or head in self.contradictions:
            return None
        return (head, rest) if head in _TIME_POINTS else ("", code)

    def _built_in(self, code: str) -> str | None:
        head = code.partition(":")[0]
        return self.rules[head].built_in if head in self.rules else _IMPLIED.get(head)

    def _about_rule(self, code: str) -> Todo:
        if code in self.contradictions:
            return Todo(self.name, "", "check_pathology", code)
        point, task = _BY_RULE[self._built_in(code)]
        return Todo(self.name, point, task, code)

    def _about_ct(self, point: str, code: str) -> Iterator[Todo]:
        """By the code alone: a CT of poor quality is looked at, not drawn on, whatever else its patient lacks."""
        if point == "post" and self.carried and self._follows_from_baseline(code):
            if any(one.startswith("pre:") for one in self.codes):
                return
            point, code = "pre", "needs_baseline_roi"
        task = self._task(point, code)
        chosen = next((one for one in self.record.series if one.time_point == point and one.code == CHOSEN), None)
        where = (chosen.uid, chosen.folder) if chosen else ("", "")
        hints = [_DELETE if self.carried and point == "post" else _REPLACE] if task == "correct_roi" else []
        save_as = f"{self.name}/{point}.nii.gz" if task in _DRAWING else ""
        if save_as and not _names_folder(self.name):
            save_as = ""
            hints.append(_NO_FOLDER)
        yield Todo(self.name, point, task, code, *where, save_as, "; ".join(hints))

    def _follows_from_baseline(self, code: str) -> bool:
        """Whether a carried-over ROI is at fault because the baseline's is."""
        baseline_at_fault = any(f"pre:{fault}" in self.codes for fault in FAULTY)
        return code in NOT_DRAWN or (code in FAULTY and bool(self.record.propagated) and baseline_at_fault)

    def _task(self, point: str, code: str) -> str:
        if code in NOT_DRAWN:
            return "draw_roi" if point == "pre" else "draw_bed"
        if code in NOT_CARRIED or (code in FAULTY and point == "post" and self.record.propagated):
            return "review_bed"
        if code in FAULTY:
            return "correct_roi"
        if not point or code == "reader_died" or code.startswith("unexpected_"):
            return "report_fault"
        return "correct_override" if code.startswith("override_names_") else "review_ct"


def _names_folder(patient: str) -> bool:
    """Whether a folder can be named like this on Windows, macOS and Linux alike."""
    odd = any(char in '<>:"/\\|?*' or ord(char) < ord(" ") for char in patient)
    long = len(patient.encode()) > _MOST_BYTES
    return not (odd or long or patient in {"", ".", ".."} or patient[-1] in " ." or _DEVICE.fullmatch(patient))


def _inert(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) or cell.lstrip().startswith(_FORMULA) else cell

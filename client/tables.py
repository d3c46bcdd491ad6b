"""What the client's commands print for a person."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from fedescc.client.intake.disk.record import OverrideEntry, PatientRecord, notes
from fedescc.client.intake.intake import IntakeResult
from fedescc.client.intake.rois.readers import ReadersRow
from fedescc.client.intake.second_reader import Pair
from fedescc.client.intake.worklist import Todo


def print_intake(result: IntakeResult, *, each: bool) -> None:
    """Splits and findings, and last who is in, who is out and why: counts, with ``each`` also one line a patient.

    The lines stay local.
    """
    console = Console()
    cohort = result.cohort
    splits = Table("split", "patients", "endpoint positive")
    for name in ("train", "validation", "test"):
        labels = cohort.labels[cohort.split == name]
        splits.add_row(name, str(len(labels)), str(int(labels.sum())))
    console.print(splits)
    if found := notes(result.records.values()):
        findings = Table(_folded("noted, without excluding"), "patients")
        for code, count in found.items():
            findings.add_row(Text(code), str(count))
        console.print(findings)
    for warning in result.warnings:
        console.print(Text(f"note: {warning}"))
    if result.reused:
        console.print("nothing has changed: taken from the cache")
    console.print(f"{sum(result.flow.values())} patients in the table")
    counts = Table(_folded(""), "patients")
    for code, count in result.flow.items():
        counts.add_row(Text(code), str(count))
    console.print(counts)
    if each:
        print_patients(result)


def print_patients(result: IntakeResult) -> None:
    """Who is in, who is out and why, and what was noted without excluding; for local eyes."""
    table = Table(_folded("patient"), "verdict", _folded("reasons"), _folded("noted"), show_lines=True)
    for name, codes in result.patients:
        record = result.records.get(name, PatientRecord())
        noted = [*(note for note in record.notes if ":override" not in note), *map(_decision, record.overrides)]
        table.add_row(Text(name), "excluded" if codes else "included", _lines(codes), _lines(noted))
    Console().print(table)


def _decision(one: OverrideEntry) -> str:
    return f"{one.note} by {one.reader}{'' if one.used else ' (no effect)'}"


def print_worklist(todos: Sequence[Todo]) -> None:
    """One line a thing to do; folder above UID, and what to save above how."""
    console = Console()
    if not todos:
        console.print("nothing is left to do")
        return
    columns = (_folded("patient"), "CT", _folded("task, because of"), _folded("folder, series"), _folded("save as"))
    table = Table(*columns, show_lines=True)
    for todo in todos:
        because, where = _lines((todo.task, todo.code)), _lines((todo.folder, todo.series_uid))
        table.add_row(Text(todo.patient_id), todo.time_point, because, where, _lines((todo.save_as, todo.hint)))
    console.print(table)


def print_readers(pairs: Sequence[Pair], summary: Sequence[ReadersRow]) -> None:
    """Each pair of readings, then every measure over all of them."""
    console = Console()
    each = Table(
        _folded("patient"), "CT", "Dice", "surface mm", "HD95 mm", "cm³", "cm³, second", _folded("not compared")
    )
    for pair in pairs:
        one = pair.agreement
        values = (
            (one.dice, one.surface_mean_mm, one.hausdorff95_mm, one.volume_one_cm3, one.volume_other_cm3)
            if one
            else (None,) * 5
        )
        each.add_row(Text(pair.patient_id), pair.time_point, *map(_cell, values), pair.code)
    console.print(each)
    if not summary:
        console.print("none of these can be compared: correct what the codes say")
        return
    overall = Table("measure", "CTs", "mean", "SD", "least", "largest", "limits of agreement")
    for row in summary:
        limits = "" if row.lower is None else f"{_cell(row.lower)} to {_cell(row.upper)}"
        cells = (row.mean, row.sd, row.least, row.largest)
        overall.add_row(row.measure, str(row.n), *map(_cell, cells), limits)
    console.print(overall)


def print_inspection(found: dict[str, Any]) -> None:
    """Series, masks and rejected files of `inspect_folder`, one line each."""
    console = Console()
    console.print(_series(found["series"]))
    if found["masks"]:
        masks = Table(_folded("ROI"), "verdict", "voxels", "mean HU", _folded("reasons, (warnings)"), title="masks")
        for mask in found["masks"]:
            masks.add_row(
                Text(str(mask["roi"])),
                mask["verdict"],
                _cell(mask["voxels"]),
                _cell(mask["mean_hu"]),
                _lines(_codes(mask)),
            )
        console.print(masks)
    if found["rejected_files"]:
        rejected = Table(_folded("file"), "reason", title="rejected files")
        for file in found["rejected_files"]:
            rejected.add_row(Text(file["file"]), file["reason"])
        console.print(rejected)


def _series(series: list[dict[str, Any]]) -> Table:
    table = Table("files", "", "verdict", "z y x, mm", "HU", _folded("series, reasons, (warnings)"), title="series")
    for one in series:
        hu = one["hu"]
        shape, spacing = (" ".join(map(_cell, one[key] or ())) for key in ("shape_zyx", "spacing_zyx_mm"))
        table.add_row(
            str(one["files"]),
            one["modality"],
            one["verdict"],
            f"{shape}\n{spacing}",
            f"{_cell(hu['min'])} to\n{_cell(hu['max'])}" if hu else "",
            _lines([str(one["series_uid"]), *_codes(one)]),
        )
    for column in table.columns[:5]:
        column.no_wrap = True
    return table


def _codes(found: dict[str, Any]) -> list[str]:
    """Reasons, and in brackets the warnings, which do not refuse."""
    return [*found["reasons"], *(f"({code})" for code in found.get("warnings", ()))]


def _folded(header: str) -> Column:
    """A column whose long codes, UIDs and paths go on in the next line and are never cut."""
    return Column(header, overflow="fold")


def _lines(texts: Iterable[str]) -> Text:
    return Text("\n".join(text for text in texts if text))


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"

"""What the client's commands print for a person."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedescc.client.intake.disk.record import notes
from fedescc.client.intake.intake import IntakeResult
from fedescc.client.intake.rois.readers import ReadersRow
from fedescc.client.intake.second_reader import Pair
from fedescc.client.intake.worklist import Todo


def print_intake(result: IntakeResult, *, each: bool) -> None:
    """Counts per reason and per split; with ``each`` also one line a patient, which stays local."""
    console = Console()
    if each:
        console.print(_patients(result))
    console.print(f"{sum(result.flow.values())} patients in the table")
    counts = Table("", "patients")
    for code, count in result.flow.items():
        counts.add_row(Text(code), str(count))
    console.print(counts)
    cohort = result.cohort
    splits = Table("split", "patients", "endpoint positive")
    for name in ("train", "validation", "test"):
        labels = cohort.labels[cohort.split == name]
        splits.add_row(name, str(len(labels)), str(int(labels.sum())))
    console.print(splits)
    if found := notes(result.records.values()):
        findings = Table("noted, without excluding", "patients")
        for code, count in found.items():
            findings.add_row(Text(code), str(count))
        console.print(findings)
    for warning in result.warnings:
        console.print(Text(f"note: {warning}"))
    if result.reused:
        console.print("nothing has changed: taken from the cache")


def _patients(result: IntakeResult) -> Table:
    table = Table("patient", "verdict", "reasons")
    for name, codes in result.patients:
        table.add_row(Text(name), "excluded" if codes else "included", Text(", ".join(codes)))
    return table


def print_worklist(todos: Sequence[Todo]) -> None:
    """One line a thing to do."""
    table = Table("patient", "CT", "task", "because of", "folder", "save as")
    for todo in todos:
        cells = (todo.patient_id, todo.time_point, todo.task, todo.code, todo.folder, todo.save_as)
        table.add_row(*map(Text, cells))
    console = Console()
    console.print(table if todos else "nothing is left to do")


def print_readers(pairs: Sequence[Pair], summary: Sequence[ReadersRow]) -> None:
    """Each pair of readings, then every measure over all of them."""
    console = Console()
    each = Table("patient", "CT", "Dice", "surface mm", "HD95 mm", "cm³", "cm³, second", "not compared")
    for pair in pairs:
        one = pair.agreement
        values = (
            (one.dice, one.surface_mean_mm, one.hausdorff95_mm, one.volume_one_cm3, one.volume_other_cm3)
            if one
            else (None,) * 5
        )
        each.add_row(Text(pair.patient_id), pair.time_point, *map(_cell, values), pair.code)
    console.print(each)
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
        masks = Table("ROI", "verdict", "voxels", "mean HU", "reasons", title="masks")
        for mask in found["masks"]:
            masks.add_row(
                Text(str(mask["roi"])),
                mask["verdict"],
                _cell(mask["voxels"]),
                _cell(mask["mean_hu"]),
                ", ".join(mask["reasons"]),
            )
        console.print(masks)
    if found["rejected_files"]:
        rejected = Table("file", "reason", title="rejected files")
        for file in found["rejected_files"]:
            rejected.add_row(Text(file["file"]), file["reason"])
        console.print(rejected)


def _series(series: list[dict[str, Any]]) -> Table:
    table = Table("files", "", "verdict", "z y x, mm", "HU", "series, reasons, (warnings)", title="series")
    for one in series:
        hu = one["hu"]
        codes = [*one["reasons"], *(f"({code})" for code in one["warnings"])]
        shape, spacing = (" ".join(map(_cell, one[key] or ())) for key in ("shape_zyx", "spacing_zyx_mm"))
        table.add_row(
            str(one["files"]),
            one["modality"],
            one["verdict"],
            f"{shape}\n{spacing}",
            f"{_cell(hu['min'])} to\n{_cell(hu['max'])}" if hu else "",
            Text("\n".join([str(one["series_uid"]), *codes]), overflow="fold"),
        )
    for column in table.columns[:5]:
        column.no_wrap = True
    return table


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"

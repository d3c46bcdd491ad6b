"""What the client's commands print for a person."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedescc.client.intake.intake import IntakeResult


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
    for warning in result.warnings:
        console.print(Text(f"note: {warning}"))
    if result.reused:
        console.print("nothing has changed: taken from the cache")


def _patients(result: IntakeResult) -> Table:
    table = Table("patient", "verdict", "reasons")
    for name, codes in result.patients:
        table.add_row(Text(name), "excluded" if codes else "included", Text(", ".join(codes)))
    return table


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

"""Every federation of a sweep, and the tables of them: ``scenarios.json``, ``scenarios.md``, ``scenarios.html``."""

from collections.abc import Iterator
from typing import Any

from fedescc.client.workers import worker_pool
from fedescc.common.console import log, progress
from fedescc.common.files import write_atomically
from fedescc.server.results import write_json
from fedescc.server.run_folder import make_folder
from fedescc.simulations.scenarios.cells import Record, kept_record, run_cell
from fedescc.simulations.scenarios.markdown import as_markdown
from fedescc.simulations.scenarios.page import as_page
from fedescc.simulations.scenarios.patients import missing_patients, render_missing
from fedescc.simulations.scenarios.settings import Cell, Sweep, check_sweep
from fedescc.simulations.scenarios.summary import summarise


def run_sweep(sweep: Sweep) -> dict[str, Any]:
    """Render what is missing, run what is missing, write the tables, return the document of ``scenarios.json``.

    A sweep that was stopped, by whatever, goes on where it was: patients and records are whole or absent.

    Raises:
        Refusal: as `check_sweep`, or the folder cannot be written.

    """
    check_sweep(sweep)
    make_folder(sweep.out / "cells")
    records = {cell.name: kept_record(cell) for cell in sweep.cells()}
    waiting = [cell for cell in sweep.cells() if records[cell.name] is None]
    if waiting:
        _render(sweep)
        _run(waiting, sweep, records)
    document = summarise(sweep, [record for record in records.values() if record is not None])
    write_json(sweep.out / "scenarios.json", document)
    write_atomically(sweep.out / "scenarios.md", as_markdown(document).encode())
    write_atomically(sweep.out / "scenarios.html", as_page(document).encode())
    return document


def _render(sweep: Sweep) -> None:
    patients = missing_patients(sweep)
    if patients:
        with progress("rendering synthetic patients", len(patients)) as advance:
            render_missing(sweep, patients, advance)


def _run(waiting: list[Cell], sweep: Sweep, records: dict[str, Record | None]) -> None:
    kept = len(records) - len(waiting)
    if kept:
        log(f"{kept} of {len(records)} federations are there already")
    with progress("federations", len(waiting)) as advance:
        for cell, record in zip(waiting, _records(waiting, sweep.workers), strict=True):
            records[cell.name] = record
            if "failed" in record:
                log(f"{cell.name} failed: {record['why']} [{record['failed']}]")
            advance()


def _records(waiting: list[Cell], workers: int) -> Iterator[Record]:
    if workers <= 1 or len(waiting) == 1:
        yield from map(run_cell, waiting)
        return
    with worker_pool(min(workers, len(waiting))) as pool:
        yield from pool.map(run_cell, waiting)

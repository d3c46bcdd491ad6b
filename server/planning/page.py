"""``plan.html``: the plan as one file that needs no network, no script and no font."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedescc.common.errors import Refusal
from fedescc.common.files import write_atomically
from fedescc.server.planning import words
from fedescc.server.planning.tables import SECTIONS, rows
from fedescc.server.planning.widths import widths_figure
from fedescc.server.report.markup import Html, el, section
from fedescc.server.report.page import document_page
from fedescc.server.report.tables import table

_WIDTHS = 1  # the table whose figure stands before it


def write_plan(plan: Mapping[str, Any], folder: Path) -> Path:
    """Write ``plan.html`` into a folder, made when absent; the same plan always gives the same bytes.

    Raises:
        Refusal: ``unwritable-folder``.

    """
    path = folder / "plan.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, render_plan(plan).encode())
    except OSError as error:
        raise Refusal(
            "unwritable-folder", f"cannot write {path}: {type(error).__name__}", "give another --out"
        ) from error
    return path


def render_plan(plan: Mapping[str, Any]) -> str:
    """The plan as HTML."""
    head = el(
        "header",
        el("p", "Plan before training", class_="eyebrow"),
        el("h1", str(plan["study"])),
        el("p", words.assumptions(plan)),
        el("p", "Study ", el("code", str(plan["study_sha256"])), "; analysis plan ",
           el("code", str(plan["plan_sha256"])), class_="small-text"),
    )  # fmt: skip
    parts = [
        section(f"table-{place}", title[:1].upper() + title[1:], _widths(plan) if place == _WIDTHS else None,
                table(title, list(columns), found))
        for place, ((title, columns), found) in enumerate(zip(SECTIONS, rows(plan), strict=True))
        if found
    ]  # fmt: skip
    notes = section("remarks", "Remarks", *(el("p", remark) for remark in words.remarks(plan)))
    footer = el("footer", "Planning aid for research use only. The numbers are those of plan --json.")
    return document_page(f"{plan['study']}: plan", el("body", head, el("main", *parts, notes), footer))


def _widths(plan: Mapping[str, Any]) -> Html:
    return widths_figure(plan["precision"]["at"])

"""The plan on the terminal."""

from collections.abc import Mapping
from typing import Any

from fedescc.server.planning import words

SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "sites: with the outcome / patients",
        ("site", "training", "validation", "test", "included", "shown as"),
    ),
    (
        "expected 95 % intervals of the AUC",
        ("AUC", "pooled", "width", "width at sites", "new site, tau .1", "new site, tau .3"),
    ),
    ("expected 95 % intervals of calibration, by AUC", ("AUC", "calibration slope", "O/E")),
    ("at the planned threshold", ("figure", "expected", "95 % interval", "patients")),
    (
        "training patients against Riley's minimum",
        ("model", "parameters", "EPP", "patients needed", "EPP needed", "shrinkage", "enough"),
    ),
    (
        "subgroups: of the training patients, and expected of the tested",
        ("subgroup", "level", "with the outcome / patients", "expected tested", "sites that show it", "likely"),
    ),
    ("epsilon of training", ("site", "sampling rate", "steps", "epsilon (PRV)", "epsilon (RDP)")),
)  # fmt: skip
"""Title and columns of every table, in the order of `rows`."""


def rows(plan: Mapping[str, Any]) -> list[words.Rows]:
    """The rows of every table; an empty one has nothing to show."""
    return [
        words.site_rows(plan),
        words.width_rows(plan),
        words.calibration_rows(plan),
        words.threshold_rows(plan),
        words.development_rows(plan),
        words.subgroup_rows(plan),
        words.budget_rows(plan),
    ]


def print_plan(plan: Mapping[str, Any]) -> None:
    """Every table that has rows, and the remarks."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    console = Console()
    console.print(Text(f"{plan['study']}: {words.assumptions(plan)}"))
    for (title, columns), found in zip(SECTIONS, rows(plan), strict=True):
        if not found:
            continue
        table = Table(*(Column(name, overflow="fold") for name in columns), title=title, title_justify="left")
        for row in found:
            table.add_row(*map(Text, row))
        console.print(table)
    for remark in words.remarks(plan):
        console.print(Text(remark))

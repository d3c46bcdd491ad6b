"""``fedescc-simulate scenarios``: which strategy bears which difference between hospitals."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from fedescc.common.console import Json, print_json
from fedescc.common.errors import Refusal
from fedescc.common.strategy import STRATEGIES
from fedescc.common.study import read_study

_FEW = "fedavg,fedprox,fedadam,scaffold,median"
_KINDS = "none,label_shift,scanner_shift,size_imbalance,missing_modality"


def scenarios(  # noqa: PLR0913, PLR0917 - the command contract's options
    strategies: Annotated[str, typer.Option(help="Comma-separated strategies, or all.")] = _FEW,
    heterogeneity: Annotated[str, typer.Option(help="Comma-separated differences between the hospitals.")] = _KINDS,
    sites: Annotated[int, typer.Option(min=2, max=26, help="Hospitals of every federation.")] = 4,
    patients: Annotated[int, typer.Option(min=5, max=5000, help="Mean number of patients a hospital.")] = 40,
    test_patients: Annotated[int, typer.Option(min=2, help="Extra test patients, of all hospitals alike.")] = 400,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of every federation.")] = 8,
    seeds: Annotated[str, typer.Option(help="Comma-separated; one federation each.")] = "0,1",
    grid: Annotated[int, typer.Option(min=8, max=256, help="At most this many voxels along an axis.")] = 32,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; absent: one a core.")] = None,
    study: Annotated[str, typer.Option(help="Study file, or a shipped study's name.")] = "escc-pcr",
    out: Annotated[Path, typer.Option(help="Folder for scenarios.json, .md, .html and what resumes the sweep.")] = Path(
        "fedescc-scenarios"
    ),
    json_: Json = False,
) -> None:
    """Compare strategies under differences between hospitals, on synthetic patients.

    A sweep that was stopped goes on when the same command is given again; what is known already is not run again.
    """
    from fedescc.simulations.scenarios.settings import Sweep, swept_study
    from fedescc.simulations.scenarios.sweep import run_sweep

    document = run_sweep(
        Sweep(
            swept_study(read_study(study), grid),
            STRATEGIES if strategies == "all" else _names(strategies),
            _names(heterogeneity),
            sites,
            patients,
            test_patients,
            rounds,
            tuple(dict.fromkeys(_seed(text) for text in _names(seeds))),
            out,
            workers or os.cpu_count() or 1,
        )
    )
    if json_:
        print_json(document)
    else:
        _print_table(document, out)


def _names(text: str) -> tuple[str, ...]:
    """The names of a comma-separated list, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise Refusal("invalid-seed", f"{text!r} is no seed", "give whole numbers from 0, such as --seeds 0,1")
    return int(text)


def _print_table(document: dict[str, Any], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from fedescc.simulations.scenarios.markdown import by_kind, marked, reading

    console = Console()
    head, *rows = by_kind(document, lambda group: marked(document, group, "auc"))
    table = Table(title=f"{document['study']}: AUC over {document['test_patients']} extra test patients")
    for place, name in enumerate(head):
        table.add_column(name, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(Text(reading(document)))
    console.print(Text(f"report: {out / 'scenarios.html'}"), soft_wrap=True)

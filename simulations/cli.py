"""``fedescc-simulate``: synthetic cohorts, and whole federations in one process."""

import os
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer

from fedescc.common.console import Json, command_line, log, print_json, progress, run_app
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation, read_federation
from fedescc.common.study import Study, read_study

app = command_line("fedescc-simulate", "Synthetic multi-site cohorts and whole federations in one process.")

ENGINES = ("local",)


def main() -> None:
    """Entry point."""
    run_app(app)


@app.command()
def cohort(
    out: Annotated[Path, typer.Argument(help="Folder to write; absent or empty.")],
    sites: Annotated[int, typer.Option(min=1, help="Number of hospitals.")] = 4,
    patients: Annotated[int, typer.Option(min=4, help="Mean number of patients a hospital.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Everything is a function of it.")] = 0,
    study: Annotated[str, typer.Option(help="Study file, or a shipped study's name.")] = "escc-pcr",
) -> None:
    """Write a synthetic cohort: per site dicom/, clinical.csv and site.yaml."""
    from fedescc.simulations.cohort import write_cohort

    with progress("writing synthetic DICOM", sites * patients) as advance:
        write_cohort(out, sites, patients, seed, read_study(study), os.cpu_count() or 1, advance)
    log(f"wrote {sites} sites to {out}; next: fedescc-simulate run --cohort {out}")


@app.command()
def run(  # noqa: PLR0913, PLR0917 - the command contract's options
    study: Annotated[str, typer.Option(help="Study file, or a shipped study's name.")] = "escc-pcr",
    cohort: Annotated[Path | None, typer.Option(help="Folder of sites; absent: a synthetic cohort.")] = None,
    config: Annotated[Path | None, typer.Option(help="Federation file; absent: the study's shipped settings.")] = None,
    strategy: Annotated[str | None, typer.Option(help="Such as fedavg, fedprox, fedadam or scaffold.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Number of rounds.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Initialisation, splits, augmentation, synthetic cohort.")
    ] = None,
    engine: Annotated[str, typer.Option(help="local: everything in this process.")] = "local",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE over the federation file; repeatable.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for results.json, report.html, model.safetensors.")] = Path(
        "fedescc-out"
    ),
    sites: Annotated[int, typer.Option(min=1, help="Synthetic cohort: number of hospitals.")] = 4,
    patients: Annotated[int, typer.Option(min=4, help="Synthetic cohort: mean patients a hospital.")] = 60,
    test_patients: Annotated[int, typer.Option(min=0, help="Synthetic cohort: extra test patients.")] = 300,
    comparators: Annotated[bool, typer.Option(help="Train local-only and centralised models too.")] = True,
    shuffle: Annotated[int | None, typer.Option(min=0, help="Let sites answer in a random order of this seed.")] = None,
    json_: Json = False,
) -> None:
    """Run a federation from DICOM or tables to the report. With no option: the demo, on synthetic CT."""
    if engine not in ENGINES:
        raise Refusal("unknown-engine", f"no engine {engine!r}", f"choose one of: {', '.join(ENGINES)}")
    checked = read_study(study)
    overrides = _overrides(strategy, rounds, seed, set_ or [])
    if config is None:
        federation = shipped_federation(checked, overrides)
    else:
        federation = read_federation(_text(config), str(config), overrides)
    from fedescc.simulations.simulate import Simulation, simulate
    from fedescc.simulations.summary import print_summary

    results = simulate(
        Simulation(checked, federation, out, cohort, sites, patients, test_patients, comparators, shuffle)
    )
    if json_:
        print_json(results)
    else:
        print_summary(results, out)


def _overrides(strategy: str | None, rounds: int | None, seed: int | None, given: list[str]) -> tuple[str, ...]:
    named = {"strategy.name": strategy, "rounds": rounds, "seed": seed}
    overrides = [f"{key}={value}" for key, value in named.items() if value is not None]
    return (*overrides, *given)


def shipped_federation(study: Study, overrides: tuple[str, ...] = ()) -> Federation:
    """The settings that ship for a study, else the defaults, with overrides."""
    shipped: Any = resources.files("fedescc.configs").joinpath("federations", f"{study.name}.yaml")
    text = shipped.read_text(encoding="utf-8") if shipped.is_file() else ""
    return read_federation(text, f"settings for {study.name}", overrides)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal("unreadable-settings", f"cannot read {path}: {type(error).__name__}", "check the path") from error

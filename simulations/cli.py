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
from fedescc.simulations.scenarios.command import scenarios

StudyOption = Annotated[str, typer.Option("--study", help="Study file, or a shipped study's name.")]
SitesOption = Annotated[int, typer.Option("--sites", min=1, help="Synthetic cohort: number of hospitals.")]
PatientsOption = Annotated[int, typer.Option("--patients", min=4, help="Synthetic cohort: mean patients a hospital.")]
SizesOption = Annotated[
    str | None,
    typer.Option("--sizes", help="Synthetic cohort: instead, patients of each hospital, such as 120,70,50."),
]

app = command_line("fedescc-simulate", "Synthetic multi-site cohorts and whole federations in one process.")


def main() -> None:
    """Entry point."""
    run_app(app)


@app.command()
def cohort(
    out: Annotated[Path, typer.Argument(help="Folder to write; absent or empty.")],
    sites: SitesOption = 4,
    patients: PatientsOption = 60,
    sizes: SizesOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Everything is a function of it.")] = 0,
    study: StudyOption = "escc-pcr",
) -> None:
    """Write a synthetic cohort: per site dicom/, clinical.csv and site.yaml."""
    from fedescc.simulations.patients.cohort import write_cohort

    numbers = _sizes(sizes, sites, patients)
    with progress("writing synthetic DICOM", sum(numbers)) as advance:
        write_cohort(out, numbers, seed, read_study(study), os.cpu_count() or 1, advance)
    log(f"wrote {len(numbers)} sites to {out}; next: fedescc-simulate run --cohort {out}")


@app.command()
def run(  # noqa: PLR0913, PLR0917 - the command contract's options
    study: StudyOption = "escc-pcr",
    cohort: Annotated[Path | None, typer.Option(help="Folder of sites; absent: a synthetic cohort.")] = None,
    config: Annotated[Path | None, typer.Option(help="Federation file; absent: the study's shipped settings.")] = None,
    strategy: Annotated[str | None, typer.Option(help="Such as fedavg, fedprox, fedadam or scaffold.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Number of rounds.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Initialisation, splits, augmentation, synthetic cohort.")
    ] = None,
    mode: Annotated[str, typer.Option(help="split, kfold, loso (leave one site out) or temporal.")] = "split",
    folds: Annotated[int, typer.Option(min=2, max=20, help="Number of folds of --mode kfold.")] = 5,
    engine: Annotated[str, typer.Option(help="local: everything in this process; ray: worker processes.")] = "local",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE over the federation file; repeatable.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for results.json, report.html, model.safetensors.")] = Path(
        "fedescc-out"
    ),
    sites: SitesOption = 4,
    patients: PatientsOption = 60,
    sizes: SizesOption = None,
    test_patients: Annotated[int, typer.Option(min=0, help="Synthetic cohort: extra test patients.")] = 300,
    comparators: Annotated[
        str | None, typer.Option(help="Comma-separated models to compare with, all or none; absent: the study's few.")
    ] = None,
    warm_start: Annotated[Path | None, typer.Option(help="Local safetensors file to start from.")] = None,
    contribution: Annotated[
        bool, typer.Option("--contribution", help="Also train without each site: what does it give? (--mode split)")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Discard what --out holds of an earlier run.")] = False,
    shuffle: Annotated[int | None, typer.Option(min=0, help="Let sites answer in a random order of this seed.")] = None,
    audit: Annotated[
        bool | None,
        typer.Option(help="Recompute every figure on the pooled patients; absent: where statsmodels is installed."),
    ] = None,
    json_: Json = False,
) -> None:
    """Run a federation from DICOM or tables to the report. With no option: the demo, on synthetic CT.

    A run that was stopped goes on when the same command is given again; a finished one shows its results.
    """
    from fedescc.server.modes import read_mode
    from fedescc.simulations.audit.audit import can_audit
    from fedescc.simulations.comparison.fold_comparison import read_comparators
    from fedescc.simulations.simulate import Simulation, simulate
    from fedescc.simulations.summary import print_summary

    checked = read_study(study)
    simulation = Simulation(
        study=checked,
        federation=_federation(checked, config, _overrides(strategy, rounds, seed, set_ or [])),
        out=out,
        cohort=cohort,
        sizes=_sizes(sizes, sites, patients),
        test_patients=test_patients,
        comparators=read_comparators(comparators, checked),
        shuffle=shuffle,
        mode=read_mode(mode),
        folds=folds,
        warm_start=warm_start,
        contribution=contribution,
        engine=engine,
        fresh=fresh,
        audit=can_audit() if audit is None else audit,
    )
    results = simulate(simulation)
    if json_:
        print_json(results)
    else:
        print_summary(results, out)


app.command()(scenarios)


def _sizes(sizes: str | None, sites: int, patients: int) -> tuple[int, ...]:
    """Patients of every synthetic hospital, as listed or by their number and mean."""
    from fedescc.simulations.patients.cohort import site_sizes

    if sizes is None:
        return tuple(site_sizes(sites, patients))
    try:
        return tuple(int(size) for size in sizes.split(","))
    except ValueError:
        raise Refusal("cohort-size", f"--sizes {sizes!r} is no list of numbers", "such as --sizes 120,70,50") from None


def _federation(study: Study, config: Path | None, overrides: tuple[str, ...]) -> Federation:
    """The settings of a federation file, or those that ship for the study."""
    if config is None:
        return shipped_federation(study, overrides)
    return read_federation(_text(config), str(config), overrides)


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

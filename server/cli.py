"""``fedescc-server``: what the coordinator runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedescc.common.console import Json, command_line, print_json, run_app

if TYPE_CHECKING:
    from rich.table import Table

    from fedescc.common.protocol import Condition, Rule, Variable
    from fedescc.common.study import Study

app = command_line("fedescc-server", "Check a study before it is distributed, and report a finished run.")


def main() -> None:
    """Entry point: exit code 1 and one line for a refused input, 2 for misuse."""
    run_app(app)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a finished run, with its results.json.")],
) -> None:
    """Write DIR/report.html anew from DIR/results.json, and print its path."""
    from fedescc.server.report.page import write_report
    from fedescc.server.results import read_results

    path = folder / "report.html"
    write_report(read_results(folder), path)
    typer.echo(path)


@app.command()
def study(
    source: Annotated[str, typer.Argument(metavar="STUDY", help="Study file, or the name of a shipped study.")],
    as_json: Json = False,
) -> None:
    """Check a study file, and show what every site will agree to: hash, endpoint, covariates and rules."""
    from fedescc.common.study import read_study

    found = read_study(source)
    if as_json:
        content = found.model_dump(mode="json")
        print_json({"study": found.name, "study_sha256": found.sha256, "content": content})
        return
    _print_study(found)


@app.command()
def plan(  # noqa: PLR0913, PLR0917 - the command contract's options
    source: Annotated[str, typer.Argument(metavar="STUDY", help="Study file, or the name of a shipped study.")],
    counts: Annotated[list[Path], typer.Argument(metavar="COUNTS...", help="A file of fedescc-client counts a site.")],
    federation: Annotated[Path | None, typer.Option(help="Federation file: rounds and local training.")] = None,
    auc: Annotated[float, typer.Option(help="Assumed AUC of the model, above .5 and below 1.")] = 0.75,
    mode: Annotated[str, typer.Option(help="split, kfold, loso or temporal.")] = "split",
    folds: Annotated[int, typer.Option(help="Of kfold.")] = 5,
    noise_multiplier: Annotated[float | None, typer.Option(help="Noise of DP-SGD; without it, no epsilon.")] = None,
    delta: Annotated[float, typer.Option(help="Delta of the privacy guarantee.")] = 1e-5,
    out: Annotated[Path | None, typer.Option(help="Also write plan.html into this folder.")] = None,
    as_json: Json = False,
) -> None:
    """Say, before training, what the study can show: interval widths, sample size, subgroups, epsilon."""
    from fedescc.common.counts import read_counts
    from fedescc.common.federation import Federation
    from fedescc.common.study import read_study
    from fedescc.common.yamlfile import read_model
    from fedescc.server.federate import LEAVES
    from fedescc.server.modes import Plan, read_mode
    from fedescc.server.planning.page import write_plan
    from fedescc.server.planning.plan import Assumptions, make_plan, require_sites
    from fedescc.server.planning.tables import print_plan

    protocol = read_study(source)
    settings = Federation() if federation is None else read_model(federation, Federation)
    run = Plan(mode=read_mode(mode), folds=folds)
    sites = require_sites([read_counts(path, protocol) for path in counts])
    assumed = Assumptions(auc, run.mode, run.folds, (), noise_multiplier, delta)
    found = make_plan(protocol, sites, settings, assumed, LEAVES)
    if as_json:
        print_json(found)
    else:
        print_plan(found)
    if out is not None:
        path = write_plan(found, out)
        if not as_json:
            typer.echo(path)


def _print_study(found: "Study") -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for name, value in _facts(found):
        console.print(Text.assemble((f"{name:<16}", "bold"), value), soft_wrap=True)
    console.print(_variables("covariates (predictors)", found.covariates))
    if found.recorded:
        console.print(_variables("recorded (never predictors)", found.recorded))
    if rules := [("inclusion", r) for r in found.eligibility.inclusion] + [
        ("exclusion", r) for r in found.eligibility.exclusion
    ]:
        console.print(_rules(rules))


def _facts(found: "Study") -> list[tuple[str, str]]:
    positive = " and ".join(f"{name} {_condition(c)}" for name, c in found.endpoint.positive_when.items())
    split = found.analysis.split
    shares = f"{split.train:g} training, {split.validation:g} validation, {1 - split.train - split.validation:g} test"
    images = "none"
    if found.imaging is not None:
        grid = found.imaging.grid
        size, spacing = (" x ".join(f"{n:g}" for n in axes) for axes in (grid.size_zyx, grid.spacing_zyx_mm))
        images = f"CT {', '.join(found.imaging.time_points)}; {size} voxels of {spacing} mm (z, y, x)"
    return [
        ("study", found.name),
        ("title", found.title),
        ("registration", found.registration or "none"),
        ("sha256", found.sha256),
        ("endpoint", f"{found.endpoint.name}: {found.endpoint.text}; {positive}"),
        ("predicted at", found.prediction_time),
        ("images", images),
        ("model", found.model.kind),
        ("split", shares),
        ("minimum count", str(found.disclosure.min_class_count)),
    ]


def _variables(title: str, variables: "dict[str, Variable]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("name", "type", "values", "required", "known at", title=title, title_justify="left")
    for name, variable in variables.items():
        required = "yes" if variable.required else ""
        table.add_row(name, variable.type, Text(_values(variable)), required, variable.available_at)
    return table


def _values(variable: "Variable") -> str:
    if variable.type == "numeric":
        return f"{variable.range[0]:g} to {variable.range[1]:g} {variable.unit}"
    return ", ".join(variable.categories) if variable.type == "categorical" else "ISO 8601"


def _rules(rules: "list[tuple[str, Rule]]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("rule", "code", "text", "decided by", title="eligibility", title_justify="left")
    for kind, rule in rules:
        conditions = "; ".join(f"{name} {_condition(c)}" for name, c in rule.when.items())
        table.add_row(kind, rule.code, Text(rule.text), Text(conditions or f"built in: {rule.built_in}"))
    return table


def _condition(condition: "Condition") -> str:
    if condition.one_of is not None:
        return f"in {{{', '.join(condition.one_of)}}}"
    ends = ((">=", condition.minimum), ("<=", condition.maximum))
    shown = [(sign, f"{end:g}" if isinstance(end, float) else end) for sign, end in ends if end is not None]
    return " and ".join(f"{sign} {end}" for sign, end in shown)

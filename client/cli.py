"""``fedescc-client``: what a hospital runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedescc.common.console import Json, command_line, print_json, run_app

if TYPE_CHECKING:
    from fedescc.client.intake.intake import IntakeResult

app = command_line(
    "fedescc-client", "Turn this hospital's CTs and clinical table into a cohort. Nothing leaves the hospital."
)


def main() -> None:
    """Entry point: exit code 1 and one line for a refused input, 2 for misuse."""
    run_app(app)


@app.command()
def inspect(
    folder: Annotated[Path, typer.Argument(help="Folder of a DICOM export, with or without masks.")],
    as_json: Json = False,
) -> None:
    """Say what the system makes of a folder: CT series, masks and rejected files, with reasons."""
    from fedescc.client.imaging.inspection import inspect_folder

    found = inspect_folder(folder)
    if as_json:
        print_json(found)
        return
    from fedescc.client.tables import print_inspection

    print_inspection(found)


@app.command()
def intake(
    site: Annotated[Path, typer.Option(help="This hospital's site.yaml.")],
    study: Annotated[str, typer.Option(help="Study file, or the name of a shipped study.")] = "escc-pcr",
    as_json: Json = False,
    each: Annotated[bool, typer.Option("--list", help="Also list every patient, for local eyes only.")] = False,
) -> None:
    """Read table, CTs and masks, prepare the cohort, and say who is in, who is out and why."""
    from fedescc.client.intake.intake import run_intake
    from fedescc.client.site import read_site
    from fedescc.common.study import read_study

    protocol = read_study(study)
    result = run_intake(read_site(site), protocol)
    if as_json:
        print_json(_summary(result, protocol.name, protocol.sha256, each=each))
        return
    from fedescc.client.tables import print_intake

    print_intake(result, each=each)


def _summary(result: "IntakeResult", study: str, sha256: str, *, each: bool) -> dict[str, object]:
    cohort = result.cohort
    summary: dict[str, object] = {
        "study": study,
        "study_sha256": sha256,
        "patients": sum(result.flow.values()),
        "flow": result.flow,
        "splits": {
            name: {
                "n": int((cohort.split == name).sum()),
                "n_pos": int(cohort.labels[cohort.split == name].sum()),
            }
            for name in ("train", "validation", "test")
        },
        "warnings": list(result.warnings),
        "from_cache": result.reused,
    }
    if each:
        summary["list"] = [{"patient_id": name, "reasons": list(codes)} for name, codes in result.patients]
    return summary

"""``fedescc-client``: what a hospital runs."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedescc.common.console import Json, command_line, counting, log, print_json, run_app
from fedescc.common.errors import Refusal

if TYPE_CHECKING:
    from fedescc.client.intake.intake import IntakeResult

SiteOption = Annotated[Path, typer.Option(help="This hospital's site.yaml.")]
StudyOption = Annotated[str, typer.Option(help="Study file, or the name of a shipped study.")]

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

    with counting("reading headers") as advance:
        found = inspect_folder(folder, advance)
    if as_json:
        print_json(found)
        return
    from fedescc.client.tables import print_inspection

    print_inspection(found)


@app.command()
def intake(
    site: SiteOption,
    study: StudyOption = "escc-pcr",
    as_json: Json = False,
    each: Annotated[bool, typer.Option("--list", help="Also list every patient, for local eyes only.")] = False,
) -> None:
    """Read table, CTs and masks, prepare the cohort, and say who is in, who is out and why."""
    from fedescc.client.intake.intake import examine, run_intake
    from fedescc.client.receiving.arriving import still_arriving
    from fedescc.client.site import read_site
    from fedescc.common.study import read_study

    protocol, hospital = read_study(study), read_site(site)
    if still_arriving(hospital):
        log("note: CTs are still being received; run intake again when they are all there")
    try:
        result = run_intake(hospital, protocol)
    except Refusal as refusal:
        if refusal.code == "empty-site" and each and not as_json:
            from fedescc.client.tables import print_patients

            print_patients(examine(hospital, protocol))
        raise
    if as_json:
        print_json(_summary(result, protocol.name, protocol.sha256, each=each))
        return
    from fedescc.client.tables import print_intake

    print_intake(result, each=each)


@app.command()
def worklist(
    site: SiteOption,
    study: StudyOption = "escc-pcr",
    out: Annotated[Path | None, typer.Option(help="Also write the list as CSV, for local eyes only.")] = None,
    as_json: Json = False,
) -> None:
    """List what is still to do: ROIs to draw, tumour beds to review, CTs to look at, cells to fill in.

    Draw on the series named, in 3D Slicer or ITK-SNAP, and save the segmentation on the CT's own grid under the folder
    of masks as the list says. docs/roi.md shows how.
    """
    from fedescc.client.intake.intake import examine
    from fedescc.client.intake.worklist import worklist as todos
    from fedescc.client.intake.worklist import write_csv
    from fedescc.client.site import read_site
    from fedescc.common.study import read_study

    protocol = read_study(study)
    found = todos(examine(read_site(site), protocol), protocol)
    if out is not None:
        write_csv(out, found)
    if as_json:
        print_json({"study": protocol.name, "todo": [todo._asdict() for todo in found]})
        return
    from fedescc.client.tables import print_worklist

    print_worklist(found)


@app.command()
def readers(
    site: SiteOption,
    study: StudyOption = "escc-pcr",
    as_json: Json = False,
) -> None:
    """Compare the ROIs of two readers: overlap, surface distances and volumes, for local eyes only."""
    from fedescc.client.intake.rois.readers import readers_table
    from fedescc.client.intake.second_reader import reader_pairs
    from fedescc.client.site import read_site
    from fedescc.common.study import read_study

    pairs = reader_pairs(read_site(site), read_study(study))
    compared = [pair.agreement for pair in pairs if pair.agreement is not None]
    # Readings that cannot be compared are shown with their codes; only without any is there nothing to show.
    summary = readers_table(compared) if compared or not pairs else ()
    if as_json:
        listed = [{**pair._asdict(), "agreement": pair.agreement and asdict(pair.agreement)} for pair in pairs]
        print_json({"pairs": listed, "summary": [asdict(row) for row in summary]})
        return
    from fedescc.client.tables import print_readers

    print_readers(pairs, summary)


@app.command()
def counts(
    site: SiteOption,
    study: StudyOption = "escc-pcr",
    out: Annotated[Path | None, typer.Option(help="Also write them as JSON, for fedescc-server plan.")] = None,
    as_json: Json = False,
) -> None:
    """Show the counts of patients that the coordinator may plan with, for review: no small count is among them."""
    from fedescc.client.counts import counts_reply, print_counts, write_counts
    from fedescc.client.site import read_site
    from fedescc.common.counts import counts_document
    from fedescc.common.study import read_study

    protocol = read_study(study)
    reply = counts_reply(read_site(site), protocol)
    if as_json:
        print_json(counts_document(reply))
    else:
        print_counts(reply, protocol)
    if out is not None:
        write_counts(reply, out)


@app.command()
def receive(
    site: SiteOption,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is all of this machine's.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port.")] = 11112,
    ae_title: Annotated[str, typer.Option(help="Our AE title, which senders must call.")] = "FEDESCC",
    allow: Annotated[list[str] | None, typer.Option(metavar="AE[@HOST]", help="A sender let in; repeat.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM certificate: take TLS connections only.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its PEM key, without password.")] = None,
    tls_ca: Annotated[Path | None, typer.Option(help="PEM authorities; senders must show a certificate.")] = None,
) -> None:
    """Receive CTs and ROIs from the PACS (C-STORE, C-ECHO) into intake's folder, until interrupted."""
    from fedescc.client.receiving.options import read_options
    from fedescc.client.receiving.receive import receive as receive_until_stopped
    from fedescc.client.site import read_site

    options = read_options(host, port, ae_title, allow or (), tls_cert, tls_key, tls_ca)
    receive_until_stopped(read_site(site), options)


def _summary(result: "IntakeResult", study: str, sha256: str, *, each: bool) -> dict[str, object]:
    from fedescc.client.intake.disk.record import notes

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
        "notes": notes(result.records.values()),
        "warnings": list(result.warnings),
        "from_cache": result.reused,
    }
    if each:
        summary["list"] = [_patient(name, codes, result) for name, codes in result.patients]
    return summary


def _patient(name: str, codes: tuple[str, ...], result: "IntakeResult") -> dict[str, object]:
    entry: dict[str, object] = {"patient_id": name, "reasons": list(codes)}
    record = result.records.get(name)
    return entry if record is None else {**entry, **asdict(record)}

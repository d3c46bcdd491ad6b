"""``fedescc-client counts``: what a site that is not connected yet would tell the coordinator who plans."""

import json
from pathlib import Path
from typing import Any

from fedescc.client.answers.counts import counts
from fedescc.client.egress import require_releasable
from fedescc.client.intake.intake import load_cohort
from fedescc.client.local_site import LocalSite
from fedescc.client.site import SiteFile
from fedescc.common import wire
from fedescc.common.counts import Cell, SiteCounts, counts_document, site_counts
from fedescc.common.errors import Refusal
from fedescc.common.files import write_atomically
from fedescc.common.study import Study
from fedescc.common.wire import Reply, Request


def counts_reply(site: SiteFile, study: Study) -> Reply:
    """The reply to the counts message, checked as at the one door out; the cohort comes from intake's cache.

    Raises:
        Refusal: as `fedescc.client.intake.intake.run_intake`, `LocalSite.charge`, or ``egress-denied-...``.

    """
    local = LocalSite(site.settings.site, study, site.settings.policy, load_cohort(site, study), site.work)
    request = Request(study.sha256)
    local.charge(wire.COUNTS, request)
    reply = counts(local, request)
    require_releasable(wire.COUNTS, reply, request, local.policy.min_class_count)
    return reply


def write_counts(reply: Reply, path: Path) -> None:
    """Write a reply as ``counts.json``.

    Raises:
        Refusal: ``unwritable-folder``.

    """
    text = json.dumps(counts_document(reply), indent=2, sort_keys=True, allow_nan=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, f"{text}\n".encode())
    except OSError as error:
        what = f"cannot write {path}: {type(error).__name__}"
        raise Refusal("unwritable-folder", what, "give another --out") from error


def print_counts(reply: Reply, study: Study) -> None:
    """Everything the reply says, with names, for the hospital to look at before it leaves."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    found = site_counts(study, reply)
    console = Console()
    table = Table("patients", "in all", "with the outcome", title=f"what {reply.site} tells", title_justify="left")
    for label, cell in _rows(found):
        table.add_row(Text(label), _shown(cell.patients), _shown(cell.positives))
    console.print(table)
    missing = Table("covariate", "without a value")
    for name, count in found.missing.items():
        missing.add_row(Text(name), _shown(count))
    console.print(missing)
    console.print("kept: too few patients, or a total would tell them; nothing else is in the file")


def _rows(found: SiteCounts) -> list[tuple[str, Cell]]:
    rows = [("included", found.whole), *found.splits.items()]
    return rows + [
        (f"train, {name}: {level}", cell) for name, cells in found.levels.items() for level, cell in cells.items()
    ]


def _shown(count: Any) -> str:
    return "kept" if count is None else str(count)

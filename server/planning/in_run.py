"""The plan as a run makes it: sites are asked for their counts before anything else, once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flwr.serverapp import Grid

from fedescc.common import wire
from fedescc.common.counts import SiteCounts, site_counts
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.fold import Fold, KFold, Temporal
from fedescc.common.study import Study
from fedescc.common.wire import Reply, Request
from fedescc.server.exchange import Roster, exchange
from fedescc.server.modes import Plan
from fedescc.server.planning.plan import Assumptions, make_plan
from fedescc.server.results import read_json, write_json
from fedescc.server.run_folder import FOLDS, make_folder

FILE = "planning.json"


def plan_run(
    grid: Grid,
    study: Study,
    federation: Federation,
    plan: Plan,
    out: Path,
    run: str,
    releases: Mapping[str, str],
) -> dict[str, Any]:
    """The plan that ``results.json`` holds under ``planning``; kept in ``out``: a run that goes on has the same.

    A site that does not answer, or whose counts cannot be, is named under ``refused`` and costs nothing else; where no
    plan can be made the run goes on, and ``reason`` says why.
    """
    path = out / FOLDS / FILE
    if path.exists():
        return read_json(path)
    sites, refused = collect_counts(grid, study, federation, plan, run)
    assumed = Assumptions(mode=plan.mode, folds=plan.folds, comparators=plan.comparators_of(study))
    try:
        found = make_plan(study, sites, federation, assumed, releases)
    except Refusal as refusal:
        found = {"format": "fedescc-plan-1", "reason": refusal.code}
    document = {**found, "refused": refused}
    make_folder(path.parent)
    write_json(path, document)
    return document


def collect_counts(
    grid: Grid, study: Study, federation: Federation, plan: Plan, run: str
) -> tuple[dict[str, SiteCounts], dict[str, str]]:
    """Counts by site, and why others have none.

    Names are learned for this exchange alone: a run that goes on does not ask again, and must not know fewer of them.
    """
    sites: dict[str, SiteCounts] = {}

    def accept(reply: Reply) -> None:
        sites[reply.site] = site_counts(study, reply)

    fold = _division(plan)
    task = {"run": run} if fold is None else {"run": run, "fold": fold.model_dump(mode="json")}
    request, deadline = Request(study.sha256, task), federation.deadline_seconds
    attendance = exchange(grid, Roster(), wire.COUNTS, request, deadline_seconds=deadline, accept=accept)
    return dict(sorted(sites.items())), dict(sorted(attendance.refused.items()))


def _division(plan: Plan) -> Fold | None:
    """A fold that says how the run divides patients; with one site held out they stay in the fixed split."""
    match plan.mode:
        case "kfold":
            return KFold(index=0, of=plan.folds)
        case "temporal":
            return Temporal()
        case _:
            return None

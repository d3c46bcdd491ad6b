"""Before training: sums of the covariates, image features and scans over all sites, and each site's cohort flow."""

from dataclasses import dataclass
from typing import Any

from flwr.serverapp import Grid

from fedescc.common import wire
from fedescc.common.federation import Federation
from fedescc.common.study import Study
from fedescc.common.sums import add_up
from fedescc.common.tabular.covariate_sums import CovariateSums, asked_features
from fedescc.common.tabular.covariates import Encoding
from fedescc.common.wire import Reply, Request
from fedescc.server.covariate_replies import covariate_sums
from fedescc.server.exchange import Attendance, Roster, exchange
from fedescc.server.training.rounds import require_quorum


@dataclass(frozen=True)
class Statistics:
    """What the sites said before training.

    Attributes:
        encoding: of covariates, image features and scans, by all sites together.
        flow: site -> included, excluded and training patients, and exclusions by rule where released.
        patients: training patients of the sites that declared them.
        attendance: who answered.

    """

    encoding: Encoding
    flow: dict[str, dict[str, Any]]
    patients: dict[str, int]
    attendance: Attendance


def collect_statistics(
    grid: Grid, roster: Roster, study: Study, federation: Federation, task: dict[str, Any]
) -> Statistics:
    """Ask every site for sums over its training patients and for its flow.

    Args:
        grid: reaches the sites.
        roster: their names.
        study: its covariates.
        federation: deadline and quorum.
        task: names the run and the fold; its ``features`` (default: those of the study's model) join the encoding.

    Raises:
        Refusal: fewer than ``min_sites`` answered, or as `Encoding.from_sums`.

    """
    features = asked_features(study, task)
    tables: dict[str, CovariateSums] = {}
    flow: dict[str, dict[str, Any]] = {}

    def accept(reply: Reply) -> None:
        tables[reply.site] = covariate_sums(study, reply.sums, features)
        flow[reply.site] = _flow_entry(study, reply)

    request, deadline = Request(study.sha256, task), federation.deadline_seconds
    attendance = exchange(grid, roster, wire.STATISTICS, request, deadline_seconds=deadline, accept=accept)
    require_quorum(attendance, federation.min_sites, "statistics")
    flow = dict(sorted(flow.items()))
    patients = {site: entry["n_train"] for site, entry in flow.items() if entry["n_train"] is not None}
    return Statistics(Encoding.from_sums(study, add_up(tables.values())), flow, patients, attendance)


def _flow_entry(study: Study, reply: Reply) -> dict[str, Any]:
    """Included and excluded patients, and by rule where no small cell hides it."""
    codes = [rule.code for rule in study.eligibility.inclusion + study.eligibility.exclusion]
    entry: dict[str, Any] = {
        "included": reply.sums.get("flow_included"),
        "excluded": reply.sums.get("flow_excluded"),
        "n_train": reply.sums.get("n_train"),
    }
    by_rule = reply.sums.get("flow_by_rule")
    if isinstance(by_rule, list) and len(by_rule) == len(codes) + 1:
        entry["by_rule"] = dict(zip([*codes, "other"], by_rule, strict=True))
    if reply.reasons:
        entry["suppressed"] = dict(sorted(reply.reasons.items()))
    return entry

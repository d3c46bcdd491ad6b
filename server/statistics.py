"""Before training: the moments of the covariates over all sites, and each site's cohort flow."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.serverapp import Grid

from fedescc.common import wire
from fedescc.common.covariates import STEPS, CovariateSums, Encoding
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.protocol import NumericVariable
from fedescc.common.study import Study
from fedescc.common.sums import add_up
from fedescc.common.wire import Reply, Request, Sums
from fedescc.server.exchange import Attendance, Roster, exchange
from fedescc.server.rounds import require_quorum


@dataclass(frozen=True)
class Statistics:
    """What the sites said before training.

    Attributes:
        encoding: of the covariates, by the federation's means and SDs.
        flow: site -> included, excluded and training patients, and exclusions by rule where released.
        patients: training patients of the sites that declared them.
        attendance: who answered.

    """

    encoding: Encoding
    flow: dict[str, dict[str, Any]]
    patients: dict[str, int]
    attendance: Attendance


def collect_statistics(grid: Grid, roster: Roster, study: Study, federation: Federation) -> Statistics:
    """Ask every site for its training patients' moments and its flow.

    Raises:
        Refusal: fewer than ``min_sites`` answered.

    """
    numeric = tuple(name for name, v in study.covariates.items() if isinstance(v, NumericVariable))
    tables: dict[str, CovariateSums] = {}
    flow: dict[str, dict[str, Any]] = {}

    def accept(reply: Reply) -> None:
        tables[reply.site] = _covariate_sums(reply.sums, numeric)
        flow[reply.site] = _flow_entry(study, reply)

    request, deadline = Request(study.sha256), federation.deadline_seconds
    attendance = exchange(grid, roster, wire.STATISTICS, request, deadline_seconds=deadline, accept=accept)
    require_quorum(attendance, federation.min_sites, "statistics")
    flow = dict(sorted(flow.items()))
    patients = {site: entry["n_train"] for site, entry in flow.items() if entry["n_train"] is not None}
    return Statistics(Encoding.from_sums(study, add_up(tables.values())), flow, patients, attendance)


def _covariate_sums(sums: Sums, names: tuple[str, ...]) -> CovariateSums:
    rows = [sums.get(f"covariate_{key}") for key in ("counts", "totals", "squares")]
    if any(not isinstance(row, list) or len(row) != len(names) for row in rows):
        raise Refusal("malformed-message", "covariate sums are incomplete", "check the site")
    table = np.array(rows, dtype=np.int64).reshape(3, len(names))
    counts, totals, squares = table.astype(object)  # Python integers: the bounds must not overflow
    if (
        (totals > counts * STEPS).any()
        or (squares > totals * STEPS).any()
        or (totals * totals > counts * squares).any()
    ):
        raise Refusal("malformed-message", "covariate sums contradict each other", "check the site")
    return CovariateSums(names, table)


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

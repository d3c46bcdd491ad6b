"""Before training: moments of the training patients' covariates and the cohort's flow; small counts stay here."""

import numpy as np

from fedescc.client.intake.eligibility import INCLUDED
from fedescc.client.local_site import LocalSite
from fedescc.client.site import BELOW_MINIMUM
from fedescc.common import wire
from fedescc.common.covariates import CovariateSums, column_sums
from fedescc.common.study import Study
from fedescc.common.wire import Reply, Request


def statistics(site: LocalSite, request: Request) -> Reply:
    """Moments of the training patients' covariates and the cohort's flow."""
    cohort = site.view(request)
    rows = cohort.rows("train")
    minimum = site.policy.min_class_count
    sums = _hide_small(column_sums(site.study, cohort.numeric, rows), minimum)
    counts, totals, squares = (row.tolist() for row in sums.table)
    values: wire.Sums = {"covariate_counts": counts, "covariate_totals": totals, "covariate_squares": squares}
    flow, reasons = _governed_flow(site)
    if len(rows) >= minimum:
        return site.reply(values | flow | {"n_train": len(rows)}, reasons)
    return site.reply(values | flow, reasons | {"n_train": BELOW_MINIMUM})


def flow_counts(study: Study, excluded: dict[str, int]) -> list[int]:
    """Excluded patients per eligibility rule in protocol order, and last those excluded for any other reason."""
    codes = [rule.code for rule in study.eligibility.inclusion + study.eligibility.exclusion]
    counts = dict.fromkeys([*codes, "other"], 0)
    for code, count in excluded.items():
        rule = code.split(":")[0]
        counts[rule if rule in counts else "other"] += count
    return list(counts.values())


def _hide_small(sums: CovariateSums, minimum: int) -> CovariateSums:
    """A sum over fewer patients than the minimum is left out: it might be one patient's value."""
    return CovariateSums(sums.names, np.where(sums.table[0] >= minimum, sums.table, 0))


def _governed_flow(site: LocalSite) -> tuple[wire.Sums, dict[str, str]]:
    """Included, excluded and excluded by rule; one small cell hides the whole breakdown, or a sum would tell it."""
    excluded = {code: count for code, count in site.cohort.flow.items() if code != INCLUDED}
    by_rule = flow_counts(site.study, excluded)
    minimum = site.policy.min_class_count
    values: wire.Sums = {"flow_included": len(site.cohort), "flow_excluded": sum(by_rule), "flow_by_rule": by_rule}
    small = {key: 0 < total < minimum for key, total in (("included", len(site.cohort)), ("excluded", sum(by_rule)))}
    hidden = {f"flow_{key}" for key, is_small in small.items() if is_small}
    if hidden or any(0 < count < minimum for count in by_rule):
        hidden.add("flow_by_rule")
    return {key: value for key, value in values.items() if key not in hidden}, dict.fromkeys(hidden, BELOW_MINIMUM)

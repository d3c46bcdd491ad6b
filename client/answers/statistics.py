"""Before training: governed sums of the training patients' covariates, features and scans, and the cohort's flow."""

from fedescc.client.cohort import SiteCohort
from fedescc.client.intake.eligibility import INCLUDED
from fedescc.client.local_site import LocalSite
from fedescc.client.site import BELOW_MINIMUM
from fedescc.common import wire
from fedescc.common.imaging import Imaging
from fedescc.common.study import Study
from fedescc.common.tabular.covariate_sums import asked_features, categorical_columns, numeric_columns, quantile_columns
from fedescc.common.tabular.levels import count_levels, governed_levels
from fedescc.common.tabular.moments import Rows, hide_small, moment_table, present_values
from fedescc.common.tabular.quantiles import count_bins, merge_bins
from fedescc.common.wire import Reply, Request


def statistics(site: LocalSite, request: Request) -> Reply:
    """Moments, categories and quantiles of the training patients, landmarks of their scans, and the cohort's flow.

    The task's ``features`` (default: those of the study's model) are image features whose moments are wanted too.
    """
    features, minimum = asked_features(site.study, request.task), site.policy.min_class_count
    cohort = site.view_with(request, features)
    rows = cohort.rows("train")
    values = covariate_values(site.study, cohort, rows, features, minimum)
    values |= landmark_values(site.study.imaging, cohort, rows, minimum)
    flow, reasons = _governed_flow(site)
    if len(rows) >= minimum:
        return site.reply(values | flow | {"n_train": len(rows)}, reasons)
    return site.reply(values | flow, reasons | {"n_train": BELOW_MINIMUM})


def covariate_values(study: Study, cohort: SiteCohort, rows: Rows, features: list[str], minimum: int) -> wire.Sums:
    """What may be told of covariates and image features: no sum over fewer patients than the minimum, no small cell."""
    columns, levels = numeric_columns(study, features), categorical_columns(study)
    counts, totals, squares = hide_small(moment_table(columns, cohort.numeric, rows), minimum)
    values: wire.Sums = {
        "covariate_counts": counts.tolist(),
        "covariate_totals": totals.tolist(),
        "covariate_squares": squares.tolist(),
        "level_counts": [],
        "quantile_counts": [],
    }
    for name, level in levels.items():
        found = count_levels(cohort.categorical[name][rows], len(level.categories))
        values["level_counts"] += governed_levels(found, minimum).tolist()
    for name, column in quantile_columns(columns).items():
        found = count_bins(column, present_values(name, column, cohort.numeric[name][rows]))
        values["quantile_counts"] += merge_bins(found, minimum).tolist()
    return values


def landmark_values(imaging: Imaging | None, cohort: SiteCohort, rows: Rows, minimum: int) -> wire.Sums:
    """Sums of the landmarks of the rows' scans, where the study harmonises intensities."""
    from fedescc.client.learning.harmonise import harmonised_sums

    sums = harmonised_sums(imaging, cohort, rows)
    if sums is None:
        return {}
    governed = sums.governed(minimum)
    return {"landmark_counts": governed.scans.tolist(), "landmark_totals": governed.totals.ravel().tolist()}


def flow_counts(study: Study, excluded: dict[str, int]) -> list[int]:
    """Excluded patients per eligibility rule in protocol order, and last those excluded for any other reason."""
    codes = [rule.code for rule in study.eligibility.inclusion + study.eligibility.exclusion]
    counts = dict.fromkeys([*codes, "other"], 0)
    for code, count in excluded.items():
        rule = code.split(":")[0]
        counts[rule if rule in counts else "other"] += count
    return list(counts.values())


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

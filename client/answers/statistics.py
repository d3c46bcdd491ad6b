"""Before training: governed sums of the training patients' covariates, features and scans, and the cohort's flow."""

import numpy as np
from numpy.typing import NDArray

from fedescc.client.answers.governed import governed, rule_of
from fedescc.client.cohort import SiteCohort
from fedescc.client.intake.eligibility import INCLUDED
from fedescc.client.local_site import LocalSite
from fedescc.client.site import BELOW_MINIMUM
from fedescc.common import wire
from fedescc.common.disclosure.cells import small, too_few
from fedescc.common.disclosure.groups import Cells, Rule, counted
from fedescc.common.imaging import Imaging
from fedescc.common.protocol import NumericVariable
from fedescc.common.study import Study
from fedescc.common.tabular.covariate_sums import asked_features, categorical_columns, numeric_columns, quantile_columns
from fedescc.common.tabular.levels import count_levels, governed_levels
from fedescc.common.tabular.moments import Rows, moment_table
from fedescc.common.tabular.quantiles import BINS, common_ends, count_bins, fill_runs
from fedescc.common.wire import Reply, Request

Values = NDArray[np.float64]


def statistics(site: LocalSite, request: Request) -> Reply:
    """Moments, categories and quantiles of the training patients, landmarks of their scans, and the cohort's flow.

    The task's ``features`` (default: those of the study's model) are image features whose moments are wanted too.
    """
    features, rule = asked_features(site.study, request.task), rule_of(site.policy)
    cohort = site.view_with(request, features)
    rows = cohort.rows("train")
    values = covariate_values(site.study, cohort, rows, features, rule)
    values |= landmark_values(site.study.imaging, cohort, rows, rule)
    flow, reasons = _governed_flow(site, cohort)
    if not too_few(len(rows), rule.minimum):
        return site.reply(values | flow | {"n_train": len(rows)}, reasons)
    return site.reply(values | flow, reasons | {"n_train": BELOW_MINIMUM})


def covariate_values(study: Study, cohort: SiteCohort, rows: Rows, features: list[str], rule: Rule) -> wire.Sums:
    """What may be told of covariates and image features: nothing that few patients, or all but a few, have a part in.

    In k folds that holds in every group of patients that two folds can differ by.
    """
    columns, levels = numeric_columns(study, features), categorical_columns(study)
    # A histogram has the same runs in all folds: they follow from everybody's groups.
    whom = rows if cohort.group is None else np.arange(len(cohort))
    told, groups = governed(cohort, whom, columns, rule), cohort.groups(whom)
    counts, totals, squares = moment_table(columns, told.numeric, rows)
    values: wire.Sums = {
        "covariate_counts": counts.tolist(),
        "covariate_totals": totals.tolist(),
        "covariate_squares": squares.tolist(),
        "level_counts": [],
        "quantile_counts": [],
    }
    for name, level in levels.items():
        codes = cohort.categorical[name][rows]
        values["level_counts"] += _levels(codes, cohort.groups(rows), len(level.categories), rule).tolist()
    for name, column in quantile_columns(columns).items():
        by_group = [_bins(column, told.numeric[name][whom[groups == group]]) for group in np.unique(groups)]
        ends = common_ends(np.array(by_group, np.int64).reshape(-1, BINS), rule.minimum)
        values["quantile_counts"] += fill_runs(_bins(column, told.numeric[name][rows]), ends).tolist()
    return values


def landmark_values(imaging: Imaging | None, cohort: SiteCohort, rows: Rows, rule: Rule) -> wire.Sums:
    """Sums of the landmarks of the rows' scans, where the study harmonises intensities."""
    from fedescc.client.learning.harmonise import harmonised_landmarks, landmark_sums

    landmarks = harmonised_landmarks(imaging, cohort, rows)
    if landmarks is None:
        return {}
    for point in range(landmarks.shape[1]):
        out = ~counted(landmarks[:, point].sum(axis=1), cohort.groups(rows), rule)
        landmarks[out, point] = np.nan
    sums = landmark_sums(landmarks)
    return {"landmark_counts": sums.scans.tolist(), "landmark_totals": sums.totals.ravel().tolist()}


def flow_counts(study: Study, excluded: dict[str, int]) -> list[int]:
    """Excluded patients per eligibility rule in protocol order, and last those excluded for any other reason."""
    codes = [rule.code for rule in study.eligibility.inclusion + study.eligibility.exclusion]
    counts = dict.fromkeys([*codes, "other"], 0)
    for code, count in excluded.items():
        rule = code.split(":")[0]
        counts[rule if rule in counts else "other"] += count
    return list(counts.values())


def _bins(column: NumericVariable, values: Values) -> NDArray[np.int64]:
    return count_bins(column, values[~np.isnan(values)])


def _levels(codes: NDArray[np.int16], groups: Cells, categories: int, rule: Rule) -> NDArray[np.int64]:
    """Lower bounds of the categories' patients, (categories,): of every group by itself, added up."""
    shown = np.zeros(categories, np.int64)
    for group in np.unique(groups):
        own = codes[groups == group]
        counts = count_levels(own, categories)
        shown += governed_levels(counts, rule.minimum, len(own) - int(counts.sum()) if rule.rest else 0)
    return shown


def _governed_flow(site: LocalSite, cohort: SiteCohort) -> tuple[wire.Sums, dict[str, str]]:
    """Included, excluded and excluded by rule; one small cell hides the whole breakdown, or a sum would tell it.

    Other replies count the training and the test patients: where a part of the included is small, so is a difference.
    """
    excluded = {code: count for code, count in site.cohort.flow.items() if code != INCLUDED}
    by_rule, minimum = flow_counts(site.study, excluded), site.policy.min_class_count
    values: wire.Sums = {"flow_included": len(site.cohort), "flow_excluded": sum(by_rule), "flow_by_rule": by_rule}
    parts = np.unique(cohort.split, return_counts=True)[1].tolist()
    hidden = {"flow_included"} if any(small(part, minimum) for part in parts) else set()
    if small(sum(by_rule), minimum):
        hidden.add("flow_excluded")
    if any(small(count, minimum) for count in (sum(by_rule), *by_rule)):
        hidden.add("flow_by_rule")
    return {key: value for key, value in values.items() if key not in hidden}, dict.fromkeys(hidden, BELOW_MINIMUM)

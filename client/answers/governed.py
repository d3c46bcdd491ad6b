"""Columns of a site as sums may be formed of them: values that could be told apart count as missing.

Every kind of message that adds covariates or image features up takes them from here, so that no difference of two
kinds, or of two folds, is a sum over few.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedescc.client.cohort import SiteCohort
from fedescc.client.site import ReleasePolicy
from fedescc.common.disclosure.cells import both_reach, enough, small
from fedescc.common.disclosure.groups import Rule, class_units, classes_told, counted, one_group, safe_cells
from fedescc.common.protocol import NumericVariable
from fedescc.common.study import Study
from fedescc.common.tabular.features import NAMED_FEATURES, RADIOMIC_FEATURES
from fedescc.common.tabular.moments import Rows, present_values

Columns = dict[str, NDArray[np.float64]]


def screened_variables(study: Study) -> dict[str, NumericVariable]:
    """Every number that sums can be asked of: the study's numeric covariates and the image features."""
    numeric = {name: v for name, v in study.covariates.items() if isinstance(v, NumericVariable)}
    return {**NAMED_FEATURES, **RADIOMIC_FEATURES, **numeric}


def rule_of(policy: ReleasePolicy) -> Rule:
    """A policy's limits for sums: ``small_newton: plain`` lets sums leave that all but a few have a part in."""
    return Rule(policy.min_class_count, policy.dominance_percent, rest=policy.small_newton == "never")


def classes_may_be_told(cohort: SiteCohort, rows: Rows, minimum: int) -> bool:
    """Whether sums by class may be told of a split: of enough patients of each, also where two folds differ."""
    labels = cohort.labels[rows]
    if cohort.group is None or cohort.block is None:
        return classes_told(labels, one_group(len(rows)), minimum)
    units = class_units(cohort.labels, cohort.group, cohort.block, minimum)
    divides_none = np.isin(units, units[rows]).sum() == len(rows)
    return bool(divides_none) and classes_told(labels, units[rows], minimum)


def leaves_few(whole: SiteCohort, rows: Rows, minimum: int) -> bool:
    """Whether the rows, less the parts of the study's fixed split that sums may be told of, are few of a class.

    A site held out is tested on all its patients. Other folds tell of its training and validation patients, and the
    run of the fixed split of its test patients: each part by itself, where both classes reach the minimum, and how
    many they are even where they do not.

    Args:
        whole: the cohort as the study's split divides it.
        rows: patients whom sums by class would be told of.
        minimum: fewest patients of a class.

    """
    rest = np.zeros(len(whole), np.bool_)
    rest[rows] = True
    uncounted = rest.copy()
    for part in np.unique(whole.split):
        inside = whole.split == part
        size, positives = int(inside.sum()), int(whole.labels[inside].sum())
        if rest[inside].all() and both_reach(positives, size, minimum):
            rest &= ~inside
        if not small(size, minimum):
            uncounted &= ~inside
    left = int(whole.labels[rest].sum())
    return not enough(left, int(rest.sum()), minimum) or small(int(uncounted.sum()), minimum)


def governed(cohort: SiteCohort, rows: Rows, variables: Mapping[str, NumericVariable], rule: Rule) -> SiteCohort:
    """The cohort, its numeric columns NaN where a value of the rows given may not enter a sum.

    Args:
        cohort: as a fold divides it; its groups and classes decide what could be told apart.
        rows: whose values are summed: a whole split.
        variables: columns and their declared ranges.
        rule: the limits.

    Raises:
        Refusal: ``value-out-of-range``.

    """
    cells = safe_cells(cohort.labels[rows], cohort.groups(rows), rule.minimum)
    columns: Columns = {}
    for name, variable in variables.items():
        values = cohort.numeric[name][rows]
        present_values(name, variable, values)
        columns[name] = cohort.numeric[name].copy()
        columns[name][rows] = np.where(counted(values - variable.range[0], cells, rule), values, np.nan)
    return replace(cohort, numeric=cohort.numeric | columns)

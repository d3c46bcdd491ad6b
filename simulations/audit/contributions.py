"""The values that a site adds to the federation's sums, once it has left out or merged what it may not tell.

What a site leaves out is its governance and not what is audited; that the rest adds up to the pooled figures is.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fedescc.client.answers.governed import governed, rule_of, screened_variables
from fedescc.client.answers.logistic import merge_rare
from fedescc.client.cohort import SiteCohort, SplitName
from fedescc.client.learning.harmonise import harmonised_landmarks
from fedescc.client.site import ReleasePolicy
from fedescc.common.disclosure.groups import Cells, counted
from fedescc.common.imaging import Imaging
from fedescc.common.study import Study
from fedescc.common.tabular.covariate_sums import numeric_columns
from fedescc.common.tabular.covariates import Encoding
from fedescc.common.tabular.levels import governed_levels
from fedescc.simulations.audit.pairs import Floats
from fedescc.simulations.hospitals import Hospitals

Policies = Mapping[str, ReleasePolicy]
"""Site -> its release policy, no minimum below the study's."""


def policies_of(hospitals: Hospitals) -> dict[str, ReleasePolicy]:
    """Every site's policy as it applies in the study."""
    floor = hospitals.study.disclosure.min_class_count
    found = {}
    for file in hospitals.files.values():
        own = file.settings.policy
        found[file.settings.site] = own.model_copy(update={"min_class_count": max(floor, own.min_class_count)})
    return found


def told_values(cohort: SiteCohort, encoding: Encoding, study: Study, policy: ReleasePolicy) -> dict[str, Floats]:
    """Numeric column of an encoding -> values (training patients,), NaN where missing or not told."""
    rows, columns = cohort.rows("train"), numeric_columns(study, list(encoding.features))
    whom = rows if cohort.group is None else np.arange(len(cohort))
    told = governed(cohort, whom, columns, rule_of(policy))
    return {name: told.numeric[name][rows] for name in columns}


def told_levels(codes: NDArray[np.int16], groups: Cells, categories: int, policy: ReleasePolicy) -> NDArray[np.int64]:
    """Lower bounds of the patients of each category, (categories,), of codes (n,) in groups (n,)."""
    rule, told = rule_of(policy), np.zeros(categories, np.int64)
    for group in np.unique(groups):
        own = codes[groups == group]
        counts = np.bincount(own[own >= 0], minlength=categories)
        told += governed_levels(counts, rule.minimum, int((own < 0).sum()) if rule.rest else 0)
    return told


def told_landmarks(cohort: SiteCohort, imaging: Imaging, policy: ReleasePolicy) -> Floats:
    """Fat and bright landmark of the training patients' scans, (scans, 2), of those that are told."""
    rows = cohort.rows("train")
    found = harmonised_landmarks(imaging, cohort, rows)
    if found is None:
        return np.zeros((0, 2))
    sums = found.sum(axis=2)
    told = [counted(of_point, cohort.groups(rows), rule_of(policy)) for of_point in sums.T]
    return np.concatenate([found[flags, point] for point, flags in enumerate(told)])


def told_columns(
    cohort: SiteCohort, encoding: Encoding, study: Study, policy: ReleasePolicy, split: SplitName
) -> Floats:
    """An encoding's columns of one split, (n, columns), of which sums may leave."""
    rows = cohort.rows(split)
    if policy.small_newton == "plain":
        return encoding.encode(cohort.numeric, cohort.categorical, rows).astype(np.float64)
    known = screened_variables(study)
    variables = {covariate.name: known[covariate.name] for covariate in encoding.covariates if covariate.name in known}
    told, groups = governed(cohort, rows, variables, rule_of(policy)), cohort.groups(rows)
    X = encoding.encode(told.numeric, told.categorical, rows).astype(np.float64)
    for group in np.unique(groups):
        X[groups == group] = merge_rare(encoding, X[groups == group], policy.min_class_count)
    return X

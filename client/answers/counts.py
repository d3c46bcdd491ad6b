"""Before training: governed counts of patients and outcomes, from which the coordinator plans.

They are of the study's fixed split, the same whatever a run asks next, and open nothing: no score is involved.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fedescc.client.answers.levels import class_counts, hidden_by_subgroup
from fedescc.client.answers.subgroups import subgroup_codes
from fedescc.client.cohort import SiteCohort
from fedescc.client.folds import division
from fedescc.client.local_site import LocalSite
from fedescc.client.site import BELOW_MINIMUM
from fedescc.common import wire
from fedescc.common.counts import HIDDEN, SPLITS
from fedescc.common.disclosure.cells import enough
from fedescc.common.fold import read_fold
from fedescc.common.study import Study
from fedescc.common.wire import Reply, Request

OTHER_DIVISION = "another-division"  # code: outcomes of the fixed split could be subtracted from those of folds

Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]


def counts(site: LocalSite, request: Request) -> Reply:
    """Included patients and each split's, with outcomes, training patients by subgroup, and who has no value.

    A site whose patients another run mode divides (k folds, time) keeps the outcomes: the fixed split's and the folds'
    could be subtracted from each other. Having told them, it takes part in no such run until it is started anew.
    """
    fixed = division(None)
    with_outcomes = division(read_fold(request.task)) == fixed and site.division in (None, fixed)
    if with_outcomes:
        site.division = fixed
    values, reasons = governed_counts(site.study, site.cohort, site.policy.min_class_count)
    if with_outcomes:
        return site.reply(values, reasons)
    kept = {"split_positives": [HIDDEN] * len(SPLITS), "level_positives": [HIDDEN] * len(_list(values, "level"))}
    values.pop("positives", None)
    return site.reply({**values, **kept}, {**reasons, "positives": OTHER_DIVISION})


def governed_counts(study: Study, cohort: SiteCohort, minimum: int) -> tuple[wire.Sums, dict[str, str]]:
    """Counts with no small cell, and none that a total would tell; `HIDDEN` stands for what is kept."""
    parts = np.array([_classes(cohort, cohort.split == name) for name in SPLITS])
    total = _classes(cohort, np.ones(len(cohort), dtype=bool))
    patients = _governed_sizes(parts.sum(axis=1), minimum)
    small_parts = _small(parts, minimum).any(axis=1)
    outcomes = np.where(small_parts | (patients == HIDDEN), HIDDEN, parts[:, 0])
    levels = _level_cells(study, cohort, minimum)
    if outcomes[SPLITS.index("train")] == HIDDEN:
        levels[:] = HIDDEN
    values: wire.Sums = {
        "split_patients": patients.tolist(),
        "split_positives": outcomes.tolist(),
        "level_patients": levels[:, 0].tolist(),
        "level_positives": levels[:, 1].tolist(),
        "missing": [_governed_missing(cohort, name, minimum) for name in study.covariates],
    }
    reasons = {}
    # Other messages tell the larger splits' patients whatever is hidden here.
    if _small(parts.sum(axis=1), minimum).any():
        reasons["included"] = BELOW_MINIMUM
        values["missing"] = [HIDDEN] * len(study.covariates)
    else:
        values["included"] = len(cohort)
    told = "included" in values and not _small(total, minimum).any() and _concealed(parts, outcomes == HIDDEN, minimum)
    if told:
        values["positives"] = int(total[0])
    else:
        reasons["positives"] = BELOW_MINIMUM
    return values, reasons


def _governed_sizes(sizes: Whole, minimum: int) -> Whole:
    """Patients of each split, a second one hidden where one is: all of them together are told."""
    hidden = _small(sizes, minimum)
    while not _concealed(sizes[:, None], hidden, minimum):
        shown = np.flatnonzero(~hidden & (sizes > 0))
        if not shown.size:
            break
        hidden[shown[-1]] = True
    return np.where(hidden, HIDDEN, sizes)


def _concealed(parts: Whole, hidden: Flags, minimum: int) -> bool:
    """Whether the total, which tells the sum of the hidden parts (n, classes), tells none of them.

    More than one is hidden, what they come to is not small, and it is not the least or the most that as many small
    counts can come to, which would give each of them away.
    """
    number = int(hidden.sum())
    if number == 0:
        return True
    sums = parts[hidden].sum(axis=0)
    extreme = (sums == number) | (sums == number * (minimum - 1))
    return number > 1 and not (_small(sums, minimum) | extreme).any()


def _level_cells(study: Study, cohort: SiteCohort, minimum: int) -> Whole:
    """Training patients and positives of every level in the order of `all_levels`, (levels, 2).

    Of training patients alone: with the others' the levels would add up to outcomes that the splits keep, and what a
    test set later tells could be subtracted. A level within one of another subgroup leaves no few of it.
    """
    training = cohort.rows("train")
    labels, codes = cohort.labels[training], subgroup_codes(study, cohort, training)
    found: list[Whole] = [np.zeros((0, 2), np.int64)]
    for name, hidden in hidden_by_subgroup(codes, labels, minimum).items():
        cells = class_counts(*codes[name], labels)
        pairs = np.stack([cells.sum(axis=1), cells[:, 0]], axis=1)
        found.append(np.where(hidden[:, None], HIDDEN, pairs))
    return np.concatenate(found)


def _governed_missing(cohort: SiteCohort, name: str, minimum: int) -> int:
    column = cohort.numeric.get(name)
    absent = np.isnan(column) if column is not None else cohort.categorical[name] < 0
    count, outside = int(absent.sum()), int((absent & (cohort.split != "train")).sum())
    # The statistics tell the training patients that have a value.
    told = enough(count, len(cohort), minimum) and enough(outside, count, minimum)
    return count if told else HIDDEN


def _classes(cohort: SiteCohort, rows: Flags) -> Whole:
    """Positives and negatives of some patients, (2,)."""
    positives = int(cohort.labels[rows].sum())
    return np.array([positives, int(rows.sum()) - positives], dtype=np.int64)


def _small(counts: Whole, minimum: int) -> Flags:
    return (counts > 0) & (counts < minimum)


def _list(values: Mapping[str, object], prefix: str) -> list[int]:
    found = values[f"{prefix}_patients"]
    assert isinstance(found, list)
    return found

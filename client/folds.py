"""A site's patients as a run mode divides them: by the study's fixed split, k folds, one site held out, or time.

A server that could ask for many different divisions could subtract their sums until single patients remain. So a
site follows one division as long as it runs, its number of folds is small, and it takes part in k folds only where
every group of patients that two folds differ by is large enough.
"""

import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedescc.client.cohort import SiteCohort
from fedescc.common import wire
from fedescc.common.disclosure.cells import small
from fedescc.common.disclosure.groups import smallest
from fedescc.common.errors import Refusal
from fedescc.common.fold import HELD_OUT, NOT_HELD_OUT, Fold, KFold, Loso, Temporal
from fedescc.common.study import Split

_MOST_GROUPS = 4  # of one fold
_SHARE_TOLERANCE = 0.06
TOO_SMALL = "fold-too-small"
UNUSED = "unused"  # of patients whom a fold neither trains on nor looks at

Labels = NDArray[np.str_]


def divide(cohort: SiteCohort, fold: Fold | None, split: Split, *, site: str, minimum: int) -> SiteCohort:
    """The cohort with ``split`` as the fold has it, and k folds' ``group``; the same patients in the same rows.

    Args:
        cohort: as intake divided it, by the study's fixed split.
        fold: None keeps that split.
        split: the study's shares of training and validation patients.
        site: this site's name.
        minimum: fewest patients that anything may be said of.

    Raises:
        Refusal: ``fold-too-small``, ``no-dates`` (temporal, where the study has no date).

    """
    match fold:
        case None:
            return cohort
        case KFold():
            return _k_fold(cohort, fold, split, minimum)
        case Loso():
            return replace(cohort, split=_leave_one_out(cohort, held_out=fold.held_out == site))
        case Temporal():
            return replace(cohort, split=_by_time(cohort, split))


def division(fold: Fold | None) -> str:
    """What a site must not change while it runs. One site held out and the fixed split are the same division."""
    match fold:
        case KFold():
            return f"kfold:{fold.of}"
        case Temporal():
            return "temporal"
        case _:
            return "split"


def require_part(message_type: str, fold: Fold | None, site: str) -> None:
    """Refuse what a fold with one site held out does not ask of this site.

    The site held out answers questions about its test patients and no other; the others answer all but these.

    Raises:
        Refusal: ``held-out``, ``not-held-out``.

    """
    if not isinstance(fold, Loso):
        return
    about_test_patients = message_type in wire.OF_TEST_PATIENTS
    if fold.held_out == site and not about_test_patients:
        raise Refusal(HELD_OUT, f"{site} is held out of {message_type}", "nothing: it is tested later")
    if fold.held_out != site and about_test_patients:
        raise Refusal(NOT_HELD_OUT, f"{site} is not held out", "nothing: this fold tests another site")


def _k_fold(cohort: SiteCohort, fold: KFold, split: Split, minimum: int) -> SiteCohort:
    """Groups by a hash of the key alone; the fold's own are tested, those that follow in a circle validate."""
    per_fold, validating = _groups(fold.of, split.validation / (split.train + split.validation))
    count = fold.of * per_fold
    group = np.array([_place(key, count) for key in cohort.keys], dtype=np.intp)
    if small(fewest := smallest(group), minimum):
        raise Refusal(
            TOO_SMALL,
            f"{fold.of} folds divide this site's patients into {count} groups, one of {fewest}, of whom a difference "
            f"of results would tell; at least {minimum} are needed",
            "ask for another number of folds, or go on without this site",
        )
    after = (group - fold.index * per_fold) % count
    labels = _labels(after < per_fold, after < per_fold + validating)
    return replace(cohort, split=labels, group=group, block=group // per_fold)


def _groups(folds: int, share: float) -> tuple[int, int]:
    """Groups a fold consists of, and how many groups validate, so that they are near their share of the others.

    Everything that leaves a site in k folds is a sum over whole groups; the fewer they are, the larger.
    """
    for per_fold in range(1, _MOST_GROUPS + 1):
        others = (folds - 1) * per_fold
        validating = round(share * others)
        if abs(validating / others - share) <= _SHARE_TOLERANCE and validating < others:
            break
    return per_fold, validating


def _leave_one_out(cohort: SiteCohort, *, held_out: bool) -> Labels:
    """Everybody of the site held out; elsewhere the fixed split, whose test patients stay closed.

    So a fold differs from the run of the fixed split by one site's absence alone, and nobody is tested twice.
    """
    if held_out:
        return np.full(len(cohort), "test", dtype="<U10")
    return np.where(cohort.split == "test", UNUSED, cohort.split).astype("<U10")


def _by_time(cohort: SiteCohort, split: Split) -> Labels:
    """By the share of dated patients who came earlier, so that patients of one date stay together."""
    order = cohort.order
    if order is None or not (order >= 0).any():
        raise Refusal("no-dates", "no patient has a date that tells who came first", "choose another run mode")
    earlier = order / np.count_nonzero(order >= 0)
    labels = _labels(earlier >= split.train + split.validation, earlier >= split.train)
    return np.where(order < 0, UNUSED, labels).astype("<U10")


def _labels(test: NDArray[np.bool_], validation: NDArray[np.bool_]) -> Labels:
    return np.where(test, "test", np.where(validation, "validation", "train")).astype("<U10")


def _place(key: str, count: int) -> int:
    """One of ``count`` groups by a hash of the salted key, as `fedescc.client.intake.split` divides."""
    digest = hashlib.sha256(f"fedescc-fold|{count}|{key}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") * count) >> 64

"""Which values may enter a sum, where sums over several unions of groups of patients are told.

Sums of two folds differ by whole groups, sums of two kinds of message by the patients whom one leaves out. If in every
group the values that count, and those that do not, are none or at least the minimum, no sum or difference that can be
formed of what is told speaks of fewer. A value that may not count is treated as missing, in every kind of message
alike: else the difference of two kinds would be a sum over the few that one of them leaves out.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedescc.common.disclosure.cells import both_reach, enough, small
from fedescc.common.disclosure.dominance import dominated

Cells = NDArray[np.intp]
Labels = NDArray[np.int8]


class Rule(NamedTuple):
    """Limits of sums.

    Attributes:
        minimum: fewest patients that a sum may speak of.
        percent: p of `fedescc.common.disclosure.dominance.dominated`; 0 lifts it.
        rest: whether those whom a sum leaves out must be none or as many, too.

    """

    minimum: int
    percent: float = 0.0
    rest: bool = True


def one_group(patients: int) -> Cells:
    """Everybody in one group, (n,): of a division whose sums are not subtracted from each other."""
    return np.zeros(patients, np.intp)


def cells_of(labels: Labels, groups: Cells) -> Cells:
    """Cells of which sums by class are made up, (n,): every group's two classes."""
    return 2 * groups + labels.astype(np.intp)


def safe_cells(labels: Labels, groups: Cells, minimum: int) -> Cells:
    """As `cells_of`, but a group with too few patients of a class is one cell: nothing may be told by its classes."""
    cells = cells_of(labels, groups)
    for group in np.unique(groups):
        inside = groups == group
        if not enough(int(labels[inside].sum()), int(inside.sum()), minimum):
            cells[inside] = 2 * group
    return cells


def classes_told(labels: Labels, groups: Cells, minimum: int) -> bool:
    """Whether sums by class may be told of these patients: both reach the minimum, and none is small in any group."""
    patients = np.bincount(groups)
    positives = np.bincount(groups, weights=labels).astype(int)
    by_group = zip(positives.tolist(), patients.tolist(), strict=True)
    return both_reach(int(labels.sum()), len(labels), minimum) and all(enough(*one, minimum) for one in by_group)


def class_units(labels: Labels, groups: Cells, blocks: Cells, minimum: int) -> Cells:
    """What sums by class are told of, (n,): groups; where one of a block's has a few of a class, the whole block.

    A fold tests one block, so its figures need not be lost with those of one group, as long as no other sum divides it.

    Args:
        labels: (n,) of the whole cohort.
        groups: (n,) groups that any two folds can differ by.
        blocks: (n,) which fold tests the group.
        minimum: fewest patients of a class, or none.

    """
    units = groups.copy()
    cells = safe_cells(labels, groups, minimum)
    for block in np.unique(blocks):
        inside = blocks == block
        if (cells[inside] != cells_of(labels, groups)[inside]).any():
            units[inside] = groups[inside].min()
    return units


def smallest(groups: Cells) -> int:
    """Patients of the smallest group; 0 where there is nobody."""
    return min((int(count) for count in np.bincount(groups) if count), default=0)


def counted(values: NDArray[np.float64], cells: Cells, rule: Rule) -> NDArray[np.bool_]:
    """Which values count, (n,): in every cell none or at least the minimum, and so many do not, or none.

    Where a few are missing, as many more as make up the minimum are left out, the first in the order of rows, which is
    that of salted keys and says nothing of a value. A cell whose sum or sum of squares one value dominates gives none.

    Args:
        values: (n,) not negative; NaN = missing.
        cells: (n,) which cell each patient belongs to.
        rule: a minimum of 1 counts every value.

    """
    counting = ~np.isnan(values)
    if rule.minimum <= 1:
        return counting
    for cell in np.unique(cells):
        present = np.flatnonzero((cells == cell) & counting)
        missing = int((cells == cell).sum()) - len(present)
        kept = present[rule.minimum - missing :] if rule.rest and small(missing, rule.minimum) else present
        counting[present] = False
        if len(kept) >= rule.minimum and not any(dominated(values[kept] ** power, rule.percent) for power in (1, 2)):
            counting[kept] = True
    return counting


def told_pairs(present: NDArray[np.bool_], groups: Cells, rule: Rule) -> NDArray[np.bool_]:
    """Pairs of columns whose product may be told, (k, k): in every group who has both, or one alone, is not few.

    Args:
        present: (n, k) whether a patient has a value of a column.
        groups: (n,).
        rule: the limits.

    """
    told = np.asarray(present.T.astype(np.int64) @ present >= rule.minimum)
    for group in np.unique(groups):
        inside = present[groups == group].astype(np.int64)
        both = inside.T @ inside
        alone = np.diag(both)[:, None] - both
        for counts in (both, alone, alone.T) if rule.rest else (both,):
            told &= (counts == 0) | (counts >= rule.minimum)
    return told

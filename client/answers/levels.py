"""Which levels of the plan's subgroups a site tells nothing of."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fedescc.common.subgroups import Codes, Flags, hidden_levels

Labels = NDArray[np.int8]
ByLevel = Mapping[str, tuple[Codes, int]]  # subgroup -> level of each patient, and how many levels


def hidden_by_subgroup(
    codes: ByLevel, labels: Labels, minimum: int, kept: Mapping[str, Flags] | None = None
) -> dict[str, Flags]:
    """Subgroup -> which of its levels stay hidden, (levels,).

    A subgroup is governed by itself, see `hidden_levels`; one of which a shown level, beside a shown level of another
    subgroup, would tell of few is hidden whole.

    Args:
        codes: of some patients, as `fedescc.client.answers.subgroups.subgroup_codes`.
        labels: (n,) 0 or 1.
        minimum: fewest of a class that anything is said of.
        kept: subgroup -> levels that stay hidden for another reason.

    """
    told: list[Flags] = []
    found = {}
    for name, (of_patient, levels) in codes.items():
        cells = class_counts(of_patient, levels, labels)
        hidden = hidden_levels(cells[:, 0], cells[:, 1], minimum, None if kept is None else kept[name])
        shown = [of_patient == level for level in np.flatnonzero(~hidden)]
        if any(_tell_few(one, other, labels, minimum) for one in shown for other in told):
            hidden, shown = np.ones(levels, np.bool_), []
        told += shown
        found[name] = hidden
    return found


def class_counts(of_patient: Codes, levels: int, labels: Labels) -> NDArray[np.int64]:
    """Positives and negatives of every level, (levels, 2)."""
    return np.stack([np.bincount(of_patient[labels == outcome], minlength=levels) for outcome in (1, 0)], axis=1)


def _tell_few(one: Flags, other: Flags, labels: Labels, minimum: int) -> bool:
    """Whether two levels tell of few: one lies in the other, they exclude each other, or they leave nobody out.

    Then one of the four cells of both is empty, and the others follow from both levels and the total.
    """
    cells = np.stack([np.bincount(2 * one + other, labels == outcome, 4) for outcome in (1, 0)], axis=1)
    return bool((cells.sum(axis=1) == 0).any() and ((cells > 0) & (cells < minimum)).any())

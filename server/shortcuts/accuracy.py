"""How well a rule tells classes apart, from counts of patients assigned rightly, some of which are hidden."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fedescc.common.statistics.proportions import wilson_interval
from fedescc.server.shortcuts.replies import Assigned

HIDDEN = "small-cells-hidden"


def balanced_accuracy(classes: Mapping[str, Sequence[Assigned]], chance: float) -> dict[str, Any]:
    """Mean over classes of the share assigned rightly, with a 95 % interval, against chance.

    The interval of the mean is put together from the classes' Wilson intervals (Zou, Huang & Zhang, Computational
    Statistics & Data Analysis 2009;53:1080). A hidden count is known to lie between two bounds; where there is one the
    accuracy is null, ``bounds`` hold it, and the interval's ends belong to the worst and the best case.

    Args:
        classes: name -> patients by site; at least one class.
        chance: the most that a rule gets which looks at nothing, one over the number of these classes.

    """
    totals = {name: _total(groups) for name, groups in sorted(classes.items())}
    low, high = (_mean([end / one.n for one, end in ends]) for ends in _ends(totals))
    (below, _), (_, above) = (_margins(ends) for ends in _ends(totals))
    told = all(one.told for one in totals.values())
    interval = [max(0.0, low - below), min(1.0, high + above)]
    entry = {
        "accuracy": low if told else None,
        "bounds": [low, high],
        "ci95": interval,
        "chance": chance,
        "told_apart": interval[0] > chance,
        "classes": {name: _entry(one) for name, one in totals.items()},
    }
    return entry if told else entry | {"suppressed": HIDDEN}


def _ends(totals: Mapping[str, Assigned]) -> tuple[list[tuple[Assigned, int]], list[tuple[Assigned, int]]]:
    """Every class with the least, and with the most, of its patients who may have been assigned rightly."""
    return [(one, one.low) for one in totals.values()], [(one, one.high) for one in totals.values()]


def _total(groups: Sequence[Assigned]) -> Assigned:
    return Assigned(sum(g.n for g in groups), sum(g.low for g in groups), sum(g.high for g in groups))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _margins(ends: Sequence[tuple[Assigned, int]]) -> tuple[float, float]:
    """How far the interval of the mean reaches below and above it."""
    below, above = [], []
    for one, right in ends:
        interval = wilson_interval(right, one.n).value
        if interval is None:
            raise ValueError(one.n)  # no class is without patients
        below.append(right / one.n - interval[0])
        above.append(interval[1] - right / one.n)
    return _norm(below) / len(ends), _norm(above) / len(ends)


def _norm(values: Sequence[float]) -> float:
    return math.sqrt(math.fsum(value * value for value in values))


def _entry(one: Assigned) -> dict[str, Any]:
    if one.told:
        return {"n": one.n, "right": one.low, "accuracy": one.low / one.n}
    return {"n": one.n, "right": None, "accuracy": None, "suppressed": HIDDEN}

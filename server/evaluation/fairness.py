"""How far the levels of a subgroup lie apart, and how much of it chance alone could be."""

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any

from fedescc.common.analysis import MISSING
from fedescc.server.evaluation.heterogeneity import reason_of

COMPARED = ("sensitivity", "specificity", "auc")
TOO_FEW_LEVELS = "fewer-than-two-levels"

Record = Mapping[str, Any]


def fairness_gaps(entries: Mapping[str, Mapping[str, Record]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Subgroup -> metric -> the largest difference between two levels, and which they are.

    Patients without a value are no group of people, and are left out. The interval is put together from those of the
    two levels (Newcombe, Stat. Med. 17 (1998) 873; Zou & Donner, Stat. Med. 27 (2008) 1693). Of several levels the
    widest pair is shown because it is the widest, which the interval does not count: the gap then reads large.

    Args:
        entries: subgroup -> level -> METRICS.

    Returns:
        of each of `COMPARED`: ``gap``, ``ci95`` and ``levels``, that of the lower value first; null with a reason where
        fewer than two levels show the metric, ``ci95`` alone where one of the two has no interval.

    """
    return {name: {key: _gap(levels, key) for key in COMPARED} for name, levels in entries.items()}


def _gap(levels: Mapping[str, Record], key: str) -> dict[str, Any]:
    known = {name: one for name, one in sorted(levels.items()) if one[key] is not None and name != MISSING}
    if len(known) < 2:
        return {"gap": None, "ci95": None, "levels": None, "suppressed": TOO_FEW_LEVELS}
    pairs = (sorted(pair, key=lambda name: float(known[name][key])) for pair in combinations(known, 2))
    low, high = max(pairs, key=lambda pair: float(known[pair[1]][key] - known[pair[0]][key]))
    found = {"gap": known[high][key] - known[low][key], "levels": [low, high]}
    ends = [_interval(known[name], key) for name in (low, high)]
    if None in ends:
        missing = known[low if ends[0] is None else high]
        return {**found, "ci95": None, "suppressed": reason_of(missing, "auc_ci95")}
    return {**found, "ci95": _of_difference(known[low][key], known[high][key], *ends)}


def _interval(record: Record, key: str) -> Any:
    return record["auc_ci95"] if key == "auc" else record["ci95"][key]


def _of_difference(low: float, high: float, of_low: list[float], of_high: list[float]) -> list[float]:
    """Interval of ``high - low``, two independent estimates, out of their own intervals."""
    below, above = math.hypot(high - of_high[0], of_low[1] - low), math.hypot(of_high[1] - high, low - of_low[0])
    return [max(-1.0, high - low - below), min(1.0, high - low + above)]

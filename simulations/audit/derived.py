"""Figures that are made of published ones: gaps between levels, and the primary metric."""

from collections.abc import Mapping
from typing import Any

from fedescc.common.analysis import MISSING
from fedescc.simulations.audit.figures import Ledger

GROUP = "derived"

Entry = Mapping[str, Any]


def audit_gaps(ledger: Ledger, name: str, gaps: Mapping[str, Entry], levels: Mapping[str, Entry]) -> None:
    """The largest difference between any two levels of a subgroup, by metric."""
    for subgroup, of_metric in gaps.items():
        for key, found in of_metric.items():
            values = [one[key] for level, one in levels[subgroup].items() if level != MISSING and one[key] is not None]
            label = f"{name} / {subgroup} / gap of {key}"
            ledger.check(GROUP, label, found["gap"], max(values) - min(values) if len(values) > 1 else None)


def audit_primary(ledger: Ledger, name: str, final: Entry) -> None:
    """The primary metric and its interval are those of the entry it is taken from."""
    primary = final["primary"]
    sources = {"mean_site_auc": ("auc_within_site", "ci95"), "site_meta_analysis": ("meta", "ci95")}
    name_of_source, key = sources.get(primary["metric"], ("pooled", "auc_ci95"))
    source = final[name_of_source]
    ledger.check(GROUP, f"{name} / primary", primary["auc"], source["auc"])
    ends = source[key]
    for place, side in enumerate(("low", "high") if primary["ci95"] else ()):
        label = f"{name} / primary interval, {side}"
        ledger.check(GROUP, label, primary["ci95"][place], ends[place] if ends else None)

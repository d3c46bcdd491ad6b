"""The main figure of an evaluation: the plan's primary metric, or of sites held out their meta-analysis."""

from collections.abc import Mapping
from typing import Any

HELD_OUT = "site_meta_analysis"

Final = Mapping[str, Any]


def primary_entry(final: Final, metric: str) -> dict[str, Any]:
    """A plan's primary metric with its interval; null where the entry it is taken from is, and for its reason."""
    if metric == "mean_site_auc":
        return _entry(metric, final["auc_within_site"], {"auc": "auc", "ci95": "ci95"})
    return _entry(metric, final["pooled"], {"auc": "auc", "ci95": "auc_ci95"})


def held_out_entry(final: Final) -> dict[str, Any]:
    """Random effects of the sites' AUCs, each of a model without the site, and what is to be expected at another."""
    meta = final["meta"]
    entry = _entry(HELD_OUT, meta, {key: key for key in ("auc", "ci95", "prediction95")})
    return entry | ({"note": meta["note"]} if "note" in meta else {})


def _entry(metric: str, source: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    values = {name: source[key] for name, key in keys.items()}
    reasons = {name: source["suppressed"][key] for name, key in keys.items() if values[name] is None}
    return {"metric": metric, **values} | ({"suppressed": reasons} if reasons else {})

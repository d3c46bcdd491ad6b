"""How much sites differ: their AUCs pooled by random effects, within sites and not, and with sites drawn again."""

import math
from collections.abc import Mapping
from typing import Any

from fedescc.common.statistics.meta_analysis import (
    GREATEST_VARIANCE,
    LEAST_VARIANCE,
    PooledAuc,
    RandomEffects,
    pool_aucs,
)
from fedescc.common.statistics.roc import Z95, ClassHistogram, Estimate, Interval, histogram_auc
from fedescc.common.statistics.site_bootstrap import bootstrap_sites
from fedescc.server.replies import NOT_RELEASED

BOUNDARY = "auc-at-boundary"
DRAWS = 2000
META_METHOD = (
    "random effects (REML) of the sites' own AUCs on the logit scale, Hartung-Knapp interval; prediction95 is for the "
    "AUC at a new site; each variance is that of the site's own interval"
)
WITHIN_METHOD = (
    "mean of the sites' own AUCs, weighted by patients: no patient is compared with one of another site; the interval "
    "has each site's own variance and no difference between sites"
)
BOOTSTRAP_METHOD = (
    "pooled AUC with whole sites drawn again with replacement, percentiles; too narrow with a handful of sites, which "
    "cannot show a hospital unlike them"
)
NO_VARIANCE_FOUND = (
    "no variance between sites was found, which small or few sites cannot rule out: the prediction interval may be too "
    "narrow"
)
FEW_SITES = (
    "few sites tell the variance between them poorly: in simulations of 5 and 10 sites the prediction interval held 85 "
    "to 95 % of new sites where sites differed"
)
MANY_SITES = 20  # above what the simulations looked at

Record = Mapping[str, Any]


def auc_variance(record: Record) -> Estimate[float]:
    """Variance of an AUC in METRICS out of its interval, which is symmetric on the logit scale.

    A site may claim an interval that no logit has, ending at 0 or 1.
    """
    if record["auc_ci95"] is None:
        return Estimate(None, reason_of(record, "auc_ci95"))
    area, (low, high) = record["auc"], record["auc_ci95"]
    if not 0 < low <= high < 1:
        return Estimate(None, BOUNDARY)
    half = (math.log(high / (1 - high)) - math.log(low / (1 - low))) / 2
    return Estimate(float((half / Z95 * area * (1 - area)) ** 2))


def reason_of(record: Record, key: str) -> str:
    """Why METRICS lack a value."""
    return str(record.get("suppressed", {}).get(key, NOT_RELEASED))


def meta_entry(sites: Mapping[str, Record]) -> dict[str, Any]:
    """Random effects of the sites' AUCs; sites that cannot enter are under ``left_out`` with the reason.

    ``note`` says where the prediction interval cannot be taken at its word; docs/verification/evaluation.md has by how
    much.

    Args:
        sites: METRICS by site.

    """
    usable, left_out = _usable(sites)
    areas = [record["auc"] for record, _ in usable.values()]
    found: Estimate[PooledAuc] = pool_aucs(areas, [variance for _, variance in usable.values()])
    keys = ("auc", "ci95", "prediction95", "tau2", "i2", "q", "q_p")
    entry = {"method": META_METHOD, "sites": list(usable), "left_out": left_out}
    if found.value is None:
        return {**dict.fromkeys(keys), **entry, "suppressed": dict.fromkeys(keys, found.reason)}
    effects, prediction = found.value.effects, found.value.prediction95
    values = {
        "auc": found.value.auc,
        "ci95": list(found.value.ci95),
        "prediction95": _ends(prediction),
        **{key: getattr(effects, key) for key in ("tau2", "i2", "q", "q_p")},
    }
    if prediction.value is None:
        return {**values, **entry, "suppressed": {"prediction95": prediction.reason}}
    return {**values, **entry, **_note(effects)}


def within_entry(sites: Mapping[str, Record]) -> dict[str, Any]:
    """Mean of the sites' AUCs by patients, which differences between sites do not move; ``left_out`` have none."""
    known = {name: record for name, record in sites.items() if record["auc"] is not None}
    left_out = {name: reason_of(record, "auc") for name, record in sites.items() if name not in known}
    entry = {"method": WITHIN_METHOD, "sites": list(known), "left_out": left_out}
    if not known:
        reason = next(iter(left_out.values()), NOT_RELEASED)
        return {"auc": None, "ci95": None, **entry, "suppressed": {"auc": reason, "ci95": reason}}
    total = sum(record["n"] for record in known.values())
    area = math.fsum(record["n"] / total * record["auc"] for record in known.values())
    variances = [auc_variance(record) for record in known.values()]
    if missing := [found.reason for found in variances if found.value is None]:
        return {"auc": area, "ci95": None, **entry, "suppressed": {"ci95": missing[0]}}
    pairs = zip(known.values(), variances, strict=True)
    half = Z95 * math.sqrt(math.fsum((record["n"] / total) ** 2 * (found.value or 0.0) for record, found in pairs))
    return {"auc": area, "ci95": [max(0.0, area - half), min(1.0, area + half)], **entry}


def bootstrap_entry(
    histograms: Mapping[str, ClassHistogram], total: Estimate[ClassHistogram], seed: int
) -> dict[str, Any]:
    """Interval of the pooled AUC over sites drawn again.

    Args:
        histograms: by site.
        total: their sum, or why it may not be formed.
        seed: the run's.

    """
    if total.value is None:
        found: Estimate[Interval] = Estimate(None, total.reason)
    else:
        found = bootstrap_sites(list(histograms.values()), histogram_auc, draws=DRAWS, seed=seed)
    entry = {"auc_ci95": _ends(found), "draws": DRAWS, "method": BOOTSTRAP_METHOD}
    return entry | ({} if found.value is not None else {"suppressed": {"auc_ci95": found.reason}})


def _usable(sites: Mapping[str, Record]) -> tuple[dict[str, tuple[Record, float]], dict[str, str]]:
    """Sites whose logit AUC has a variance, and why the others have none."""
    usable: dict[str, tuple[Record, float]] = {}
    left_out: dict[str, str] = {}
    for name, record in sorted(sites.items()):
        if record["auc"] is None:
            left_out[name] = reason_of(record, "auc")
            continue
        variance = auc_variance(record)
        if variance.value is None or not _on_the_logit(record["auc"], variance.value):
            left_out[name] = variance.reason or BOUNDARY
            continue
        usable[name] = record, variance.value
    return usable, left_out


def _on_the_logit(area: float, variance: float) -> bool:
    return 0 < area < 1 and LEAST_VARIANCE <= variance / (area * (1 - area)) ** 2 <= GREATEST_VARIANCE


def _note(effects: RandomEffects) -> dict[str, str]:
    if effects.tau2 == 0:
        return {"note": NO_VARIANCE_FOUND}
    return {"note": FEW_SITES} if effects.studies < MANY_SITES else {}


def _ends(interval: Estimate[Interval]) -> list[float] | None:
    return None if interval.value is None else list(interval.value)

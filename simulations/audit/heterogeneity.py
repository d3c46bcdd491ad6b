"""Random effects of the sites' AUCs and their mean within sites, from the sites' patients.

The REML variance is the root of its score, found by bisection, where the federation searches the likelihood itself.
Sites send an AUC and its interval in six decimals, from which a variance comes back; so it does here.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fedescc.common.disclosure.rounding import DECIMALS
from fedescc.simulations.audit.discrimination import area_and_interval, standard_error
from fedescc.simulations.audit.figures import EXACT, Ledger
from fedescc.simulations.audit.pairs import Floats
from fedescc.simulations.audit.scores import Scored

GROUP = "between sites"
_Z95 = 1.959963984540054


def audit_meta(ledger: Ledger, name: str, entry: Mapping[str, Any], test: Mapping[str, Scored]) -> None:
    """``meta``: mean, intervals, tau², I² and Q on the logit scale."""
    from scipy.special import expit
    from scipy.stats import chi2, t

    if entry["auc"] is None:
        ledger.skip(f"{name} / meta", "not-released")
        return
    areas, variances = _site_aucs(entry["sites"], test)
    logits, within = np.log(areas / (1 - areas)), variances / (areas * (1 - areas)) ** 2
    k, tau2 = len(logits), reml(logits, within)
    mean, error = _hartung_knapp(logits, within, tau2)
    q = _heterogeneity(logits, within, 0.0)
    ledger.check(GROUP, f"{name} / meta tau2", entry["tau2"], tau2, EXACT * max(1.0, tau2))
    ledger.check(GROUP, f"{name} / meta auc", entry["auc"], float(expit(mean)))
    _check_ends(ledger, f"{name} / meta interval", entry["ci95"], expit(mean + error * t.ppf([0.025, 0.975], k - 1)))
    if entry["prediction95"] is not None:
        spread = math.sqrt(tau2 + error**2)
        ends = expit(mean + spread * t.ppf([0.025, 0.975], k - 2))
        _check_ends(ledger, f"{name} / meta prediction", entry["prediction95"], ends)
    ledger.check(GROUP, f"{name} / meta q", entry["q"], q, EXACT * max(1.0, q))
    ledger.check(GROUP, f"{name} / meta q_p", entry["q_p"], float(chi2.sf(q, k - 1)))
    ledger.check(GROUP, f"{name} / meta i2", entry["i2"], max(0.0, 1 - (k - 1) / q) if q > 0 else 0.0)


def audit_within(ledger: Ledger, name: str, entry: Mapping[str, Any], test: Mapping[str, Scored]) -> None:
    """``auc_within_site``: the sites' AUCs weighted by patients."""
    if entry["auc"] is None:
        ledger.skip(f"{name} / auc within sites", "not-released")
        return
    areas, variances = _site_aucs(entry["sites"], test)
    sizes = np.array([len(test[site].y) for site in entry["sites"]])
    weights = sizes / sizes.sum()
    area, half = float(weights @ areas), _Z95 * math.sqrt(weights**2 @ variances)
    ledger.check(GROUP, f"{name} / auc within sites", entry["auc"], area)
    if entry["ci95"] is not None:
        ends = np.clip([area - half, area + half], 0.0, 1.0)
        _check_ends(ledger, f"{name} / auc within sites, interval", entry["ci95"], ends)


def _site_aucs(sites: list[str], test: Mapping[str, Scored]) -> tuple[Floats, Floats]:
    """AUCs (sites,) and their variances, as sent."""
    found = [_as_sent(test[site]) for site in sites]
    return np.array([area for area, _ in found]), np.array([variance for _, variance in found])


def _as_sent(scored: Scored) -> tuple[float, float]:
    area, low, high = (round(value, DECIMALS) for value in area_and_interval(scored))
    return area, standard_error(area, (low, high)) ** 2


def reml(effects: Floats, within: Floats) -> float:
    """Variance between studies: the root of the restricted likelihood's derivative, or 0 where it falls from there."""
    from scipy.optimize import brentq

    def score(tau2: float) -> float:
        weights = 1 / (within + tau2)
        residual = effects - weights @ effects / weights.sum()
        return float((weights**2) @ residual**2 - weights.sum() + (weights**2).sum() / weights.sum())

    if score(0.0) <= 0:
        return 0.0
    high = float(np.ptp(effects) ** 2 + within.max())
    while score(high) > 0:
        high *= 2
    return float(brentq(score, 0.0, high, xtol=1e-15, rtol=1e-14))


def _hartung_knapp(effects: Floats, within: Floats, tau2: float) -> tuple[float, float]:
    """Mean and its standard error, whose scale is at least 1."""
    weights = 1 / (within + tau2)
    scale = max(1.0, _heterogeneity(effects, within, tau2) / (len(effects) - 1))
    return float(weights @ effects / weights.sum()), math.sqrt(scale / weights.sum())


def _heterogeneity(effects: Floats, within: Floats, tau2: float) -> float:
    weights = 1 / (within + tau2)
    return float(weights @ (effects - weights @ effects / weights.sum()) ** 2)


def _check_ends(ledger: Ledger, name: str, published: list[float], expected: Floats) -> None:
    for end, found, pooled in zip(("low", "high"), published, expected, strict=True):
        ledger.check(GROUP, f"{name}, {end}", found, float(pooled))

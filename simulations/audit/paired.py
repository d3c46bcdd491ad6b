"""Differences of two models' AUCs on the same patients, from all pairs of patients."""

from collections.abc import Mapping
from typing import Any

from fedescc.common.disclosure.rounding import DECIMALS
from fedescc.simulations.audit.figures import EXACT, Ledger
from fedescc.simulations.audit.pairs import Floats, Labels, paired_difference, two_sided

GROUP, AT_A_SITE = "paired differences", "paired differences at a site"
_Z95 = 1.959963984540054
_ROUNDING = 10.0**-DECIMALS  # of what a single site tells


def audit_difference(
    ledger: Ledger, name: str, entry: Mapping[str, Any], y: Labels, first: Floats, second: Floats, *, rounded: bool
) -> None:
    """The first model's AUC minus the second's, on the scores that the entry was made of: exact ones, or bins."""
    if entry["difference"] is None:
        ledger.skip(name, entry["suppressed"])
        return
    group = AT_A_SITE if rounded else GROUP
    difference, error = paired_difference(y, first, second)
    # Of a single site p and the interval follow from a rounded difference and a rounded error.
    in_errors = _ROUNDING * (1 + abs(difference / error)) / error if rounded and error else 0.0
    ledger.check(group, f"{name} / difference", entry["difference"], difference)
    ledger.check(group, f"{name} / standard error", entry["standard_error"], error)
    ledger.check(group, f"{name} / p", entry["p"], two_sided(difference, error), EXACT + in_errors)
    for end, sign in ((0, -1), (1, 1)) if "ci95" in entry else ():
        side, pooled = ("low", "high")[end], difference + sign * _Z95 * error
        ledger.check(group, f"{name} / interval, {side}", entry["ci95"][end], pooled, (3 if rounded else 1) * EXACT)

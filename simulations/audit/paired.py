"""Differences of two models' AUCs on the same patients, from all pairs of patients."""

from collections.abc import Mapping
from typing import Any

from fedescc.simulations.audit.figures import Ledger
from fedescc.simulations.audit.pairs import Floats, Labels, paired_difference, two_sided

GROUP = "paired differences"
_Z95 = 1.959963984540054


def audit_difference(
    ledger: Ledger, name: str, entry: Mapping[str, Any], y: Labels, first: Floats, second: Floats
) -> None:
    """The first model's AUC minus the second's, on the scores that the entry was made of: exact ones, or bins."""
    if entry["difference"] is None:
        ledger.skip(name, entry["suppressed"])
        return
    difference, error = paired_difference(y, first, second)
    ledger.check(GROUP, f"{name} / difference", entry["difference"], difference)
    ledger.check(GROUP, f"{name} / standard error", entry["standard_error"], error)
    ledger.check(GROUP, f"{name} / p", entry["p"], two_sided(difference, error))
    for end, sign in ((0, -1), (1, 1)) if "ci95" in entry else ():
        side = ("low", "high")[end]
        ledger.check(GROUP, f"{name} / interval, {side}", entry["ci95"][end], difference + sign * _Z95 * error)

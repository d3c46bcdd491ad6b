"""A site's figures leave with no more digits than they need.

A real number is a fingerprint: the last digits of a sum over known scores fit few sets of patients only. Losses and a
site's own estimates need six decimals: a pooled loss of n patients is then right to 1e-6 · sites / n, and an interval,
from which the server takes a variance back, to five digits. Counts, and sums that are whole numbers, stay exact: totals
must not depend on rounding, and minimum cells protect them. Gradients and Hessians stay as they are, because the last
steps of a Newton fit live on them; weights do, because training does.
"""

from fedescc.common.wire import Number, Sums

DECIMALS = 6
ROUNDED = frozenset(
    {"loss", "brier_sum", "log_loss_sum", "auc", "auc_low", "auc_high", "calibration_intercept", "calibration_slope"}
)
_PREFIX = "validation_"


def rounded(sums: Sums) -> Sums:
    """What a reply holds, its losses and estimates to six decimals and everything else as it is."""
    return {key: _short(value) if key.removeprefix(_PREFIX) in ROUNDED else value for key, value in sums.items()}


def _short(value: Number) -> Number:
    return round(value, DECIMALS) if isinstance(value, float) else value

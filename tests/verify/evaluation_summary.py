"""What many simulations say together: mean and largest errors, coverage, and the goals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

ERRORS = ("auc_error", "se_error", "slope_error", "intercept_error", "net_benefit_planned", "net_benefit_between")
COVERED = "_covered"

Summary = dict[str, float]


@dataclass(frozen=True)
class Goal:
    """A figure of a summary and the range it should lie in."""

    words: str
    key: str
    low: float
    high: float

    def reached(self, summary: Summary) -> bool:
        return self.low <= summary[self.key] <= self.high

    @property
    def range(self) -> str:
        return f"<= {self.high:g}" if math.isinf(self.low) else f"{self.low:g} to {self.high:g}"


_LEAST = -math.inf
GOALS = (
    Goal("pooled AUC, mean error", "auc_error_mean", _LEAST, 0.001),
    Goal("pooled AUC, largest error", "auc_error_max", _LEAST, 0.005),
    Goal("DeLong SE, largest relative error", "se_error_max", _LEAST, 0.02),
    Goal("calibration slope, largest difference", "slope_error_max", _LEAST, 0.01),
    Goal("net benefit at planned thresholds, largest difference", "net_benefit_planned_max", _LEAST, 0.002),
    Goal("95 % interval of the pooled AUC, coverage", "auc_covered", 0.93, 0.97),
)


def summarise(rows: Sequence[dict[str, Any]]) -> Summary:
    """Mean and largest absolute error, and the share of intervals that hold the truth; absent intervals hold nothing.

    ``*_missing`` counts the simulations that gave no interval.
    """
    found: Summary = {"simulations": len(rows)}
    for key in rows[0]:
        values = np.array([row[key] for row in rows], dtype=np.float64)
        if key in ERRORS:
            found |= {f"{key}_mean": float(np.abs(values).mean()), f"{key}_max": float(np.abs(values).max())}
            found[f"{key}_bias"] = float(values.mean())
        else:
            found[key] = float(np.nan_to_num(values).mean())
            if key.endswith(COVERED):
                found[f"{key}_missing"] = int(np.isnan(values).sum())
    return found

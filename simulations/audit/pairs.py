"""DeLong's statistics from all pairs of patients, with nothing shared with `fedescc.common.statistics.roc`."""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]


def delong_by_pairs(y: Labels, *scores: Floats) -> tuple[Floats, Floats]:
    """AUCs (m,) and their covariance (m, m) from all pairs of patients, as DeLong et al. (1988) write them.

    Nothing is sorted: every pair is looked at. Needs two patients a class.
    """
    v10, v01 = [], []
    for score in scores:
        positive, negative = score[y == 1], score[y == 0]
        won = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
        v10.append(won.mean(axis=1))
        v01.append(won.mean(axis=0))
    first, second = np.atleast_2d(np.cov(v10)), np.atleast_2d(np.cov(v01))
    covariance = first / len(v10[0]) + second / len(v01[0])
    return np.array([values.mean() for values in v10]), covariance


def paired_difference(y: Labels, first: Floats, second: Floats) -> tuple[float, float]:
    """Difference of AUCs and its standard error (DeLong et al. 1988)."""
    areas, covariance = delong_by_pairs(y, first, second)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    return float(areas[0] - areas[1]), math.sqrt(max(variance, 0.0))


def two_sided(difference: float, error: float) -> float:
    """Two-sided p of a z test."""
    from scipy.stats import norm

    return float(2 * norm.sf(abs(difference) / error))

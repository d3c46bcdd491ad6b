"""Differences between sites by summed numbers alone: standardised differences, Welch's and Pearson's tests."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedescc.common.statistics.roc import Estimate


class Moments(NamedTuple):
    """Patients, mean and population variance of a number."""

    n: int
    mean: float
    variance: float


class Test(NamedTuple):
    """A test's statistic, degrees of freedom and p-value."""

    statistic: float
    df: tuple[float, ...]
    p: float


def standardised_difference(one: Moments, rest: Moments) -> Estimate[float]:
    """Difference of means over the root of the mean variance (Austin, Statistics in Medicine 2009;28:3083)."""
    spread = math.sqrt((one.variance + rest.variance) / 2)
    if spread == 0:
        return Estimate(0.0) if one.mean == rest.mean else Estimate(None, "no-spread")
    return Estimate((one.mean - rest.mean) / spread)


def welch_anova(groups: Sequence[Moments]) -> Estimate[Test]:
    """Whether means differ where variances may, too (Welch, Biometrika 1951;38:330), of groups of 2 and more."""
    from scipy.stats import f

    used = [group for group in groups if group.n > 1]
    if len(used) < 2:
        return Estimate(None, "fewer-than-two-sites")
    if any(group.variance == 0 for group in used):
        return Estimate(None, "no-spread")
    k = len(used)
    weights = np.array([(group.n - 1) / group.variance for group in used])  # n over the unbiased variance
    means, df = np.array([group.mean for group in used]), np.array([group.n - 1 for group in used])
    centre = float(weights @ means / weights.sum())
    lack = float((((1 - weights / weights.sum()) ** 2) / df).sum())
    between = float(weights @ (means - centre) ** 2) / (k - 1)
    statistic = between / (1 + 2 * (k - 2) / (k**2 - 1) * lack)
    df2 = (k**2 - 1) / (3 * lack)
    return Estimate(Test(statistic, (k - 1.0, df2), float(f.sf(statistic, k - 1, df2))))


class Association(NamedTuple):
    """Pearson's test, Cramér's V, and whether a count of fewer than 5 is expected anywhere."""

    test: Test
    v: float
    sparse: bool


def chi_square(counts: NDArray[np.int64]) -> Estimate[Association]:
    """Whether the shares of levels differ between sites, (sites, levels); levels and sites of nobody do not count."""
    from scipy.stats import chi2

    table = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0].astype(np.float64)
    if len(table) < 2:
        return Estimate(None, "fewer-than-two-sites")
    if table.shape[1] < 2:
        return Estimate(None, "one-level")
    total = float(table.sum())
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / total
    statistic, df = float(((table - expected) ** 2 / expected).sum()), (table.shape[0] - 1) * (table.shape[1] - 1)
    v = math.sqrt(statistic / (total * (min(table.shape) - 1)))
    return Estimate(
        Association(Test(statistic, (float(df),), float(chi2.sf(statistic, df))), v, bool(expected.min() < 5))
    )


def adjusted(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values adjusted for their number (Benjamini & Hochberg, JRSS B 1995;57:289), by name."""
    if not p_values:
        return {}
    from scipy.stats import false_discovery_control

    values = false_discovery_control(list(p_values.values()), method="bh")
    return {name: float(value) for name, value in zip(p_values, values, strict=True)}

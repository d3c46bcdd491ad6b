"""Ranks: of players by importance, how stable they are, and how well several judges agree."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedescc.common.statistics.roc import Estimate

BOOTSTRAP_DRAWS = 200

Floats = NDArray[np.float64]


def ranks(values: ArrayLike) -> Floats:
    """Ranks along the last axis, 1 the largest value, ties their mean rank; the shape of ``values``."""
    found = np.asarray(values, dtype=np.float64)
    above = (found[..., None, :] > found[..., :, None]).sum(axis=-1)
    equal = (found[..., None, :] == found[..., :, None]).sum(axis=-1)
    placed: Floats = above + (equal + 1) / 2
    return placed


def rank_correlation(a: ArrayLike, b: ArrayLike) -> Estimate[float]:
    """Spearman's rho of two vectors (m,); undefined below three values or where all are tied."""
    first, second = ranks(a), ranks(b)
    if first.size < 3:
        return Estimate(None, "too-few-players")
    x, y = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return Estimate(float(np.clip(x @ y / scale, -1, 1))) if scale > 0 else Estimate(None, "all-tied")


def kendall_w(values: ArrayLike) -> Estimate[float]:
    """Agreement of judges in how they rank, 0 to 1, corrected for ties.

    Kendall & Babington Smith, Ann. Math. Stat. 10 (1939) 275; the correction as in Siegel & Castellan, Nonparametric
    Statistics (1988).

    Args:
        values: (judges, subjects); each judge's own scale plays no part.

    """
    placed = ranks(values)
    judges, subjects = placed.shape
    if judges < 2 or subjects < 2:
        return Estimate(None, "too-few-sites" if judges < 2 else "too-few-players")
    deviations = placed.sum(axis=0) - judges * (subjects + 1) / 2
    ties = sum(
        float(np.sum(counts**3 - counts)) for counts in (np.unique(row, return_counts=True)[1] for row in placed)
    )
    most = judges**2 * (subjects**3 - subjects) - judges * ties
    if most <= 0:
        return Estimate(None, "all-tied")
    return Estimate(float(min(1.0, 12 * float(deviations @ deviations) / most)))


def bootstrap_ranks(
    values: ArrayLike, counted: ArrayLike, *, draws: int = BOOTSTRAP_DRAWS, seed: int = 0
) -> tuple[Floats, Floats]:
    """Ranks of players by their mean value over patients drawn with replacement, as sums over the draws.

    Args:
        values: (n, m), such as |phi|; the largest mean has rank 1.
        counted: bool (n, m), False where a patient lacks the player.
        draws: bootstrap samples.
        seed: of these.

    Returns:
        Sum and sum of squares of each player's rank, each (m,).

    """
    table, there = np.asarray(values, dtype=np.float64), np.asarray(counted, dtype=np.float64)
    n = len(table)
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws) if n else np.zeros((draws, 0))
    placed = ranks(times @ (table * there) / np.maximum(times @ there, 1))
    return placed.sum(axis=0), np.square(placed).sum(axis=0)

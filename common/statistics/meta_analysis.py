"""Random-effects meta-analysis of what sites estimate, and of their AUCs on the logit scale.

The between-study variance is REML's; the mean has the Hartung-Knapp interval with its scale at least 1 (metafor's
``test="adhoc"``), because with few sites of uneven size the plain one can be narrower than if all sites were alike.

Sources: Viechtbauer, J. Educ. Behav. Stat. 30 (2005) 261, for REML; Hartung & Knapp, Stat. Med. 20 (2001) 3875;
Knapp & Hartung, Stat. Med. 22 (2003) 2693, and Röver et al., BMC Med. Res. Methodol. 15 (2015) 99, for the scale at
least 1; Higgins et al., J. R. Stat. Soc. A 172 (2009) 137, for the prediction interval with k - 2 degrees of freedom,
Partlett & Riley, Stat. Med. 36 (2017) 301, for the Hartung-Knapp error in it; Higgins & Thompson, Stat. Med. 21 (2002)
1539, for I². AUCs are pooled as logits: Snell et al., Stat. Methods Med. Res. 27 (2018) 3505.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedescc.common.errors import Refusal
from fedescc.common.statistics.roc import Estimate, Floats, Interval, probability

LEAST_VARIANCE, GREATEST_VARIANCE = 1e-12, 1e12  # beyond, weights would lose the other studies to rounding
GREATEST_ESTIMATE = 1e6
_GRID = 400


@dataclass(frozen=True)
class RandomEffects:
    """What studies say together.

    Attributes:
        studies: how many, k.
        mean: of the distribution of true effects.
        standard_error: of the mean, Hartung-Knapp with its scale at least 1.
        ci95: of the mean, with t of k - 1 degrees of freedom.
        tau2: variance of true effects between studies (REML).
        prediction95: for the true effect in a new study, t of k - 2 degrees of freedom; needs 3 studies. Five whose
            errors are as large as their differences tell τ² poorly: it then covers 91 to 93 %.
        q: Cochran's heterogeneity statistic, with k - 1 degrees of freedom.
        q_p: its p-value.
        i2: share of the variation that chance does not explain, max(0, 1 - (k - 1) / Q).

    """

    studies: int
    mean: float
    standard_error: float
    ci95: Interval
    tau2: float
    prediction95: Estimate[Interval]
    q: float
    q_p: float
    i2: float


@dataclass(frozen=True)
class PooledAuc:
    """AUCs of sites pooled on the logit scale.

    Attributes:
        auc: at the mean logit.
        ci95: of that.
        prediction95: for the AUC at a new site.
        effects: the meta-analysis of logits.
        left_out: positions of sites without a usable logit: AUC 0 or 1, or variance 0.

    """

    auc: float
    ci95: Interval
    prediction95: Estimate[Interval]
    effects: RandomEffects
    left_out: tuple[int, ...]


def random_effects(estimates: ArrayLike, variances: ArrayLike) -> Estimate[RandomEffects]:
    """Pool estimates (k,) with known sampling variances (k,); at least 2 studies.

    Raises:
        Refusal: "bad-estimates" when lengths differ, a value is not finite or beyond `GREATEST_ESTIMATE`, or a variance
            lies outside `LEAST_VARIANCE` to `GREATEST_VARIANCE`.

    """
    effects, within = _checked(estimates, variances)
    k = effects.size
    if k < 2:
        return Estimate(None, "fewer-than-two-studies")
    tau2 = _reml(effects, within)
    weights = 1.0 / (within + tau2)
    mean, scale = _weighted(effects, weights)
    error = math.sqrt(max(1.0, scale / (k - 1)) / float(weights.sum()))
    _, q = _weighted(effects, 1.0 / within)
    return Estimate(
        RandomEffects(
            studies=k,
            mean=mean,
            standard_error=error,
            ci95=_around(mean, error, k - 1),
            tau2=tau2,
            prediction95=_prediction(mean, math.sqrt(tau2 + error**2), k),
            q=q,
            q_p=_upper_tail(q, k - 1),
            i2=max(0.0, 1.0 - (k - 1) / q) if q > 0 else 0.0,
        )
    )


def pool_aucs(areas: ArrayLike, variances_of_auc: ArrayLike) -> Estimate[PooledAuc]:
    """Pool sites' AUCs (k,) and their variances (k,), such as DeLong's, on the logit scale (delta method).

    An AUC of 0 or 1 has no logit and is left out, which pulls the mean towards 1/2; ``left_out`` says which.

    Raises:
        Refusal: "bad-estimates" when lengths differ, an AUC lies outside [0, 1] or a variance is negative.

    """
    area, variance = _checked_areas(areas, variances_of_auc)
    steepness = area * (1.0 - area)
    inside = steepness > 0
    spread = np.zeros_like(area)
    spread[inside] = variance[inside] / steepness[inside] ** 2
    usable = inside & (spread >= LEAST_VARIANCE) & (spread <= GREATEST_VARIANCE)
    logits = np.log(area[usable]) - np.log1p(-area[usable])
    effects = random_effects(logits, spread[usable])
    if effects.value is None:
        return Estimate(None, effects.reason)
    prediction = effects.value.prediction95
    return Estimate(
        PooledAuc(
            auc=float(probability(effects.value.mean)),
            ci95=_as_areas(effects.value.ci95),
            prediction95=prediction if prediction.value is None else Estimate(_as_areas(prediction.value)),
            effects=effects.value,
            left_out=tuple(int(i) for i in np.flatnonzero(~usable)),
        )
    )


def _reml(effects: Floats, within: Floats) -> float:
    """The variance that maximises the likelihood of the k - 1 contrasts between studies.

    In the contrasts' principal axes, with variances λ + τ² and values z, the score is Σ (z² - λ - τ²) / (λ + τ²)²: it
    is negative above the largest z², so the search has an upper end. The likelihood can have two peaks; hence a grid.
    """
    from scipy.optimize import brentq

    squared, axes = _contrasts(effects, within)

    def score(tau2: float) -> float:
        total = axes + tau2
        return float(np.sum((squared - total) / total**2))

    top = float(squared.max())
    grid = np.concatenate([[0.0], np.geomspace(1e-9, 1.0, _GRID) * top])
    total = axes + grid[:, None]
    best = int(np.argmin(np.sum(np.log(total) + squared / total, axis=1)))
    low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, _GRID)])
    if not score(low) > 0 > score(high):
        return float(grid[best])
    return float(brentq(score, low, high, xtol=1e-14 * top, rtol=1e-14))


def _contrasts(effects: Floats, within: Floats) -> tuple[Floats, Floats]:
    """Squared values and sampling variances of k - 1 uncorrelated contrasts."""
    basis = np.linalg.qr(np.ones((effects.size, 1)), mode="complete")[0][:, 1:]
    axes, rotation = np.linalg.eigh((basis.T * within) @ basis)
    return (rotation.T @ (basis.T @ effects)) ** 2, np.maximum(axes, within.min())


def _weighted(effects: Floats, weights: Floats) -> tuple[float, float]:
    """Weighted mean, and weighted sum of squares around it."""
    mean = float(np.sum(weights * effects) / np.sum(weights))
    return mean, float(np.sum(weights * (effects - mean) ** 2))


def _prediction(mean: float, spread: float, studies: int) -> Estimate[Interval]:
    if studies < 3:
        return Estimate(None, "fewer-than-three-studies")
    return Estimate(_around(mean, spread, studies - 2))


def _around(mean: float, error: float, degrees: int) -> Interval:
    from scipy.special import stdtrit

    half = float(stdtrit(degrees, 0.975)) * error
    return mean - half, mean + half


def _upper_tail(q: float, degrees: int) -> float:
    from scipy.special import chdtrc

    return float(chdtrc(degrees, q))


def _as_areas(logits: Interval) -> Interval:
    low, high = probability(logits)
    return float(low), float(high)


def _checked(estimates: ArrayLike, variances: ArrayLike) -> tuple[Floats, Floats]:
    effects, within = _same_length(estimates, variances)
    if not (np.abs(effects) <= GREATEST_ESTIMATE).all():
        raise _bad_estimates(f"estimates up to {np.abs(effects).max()}")
    if not ((within >= LEAST_VARIANCE) & (within <= GREATEST_VARIANCE)).all():
        raise _bad_estimates(f"variances between {within.min()} and {within.max()}")
    return effects, within


def _checked_areas(areas: ArrayLike, variances: ArrayLike) -> tuple[Floats, Floats]:
    area, variance = _same_length(areas, variances)
    if not ((area >= 0) & (area <= 1)).all():
        raise _bad_estimates("an AUC outside [0, 1]")
    if not ((variance >= 0) & (variance < math.inf)).all():
        raise _bad_estimates("an AUC's variance that is negative or not finite")
    return area, variance


def _same_length(first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    values, variances = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if values.ndim != 1 or values.shape != variances.shape:
        raise _bad_estimates(f"{_shape(values)} estimates and {_shape(variances)} variances")
    return values, variances


def _shape(values: NDArray[np.float64]) -> str:
    return " x ".join(map(str, values.shape)) or "single"


def _bad_estimates(what: str) -> Refusal:
    return Refusal("bad-estimates", what, "give one finite estimate and its sampling variance a site")

"""Random-effects meta-analysis of site AUCs: how often its intervals hold the mean, and a new site's AUC."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from evaluation_scores import PREVALENCE, SIZES, Floats
from scipy.special import expit, logit
from scipy.stats import norm

from fedescc.common.statistics.meta_analysis import pool_aucs
from fedescc.common.statistics.roc import auc, delong_variance

MEAN_AUC = 0.8
TAUS = (0.0, 0.3, 0.6)  # SD of the sites' true logit AUCs
SITES = (5, 10)


@dataclass(frozen=True)
class Federation:
    """How many sites, each of the five sizes as often, how unlike they are, and how large beside `SIZES`."""

    sites: int
    tau: float
    times: int = 1

    @property
    def name(self) -> str:
        return f"{self.sites} sites, tau {self.tau:g}{f', {self.times} x patients' if self.times > 1 else ''}"

    @property
    def sizes(self) -> list[int]:
        return [size * self.times for size in (SIZES * 10)[: self.sites]]


FEDERATIONS = tuple(Federation(k, tau, times) for times in (1, 5) for k in SITES for tau in TAUS)


def simulate_sites(federation: Federation, number: int, *, seed: int = 0) -> dict[str, Any]:
    """Whether the Hartung-Knapp interval holds the mean, and the chance that the prediction interval holds a new site.

    Sites send the AUC and DeLong variance that they would; the new site's true AUC is drawn from the same distribution,
    so that its chance is known without drawing it.
    """
    rng = np.random.default_rng([seed, FEDERATIONS.index(federation), number])
    centre = logit(MEAN_AUC)
    sites = [_site(rng, n, centre + federation.tau * rng.normal()) for n in federation.sizes]
    known = [(area, variance) for area, variance in sites if area is not None and variance is not None]
    pooled = pool_aucs([area for area, _ in known], [variance for _, variance in known]).value
    if pooled is None or pooled.prediction95.value is None:
        return {"mean_covered": math.nan, "new_covered": math.nan, "tau": math.nan, "left_out": math.nan}
    low, high = pooled.ci95
    return {
        "mean_covered": float(low <= MEAN_AUC <= high),
        "new_covered": _chance(pooled.prediction95.value, centre, federation.tau),
        "tau": math.sqrt(pooled.effects.tau2),
        "left_out": federation.sites - pooled.effects.studies,
    }


def _site(rng: np.random.Generator, n: int, true_logit: float) -> tuple[float | None, float | None]:
    """A site's AUC and its variance; both classes have two patients, or the site would send nothing."""
    separation = math.sqrt(2) * norm.ppf(expit(true_logit))
    positives = min(max(int(rng.binomial(n, PREVALENCE)), 2), n - 2)
    y = np.repeat([1, 0], [positives, n - positives])
    score: Floats = rng.normal(separation * y)
    return auc(y, score).value, delong_variance(y, score).value


def _chance(interval: tuple[float, float], centre: float, tau: float) -> float:
    low, high = (logit(end) for end in interval)
    if tau == 0:
        return float(low <= centre <= high)
    return float(norm.cdf((high - centre) / tau) - norm.cdf((low - centre) / tau))

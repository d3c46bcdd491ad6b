"""What a score of an assumed AUC would look like: log odds that are normal in both classes, and calibrated.

A score with N(0, 1) among negatives and N(d, 1) among positives has AUC Phi(d / sqrt 2); its calibrated log odds are
normal with variance d^2 around logit(prevalence) -/+ d^2 / 2. Everything the plan assumes follows from these two
numbers, AUC and prevalence (Green & Swets, Signal Detection Theory, 1966; for planning, Riley et al., Stat. Med. 40
(2021) 859).
"""

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from fedescc.common.errors import Refusal

_NODES = 96
_NORMAL = NormalDist()

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Binormal:
    """Calibrated log odds of an assumed AUC and prevalence.

    Raises:
        Refusal: ``bad-assumption`` unless .5 < auc < 1 and 0 < prevalence < 1.

    """

    auc: float
    prevalence: float

    def __post_init__(self) -> None:
        if not (0.5 < self.auc < 1 and 0 < self.prevalence < 1):
            what = f"AUC {self.auc}, prevalence {self.prevalence}"
            raise Refusal("bad-assumption", what, "assume an AUC above .5 and below 1, and both outcomes")

    @property
    def separation(self) -> float:
        """Distance of the classes' means in their SD; also the SD of the log odds."""
        return math.sqrt(2) * _NORMAL.inv_cdf(self.auc)

    def sensitivity(self, log_odds: float) -> float:
        """Share of positives at or above a threshold."""
        return 1 - _NORMAL.cdf((log_odds - self._centre - self.separation**2 / 2) / self.separation)

    def specificity(self, log_odds: float) -> float:
        """Share of negatives below a threshold."""
        return _NORMAL.cdf((log_odds - self._centre + self.separation**2 / 2) / self.separation)

    def at_sensitivity(self, sensitivity: float) -> float:
        """The threshold of a sensitivity between 0 and 1."""
        return self._centre + self.separation**2 / 2 + self.separation * _NORMAL.inv_cdf(1 - sensitivity)

    def at_specificity(self, specificity: float) -> float:
        """The threshold of a specificity between 0 and 1."""
        return self._centre - self.separation**2 / 2 + self.separation * _NORMAL.inv_cdf(specificity)

    @property
    def youden(self) -> float:
        """The threshold of the largest sensitivity + specificity: halfway between the classes."""
        return self._centre

    def least_cost(self, false_negative: float, false_positive: float) -> float:
        """The threshold of least expected cost: the log odds at which a call costs what it saves."""
        return math.log(false_positive / false_negative)

    @cached_property
    def cox_snell(self) -> float:
        """Cox and Snell's R2 of the calibrated score, by its expected log likelihood."""
        values, weights = self.log_odds
        chance = _expit(values)
        expected = float(np.sum(weights * (chance * values - np.logaddexp(0.0, values))))
        return 1 - math.exp(-2 * (expected - null_log_likelihood(self.prevalence)))

    @cached_property
    def log_odds(self) -> tuple[Floats, Floats]:
        """Values and weights over which a mean over patients is a sum, each (2 * nodes,); weights sum to 1."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        share = weights / weights.sum()
        half = self.separation**2 / 2
        values = np.concatenate([self._centre + shift + self.separation * nodes for shift in (-half, half)])
        return values, np.concatenate([(1 - self.prevalence) * share, self.prevalence * share])

    @property
    def _centre(self) -> float:
        return math.log(self.prevalence / (1 - self.prevalence))


def null_log_likelihood(prevalence: float) -> float:
    """Expected log likelihood a patient of a model that knows the prevalence alone."""
    return prevalence * math.log(prevalence) + (1 - prevalence) * math.log(1 - prevalence)


def _expit(values: Floats) -> Floats:
    return np.asarray(np.exp(-np.logaddexp(0.0, -values)), dtype=np.float64)

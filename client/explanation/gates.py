"""Gates: what exact Shapley values of a trained model must hold to, measured at the site over its test patients."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedescc.client.explanation.values import Explanation
from fedescc.common.statistics.ranks import rank_correlation
from fedescc.common.statistics.roc import Estimate
from fedescc.common.statistics.shapley import ShapleySums

MOST_PATIENTS = 16  # of the gates that need more encoder passes
REPEATED = 8
RANDOM_MODELS = 2
RANDOM_LINEAR_MODELS = 20
FEWEST_PLAYERS = 4

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Gates:
    """One site's figures.

    Attributes:
        additivity_error: the largest difference of base plus values from the model's own logit.
        repeat_error: the largest difference between two runs.
        random_correlation: rank correlation of mean |phi| between the model and ones with shuffled weights, mean.
        fixed: sums over the gates' patients under the fixed baseline; None without images.
        local: the same under the local-tissue baseline.

    """

    additivity_error: float
    repeat_error: float
    random_correlation: Estimate[float]
    fixed: ShapleySums | None = None
    local: ShapleySums | None = None


def gate_rows(patients: int, minimum: int, most: int = MOST_PATIENTS) -> Rows:
    """The patients of the costlier gates, spread evenly; all of them where they or the others would be too few."""
    if patients - most < minimum or most < minimum:
        return np.arange(patients)
    return np.arange(most) * patients // most


def additivity_error(found: Explanation, full: Floats, own: Floats) -> float:
    """The largest error of two: of the values' sum, and of the logit they add up to.

    Args:
        found: base, values and logits of the coalition of all.
        full: (n,) logits of that coalition by the model's head, of the patients' own columns.
        own: (n,) the same patients' logits by a forward pass of the whole model.

    """
    sums = np.abs(found.base + found.phi.sum(axis=1) - found.logits)
    return float(max(sums.max(initial=0.0), np.abs(full - own).max(initial=0.0)))


def largest_difference(a: Explanation, b: Explanation) -> float:
    """Of the values of the same patients in two runs."""
    return float(np.abs(a.phi - b.phi).max(initial=0.0))


def random_correlation(found: Explanation, random: Iterable[Explanation], shown: NDArray[np.bool_]) -> Estimate[float]:
    """Mean rank correlation of mean |phi| between a model and randomised ones, over the players that may be shown.

    Undefined below `FEWEST_PLAYERS`, where chance alone makes correlations of 1.
    """
    if int(shown.sum()) < FEWEST_PLAYERS:
        return Estimate(None, "too-few-players")
    trained = mean_sizes(found)[shown]
    each = [rank_correlation(trained, mean_sizes(one)[shown]) for one in random]
    reason = next((one.reason for one in each if one.value is None), None)
    if reason is not None:
        return Estimate(None, reason)
    return Estimate(float(np.mean([one.value for one in each if one.value is not None])))


def mean_sizes(found: Explanation) -> Floats:
    """Mean |phi| of each player over the patients who have it, (m,); 0 where nobody has."""
    sizes: Floats = np.abs(np.where(found.present, found.phi, 0.0)).sum(axis=0)
    means: Floats = sizes / np.maximum(found.present.sum(axis=0), 1)
    return means

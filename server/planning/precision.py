"""How wide 95 % intervals will be, from numbers of patients and an assumed score.

Sources: Newcombe, Stat. Med. 25 (2006) 559, for the variance of an AUC: Hanley & McNeil's (Radiology 143 (1982) 29)
with both classes' sizes replaced by half of all patients; Riley et al., Stat. Med. 40 (2021) 4230, for O/E and
calibration slope; Higgins et al., J. R. Stat. Soc. A 172 (2009) 137, for the prediction interval.
"""

import math
from collections.abc import Sequence

import numpy as np

from fedescc.common.statistics.roc import Z95, Estimate, Floats, Interval, logit_interval, probability
from fedescc.server.planning.binormal import Binormal

ONE_CLASS = "one-class"
TOO_FEW_SITES = "fewer-than-three-sites"


def auc_variance(auc: float, positives: int, negatives: int) -> Estimate[float]:
    """Expected variance of an AUC (Newcombe's method 4); undefined where a class is missing."""
    if min(positives, negatives) < 1:
        return Estimate(None, ONE_CLASS)
    half = (positives + negatives) / 2 - 1
    spread = half * ((1 - auc) / (2 - auc) + auc / (1 + auc))
    return Estimate(auc * (1 - auc) * (1 + spread) / (positives * negatives))


def auc_interval(auc: float, positives: int, negatives: int) -> Estimate[Interval]:
    """Expected interval of an AUC, on the logit scale as the run's own intervals are."""
    return logit_interval(Estimate(auc), auc_variance(auc, positives, negatives))


def slope_error(score: Binormal, patients: int) -> Estimate[float]:
    """Standard error of the calibration slope of a calibrated score, from the information of two coefficients."""
    if patients < 1:
        return Estimate(None, "no-patients")
    values, weights = score.log_odds
    curvature = weights / (2 + np.exp(values) + np.exp(-values))
    of_intercept, of_both, of_slope = (float(np.sum(curvature * values**power)) for power in (0, 1, 2))
    return Estimate(math.sqrt(of_intercept / (patients * (of_intercept * of_slope - of_both**2))))


def slope_interval(score: Binormal, patients: int) -> Estimate[Interval]:
    """Expected interval of a calibration slope of 1."""
    error = slope_error(score, patients)
    if error.value is None:
        return Estimate(None, error.reason)
    return Estimate((1 - Z95 * error.value, 1 + Z95 * error.value))


def observed_expected_interval(prevalence: float, patients: int) -> Estimate[Interval]:
    """Expected interval of an O/E of 1: SE of its logarithm is sqrt((1 - prevalence) / (patients * prevalence))."""
    if patients < 1:
        return Estimate(None, "no-patients")
    half = Z95 * math.sqrt((1 - prevalence) / (patients * prevalence))
    return Estimate((math.exp(-half), math.exp(half)))


def prediction_interval(auc: float, classes: Sequence[tuple[int, int]], tau: float) -> Estimate[Interval]:
    """Where the AUC of another site is expected: the meta-analysis' 95 % prediction interval.

    Args:
        auc: assumed mean over sites, on the logit scale.
        classes: (positives, negatives) of every site that tells an AUC of its own; at least 3.
        tau: assumed SD of the sites' true logit AUCs.

    """
    variances = [auc_variance(auc, *pair).value for pair in classes]
    known = [value for value in variances if value is not None]
    if len(known) < 3:
        return Estimate(None, TOO_FEW_SITES)
    of_logit: Floats = np.array(known) / (auc * (1 - auc)) ** 2
    of_mean = 1 / float(np.sum(1 / (of_logit + tau**2)))
    spread = math.sqrt(tau**2 + of_mean) * _student(len(known) - 2)
    centre = math.log(auc / (1 - auc))
    return Estimate((float(probability(centre - spread)), float(probability(centre + spread))))


def _student(freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))

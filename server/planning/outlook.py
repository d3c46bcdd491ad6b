"""What a run can be expected to show at an assumed AUC: intervals of every figure, from the patients tested."""

from collections.abc import Mapping
from typing import Any

from fedescc.common.analysis import AtSensitivity, AtSpecificity, LeastCost, ThresholdRule
from fedescc.common.statistics.proportions import wilson_interval
from fedescc.common.statistics.roc import Estimate, Interval
from fedescc.server.planning.binormal import Binormal
from fedescc.server.planning.precision import (
    auc_interval,
    observed_expected_interval,
    prediction_interval,
    slope_interval,
)

ASSUMED_AUCS = (0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
ASSUMED_TAUS = (0.0, 0.1, 0.2, 0.3, 0.5)  # SD of the sites' logit AUCs; .3 is about .06 of AUC around .75

Classes = tuple[int, int]


def outlook(auc: float, pooled: Classes, own: Mapping[str, Classes], rule: ThresholdRule) -> dict[str, Any]:
    """Expected intervals at one assumed AUC.

    Args:
        auc: of the model, at every site.
        pooled: positives and negatives that all sites test together; both at least 1.
        own: the same of every site that can show its own results.
        rule: how the threshold will be chosen.

    """
    patients, prevalence = sum(pooled), pooled[0] / sum(pooled)
    score = Binormal(auc, prevalence)
    return {
        "auc": auc,
        "pooled": interval_entry(auc_interval(auc, *pooled)),
        "sites": {site: interval_entry(auc_interval(auc, *classes)) for site, classes in sorted(own.items())},
        "prediction": [
            {"tau": tau, **interval_entry(prediction_interval(auc, list(own.values()), tau))} for tau in ASSUMED_TAUS
        ],
        "calibration_slope": interval_entry(slope_interval(score, patients)),
        "observed_expected": interval_entry(observed_expected_interval(prevalence, patients)),
        "at_threshold": at_threshold(score, pooled, rule),
    }


def at_threshold(score: Binormal, pooled: Classes, rule: ThresholdRule) -> dict[str, Any]:
    """Expected sensitivity, specificity and predictive values with Wilson intervals, at the planned threshold."""
    positives, negatives = pooled
    threshold = planned_threshold(score, rule)
    hits, rejections = positives * score.sensitivity(threshold), negatives * score.specificity(threshold)
    alarms, misses = negatives - rejections, positives - hits
    return {
        "sensitivity": proportion(hits, positives),
        "specificity": proportion(rejections, negatives),
        "ppv": proportion(hits, hits + alarms),
        "npv": proportion(rejections, rejections + misses),
    }


def planned_threshold(score: Binormal, rule: ThresholdRule) -> float:
    """The log odds that the study's rule would choose, had it all patients there could be."""
    match rule:
        case AtSensitivity():
            return score.at_sensitivity(rule.at)
        case AtSpecificity():
            return score.at_specificity(rule.at)
        case LeastCost():
            return score.least_cost(rule.false_negative, rule.false_positive)
        case _:
            return score.youden


def proportion(part: float, whole: float) -> dict[str, Any]:
    """An expected proportion and its interval, over whole patients."""
    n = round(whole)
    expected = None if whole < 0.5 else part / whole
    return {"expected": expected, "n": n, **interval_entry(wilson_interval(min(round(part), n), n))}


def interval_entry(estimate: Estimate[Interval]) -> dict[str, Any]:
    """An interval as results hold it, with its width; null with the reason where there is none."""
    if estimate.value is None:
        return {"low": None, "high": None, "width": None, "reason": estimate.reason}
    low, high = estimate.value
    return {"low": low, "high": high, "width": high - low}

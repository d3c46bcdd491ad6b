"""A site's evaluation: sums that may leave, and only above the minimum class counts."""

import numpy as np
from numpy.typing import NDArray

from fedescc.client.site import BELOW_MINIMUM, ReleasePolicy
from fedescc.common.statistics.metrics import evaluation_sums
from fedescc.common.statistics.recalibration import recalibrate, recalibration_terms
from fedescc.common.statistics.roc import Estimate, auc, delong_variance, logit_interval, probability, score_histogram
from fedescc.common.wire import Number

NOT_RELEASED = "histogram-not-released"

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]
Sums = dict[str, Number]
Reasons = dict[str, str]


def may_release(y: Labels, policy: ReleasePolicy) -> bool:
    """Whether both classes reach the minimum count."""
    positives = int(y.sum())
    return min(positives, len(y) - positives) >= policy.min_class_count


def split_sums(
    y: Labels, logit: Floats, *, edges: list[float], threshold: float, policy: ReleasePolicy
) -> tuple[Sums, Reasons]:
    """Counts, losses and, if the policy allows, class histograms of one split.

    Args:
        y: (n,) 0 or 1.
        logit: (n,) model output.
        edges: increasing logits between histogram bins.
        threshold: logit at and above which a patient is called positive.
        policy: the stricter of the site's and the study's limits.

    """
    if not may_release(y, policy):
        return {}, {"n": BELOW_MINIMUM}
    sums = evaluation_sums(y, probability(logit), threshold, score=logit)
    values: Sums = {key: getattr(sums, key) for key in sums.__dataclass_fields__}
    if policy.score_histogram == "never":
        return values, {"negatives": NOT_RELEASED, "positives": NOT_RELEASED}
    histogram = score_histogram(y, logit, edges)
    return values | {"negatives": histogram.negatives.tolist(), "positives": histogram.positives.tolist()}, {}


def site_estimates(y: Labels, logit: Floats, policy: ReleasePolicy) -> tuple[Sums, Reasons]:
    """This site's own AUC with interval (logit, DeLong) and calibration; absent values come with a reason."""
    if not may_release(y, policy):
        return {}, {}
    area = auc(y, logit)
    interval = logit_interval(area, delong_variance(y, logit))
    calibration = recalibrate(y, logit)
    found: dict[str, Estimate[float]] = {
        "auc": area,
        "auc_low": _end(interval, 0),
        "auc_high": _end(interval, 1),
        "calibration_intercept": calibration.intercept,
        "calibration_slope": calibration.slope,
    }
    values: Sums = {key: estimate.value for key, estimate in found.items() if estimate.value is not None}
    return values, {key: estimate.reason for key, estimate in found.items() if estimate.reason is not None}


def recalibration_sums(
    y: Labels, logit: Floats, *, large: list[float], slope: list[float], policy: ReleasePolicy
) -> tuple[Sums, Reasons]:
    """Newton terms of both recalibration models at the given coefficients."""
    if not may_release(y, policy):
        return {}, {"n": BELOW_MINIMUM}
    values: Sums = {"n": len(y), "n_pos": int(y.sum())}
    for name, coefficients in (("large", large), ("slope", slope)):
        terms = recalibration_terms(y, logit, tuple(coefficients))
        values[f"{name}_loss"] = [terms.log_loss]
        values[f"{name}_gradient"] = terms.gradient.tolist()
        values[f"{name}_hessian"] = terms.hessian.ravel().tolist()
    return values, {}


def _end(interval: Estimate[tuple[float, float]], index: int) -> Estimate[float]:
    if interval.value is None:
        return Estimate(None, interval.reason)
    return Estimate(interval.value[index])

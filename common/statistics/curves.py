"""Curves out of summed class histograms: partial AUC, precision and recall, calibration.

On scores that are cut into the histogram's bins these are scikit-learn's own figures; patients in one bin are tied.

Sources: McClish, Med. Decis. Making 9 (1989) 190, for the standardised partial AUC; Davis & Goadrich, ICML 2006, for
why precision is never joined by straight lines; Van Calster et al., BMC Med. 17 (2019) 230, for calibration by groups.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fedescc.common.errors import Refusal
from fedescc.common.statistics.proportions import wilson_interval
from fedescc.common.statistics.roc import (
    ClassHistogram,
    Counts,
    Estimate,
    Floats,
    called_positive,
    class_missing,
    edges_of,
    probability,
)
from fedescc.common.statistics.score_bins import bin_limits


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """Points from the highest threshold that calls anybody positive down to everybody; (points,) each.

    ``thresholds`` (points - 1,), descending, are logits; the last point, everybody, has none. There is no point at
    recall 0, where precision is 0/0. ``prevalence`` is the precision of calling everybody.
    """

    precision: Floats
    recall: Floats
    thresholds: Floats
    prevalence: float


@dataclass(frozen=True, eq=False)
class CalibrationCurve:
    """Groups of patients by predicted probability, lowest first; (groups,) each.

    Attributes:
        predicted: mean probability, each patient counted at the middle of the bin.
        observed: share of patients with the outcome.
        low: lower end of its 95 % Wilson interval.
        high: upper end.
        n: patients.

    """

    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats
    n: Counts


def partial_auc(histogram: ClassHistogram, max_fpr: float) -> Estimate[float]:
    """Area under the ROC curve up to a false positive rate, standardised: 1/2 is chance, 1 is perfect (McClish 1989).

    Raises:
        Refusal: "bad-max-fpr" unless 0 < max_fpr <= 1.

    """
    if not 0 < max_fpr <= 1:
        raise Refusal("bad-max-fpr", f"a false positive rate of {max_fpr}", "give one above 0 and at most 1")
    if reason := class_missing(histogram):
        return Estimate(None, reason)
    false_positives, true_positives = called_positive(histogram)
    x, y = false_positives / false_positives[-1], true_positives / true_positives[-1]
    inside = x <= max_fpr
    area = np.trapezoid(np.append(y[inside], np.interp(max_fpr, x, y)), np.append(x[inside], max_fpr))
    chance = max_fpr**2 / 2
    return Estimate(float((1 + (area - chance) / (max_fpr - chance)) / 2))


def precision_recall(histogram: ClassHistogram, edges: ArrayLike) -> Estimate[PrecisionRecall]:
    """Precision and recall at every edge that calls somebody positive; undefined where a class is missing."""
    thresholds = edges_of(histogram, edges)
    if reason := class_missing(histogram):
        return Estimate(None, reason)
    false_positives, true_positives = called_positive(histogram)
    called = false_positives + true_positives
    some = called > 0
    precision, recall = true_positives[some] / called[some], true_positives[some] / true_positives[-1]
    kept = thresholds[::-1][some[1:-1]]
    return Estimate(PrecisionRecall(precision, recall, kept, float(precision[-1])))


def average_precision(histogram: ClassHistogram) -> Estimate[float]:
    """Sum of precision times the step in recall, from the highest bin down; undefined where a class is missing.

    Patients of a bin are called all at once, at the precision of the last, so that it reads low: with 50 bins and 300
    patients by .008 on average and by .022 at most.
    """
    if reason := class_missing(histogram):
        return Estimate(None, reason)
    false_positives, true_positives = called_positive(histogram)
    precision = true_positives[1:] / np.maximum(false_positives + true_positives, 1)[1:]
    return Estimate(float(np.sum(np.diff(true_positives) * precision) / true_positives[-1]))


def calibration_curve(histogram: ClassHistogram, edges: ArrayLike, groups: int = 10) -> Estimate[CalibrationCurve]:
    """Predicted and observed shares in groups of about equally many patients.

    A bin is never split, so that groups are those of scikit-learn's ``strategy="quantile"`` on binned probabilities;
    fewer come back where bins are large. A predicted probability is known to half a bin's width.

    Args:
        histogram: patients per bin and class.
        edges: logits, (bins - 1,).
        groups: how many groups to aim at, at least 1.

    Raises:
        Refusal: "bad-groups", "bad-edges", "bad-histogram".

    """
    if groups < 1:
        raise Refusal("bad-groups", f"{groups} groups", "ask for at least one")
    thresholds = edges_of(histogram, edges)
    patients = histogram.negatives + histogram.positives
    if not patients.any() or not thresholds.size:
        return Estimate(None, "no-edges" if patients.any() else "no-patients")
    limits = probability(bin_limits(thresholds))
    middle = (limits[1:] + limits[:-1]) / 2
    group = _quantile_group(patients, groups)
    columns = np.stack([patients, histogram.positives, patients * middle])
    sums = np.stack([np.bincount(group, weights=column, minlength=groups) for column in columns])
    n, positives, total = sums[:, sums[0] > 0]
    low, high = _wilson(positives, n)
    return Estimate(CalibrationCurve(total / n, positives / n, low, high, n.astype(np.int64)))


def _quantile_group(patients: Counts, groups: int) -> Counts:
    """Group of each bin: how many of the quantiles k / groups of the patients lie in lower bins."""
    last = int(patients.sum()) - 1
    ranks = [k * last // groups for k in range(1, groups)]
    quantile_bins = np.searchsorted(np.cumsum(patients), ranks, side="right")
    return np.searchsorted(quantile_bins, np.arange(patients.size), side="left").astype(np.int64)


def _wilson(parts: Floats, wholes: Floats) -> tuple[Floats, Floats]:
    found = [wilson_interval(int(part), int(whole)).value for part, whole in zip(parts, wholes, strict=True)]
    ends = np.array([interval for interval in found if interval is not None])
    return ends[:, 0], ends[:, 1]

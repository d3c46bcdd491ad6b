"""ROC analysis: exact AUC and DeLong inference, and the same from class histograms that add across sites.

A patient is called positive when ``score >= threshold``. Scores may be on any monotone scale (logits keep
overconfident models apart). Nothing here returns NaN: what cannot be computed is an `Estimate` with a reason.

Sources: DeLong et al., Biometrics 44 (1988) 837; Sun & Xu, IEEE Signal Process. Lett. 21 (2014) 1389, for
placements in O(n log n); Qin & Hotilovac, Stat. Methods Med. Res. 17 (2008) 207, for the logit interval.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedescc.common.errors import Refusal
from fedescc.common.statistics.score_bins import bad_histogram, checked_edges, whole_counts

T = TypeVar("T")
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Interval = tuple[float, float]

Z95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Estimate(Generic[T]):
    """A value, or None with the reason (kebab-case, safe to send) why there is none; exactly one is set."""

    value: T | None
    reason: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            raise ValueError(f"an estimate has a value or a reason, not {self.value!r} and {self.reason!r}")
        if isinstance(self.value, float) and not math.isfinite(self.value):
            raise ValueError(f"an estimate cannot be {self.value}")


@dataclass(frozen=True)
class PairedComparison:
    """Difference of two AUCs on the same patients (first minus second), its SE, z and two-sided p."""

    difference: float
    standard_error: float
    z: float
    p: float


@dataclass(frozen=True, eq=False)
class ClassHistogram:
    """Patients per score bin and class; int64 arrays of shape (bins,); histograms of sites add with ``+``.

    Bin i holds ``edges[i - 1] <= score < edges[i]``; the first and last bins are open, so there is one bin
    more than edges and no score falls outside.

    Raises:
        Refusal: "bad-histogram" when shapes differ, counts are not whole or are negative.

    """

    negatives: Counts
    positives: Counts

    def __post_init__(self) -> None:
        for name in ("negatives", "positives"):
            object.__setattr__(self, name, whole_counts(getattr(self, name)))
        if self.negatives.shape != self.positives.shape:
            raise bad_histogram(f"{self.negatives.size} bins of negatives, {self.positives.size} of positives")

    def __add__(self, other: "ClassHistogram") -> "ClassHistogram":
        if self.negatives.shape != other.negatives.shape:
            raise bad_histogram(f"{self.negatives.size} bins cannot be added to {other.negatives.size}")
        return ClassHistogram(self.negatives + other.negatives, self.positives + other.positives)


@dataclass(frozen=True, eq=False)
class RocCurve:
    """Points from (0, 0), nobody positive, to (1, 1), everybody; rates of shape (bins + 1,).

    ``thresholds`` (bins - 1,), descending, belong to the points between the two ends.
    """

    false_positive_rate: Floats
    true_positive_rate: Floats
    thresholds: Floats


def checked_scores(y: ArrayLike, score: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    """Labels as bool and scores as float64, both of shape (patients,).

    Raises:
        Refusal: "length-mismatch", "labels-not-binary" or "scores-not-finite".

    """
    labels, scores = np.asarray(y), np.asarray(score, dtype=np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape:
        what = f"labels of shape {labels.shape} and scores of shape {scores.shape}"
        raise Refusal("length-mismatch", what, "give one label and one score a patient")
    bad_labels = int(np.sum((labels != 0) & (labels != 1)))
    if bad_labels:
        what = f"{bad_labels} of {labels.size} labels are neither 0 nor 1"
        raise Refusal("labels-not-binary", what, "exclude patients without an outcome first")
    bad_scores = int(np.sum(~np.isfinite(scores)))
    if bad_scores:
        what = f"{bad_scores} of {scores.size} scores are NaN or infinite"
        raise Refusal("scores-not-finite", what, "check the model's output; exclude no patient silently")
    return labels.astype(bool), scores


def probability(logit: ArrayLike) -> Floats:
    """Logistic function, element by element; exact 0 and 1 far out, never an overflow."""
    from scipy.special import expit

    return np.asarray(expit(logit), dtype=np.float64)


def auc(y: ArrayLike, score: ArrayLike) -> Estimate[float]:
    """Mann-Whitney AUC, ties counting 1/2; y 0/1 and score of shape (patients,); see `checked_scores`."""
    return _auc(_exact_placements(y, score))


def delong_variance(y: ArrayLike, score: ArrayLike) -> Estimate[float]:
    """DeLong variance of the AUC; needs two patients a class; see `checked_scores`."""
    return _variance(_exact_placements(y, score))


def paired_delong(y: ArrayLike, s1: ArrayLike, s2: ArrayLike) -> Estimate[PairedComparison]:
    """DeLong test of two scores on the same patients; undefined where the difference does not vary."""
    first, second = _exact_placements(y, s1), _exact_placements(y, s2)
    if reason := _too_few(first, at_least=2):
        return Estimate(None, reason)
    positive, negative = first.of_positives - second.of_positives, first.of_negatives - second.of_negatives
    difference = float(positive.mean())
    standard_error = math.sqrt(positive.var(ddof=1) / positive.size + negative.var(ddof=1) / negative.size)
    return paired_comparison(difference, standard_error)


def paired_comparison(difference: float, standard_error: float) -> Estimate[PairedComparison]:
    """The test of a difference; undefined where it does not vary."""
    if standard_error == 0:
        return Estimate(None, "zero-variance")
    z = difference / standard_error
    return Estimate(PairedComparison(difference, standard_error, z, math.erfc(abs(z) / math.sqrt(2))))


def logit_interval(area: Estimate[float], variance: Estimate[float]) -> Estimate[Interval]:
    """95 % interval of an AUC, symmetric on the logit scale, so it stays inside (0, 1).

    No interval at AUC 0 or 1, nor at variance 0 (a perfect or constant score): DeLong says nothing there, and
    a zero-width interval would claim certainty. A missing input passes its reason on.
    """
    if area.value is None or variance.value is None:
        return Estimate(None, area.reason or variance.reason)
    if not 0 < area.value < 1:
        return Estimate(None, "auc-at-boundary")
    if variance.value <= 0:
        return Estimate(None, "zero-variance")
    centre = math.log(area.value / (1 - area.value))
    half = Z95 * math.sqrt(variance.value) / (area.value * (1 - area.value))
    return Estimate((float(probability(centre - half)), float(probability(centre + half))))


def delong_interval(area: Estimate[float], variance: Estimate[float]) -> Estimate[Interval]:
    """Plain 95 % interval, AUC ± 1.96 SE cut to [0, 1], as pROC prints; undefined as in `logit_interval`."""
    if area.value is None or variance.value is None:
        return Estimate(None, area.reason or variance.reason)
    if variance.value <= 0:
        return Estimate(None, "zero-variance")
    half = Z95 * math.sqrt(variance.value)
    return Estimate((max(0.0, area.value - half), min(1.0, area.value + half)))


def score_histogram(y: ArrayLike, score: ArrayLike, edges: ArrayLike) -> ClassHistogram:
    """Patients per bin and class over strictly increasing edges (bins - 1,); see `checked_scores`."""
    labels, scores = checked_scores(y, score)
    thresholds = checked_edges(edges)
    bins = np.searchsorted(thresholds, scores, side="right")
    size = thresholds.size + 1
    return ClassHistogram(np.bincount(bins[~labels], minlength=size), np.bincount(bins[labels], minlength=size))


def histogram_auc(histogram: ClassHistogram) -> Estimate[float]:
    """AUC of a histogram; patients in one bin count as tied (the trapezoid rule)."""
    return _auc(_bin_placements(histogram))


def histogram_delong_variance(histogram: ClassHistogram) -> Estimate[float]:
    """DeLong variance of `histogram_auc`."""
    return _variance(_bin_placements(histogram))


def roc_curve_from_histogram(histogram: ClassHistogram, edges: ArrayLike) -> Estimate[RocCurve]:
    """ROC points at the edges, highest threshold first; undefined where a class is missing."""
    thresholds = edges_of(histogram, edges)
    if reason := class_missing(histogram):
        return Estimate(None, reason)
    false_positives, true_positives = called_positive(histogram)
    rates = false_positives / false_positives[-1], true_positives / true_positives[-1]
    return Estimate(RocCurve(*rates, thresholds[::-1].copy()))


def edges_of(histogram: ClassHistogram, edges: ArrayLike) -> Floats:
    """The edges as float64 (bins - 1,).

    Raises:
        Refusal: "bad-edges"; "bad-histogram" where there is not one bin more than edges.

    """
    thresholds = checked_edges(edges)
    if histogram.negatives.size != thresholds.size + 1:
        raise bad_histogram(f"{histogram.negatives.size} bins for {thresholds.size} edges")
    return thresholds


def called_positive(histogram: ClassHistogram) -> tuple[Counts, Counts]:
    """False and true positives at each threshold, from nobody to everybody, shape (bins + 1,)."""
    start = np.zeros(1, dtype=np.int64)
    return (
        np.concatenate([start, np.cumsum(histogram.negatives[::-1])]),
        np.concatenate([start, np.cumsum(histogram.positives[::-1])]),
    )


def class_missing(histogram: ClassHistogram) -> str | None:
    """The reason why nothing ranks: nobody, or nobody of one class; None where both have patients."""
    return too_few(int(histogram.negatives.sum()), int(histogram.positives.sum()), at_least=1)


def too_few(negatives: int, positives: int, *, at_least: int) -> str | None:
    """The reason why so many patients do not do where each class needs one, or two; None if they do."""
    if negatives + positives == 0:
        return "no-patients"
    if min(negatives, positives) == 0:
        return "one-class"
    return "fewer-than-two-per-class" if min(negatives, positives) < at_least else None


@dataclass(frozen=True, eq=False)
class _Placements:
    """Share of the other class each patient (or bin) beats, ties 1/2, and how many patients share it."""

    of_positives: Floats
    of_negatives: Floats
    positives: Counts
    negatives: Counts


def _exact_placements(y: ArrayLike, score: ArrayLike) -> _Placements:
    labels, scores = checked_scores(y, score)
    positive, negative = scores[labels], scores[~labels]
    return _Placements(
        _share_below(np.sort(negative), positive),
        1.0 - _share_below(np.sort(positive), negative),
        np.ones(positive.size, dtype=np.int64),
        np.ones(negative.size, dtype=np.int64),
    )


def _share_below(ordered: Floats, values: Floats) -> Floats:
    below = np.searchsorted(ordered, values, side="left")
    not_above = np.searchsorted(ordered, values, side="right")
    return (below + not_above) / (2.0 * max(ordered.size, 1))


def _bin_placements(histogram: ClassHistogram) -> _Placements:
    return _Placements(
        _binned_share_below(histogram.negatives),
        1.0 - _binned_share_below(histogram.positives),
        histogram.positives,
        histogram.negatives,
    )


def _binned_share_below(counts: Counts) -> Floats:
    doubled = 2 * np.cumsum(counts) - counts
    return np.asarray(doubled / (2.0 * max(int(counts.sum()), 1)), dtype=np.float64)


def _auc(placements: _Placements) -> Estimate[float]:
    if reason := _too_few(placements, at_least=1):
        return Estimate(None, reason)
    return Estimate(float(np.average(placements.of_positives, weights=placements.positives)))


def _variance(placements: _Placements) -> Estimate[float]:
    if reason := _too_few(placements, at_least=2):
        return Estimate(None, reason)
    return Estimate(
        _variance_of_mean(placements.of_positives, placements.positives)
        + _variance_of_mean(placements.of_negatives, placements.negatives)
    )


def _variance_of_mean(values: Floats, counts: Counts) -> float:
    n = int(counts.sum())
    deviation = values - np.average(values, weights=counts)
    return float(np.sum(counts * deviation**2) / (n - 1) / n)


def _too_few(placements: _Placements, at_least: int) -> str | None:
    return too_few(int(placements.negatives.sum()), int(placements.positives.sum()), at_least=at_least)

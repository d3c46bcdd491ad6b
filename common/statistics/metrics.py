"""Classification metrics from sums that add across sites, and the METRICS record of ``results.json``.

A patient is called positive when ``probability >= threshold``. The pooled record and each site's record come
from the same function on the same sums.
"""

import math
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedescc.common.errors import Refusal
from fedescc.common.statistics.proportions import wilson_interval
from fedescc.common.statistics.roc import Estimate, Interval, checked_scores

METRIC_KEYS = (
    "n",
    "n_pos",
    "auc",
    "auc_ci95",
    "accuracy",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "brier",
    "calibration_intercept",
    "calibration_slope",
    "threshold",
)
PROPORTIONS = ("accuracy", "sensitivity", "specificity", "ppv", "npv")
"""METRICS with a Wilson interval under ``ci95``."""


@dataclass(frozen=True)
class EvaluationSums:
    """Counts and loss totals over patients at one locked threshold; sums of sites add with ``+``.

    Attributes:
        n: patients.
        n_pos: patients with the outcome.
        tp: true positives.
        fp: false positives.
        tn: true negatives.
        fn: false negatives.
        brier_sum: sum of (probability - y)².
        log_loss_sum: sum of -log of the probability given to what happened; probabilities cut to [eps, 1 -
            eps].

    Raises:
        Refusal: "inconsistent-sums" when counts disagree, are negative, or a total cannot be.

    """

    n: int
    n_pos: int
    tp: int
    fp: int
    tn: int
    fn: int
    brier_sum: float
    log_loss_sum: float

    def __post_init__(self) -> None:
        counts = (self.n, self.n_pos, self.tp, self.fp, self.tn, self.fn)
        adds_up = self.tp + self.fn == self.n_pos and self.tp + self.fp + self.tn + self.fn == self.n
        losses_possible = 0 <= self.brier_sum <= self.n * (1 + 1e-9) and 0 <= self.log_loss_sum < math.inf
        if min(counts) < 0 or not adds_up or not losses_possible:
            shown = ", ".join(f"{f.name}={getattr(self, f.name)}" for f in fields(self))
            raise Refusal("inconsistent-sums", shown, "recompute the sums with evaluation_sums")

    def __add__(self, other: "EvaluationSums") -> "EvaluationSums":
        return EvaluationSums(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def evaluation_sums(
    y: ArrayLike, probability: ArrayLike, threshold: float, *, score: ArrayLike | None = None
) -> EvaluationSums:
    """One site's sums; y 0/1 and probability in [0, 1], both of shape (patients,).

    Counts are of ``score >= threshold``; the score is the probability, or any increasing function of it given
    as ``score``, such as the logit, which tells patients apart whose probabilities all round to 1.

    Raises:
        Refusal: "not-probabilities", "bad-threshold"; and as `fedescc.common.statistics.roc.checked_scores`.

    """
    labels, chance = checked_scores(y, probability)
    outside = int(np.sum((chance < 0) | (chance > 1)))
    if outside:
        what = f"{outside} of {chance.size} probabilities lie outside [0, 1]"
        raise Refusal("not-probabilities", what, "apply the sigmoid to logits first")
    tp, fp, tn, fn = confusion_counts(labels, chance if score is None else score, threshold)
    eps = float(np.finfo(np.float64).eps)
    of_outcome = np.clip(np.where(labels, chance, 1.0 - chance), eps, 1.0 - eps)
    brier = float(np.sum((chance - labels) ** 2))
    return EvaluationSums(labels.size, int(labels.sum()), tp, fp, tn, fn, brier, float(-np.log(of_outcome).sum()))


def confusion_counts(y: ArrayLike, score: ArrayLike, threshold: float) -> tuple[int, int, int, int]:
    """(tp, fp, tn, fn) where positive means score >= threshold, on whatever scale both are.

    Raises:
        Refusal: "bad-threshold" when not finite; and as `fedescc.common.statistics.roc.checked_scores`.

    """
    labels, scores = checked_scores(y, score)
    if not math.isfinite(threshold):
        raise Refusal("bad-threshold", f"threshold {threshold}", "lock a finite threshold before evaluating")
    called = scores >= threshold
    return (
        _count(called & labels),
        _count(called & ~labels),
        _count(~called & ~labels),
        _count(~called & labels),
    )


def classification_metrics(sums: EvaluationSums) -> dict[str, Estimate[float]]:
    """Accuracy, sensitivity, specificity, ppv, npv and Brier score; 0/0 is undefined, with a reason."""
    found = {name: _ratio(*parts) for name, parts in _proportions(sums).items()}
    return found | {"brier": _ratio(sums.brier_sum, sums.n, "no-patients")}


def metrics_record(
    sums: EvaluationSums,
    *,
    threshold: float,
    auc: Estimate[float],
    auc_ci95: Estimate[Interval],
    calibration_intercept: Estimate[float],
    calibration_slope: Estimate[float],
) -> dict[str, Any]:
    """METRICS of ``results.json``: the keys `METRIC_KEYS` in order, ``ci95``, and only JSON types.

    An undefined value is None, with its reason under ``record["suppressed"][key]``; that key is absent when
    nothing is undefined. An interval is the list [low, high]; ``ci95`` has that of every proportion (Wilson, JASA 22
    (1927) 209), None where the proportion is.
    """
    estimates: dict[str, Estimate[Any]] = {
        "auc": auc,
        "auc_ci95": auc_ci95 if auc_ci95.value is None else Estimate([float(x) for x in auc_ci95.value]),
        "calibration_intercept": calibration_intercept,
        "calibration_slope": calibration_slope,
        **classification_metrics(sums),
    }
    known = {"n": sums.n, "n_pos": sums.n_pos, "threshold": float(threshold)}
    record = {key: known[key] if key in known else estimates[key].value for key in METRIC_KEYS}
    reasons = {key: estimates[key].reason for key, value in record.items() if value is None}
    return record | {"ci95": _intervals(sums)} | ({"suppressed": reasons} if reasons else {})


def suppressed_record(reason: str, threshold: float) -> dict[str, Any]:
    """METRICS of patients of whom nothing may be shown but the reason."""
    hidden = [key for key in METRIC_KEYS if key != "threshold"]
    record = {**dict.fromkeys(METRIC_KEYS), "threshold": threshold, "ci95": dict.fromkeys(PROPORTIONS)}
    return record | {"suppressed": dict.fromkeys(hidden, reason)}


def _intervals(sums: EvaluationSums) -> dict[str, list[float] | None]:
    found = {name: wilson_interval(part, whole).value for name, (part, whole, _) in _proportions(sums).items()}
    return {name: None if interval is None else list(interval) for name, interval in found.items()}


def _proportions(sums: EvaluationSums) -> dict[str, tuple[int, int, str]]:
    """Name -> (numerator, denominator, reason when the denominator is 0)."""
    return {
        "accuracy": (sums.tp + sums.tn, sums.n, "no-patients"),
        "sensitivity": (sums.tp, sums.tp + sums.fn, "no-positives"),
        "specificity": (sums.tn, sums.tn + sums.fp, "no-negatives"),
        "ppv": (sums.tp, sums.tp + sums.fp, "nobody-called-positive"),
        "npv": (sums.tn, sums.tn + sums.fn, "nobody-called-negative"),
    }


def _ratio(part: float, whole: int, reason: str) -> Estimate[float]:
    return Estimate(part / whole) if whole else Estimate(None, reason)


def _count(flags: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(flags))

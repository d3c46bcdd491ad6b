"""Final evaluation: thresholds from training scores, one locked on validation, then the test set, opened once."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.metrics import EvaluationSums, metrics_record
from fedescc.common.recalibration import (
    IN_THE_LARGE,
    SLOPE_MODEL,
    NewtonFit,
    RecalibrationTerms,
    newton_step,
)
from fedescc.common.roc import (
    ClassHistogram,
    Estimate,
    fine_logit_edges,
    histogram_auc,
    histogram_delong_variance,
    logit_interval,
    quantile_edges,
    youden_edge,
)
from fedescc.common.study import Study
from fedescc.common.wire import Reply, Request, Sums
from fedescc.server.exchange import Attendance, Roster, exchange

DEFAULT_THRESHOLD = 0.5
NOBODY_RELEASED = "no-site-released-it"

_SUMS = tuple(EvaluationSums.__dataclass_fields__)


@dataclass
class Evaluator:
    """Drives evaluation exchanges for one fixed model."""

    grid: Grid
    roster: Roster
    study: Study
    weights: NDArray[np.float32]
    task: dict[str, Any]
    deadline_seconds: float

    def ask(self, message_type: str, **task: Any) -> tuple[dict[str, Reply], Attendance]:
        """Replies by site, sorted by site name so that float sums have one order."""
        replies: dict[str, Reply] = {}

        def accept(reply: Reply) -> None:
            replies[reply.site] = reply

        request = Request(self.study.sha256, {**self.task, **task}, self.weights)
        attendance = exchange(
            self.grid, self.roster, message_type, request, deadline_seconds=self.deadline_seconds, accept=accept
        )
        return {site: replies[site] for site in sorted(replies)}, attendance


@dataclass
class Evaluation:
    """Final metrics and what the report draws from them."""

    threshold: float
    edges: list[float]
    pooled: dict[str, Any]
    sites: dict[str, dict[str, Any]]
    pooled_sites: list[str]
    attendance: Attendance
    roc: dict[str, ClassHistogram] = field(default_factory=dict)
    validation: dict[str, Sums] = field(default_factory=dict)


def evaluate(evaluator: Evaluator) -> Evaluation:
    """Lock the threshold on validation patients, then open the test set once.

    Where no site releases histograms, the threshold stays at a probability of 0.5 and the pooled AUC is null
    with its reason.
    """
    edges = _edges(evaluator)
    validation, _ = evaluator.ask(wire.VALIDATION, edges=edges, threshold=DEFAULT_THRESHOLD)
    threshold = _threshold(validation, edges)
    replies, attendance = evaluator.ask(wire.TEST, edges=edges, threshold=threshold)
    sites = {name: _site_metrics(reply, threshold) for name, reply in replies.items()}
    released = {name: reply for name, reply in replies.items() if "n_pos" in reply.sums}
    histograms = {name: found for name, reply in released.items() if (found := histogram_of(reply.sums)) is not None}
    pooled = _pooled_metrics(evaluator, released, histograms, threshold)
    by_site = {name: reply.sums for name, reply in validation.items()}
    return Evaluation(threshold, edges, pooled, sites, list(released), attendance, histograms, by_site)


def histogram_of(sums: Sums) -> ClassHistogram | None:
    """The class histogram in a reply, if it was released."""
    if "negatives" not in sums or "positives" not in sums:
        return None
    return ClassHistogram(np.asarray(sums["negatives"]), np.asarray(sums["positives"]))


def evaluation_sums_of(sums: Sums) -> EvaluationSums | None:
    """The evaluation sums in a reply, if they were released.

    Raises:
        Refusal: they contradict each other.

    """
    if any(key not in sums for key in _SUMS):
        return None
    return EvaluationSums(**{key: sums[key] for key in _SUMS})  # type: ignore[arg-type] # checked by __post_init__


def pooled_auc(histograms: list[ClassHistogram]) -> tuple[Estimate[float], Estimate[tuple[float, float]]]:
    """AUC of the summed histograms and its 95 % logit interval by DeLong variance."""
    if not histograms:
        return Estimate(None, NOBODY_RELEASED), Estimate(None, NOBODY_RELEASED)
    total = add_up(histograms)
    area = histogram_auc(total)
    return area, logit_interval(area, histogram_delong_variance(total))


def add_up(histograms: list[ClassHistogram]) -> ClassHistogram:
    """Sum of at least one histogram."""
    total = histograms[0]
    for histogram in histograms[1:]:
        total = total + histogram
    return total


def _edges(evaluator: Evaluator) -> list[float]:
    """Bin edges at quantiles of the pooled training scores; a plain logit grid where no site releases them."""
    fine = fine_logit_edges()
    replies, _ = evaluator.ask(wire.TRAINING_SCORES, edges=fine.tolist())
    counts = [np.asarray(reply.sums["counts"]) for reply in replies.values() if "counts" in reply.sums]
    bins = evaluator.study.analysis.histogram_bins
    pooled = np.sum(counts, axis=0) if counts else np.ones(len(fine) + 1)
    return [float(edge) for edge in quantile_edges(pooled, fine, bins)]


def _threshold(replies: dict[str, Reply], edges: list[float]) -> float:
    """Probability threshold at Youden's index of the pooled validation histogram."""
    histograms = [found for reply in replies.values() if (found := histogram_of(reply.sums)) is not None]
    if not histograms:
        return DEFAULT_THRESHOLD
    edge = youden_edge(add_up(histograms), edges).value
    return DEFAULT_THRESHOLD if edge is None else float(1.0 / (1.0 + np.exp(-edge)))


def _site_metrics(reply: Reply, threshold: float) -> dict[str, Any]:
    sums = evaluation_sums_of(reply.sums)
    if sums is None:
        return suppressed_record(reply.reasons.get("n", "not-released"), threshold)
    estimate = {key: _site_estimate(reply, key) for key in ("auc", "calibration_intercept", "calibration_slope")}
    low, high = _site_estimate(reply, "auc_low"), _site_estimate(reply, "auc_high")
    interval: Estimate[tuple[float, float]] = Estimate(None, low.reason or high.reason or "not-released")
    if low.value is not None and high.value is not None:
        interval = Estimate((low.value, high.value))
    return metrics_record(sums, threshold=threshold, auc_ci95=interval, **estimate)


def suppressed_record(reason: str, threshold: float) -> dict[str, Any]:
    """METRICS of a site whose class counts stay below the minimum: nothing but the reason."""
    from fedescc.common.metrics import METRIC_KEYS

    hidden = [key for key in METRIC_KEYS if key != "threshold"]
    return {**dict.fromkeys(METRIC_KEYS), "threshold": threshold, "suppressed": dict.fromkeys(hidden, reason)}


def _site_estimate(reply: Reply, key: str) -> Estimate[float]:
    value = reply.sums.get(key)
    if isinstance(value, int | float):
        return Estimate(float(value))
    return Estimate(None, reply.reasons.get(key, "not-released"))


def _pooled_metrics(
    evaluator: Evaluator, released: dict[str, Reply], histograms: dict[str, ClassHistogram], threshold: float
) -> dict[str, Any]:
    parts = [sums for reply in released.values() if (sums := evaluation_sums_of(reply.sums)) is not None]
    if not parts:
        return suppressed_record(NOBODY_RELEASED, threshold)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    area, interval = pooled_auc([histograms[name] for name in sorted(histograms)])
    if len(histograms) < len(parts):
        area, interval = Estimate(None, "histogram-not-released"), Estimate(None, "histogram-not-released")
    large, slope = _recalibrate(evaluator, sorted(released))
    return metrics_record(
        total,
        threshold=threshold,
        auc=area,
        auc_ci95=interval,
        calibration_intercept=large.estimate(),
        calibration_slope=slope.estimate(),
    )


def _recalibrate(evaluator: Evaluator, contributors: list[str]) -> tuple[NewtonFit, NewtonFit]:
    """Federated Newton: coefficients out, summed gradients and Hessians back, until both models end.

    A site lost on the way would mix two cohorts, so both fits then end without an estimate.
    """
    fits = {"large": IN_THE_LARGE, "slope": SLOPE_MODEL}
    while any(fit.outcome is None for fit in fits.values()):
        asked = {name: list(fit.coefficients) for name, fit in fits.items()}
        replies, _ = evaluator.ask(wire.RECALIBRATION, **asked)
        shares = [reply.sums for reply in replies.values() if "n" in reply.sums]
        if [name for name, reply in replies.items() if "n" in reply.sums] != contributors:
            fits = {name: replace(fit, outcome="contributors-changed") for name, fit in fits.items()}
            break
        fits = {name: newton_step(_summed_terms(shares, name), fit) for name, fit in fits.items()}
    return fits["large"], fits["slope"]


def _summed_terms(shares: list[Sums], model: str) -> RecalibrationTerms:
    terms = [_terms(share, model) for share in shares]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _terms(share: Sums, model: str) -> RecalibrationTerms:
    try:
        gradient = np.asarray(share[f"{model}_gradient"], dtype=np.float64)
        hessian = np.asarray(share[f"{model}_hessian"], dtype=np.float64).reshape(len(gradient), len(gradient))
        loss = float(np.asarray(share[f"{model}_loss"]).item())
        return RecalibrationTerms(int(np.asarray(share["n"])), int(np.asarray(share["n_pos"])), loss, gradient, hessian)
    except (KeyError, ValueError) as error:
        raise Refusal("malformed-message", "recalibration terms are incomplete", "check the site") from error

"""Final evaluation: thresholds from training scores, one locked on validation, then the test set, opened once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedescc.common import wire
from fedescc.common.metrics import metrics_record, suppressed_record
from fedescc.common.recalibration import IN_THE_LARGE, SLOPE_MODEL, NewtonFit, newton_step
from fedescc.common.roc import (
    ClassHistogram,
    Estimate,
    Interval,
    fine_logit_edges,
    histogram_auc,
    histogram_delong_variance,
    logit_interval,
    probability,
    quantile_edges,
    youden_edge,
)
from fedescc.common.study import Study
from fedescc.common.sums import add_up
from fedescc.common.wire import Reply, Request
from fedescc.server.exchange import Attendance, Roster, exchange
from fedescc.server.replies import (
    NOT_RELEASED,
    SplitShare,
    fine_histogram,
    recalibration_share,
    split_share,
)
from fedescc.server.rounds import require_quorum

DEFAULT_THRESHOLD = 0.0  # on the logit scale: a probability of one half
NOBODY_RELEASED = "no-site-released-it"

T = TypeVar("T")


@dataclass
class Evaluator:
    """Drives evaluation exchanges for one fixed model and remembers who missed which."""

    grid: Grid
    roster: Roster
    study: Study
    weights: NDArray[np.float32]
    task: dict[str, Any]
    deadline_seconds: float
    min_sites: int
    refused: dict[str, dict[str, str]] = field(default_factory=dict)

    def ask(self, message_type: str, read: Callable[[Reply], T], **task: Any) -> tuple[dict[str, T], Attendance]:
        """Replies as ``read`` makes them, by site in order of names, so that float sums have one order."""
        found: dict[str, T] = {}

        def accept(reply: Reply) -> None:
            found[reply.site] = read(reply)

        request = Request(self.study.sha256, {**self.task, **task}, self.weights)
        attendance = exchange(
            self.grid, self.roster, message_type, request, deadline_seconds=self.deadline_seconds, accept=accept
        )
        if attendance.refused:
            self.refused[message_type] = dict(sorted(attendance.refused.items()))
        return dict(sorted(found.items())), attendance


@dataclass
class Evaluation:
    """Final metrics and what the report draws from them.

    Attributes:
        threshold: logit at and above which a patient is called positive.
        threshold_source: ``youden-on-validation``, or ``default`` where no validation histogram was released.
        edges: logits between histogram bins.
        pooled: METRICS over the sites in ``pooled_sites``.
        sites: METRICS of every site that answered.
        pooled_sites: the sites that released their sums.
        roc: class histograms that were released.
        validation: shares of the validation patients under the final model.

    """

    threshold: float
    threshold_source: str
    edges: list[float]
    pooled: dict[str, Any]
    sites: dict[str, dict[str, Any]]
    pooled_sites: list[str]
    roc: dict[str, ClassHistogram] = field(default_factory=dict)
    validation: dict[str, SplitShare] = field(default_factory=dict)


def evaluate(evaluator: Evaluator) -> Evaluation:
    """Lock the threshold on validation patients, then open the test set once.

    Where no site releases histograms, the threshold stays at a probability of 0.5 and the pooled AUC is null
    with its reason.

    Raises:
        Refusal: fewer sites than the quorum take part in validation or test.

    """
    edges = _edges(evaluator)
    bins = len(edges) + 1

    def read(reply: Reply) -> SplitShare:
        return split_share(reply.sums, reply.reasons, bins)

    validation, attendance = evaluator.ask(wire.VALIDATION, read, edges=edges, threshold=DEFAULT_THRESHOLD)
    require_quorum(attendance, evaluator.min_sites, "validation")
    locked = _threshold(validation.values(), edges)
    threshold = DEFAULT_THRESHOLD if locked is None else locked
    source = "default" if locked is None else "youden-on-validation"
    test, attendance = evaluator.ask(wire.TEST, read, edges=edges, threshold=threshold)
    require_quorum(attendance, evaluator.min_sites, "test")
    sites = {name: _site_metrics(share, threshold) for name, share in test.items()}
    released = {name: share for name, share in test.items() if share.sums is not None}
    histograms = {name: share.histogram for name, share in released.items() if share.histogram is not None}
    pooled = _pooled_metrics(evaluator, released, threshold)
    return Evaluation(threshold, source, edges, pooled, sites, list(released), histograms, validation)


def pooled_auc(shares: Iterable[SplitShare]) -> tuple[Estimate[float], Estimate[Interval]]:
    """AUC of the summed histograms and its 95 % logit interval by DeLong variance.

    Null where a site that released its sums keeps its histogram: the AUC would speak of fewer patients than the rest.
    """
    with_sums = [share for share in shares if share.sums is not None]
    histograms = [share.histogram for share in with_sums if share.histogram is not None]
    if not with_sums or len(histograms) < len(with_sums):
        reason = "histogram-not-released" if with_sums else NOBODY_RELEASED
        return Estimate(None, reason), Estimate(None, reason)
    total = add_up(histograms)
    area = histogram_auc(total)
    return area, logit_interval(area, histogram_delong_variance(total))


def _edges(evaluator: Evaluator) -> list[float]:
    """Bin edges at quantiles of the pooled training scores; a plain logit grid where no site releases them."""
    fine = fine_logit_edges()
    found, _ = evaluator.ask(
        wire.TRAINING_SCORES, lambda reply: fine_histogram(reply, len(fine) + 1), edges=fine.tolist()
    )
    counts = [histogram for histogram in found.values() if histogram is not None and histogram.any()]
    pooled = add_up(counts) if counts else np.ones(len(fine) + 1)
    return [float(edge) for edge in quantile_edges(pooled, fine, evaluator.study.analysis.histogram_bins)]


def _threshold(shares: Iterable[SplitShare], edges: list[float]) -> float | None:
    """Logit at Youden's index of the pooled validation histogram; None where there is none."""
    histograms = [share.histogram for share in shares if share.histogram is not None]
    return youden_edge(add_up(histograms), edges).value if histograms else None


def _site_metrics(share: SplitShare, threshold: float) -> dict[str, Any]:
    shown = float(probability(threshold))
    if share.sums is None:
        return suppressed_record(share.reasons.get("n", NOT_RELEASED), shown)
    low, high = share.estimate("auc_low"), share.estimate("auc_high")
    interval: Estimate[Interval] = Estimate(None, low.reason or high.reason or NOT_RELEASED)
    if low.value is not None and high.value is not None:
        interval = Estimate((low.value, high.value))
    return metrics_record(
        share.sums,
        threshold=shown,
        auc=share.estimate("auc"),
        auc_ci95=interval,
        calibration_intercept=share.estimate("calibration_intercept"),
        calibration_slope=share.estimate("calibration_slope"),
    )


def _pooled_metrics(evaluator: Evaluator, released: dict[str, SplitShare], threshold: float) -> dict[str, Any]:
    shown = float(probability(threshold))
    parts = [share.sums for share in released.values() if share.sums is not None]
    if not parts:
        return suppressed_record(NOBODY_RELEASED, shown)
    area, interval = pooled_auc(released.values())
    large, slope = _recalibrate(evaluator, list(released))
    return metrics_record(
        add_up(parts),
        threshold=shown,
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
        replies, _ = evaluator.ask(wire.RECALIBRATION, recalibration_share, **asked)
        shares = {name: share for name, share in replies.items() if share is not None}
        if list(shares) != contributors:
            return replace(fits["large"], outcome="contributors-changed"), replace(
                fits["slope"], outcome="contributors-changed"
            )
        fits = {n: newton_step(add_up(share[n] for share in shares.values()), fit) for n, fit in fits.items()}
    return fits["large"], fits["slope"]

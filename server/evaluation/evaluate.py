"""Final evaluation: thresholds from training scores, one locked on validation, then the test set, opened once."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.identity import MAX_DECLARED, look_digest
from fedescc.common.statistics.metrics import EvaluationSums, metrics_record, suppressed_record
from fedescc.common.statistics.newton import NewtonFit
from fedescc.common.statistics.recalibration import IN_THE_LARGE, SLOPE_MODEL, RecalibrationTerms, newton_step
from fedescc.common.statistics.roc import (
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
from fedescc.server.training.rounds import require_quorum

NO_QUORUM = "no-quorum"

DEFAULT_THRESHOLD = 0.0  # on the logit scale: a probability of one half
NOBODY_RELEASED = "no-site-released-it"

T = TypeVar("T")


@dataclass
class Evaluator:
    """Drives exchanges about one fixed model, or one still to be fitted, and remembers who missed which."""

    grid: Grid
    roster: Roster
    study: Study
    weights: NDArray[np.float32] | None
    task: dict[str, Any]
    deadline_seconds: float
    min_sites: int
    refused: dict[str, dict[str, str]] = field(default_factory=dict)

    def request(self, **task: Any) -> Request:
        """A request about the model, with more of a task."""
        return Request(self.study.sha256, {**self.task, **task}, self.weights)

    def ask(self, message_type: str, read: Callable[[Reply], T], **task: Any) -> tuple[dict[str, T], Attendance]:
        """Replies as ``read`` makes them, by site in order of names, so that float sums have one order."""
        found: dict[str, T] = {}

        def accept(reply: Reply) -> None:
            found[reply.site] = read(reply)

        request = self.request(**task)
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
    """Lock the threshold of one model on validation patients, then open the test set once; see `evaluate_all`.

    Raises:
        Refusal: fewer sites than the quorum take part in validation or test.

    """
    return evaluate_all({"": evaluator})[""]


def evaluate_all(evaluators: Mapping[str, Evaluator]) -> dict[str, Evaluation]:
    """Lock bins and threshold of every model on training and validation patients, then open the test set to all.

    The first request about test patients declares every look that follows, so that nothing learned from the test
    set can change another model, its threshold or its bins. Where no site releases histograms, the threshold stays
    at a probability of 0.5 and the pooled AUC is null with its reason. The first model is the run's own; another one
    that misses the quorum is absent from the result, and its evaluator's ``refused`` says who was missing.

    Args:
        evaluators: name -> model.

    Raises:
        Refusal: fewer sites than the quorum evaluate the first model, or more models than a site lets look.

    """
    if len(evaluators) > MAX_DECLARED:
        raise Refusal("too-many-models", f"{len(evaluators)} models", f"evaluate at most {MAX_DECLARED} in one run")
    own = next(iter(evaluators))
    locked: dict[str, _Locked] = {}
    for name, evaluator in evaluators.items():
        with _unless_no_quorum(name == own):
            locked[name] = _lock(evaluator)
    declared = [look_digest(lock.request) for lock in locked.values()]
    found: dict[str, Evaluation] = {}
    for name, lock in locked.items():
        with _unless_no_quorum(name == own):
            found[name] = _open(evaluators[name], lock, declared)
    return found


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


@dataclass(frozen=True)
class _Locked:
    """What is fixed before the test set opens, and the request that will open it."""

    request: Request
    source: str
    validation: dict[str, SplitShare]

    @property
    def edges(self) -> list[float]:
        edges: list[float] = self.request.task["edges"]
        return edges

    @property
    def threshold(self) -> float:
        return float(self.request.task["threshold"])


@contextmanager
def _unless_no_quorum(needed: bool) -> Iterator[None]:
    """Pass over a missing quorum, unless the model is needed."""
    try:
        yield
    except Refusal as refusal:
        if needed or refusal.code != NO_QUORUM:
            raise


def _lock(evaluator: Evaluator) -> _Locked:
    edges = _edges(evaluator)
    read = _split_reader(edges)
    validation, attendance = evaluator.ask(wire.VALIDATION, read, edges=edges, threshold=DEFAULT_THRESHOLD)
    require_quorum(attendance, evaluator.min_sites, "validation")
    found = _threshold(validation.values(), edges)
    threshold = DEFAULT_THRESHOLD if found is None else found
    source = "default" if found is None else "youden-on-validation"
    return _Locked(evaluator.request(edges=edges, threshold=threshold), source, validation)


def _open(evaluator: Evaluator, lock: _Locked, declared: list[str]) -> Evaluation:
    edges, threshold = lock.edges, lock.threshold
    asked = {"edges": edges, "threshold": threshold, "declared": declared}
    test, attendance = evaluator.ask(wire.TEST, _split_reader(edges), **asked)
    # Where one site is held out, the others are excused and it alone makes the quorum.
    require_quorum(attendance, 1 if attendance.excused else evaluator.min_sites, "test")
    sites = {name: _site_metrics(share, threshold) for name, share in test.items()}
    released = {name: share for name, share in test.items() if share.sums is not None}
    histograms = {name: share.histogram for name, share in released.items() if share.histogram is not None}
    pooled = _pooled_metrics(evaluator, released, threshold)
    return Evaluation(threshold, lock.source, edges, pooled, sites, list(released), histograms, lock.validation)


def _split_reader(edges: list[float]) -> Callable[[Reply], SplitShare]:
    return lambda reply: split_share(reply.sums, reply.reasons, len(edges) + 1)


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
    large, slope = _recalibrate(evaluator, {name: share.sums for name, share in released.items() if share.sums})
    return metrics_record(
        add_up(parts),
        threshold=shown,
        auc=area,
        auc_ci95=interval,
        calibration_intercept=large.estimate(),
        calibration_slope=slope.estimate(),
    )


def _recalibrate(evaluator: Evaluator, tested: Mapping[str, EvaluationSums]) -> tuple[NewtonFit, NewtonFit]:
    """Federated Newton: coefficients out, summed gradients and Hessians back, until both models end.

    A site lost on the way, or one with other patients than it was tested on, would mix two cohorts, so both fits then
    end without an estimate.
    """

    def read(reply: Reply) -> dict[str, RecalibrationTerms] | None:
        share, sums = recalibration_share(reply), tested.get(reply.site)
        if share is not None and sums is not None:
            for terms in share.values():
                if (terms.n, terms.n_pos) != (sums.n, sums.n_pos):
                    raise Refusal("patients-changed", "terms of other patients than were tested", "check the site")
        return share

    fits = {"large": IN_THE_LARGE, "slope": SLOPE_MODEL}
    while any(fit.outcome is None for fit in fits.values()):
        asked = {name: list(fit.coefficients) for name, fit in fits.items()}
        replies, _ = evaluator.ask(wire.RECALIBRATION, read, **asked)
        shares = {name: share for name, share in replies.items() if share is not None}
        if list(shares) != list(tested):
            return replace(fits["large"], outcome="contributors-changed"), replace(
                fits["slope"], outcome="contributors-changed"
            )
        fits = {n: newton_step(add_up(share[n] for share in shares.values()), fit) for n, fit in fits.items()}
    return fits["large"], fits["slope"]

"""Final evaluation: everything locked on training and validation patients, then the test set, opened once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.identity import MAX_DECLARED
from fedescc.common.statistics.metrics import metrics_record, suppressed_record
from fedescc.common.statistics.roc import (
    ClassHistogram,
    Estimate,
    Interval,
    histogram_auc,
    histogram_delong_variance,
    logit_interval,
    probability,
)
from fedescc.common.sums import add_up
from fedescc.server.evaluation.calibration import recalibrate
from fedescc.server.evaluation.evaluator import NO_QUORUM, Evaluator, unless_no_quorum
from fedescc.server.evaluation.lock import DEFAULT_THRESHOLD, Lock, split_reader
from fedescc.server.evaluation.opening import Opening
from fedescc.server.replies import NOT_RELEASED, SplitShare
from fedescc.server.training.rounds import require_quorum

# With what asks and what is locked, so that most need no other module.
__all__ = [
    "DEFAULT_THRESHOLD",
    "NO_QUORUM",
    "Evaluation",
    "Evaluator",
    "auc_of",
    "evaluate",
    "evaluate_all",
    "pooled_auc",
    "pooled_histogram",
]

NOBODY_RELEASED = "no-site-released-it"


@dataclass
class Evaluation:
    """Final metrics and what the report draws from them.

    Attributes:
        threshold: logit at and above which a patient is called positive.
        threshold_source: ``<rule>-on-validation``, or ``default`` where no validation histogram was released.
        edges: logits between histogram bins.
        pooled: METRICS over the sites in ``pooled_sites``.
        sites: METRICS of every site that answered.
        pooled_sites: the sites that released their sums.
        roc: class histograms that were released.
        validation: shares of the validation patients under the final model.
        tested: shares of the test patients of the sites that released their sums.

    """

    threshold: float
    threshold_source: str
    edges: list[float]
    pooled: dict[str, Any]
    sites: dict[str, dict[str, Any]]
    pooled_sites: list[str]
    roc: dict[str, ClassHistogram] = field(default_factory=dict)
    validation: dict[str, SplitShare] = field(default_factory=dict)
    tested: dict[str, SplitShare] = field(default_factory=dict)

    @property
    def total(self) -> Estimate[ClassHistogram]:
        """The histogram of all patients in ``pooled``, or why there is none."""
        return _all_or_none([self.roc.get(name) for name in self.pooled_sites])


def evaluate(evaluator: Evaluator) -> Evaluation:
    """Lock the threshold of one model on validation patients, then open the test set once; see `evaluate_all`.

    Raises:
        Refusal: fewer sites than the quorum take part in validation or test.

    """
    return evaluate_all({"": evaluator})[""]


def evaluate_all(evaluators: Mapping[str, Evaluator], opening: Opening | None = None) -> dict[str, Evaluation]:
    """Lock bins and threshold of every model on training and validation patients, then open the test set to all.

    The first request about test patients declares every look that follows, so that nothing learned from the test
    set can change another model, its threshold or its bins. Where no site releases histograms, the threshold stays
    at a probability of 0.5 and the pooled AUC is null with its reason. The first model is the run's own; another one
    that misses the quorum is absent from the result, and its evaluator's ``refused`` says who was missing.

    Args:
        evaluators: name -> model.
        opening: takes down what is declared before anybody looks; of a test set that is open already it holds the
            looks that there can be, and a model that is not among them is absent from the result too.

    Raises:
        Refusal: fewer sites than the quorum evaluate the first model, more models than a site lets look, or a test
            set that was opened to another first model.

    """
    if len(evaluators) > MAX_DECLARED:
        raise Refusal("too-many-models", f"{len(evaluators)} models", f"evaluate at most {MAX_DECLARED} in one run")
    own, first = next(iter(evaluators.items()))
    opening = opening or Opening(first.study.analysis.sha256)
    locked = _locks(evaluators, opening)
    if own not in locked:
        what = "the test set was opened to another model"
        raise Refusal("test-already-opened", what, "start a new run in another folder")
    opening.declare(locked)
    found: dict[str, Evaluation] = {}
    for name, lock in locked.items():
        with unless_no_quorum(name == own):
            found[name] = _open(evaluators[name], lock, opening)
    return found


def pooled_histogram(shares: Iterable[SplitShare]) -> Estimate[ClassHistogram]:
    """The sum of the histograms of all sites that released their sums.

    Null where one of them keeps its histogram: the sum would speak of fewer patients than the rest.
    """
    return _all_or_none([share.histogram for share in shares if share.sums is not None])


def pooled_auc(shares: Iterable[SplitShare]) -> tuple[Estimate[float], Estimate[Interval]]:
    """AUC of the summed histograms and its 95 % logit interval by DeLong variance; null as `pooled_histogram`."""
    return auc_of(pooled_histogram(shares))


def auc_of(total: Estimate[ClassHistogram]) -> tuple[Estimate[float], Estimate[Interval]]:
    """AUC of a histogram and its 95 % logit interval by DeLong variance, or the reason why there is no histogram."""
    if total.value is None:
        return Estimate(None, total.reason), Estimate(None, total.reason)
    area = histogram_auc(total.value)
    return area, logit_interval(area, histogram_delong_variance(total.value))


def _locks(evaluators: Mapping[str, Evaluator], opening: Opening) -> dict[str, Lock]:
    own = next(iter(evaluators))
    locked: dict[str, Lock] = {}
    for name, evaluator in evaluators.items():
        with unless_no_quorum(name == own):
            found = opening.lock(evaluator)
            if found is None:
                opening.undeclared.append(name)
            else:
                locked[name] = found
    return locked


def _open(evaluator: Evaluator, lock: Lock, opening: Opening) -> Evaluation:
    edges, threshold = lock.edges, lock.threshold
    asked = {"edges": edges, "threshold": threshold, "declared": opening.looks}
    test, attendance = evaluator.ask(wire.TEST, split_reader(edges), **asked)
    opening.note({name: share.openings_before for name, share in test.items()})
    # Where one site is held out, the others are excused and it alone makes the quorum.
    require_quorum(attendance, 1 if attendance.excused else evaluator.min_sites, "test")
    sites = {name: _site_metrics(share, threshold) for name, share in test.items()}
    tested = {name: share for name, share in test.items() if share.sums is not None}
    roc = {name: share.histogram for name, share in tested.items() if share.histogram is not None}
    pooled = _pooled_metrics(evaluator, tested, threshold)
    return Evaluation(threshold, lock.source, edges, pooled, sites, list(tested), roc, lock.validation, tested)


def _all_or_none(histograms: list[ClassHistogram | None]) -> Estimate[ClassHistogram]:
    known = [histogram for histogram in histograms if histogram is not None]
    if not known or len(known) < len(histograms):
        return Estimate(None, "histogram-not-released" if histograms else NOBODY_RELEASED)
    return Estimate(add_up(known))


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


def _pooled_metrics(evaluator: Evaluator, tested: Mapping[str, SplitShare], threshold: float) -> dict[str, Any]:
    shown = float(probability(threshold))
    sums = {name: share.sums for name, share in tested.items() if share.sums is not None}
    if not sums:
        return suppressed_record(NOBODY_RELEASED, shown)
    area, interval = pooled_auc(tested.values())
    large, slope = recalibrate(evaluator, sums)
    return metrics_record(
        add_up(sums.values()),
        threshold=shown,
        auc=area,
        auc_ci95=interval,
        calibration_intercept=large.estimate(),
        calibration_slope=slope.estimate(),
    )

"""Before the test set opens: bins from training scores, and a threshold from validation patients by the plan's rule."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from fedescc.common import wire
from fedescc.common.analysis import Analysis, AtSensitivity, AtSpecificity, LeastCost
from fedescc.common.identity import look_digest, model_digest
from fedescc.common.statistics.decision import threshold_logits
from fedescc.common.statistics.roc import ClassHistogram, Estimate
from fedescc.common.statistics.score_bins import fine_logit_edges, quantile_edges
from fedescc.common.statistics.thresholds import cost_edge, sensitivity_edge, specificity_edge, youden_edge
from fedescc.common.sums import add_up
from fedescc.common.wire import Reply
from fedescc.server.evaluation.evaluator import Evaluator
from fedescc.server.replies import SplitShare, fine_histogram, split_share
from fedescc.server.training.rounds import require_quorum

DEFAULT_THRESHOLD = 0.0  # on the logit scale: a probability of one half
DEFAULT_SOURCE = "default"


@dataclass(frozen=True)
class Lock:
    """What is fixed of one model before the test set opens.

    Attributes:
        model: the model's digest.
        look: the digest of the model with its threshold and bins.
        edges: logits between histogram bins.
        threshold: logit at and above which a patient is called positive.
        source: how the threshold was chosen.
        validation: shares of the validation patients under the model; not part of what is fixed.

    """

    model: str
    look: str
    edges: list[float]
    threshold: float
    source: str
    validation: dict[str, SplitShare] = field(default_factory=dict, compare=False)


def lock(evaluator: Evaluator) -> Lock:
    """Choose bins and threshold of one model; no test patient is asked about.

    Raises:
        Refusal: fewer sites than the quorum validate the model.

    """
    edges = _edges(evaluator)
    validation = validate(evaluator, edges)
    plan = evaluator.study.analysis
    found = _threshold(plan, validation.values(), edges)
    threshold = DEFAULT_THRESHOLD if found is None else found
    source = DEFAULT_SOURCE if found is None else f"{plan.threshold_label}-on-validation"
    request = evaluator.request(edges=edges, threshold=threshold)
    return Lock(model_digest(request), look_digest(request), edges, threshold, source, validation)


def validate(evaluator: Evaluator, edges: list[float]) -> dict[str, SplitShare]:
    """Shares of the validation patients under a model, by site.

    Raises:
        Refusal: fewer sites than the quorum take part.

    """
    found, attendance = evaluator.ask(wire.VALIDATION, split_reader(edges), edges=edges, threshold=DEFAULT_THRESHOLD)
    require_quorum(attendance, evaluator.min_sites, "validation")
    return found


def split_reader(edges: list[float]) -> Callable[[Reply], SplitShare]:
    """Reads a site's share of a split over these bins."""
    return lambda reply: split_share(reply.sums, reply.reasons, len(edges) + 1)


def threshold_by(plan: Analysis, histogram: ClassHistogram, edges: list[float]) -> Estimate[float]:
    """The logit that the plan's rule chooses among the edges, or why there is none."""
    match plan.threshold:
        case AtSensitivity(at=share):
            return sensitivity_edge(histogram, edges, share)
        case AtSpecificity(at=share):
            return specificity_edge(histogram, edges, share)
        case LeastCost(false_negative=missed, false_positive=alarm):
            return cost_edge(histogram, edges, false_negative=missed, false_positive=alarm)
        case _:
            return youden_edge(histogram, edges)


def plan_edges(plan: Analysis) -> list[float]:
    """Logits that are edges whatever the scores: one half, and every threshold of the decision curve."""
    return sorted({float(logit) for logit in threshold_logits([0.5, *plan.decision_thresholds])})


def _edges(evaluator: Evaluator) -> list[float]:
    """Quantiles of the pooled training scores, or a plain logit grid where no site releases them; and the plan's."""
    fine = fine_logit_edges()
    found, _ = evaluator.ask(
        wire.TRAINING_SCORES, lambda reply: fine_histogram(reply, len(fine) + 1), edges=fine.tolist()
    )
    counts = [histogram for histogram in found.values() if histogram is not None and histogram.any()]
    pooled = add_up(counts) if counts else np.ones(len(fine) + 1)
    plan = evaluator.study.analysis
    quantiles = [float(edge) for edge in quantile_edges(pooled, fine, plan.histogram_bins)]
    return sorted({*quantiles, *plan_edges(plan)})


def _threshold(plan: Analysis, shares: Iterable[SplitShare], edges: list[float]) -> float | None:
    """Logit by the plan's rule on the pooled validation histogram; None where there is none."""
    histograms = [share.histogram for share in shares if share.histogram is not None]
    return threshold_by(plan, add_up(histograms), edges).value if histograms else None

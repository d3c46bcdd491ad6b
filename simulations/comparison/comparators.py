"""What the federation is compared with: every hospital alone, and all data in one place (simulation only)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedescc.client.cohort import SiteCohort, SplitName
from fedescc.client.learning.dataset import SiteTensors
from fedescc.client.learning.predict import predict_logits
from fedescc.common.statistics.metrics import evaluation_sums, metrics_record, suppressed_record
from fedescc.common.statistics.recalibration import recalibrate
from fedescc.common.statistics.roc import (
    auc,
    delong_variance,
    logit_interval,
    paired_delong,
    probability,
    score_histogram,
)
from fedescc.common.statistics.thresholds import youden_edge
from fedescc.common.tabular.covariates import Encoding
from fedescc.server.evaluation.evaluate import DEFAULT_THRESHOLD

_LEAST_CHANCE = float(np.finfo(np.float64).eps)

Floats = NDArray[np.float64]


class Scorer(Protocol):
    """Anything that scores patients."""

    def logits(self, cohort: SiteCohort, rows: NDArray[np.intp]) -> Floats:
        """Logits (n,) of some rows of a cohort."""


@dataclass(frozen=True)
class Fitted:
    """A trained comparator and the encoding its inputs need."""

    model: Any
    encoding: Encoding

    def logits(self, cohort: SiteCohort, rows: NDArray[np.intp]) -> Floats:
        """Logits (n,) of some rows of a cohort."""
        if not len(rows):
            return np.zeros(0)
        return predict_logits(self.model, SiteTensors.from_cohort(cohort, self.encoding, rows))


@dataclass(frozen=True)
class Ensemble:
    """The mean probability of several models, as a logit."""

    members: tuple[Scorer, ...]

    def logits(self, cohort: SiteCohort, rows: NDArray[np.intp]) -> Floats:
        """Logits (n,) of some rows of a cohort; finite, also where all members are certain."""
        chance = np.mean([probability(member.logits(cohort, rows)) for member in self.members], axis=0)
        inside = np.clip(chance, _LEAST_CHANCE, 1 - _LEAST_CHANCE)
        return np.asarray(np.log(inside) - np.log1p(-inside))


def pool_cohorts(cohorts: list[SiteCohort]) -> SiteCohort:
    """All sites' patients in one cohort; only a simulation may do this."""
    first = cohorts[0]
    with_images = first.images is not None
    return SiteCohort(
        keys=tuple(key for cohort in cohorts for key in cohort.keys),
        labels=np.concatenate([cohort.labels for cohort in cohorts]),
        numeric={name: np.concatenate([cohort.numeric[name] for cohort in cohorts]) for name in first.numeric},
        categorical={
            name: np.concatenate([cohort.categorical[name] for cohort in cohorts]) for name in first.categorical
        },
        split=np.concatenate([cohort.split for cohort in cohorts]),
        images=np.concatenate([c.images for c in cohorts if c.images is not None]) if with_images else None,
        rois=np.concatenate([c.rois for c in cohorts if c.rois is not None]) if with_images else None,
        flow={},
        acquisition={name: np.concatenate([c.acquisition[name] for c in cohorts]) for name in first.acquisition},
    )


def comparator_entry(
    fitted: Mapping[str, Scorer],
    cohorts: Mapping[str, SiteCohort],
    federated: Mapping[str, dict[str, Any]],
    reference: Scorer | None,
) -> dict[str, Any]:
    """METRICS of a comparator, pooled and per site, each patient scored by ``fitted[site]``.

    ``versus_federated`` is its pooled AUC minus the federated model's on the same patients, by DeLong's paired test.

    A site that released nothing in the federation is hidden here for the same reason, so that both speak of the
    same patients and a simulation on real tables shows no small cell. The threshold is Youden's on the pooled
    validation patients; exact scores are used, because a simulation has them all.

    Args:
        fitted: site -> model that scores its patients.
        cohorts: site -> patients; a site that the federation did not test only validates.
        federated: site -> METRICS of the federated model.
        reference: the federated model; None pairs nothing.

    """
    own = {name: cohort for name, cohort in cohorts.items() if name in fitted}
    shown = {name: cohort for name, cohort in own.items() if federated.get(name, {"n": 0})["n"] is not None}
    tested = {name: cohort for name, cohort in shown.items() if name in federated}
    threshold = _youden(*_joined(_scores(fitted, shown, "validation")))
    test = _scores(fitted, tested, "test")
    sites = {
        name: exact_record(*test[name], threshold)
        if name in test
        else suppressed_record(federated[name]["suppressed"]["n"], float(probability(threshold)))
        for name in own
        if name in federated
    }
    entry = {"pooled": exact_record(*_joined(test), threshold), "sites": sites}
    return entry if reference is None else entry | {"versus_federated": versus_entry(fitted, tested, reference)}


def versus_entry(fitted: Mapping[str, Scorer], cohorts: Mapping[str, SiteCohort], reference: Scorer) -> dict[str, Any]:
    """AUC over all sites' test patients minus the reference's on the same patients, by DeLong's paired test."""
    y, logit = _joined(_scores(fitted, cohorts, "test"))
    _, other = _joined(_scores(dict.fromkeys(cohorts, reference), cohorts, "test"))
    found = paired_delong(y, logit, other)
    if found.value is None:
        return {"difference": None, "p": None, "suppressed": found.reason}
    return _versus(found.value.difference, found.value.standard_error)


def exact_record(y: NDArray[np.int8], logit: Floats, threshold: float) -> dict[str, Any]:
    """METRICS from labels and logits at hand; ``threshold`` is a logit."""
    shown = float(probability(threshold))
    if not len(y):
        return suppressed_record("no-patients", shown)
    area = auc(y, logit)
    calibration = recalibrate(y, logit)
    return metrics_record(
        evaluation_sums(y, probability(logit), threshold, score=logit),
        threshold=shown,
        auc=area,
        auc_ci95=logit_interval(area, delong_variance(y, logit)),
        calibration_intercept=calibration.intercept,
        calibration_slope=calibration.slope,
    )


def auc_entry(y: NDArray[np.int8], score: Floats) -> dict[str, Any]:
    """AUC with its 95 % interval, as the report shows it."""
    area = auc(y, score)
    interval = logit_interval(area, delong_variance(y, score)).value
    return {"auc": area.value, "auc_ci95": None if interval is None else list(interval)}


def pool_versus(folds: Sequence[tuple[int, Mapping[str, Any]]]) -> dict[str, Any]:
    """Paired differences of folds, given with their patients, as one: their mean by patients, and its z test.

    The folds' patients are disjoint; covariance between their models is not counted.
    """
    known = [(n, versus) for n, versus in folds if versus["difference"] is not None]
    if not known:
        return dict(folds[0][1])
    total = sum(n for n, _ in known)
    difference = math.fsum(n / total * versus["difference"] for n, versus in known)
    error = math.sqrt(math.fsum((n / total * versus["standard_error"]) ** 2 for n, versus in known))
    return _versus(difference, error)


def _versus(difference: float, error: float) -> dict[str, Any]:
    return {"difference": difference, "standard_error": error, "p": math.erfc(abs(difference / error) / math.sqrt(2))}


def _scores(
    fitted: Mapping[str, Scorer], cohorts: Mapping[str, SiteCohort], split: SplitName
) -> dict[str, tuple[NDArray[np.int8], Floats]]:
    rows = {name: cohort.rows(split) for name, cohort in cohorts.items()}
    return {name: (cohorts[name].labels[r], fitted[name].logits(cohorts[name], r)) for name, r in rows.items()}


def _joined(scored: dict[str, tuple[NDArray[np.int8], Floats]]) -> tuple[NDArray[np.int8], Floats]:
    pairs = list(scored.values()) or [(np.zeros(0, np.int8), np.zeros(0))]
    return np.concatenate([y for y, _ in pairs]), np.concatenate([logit for _, logit in pairs])


def _youden(y: NDArray[np.int8], logit: Floats) -> float:
    distinct = np.unique(logit)
    edge = youden_edge(score_histogram(y, logit, distinct), distinct).value if len(distinct) else None
    return DEFAULT_THRESHOLD if edge is None else edge

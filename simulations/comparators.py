"""What the federation is compared with: every hospital alone, and all data in one place (simulation only)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.client.cohort import SiteCohort, SplitName
from fedescc.client.learning.dataset import SiteTensors
from fedescc.client.learning.predict import predict_logits
from fedescc.client.learning.train import train_round
from fedescc.common.console import Advance
from fedescc.common.covariates import Encoding, column_sums
from fedescc.common.federation import Federation
from fedescc.common.metrics import evaluation_sums, metrics_record, suppressed_record
from fedescc.common.model import build_model
from fedescc.common.recalibration import recalibrate
from fedescc.common.roc import (
    auc,
    delong_variance,
    logit_interval,
    paired_delong,
    probability,
    score_histogram,
    youden_edge,
)
from fedescc.common.study import Study
from fedescc.server.evaluation import DEFAULT_THRESHOLD

_SPLITS: tuple[SplitName, ...] = ("validation", "test")

Floats = NDArray[np.float64]


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


def fit(study: Study, cohort: SiteCohort, federation: Federation, name: str, advance: Advance) -> Fitted:
    """Train on one cohort's training patients, with as many passes as the federation makes over them.

    Args:
        study: the model and covariates.
        cohort: one site, or several pooled.
        federation: rounds, seed and local training.
        name: enters the derived seed, as a site's name does.
        advance: called once a round.

    Raises:
        Refusal: no training patient, or training diverged.

    """
    rows = cohort.rows("train")
    encoding = Encoding.from_sums(study, column_sums(study, cohort.numeric, rows))
    model = build_model(study, len(encoding.columns), seed=federation.seed)
    tensors = SiteTensors.from_cohort(cohort, encoding, rows)
    seed, rounds = federation.seed, federation.rounds
    for number in range(1, rounds + 1):
        train_round(model, tensors, federation.training, seed=seed, round=number, rounds=rounds, site=name)
        advance()
    return Fitted(model, encoding)


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
    )


def comparator_entry(
    fitted: Mapping[str, Fitted],
    cohorts: Mapping[str, SiteCohort],
    federated: Mapping[str, dict[str, Any]],
    reference: Fitted,
) -> dict[str, Any]:
    """METRICS of a comparator, pooled and per site, each patient scored by ``fitted[site]``.

    ``versus_federated`` is its pooled AUC minus the federated model's on the same patients, by DeLong's paired test.

    A site that released nothing in the federation is hidden here for the same reason, so that both speak of the
    same patients and a simulation on real tables shows no small cell. The threshold is Youden's on the pooled
    validation patients; exact scores are used, because a simulation has them all.

    Args:
        fitted: site -> model that scores its patients.
        cohorts: site -> patients.
        federated: site -> METRICS of the federated model.
        reference: the federated model.

    """
    shown = {name: cohort for name, cohort in cohorts.items() if federated[name]["n"] is not None}
    scored = {split: _scores(fitted, shown, split) for split in _SPLITS}
    threshold = _youden(*_joined(scored["validation"]))
    test = scored["test"]
    sites = {
        name: exact_record(*test[name], threshold)
        if name in test
        else suppressed_record(federated[name]["suppressed"]["n"], float(probability(threshold)))
        for name in cohorts
    }
    y, logit = _joined(test)
    _, federated_logit = _joined(_scores(dict.fromkeys(shown, reference), shown, "test"))
    versus = _paired_entry(y, logit, federated_logit)
    return {"pooled": exact_record(y, logit, threshold), "sites": sites, "versus_federated": versus}


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


def _paired_entry(y: NDArray[np.int8], score: Floats, reference: Floats) -> dict[str, Any]:
    found = paired_delong(y, score, reference)
    if found.value is None:
        return {"difference": None, "p": None, "suppressed": found.reason}
    return {"difference": found.value.difference, "p": found.value.p}


def _scores(
    fitted: Mapping[str, Fitted], cohorts: Mapping[str, SiteCohort], split: SplitName
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

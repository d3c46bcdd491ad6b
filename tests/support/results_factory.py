"""A realistic results document of a synthetic five-site study, made with the functions that make real ones."""

from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.client.learning.evaluate import split_sums
from fedescc.client.site import ReleasePolicy
from fedescc.common.federation import Federation
from fedescc.common.players import player_names
from fedescc.common.statistics.metrics import evaluation_sums, metrics_record, suppressed_record
from fedescc.common.statistics.recalibration import recalibrate
from fedescc.common.statistics.roc import auc, delong_variance, logit_interval, probability
from fedescc.common.statistics.shapley import ShapleySums
from fedescc.common.study import Study, read_study
from fedescc.common.wire import installed_version
from fedescc.server.evaluation.evaluate import Evaluation, pooled_auc
from fedescc.server.evaluation.explanation import player_entries
from fedescc.server.exchange import Attendance
from fedescc.server.federate import privacy_entry
from fedescc.server.replies import SplitShare, split_share
from fedescc.server.results import final_entry, round_entry
from fedescc.server.training.rounds import RoundRecord

PATIENTS = {"beijing": 64, "chengdu": 48, "henan-cancer": 71, "shantou": 39, "wuhan": 14}
HIDDEN = "wuhan"  # too few patients of one class
LOST = "chengdu"  # missed two rounds
THRESHOLD = 0.42
EDGES = np.linspace(-4, 4, 49).tolist()
POLICY = ReleasePolicy(score_histogram="plain")

Scores = dict[str, tuple[NDArray[np.int8], NDArray[np.float64]]]


def sample_results() -> dict[str, Any]:
    """A copy of `make_results` to change at will."""
    return deepcopy(make_results())


@cache
def make_results() -> dict[str, Any]:
    """Results with everything a report can show: a lost and a suppressed site, comparators, a synthetic test set."""
    rng = np.random.default_rng(20)
    study, federation = read_study("escc-pcr"), Federation(rounds=12, seed=7)
    test = make_scores(rng, PATIENTS, skill=1.5)
    return {
        "study": study.name,
        "title": study.title,
        "registration": study.registration,
        "endpoint": study.endpoint.text,
        "study_sha256": study.sha256,
        "seed": federation.seed,
        "strategy": federation.strategy.name,
        "federation": federation.model_dump(mode="json"),
        "engine": "local",
        "version": installed_version(),
        "sites_lost": [LOST],
        "flow": make_flow(),
        "rounds": [make_round(rng, number) for number in range(1, federation.rounds + 1)],
        "final": final_entry(make_evaluation(test)),
        "comparators": {
            "local_only": make_comparator(rng, skill=0.9),
            "centralised": make_comparator(rng, skill=1.6),
        },
        "explanation": make_explanation(rng, study),
        "privacy": privacy_entry(study),
        "timing": {"seconds": {"statistics": 1.3, "rounds": 212.8, "evaluation": 33.1, "total": 247.2}},
        "synthetic_test": make_synthetic_test(rng),
        "notes": ["synthetic patients: the study's minimum counts are lifted, since there is nobody to protect"],
    }


def make_scores(rng: np.random.Generator, patients: dict[str, int], *, skill: float) -> Scores:
    """Labels and logits by site; a third has the outcome, and the small site hardly anyone."""
    scores = {}
    for site, n in patients.items():
        y = np.zeros(n, np.int8)
        y[: 3 if site == HIDDEN else round(n * 0.34)] = 1
        scores[site] = (y, rng.normal(skill * y - 1.0, 1.2))
    return scores


def make_evaluation(scores: Scores) -> Evaluation:
    """The final evaluation, as `fedescc.server.evaluation.evaluate.evaluate` leaves it."""
    shares = {site: make_share(y, logit, THRESHOLD) for site, (y, logit) in scores.items()}
    released = [site for site, share in shares.items() if share.sums is not None]
    sites = {
        site: make_metrics(*scores[site]) if site in released else suppressed_record(share.reasons["n"], THRESHOLD)
        for site, share in shares.items()
    }
    y, logit = (np.concatenate([scores[site][part] for site in released]) for part in (0, 1))
    histograms = {site: found for site in released if (found := shares[site].histogram) is not None}
    area, bounds = pooled_auc(shares.values())
    pooled = make_metrics(y, logit) | {"auc": area.value, "auc_ci95": bounds.value and list(bounds.value)}
    return Evaluation(THRESHOLD, "youden-on-validation", EDGES, pooled, sites, released, histograms)


def make_share(y: NDArray[np.int8], logit: NDArray[np.float64], threshold: float) -> SplitShare:
    """A site's share of a split, through the functions of both sides."""
    sums, reasons = split_sums(y, logit, edges=EDGES, threshold=threshold, policy=POLICY)
    return split_share(sums, reasons, len(EDGES) + 1)


def make_metrics(y: NDArray[np.int8], logit: NDArray[np.float64]) -> dict[str, Any]:
    """METRICS of labels and logits."""
    area, calibration = auc(y, logit), recalibrate(y, logit)
    return metrics_record(
        evaluation_sums(y, probability(logit), THRESHOLD),
        threshold=THRESHOLD,
        auc=area,
        auc_ci95=logit_interval(area, delong_variance(y, logit)),
        calibration_intercept=calibration.intercept,
        calibration_slope=calibration.slope,
    )


def make_round(rng: np.random.Generator, number: int) -> dict[str, Any]:
    """One round; LOST misses rounds 3 and 4."""
    missing = number in {3, 4}
    accepted = [site for site in PATIENTS if not (missing and site == LOST)]
    refused = {LOST: "no-answer-in-time"} if missing else {}
    attendance = Attendance(5, 5, len(accepted), accepted, refused)
    loss = 0.42 + 0.3 * float(np.exp(-number / 4)) + float(rng.normal(0, 0.008))
    record = RoundRecord(number, attendance, loss, 560 - 110 * missing, float(rng.uniform(15, 20)))
    skill = 1.6 * (1 - float(np.exp(-number / 3)))
    validation = make_scores(rng, {site: n // 2 for site, n in PATIENTS.items()}, skill=skill)
    shares = {site: make_share(y, logit, 0.0) for site, (y, logit) in validation.items()}
    return round_entry(record, shares)


def make_comparator(rng: np.random.Generator, *, skill: float) -> dict[str, Any]:
    """METRICS of a comparator, pooled and by site."""
    scores = make_scores(rng, {site: n for site, n in PATIENTS.items() if site != HIDDEN}, skill=skill)
    y, logit = (np.concatenate([scores[site][part] for site in scores]) for part in (0, 1))
    sites = {site: make_metrics(*part) for site, part in scores.items()}
    return {"pooled": make_metrics(y, logit), "sites": sites}


def make_flow() -> dict[str, Any]:
    """Cohort flow; one site hides its breakdown and one all but the included."""
    by_rule = {"ct_before_surgery": 9, "roi_available": 12, "incomplete_clinical_data": 6, "other": 0}
    hidden = "class-count-below-minimum"
    flow: dict[str, Any] = {
        site: {"included": 4 * n, "excluded": 27, "n_train": round(2.4 * n), "by_rule": dict(by_rule)}
        for site, n in PATIENTS.items()
    }
    del flow["shantou"]["by_rule"]
    flow["shantou"]["suppressed"] = {"flow_by_rule": hidden}
    return flow


def make_explanation(rng: np.random.Generator, study: Study) -> dict[str, Any]:
    """Shapley summaries by player."""
    names = player_names(study)
    scale = rng.uniform(0.03, 0.5, len(names))
    parts = {}
    for site in (site for site in PATIENTS if site != HIDDEN):
        n = PATIENTS[site]
        phi = rng.normal(0, scale * rng.uniform(0.75, 1.3, len(names)), (n, len(names)))
        counts = np.full(len(names), n, np.int64)
        parts[site] = ShapleySums(counts, np.abs(phi).sum(0), phi.sum(0), (phi**2).sum(0))
    total = parts["beijing"] + parts["chengdu"] + parts["henan-cancer"] + parts["shantou"]
    sites = {site: player_entries(names, part) for site, part in parts.items()}
    hidden = {HIDDEN: "class-count-below-minimum"}
    return {"unit": "logit", "pooled": player_entries(names, total), "sites": sites, "suppressed": hidden}


def make_synthetic_test(rng: np.random.Generator) -> dict[str, Any]:
    """AUCs on a large synthetic test set."""

    def area(value: float) -> dict[str, Any]:
        return {"auc": value, "auc_ci95": [value - 0.02, value + 0.019]}

    local = {site: area(0.66 + float(rng.uniform(0, 0.08))) for site in PATIENTS}
    return {
        "n": 2000,
        "n_pos": 676,
        "auc": {
            "federated": area(0.801),
            "centralised": area(0.812),
            "local_only": local,
            "local_only_mean": float(np.mean([found["auc"] for found in local.values()])),
            "ceiling_latent_regression": area(0.846),
            "ceiling_bayes": area(0.861),
        },
        "trivial_cues": {"mean_hu_pre": 0.513, "mean_hu_change": 0.561, "roi_volume_pre": 0.492},
    }

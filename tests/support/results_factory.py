"""Realistic results documents of a synthetic five-site study, made with the functions that make real ones."""

from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.client.learning.evaluate import split_sums
from fedescc.client.site import ReleasePolicy
from fedescc.common.analysis import MISSING, subgroup_levels
from fedescc.common.federation import Federation
from fedescc.common.fold import Fold, KFold, Loso
from fedescc.common.players import player_names
from fedescc.common.statistics.metrics import EvaluationSums, evaluation_sums, metrics_record, suppressed_record
from fedescc.common.statistics.recalibration import recalibrate
from fedescc.common.statistics.roc import auc, delong_variance, logit_interval, probability
from fedescc.common.statistics.shapley import ShapleySums
from fedescc.common.study import Study, read_study
from fedescc.common.wire import installed_version
from fedescc.server.entries import final_entry, plan_entry, round_entry
from fedescc.server.evaluation.comparison import difference_entry
from fedescc.server.evaluation.evaluate import Evaluation, pooled_auc
from fedescc.server.evaluation.explanation import player_entries
from fedescc.server.evaluation.fairness import fairness_gaps
from fedescc.server.evaluation.replies import LevelShare
from fedescc.server.evaluation.told import Told
from fedescc.server.exchange import Attendance
from fedescc.server.federate import privacy_entry
from fedescc.server.fold_results import assemble
from fedescc.server.modes import Mode, Plan
from fedescc.server.replies import SplitShare, split_share
from fedescc.server.training.rounds import RoundRecord
from fedescc.simulations.comparison.fold_comparison import COMPARATORS, pool_comparators

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
        "plan": plan_entry(study.analysis, ("clinical", "radiomics_clinical")),
        "opening": make_opening(study),
        "final": make_final(test, rng),
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


FAILED = "wuhan"  # could not be tested while held out
REJECTED = "shantou"  # sent a bad update in round 2 of every fold
UNFITTED = "fusion"  # not to be had in the first fold
SELECTED = (("tumour_volume_post", "fat_stranding_change"), ("tumour_volume_post",))


def sample_folds(mode: Mode = "kfold") -> dict[str, Any]:
    """A copy of `make_folds` to change at will."""
    return deepcopy(make_folds(mode))


@cache
def make_folds(mode: Mode) -> dict[str, Any]:
    """Results of several folds as a simulation leaves them: all comparators, a rejected update, a failed fold of loso.

    The comparators are as in `sample_comparators`; of the folds' ``selected``, the first has one feature more.
    """
    folds: list[Fold] = [KFold(index=index, of=3) for index in range(3)]
    if mode == "loso":
        folds = [Loso(held_out=site) for site in sorted(PATIENTS)]
    documents = [make_fold(place, fold) for place, fold in enumerate(folds)]
    done = [one for one in documents if "failed" not in one]
    results = sample_results() | assemble(Plan(mode=mode), done, [one for one in documents if "failed" in one])
    results["comparators"] = pool_comparators([one["comparators"] for one in done])
    results["comparators_unavailable"] |= {UNFITTED: "no-quorum"}
    return {key: value for key, value in results.items() if key != "synthetic_test"}


def make_fold(place: int, fold: Fold) -> dict[str, Any]:
    """The results of a fold, or the code of its failure."""
    held_out = fold.held_out if isinstance(fold, Loso) else None
    head = {"place": place, "fold": fold.name, "held_out": held_out}
    if held_out == FAILED:
        return head | {"failed": "no-quorum"}
    rng = np.random.default_rng(place)
    tested = PATIENTS if held_out is None else {held_out: 80}
    scores = make_scores(rng, tested, skill=1.5)
    comparators = sample_comparators(tested, place)
    if place == 0:
        del comparators[UNFITTED]
    rounds = [make_round(rng, number) for number in range(1, 3 + place)]
    rounds[1]["refused"] = {REJECTED: "update-not-finite"}
    return head | {
        "sites_lost": [REJECTED],
        "refused_before_training": {},
        "refused_in_evaluation": {},
        "flow": make_flow(),
        "rounds": rounds,
        "opening": make_opening(read_study("escc-pcr")),
        "final": make_final(scores, rng) | {"subgroups": {}, "fairness": {}},
        "told": make_told(scores, rng).document(),
        "comparators": comparators,
        "comparators_unavailable": {},
        "explanation": make_explanation(rng, read_study("escc-pcr")),
        "timing": {"seconds": {"rounds": 10.0}},
        "kept_round": 1 + place,
    }


def sample_comparators(tested: dict[str, int] = PATIENTS, place: int = 0) -> dict[str, Any]:
    """Every comparator there is, with its difference from the federation; those on the wire with their fits."""
    rng = np.random.default_rng(100 + place)
    entries = {name: make_comparator(rng, skill=1.2, patients=tested) for name in COMPARATORS}
    for name, entry in entries.items():
        entry["versus_federated"] = {"difference": -0.031, "standard_error": 0.01, "p": 0.0019}
        if name in ("clinical", "features_clinical", "radiomics_clinical", "fusion"):
            entry |= {"penalty": 0.3, "selected": [], "fitted_on": ["beijing", "chengdu"], "refused": {}}
    entries["features_clinical"]["selected"] = list(SELECTED[min(place, 1)])
    entries["fusion"]["refused"] = {HIDDEN: "class-count-below-minimum"}
    return entries


def sample_start() -> dict[str, Any]:
    """What a run of one fold says of its start and of the model that it kept: the best of 12 rounds, round 9."""
    losses = [0.71, *(0.7 - 0.01 * number for number in range(1, 10)), 0.64, 0.65, 0.66]
    pretraining = [
        {"round": 1, "sites": ["beijing"], "refused": {"wuhan": "update-too-large"}, "patients": 60, "loss": 0.9},
        {"round": 2, "sites": ["beijing", "wuhan"], "refused": {}, "patients": 74, "loss": 0.5, "seconds": 3.0},
    ]
    warm_start = {
        "file_sha256": "ab" * 32,
        "loaded": ["a", "b", "c"],
        "mismatched": [{"name": "d", "model": [2, 3], "file": [3, 2]}],
        "missing": ["e", "f"],
        "unused": ["g"],
        "parameters": {"loaded": 1200, "mismatched": 6, "missing": 20, "unused": 4},
        "path": "/home/someone/weights.safetensors",
    }
    return {
        "mode": "split",
        "kept_round": 9,
        "selection": {"reason": "best-validation", "validation_loss": losses},
        "pretraining": pretraining,
        "warm_start": warm_start,
        "personalisation": {"kind": "none", "attraction": 0.1},
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


def make_final(scores: Scores, rng: np.random.Generator) -> dict[str, Any]:
    """The final evaluation with a planned and an exploratory paired test, and with subgroups, one of them hidden."""
    study = read_study("escc-pcr")
    y, logit = (np.concatenate([part[place] for part in scores.values()]) for place in (0, 1))
    subgroups = {
        name: make_levels((*levels, MISSING), y, logit, rng) for name, levels in subgroup_levels(study).items()
    }
    tail = {"clinical": (True, True), "radiomics_clinical": (False, False)}
    comparisons = [
        {"model": name, "versus": "federated", **difference_entry(-0.031, 0.013, 0.017)}
        | {"planned": planned, "primary": primary, "sites": make_own_tests()}
        for name, (planned, primary) in tail.items()
    ]
    more = {"comparisons": comparisons, "subgroups": subgroups, "fairness": fairness_gaps(subgroups)}
    return final_entry(make_evaluation(scores), study.analysis, seed=7) | more


def make_own_tests() -> dict[str, Any]:
    """A site's own paired test, and one that has none."""
    nothing = {**dict.fromkeys(("difference", "standard_error", "ci95", "p")), "suppressed": "zero-variance"}
    return {"beijing": difference_entry(-0.052, 0.021, 0.013), "wuhan": nothing}


def make_levels(
    levels: tuple[str, ...], y: NDArray[np.int8], logit: NDArray[np.float64], rng: np.random.Generator
) -> dict[str, Any]:
    """METRICS by level of one subgroup: of half the patients, of the others; the rest hidden."""
    first = rng.random(len(y)) < 0.5
    shown = [make_metrics(y[part], logit[part]) | {"sites": 4} for part in (first, ~first)]
    hidden = suppressed_record("subgroup-too-small", THRESHOLD) | {"sites": None}
    return dict(zip(levels, [*shown, *[hidden] * (len(levels) - 2)], strict=True))


def make_told(scores: Scores, rng: np.random.Generator) -> Told:
    """What sites tell of subgroups: each has patients of the first two levels alone."""
    study = read_study("escc-pcr")
    levels = {name: (*known, MISSING) for name, known in subgroup_levels(study).items()}
    sites = {site: part for site, part in scores.items() if site != HIDDEN}

    def sums(y: NDArray[np.int8], logit: NDArray[np.float64]) -> EvaluationSums:
        return evaluation_sums(y, probability(logit), THRESHOLD)

    def share(y: NDArray[np.int8], logit: NDArray[np.float64], known: int) -> list[LevelShare | None]:
        first = rng.random(len(y)) < 0.5
        parts = [first, ~first, *[np.zeros(len(y), bool)] * (known - 2)]
        return [LevelShare(sums(y[part], logit[part]), None) for part in parts]

    shares = {name: {site: share(*part, len(known)) for site, part in sites.items()} for name, known in levels.items()}
    tested = {site: sums(*part) for site, part in sites.items()}
    return Told(levels, shares, tested, study.disclosure.min_class_count, None)


def make_opening(study: Study) -> dict[str, Any]:
    """The opening of a fold's test set; one site had opened it before."""
    return {
        "plan_sha256": study.analysis.sha256,
        "opened_at": "2026-03-02T09:30:00+00:00",
        "looks": ["a" * 64, "b" * 64],
        "thresholds": {"federated": 0.6, "clinical": 0.55},
        "sites": {site: int(site == LOST) for site in PATIENTS},
    }


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


def make_comparator(rng: np.random.Generator, *, skill: float, patients: dict[str, int] = PATIENTS) -> dict[str, Any]:
    """METRICS of a comparator, pooled and by site."""
    scores = make_scores(rng, {site: n for site, n in patients.items() if site != HIDDEN}, skill=skill)
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

"""One simulated evaluation through the federation's own functions, beside the same figures of the pooled patients."""

import math
from typing import Any

import numpy as np
from evaluation_scores import HARDER, SETTINGS, Setting, Site, draw, true_auc, true_shares
from sklearn.metrics import roc_auc_score
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM

from fedescc.common.statistics.decision import decision_curve, threshold_logits
from fedescc.common.statistics.metrics import EvaluationSums, evaluation_sums
from fedescc.common.statistics.newton import NewtonFit
from fedescc.common.statistics.proportions import wilson_interval
from fedescc.common.statistics.recalibration import IN_THE_LARGE, SLOPE_MODEL, newton_step, recalibration_terms
from fedescc.common.statistics.roc import (
    ClassHistogram,
    Floats,
    histogram_auc,
    histogram_delong_variance,
    logit_interval,
    probability,
    score_histogram,
)
from fedescc.common.statistics.score_bins import fine_logit_edges, quantile_edges
from fedescc.common.statistics.thresholds import youden_edge
from fedescc.common.sums import add_up
from fedescc.simulations.audit.pairs import delong_by_pairs

BINS = 50
PLANNED = (0.1, 0.2, 0.3, 0.4, 0.5)  # decision thresholds whose logits are edges
BETWEEN = (0.15, 0.25, 0.35, 0.45)  # and some that are none
SHARES = ("accuracy", "sensitivity", "specificity", "ppv", "npv")
_FINE = fine_logit_edges()

Row = dict[str, Any]


def simulate_pooled(setting: Setting, number: int, *, seed: int = 0) -> Row:
    """Differences between the federation and the pooled patients, and which intervals hold the truth."""
    rng = np.random.default_rng([seed, (*SETTINGS, *HARDER).index(setting), number])
    training, validation, test = draw(rng, setting, training=True), draw(rng, setting, 0.5), draw(rng, setting)
    edges = edges_of_training(training)
    threshold = youden_edge(histogram_of(validation, edges), edges).value
    total = histogram_of(test, edges)
    y, score = (np.concatenate([getattr(site, name) for site in test]) for name in ("y", "score"))
    return {
        **_discrimination(setting, total, y, score),
        **_calibration(test, y, score),
        **_net_benefit(total, edges, y, score),
        **_wilson(setting, test, threshold),
    }


def edges_of_training(sites: list[Site]) -> Floats:
    """Near quantiles of the summed fine histograms, with the logits of the planned decision thresholds."""
    counts = add_up(np.histogram(site.score, bins=[-np.inf, *_FINE, np.inf])[0] for site in sites)
    return np.union1d(quantile_edges(counts, _FINE, BINS), threshold_logits(PLANNED))


def histogram_of(sites: list[Site], edges: Floats) -> ClassHistogram:
    """The sum of the sites' class histograms."""
    return add_up(score_histogram(site.y, site.score, edges) for site in sites)


def recalibrated(sites: list[Site], fit: NewtonFit) -> float | None:
    """The federated fit: coefficients out, summed terms back, until it ends."""
    while fit.outcome is None:
        fit = newton_step(add_up(recalibration_terms(site.y, site.score, fit.coefficients) for site in sites), fit)
    return fit.estimate().value


def _discrimination(setting: Setting, total: ClassHistogram, y: np.ndarray, score: Floats) -> Row:
    area, variance = histogram_auc(total), histogram_delong_variance(total)
    interval = logit_interval(area, variance).value
    _, exact = delong_by_pairs(y, score)
    return {
        "auc_error": area.value - roc_auc_score(y, score),
        "se_error": math.sqrt(variance.value / exact[0, 0]) - 1,
        "auc_covered": _holds(interval, true_auc(setting)),
    }


def _calibration(test: list[Site], y: np.ndarray, score: Floats) -> Row:
    design = np.column_stack([np.ones(len(y)), score])
    slope = GLM(y, design, family=Binomial()).fit(tol=1e-12).params[1]
    large = GLM(y, design[:, :1], family=Binomial(), offset=score).fit(tol=1e-12, maxiter=500).params[0]
    return {
        "slope_error": recalibrated(test, SLOPE_MODEL) - slope,
        "intercept_error": recalibrated(test, IN_THE_LARGE) - large,
    }


def _net_benefit(total: ClassHistogram, edges: Floats, y: np.ndarray, score: Floats) -> Row:
    found = {}
    for name, thresholds in (("planned", PLANNED), ("between", BETWEEN)):
        curve = decision_curve(total, edges, thresholds).value
        called = score >= threshold_logits(thresholds)[:, None]
        odds = np.array(thresholds) / (1 - np.array(thresholds))
        direct = ((called & (y == 1)).sum(axis=1) - (called & (y == 0)).sum(axis=1) * odds) / len(y)
        found[f"net_benefit_{name}"] = float(np.abs(curve.model - direct).max())
    return found


def _wilson(setting: Setting, test: list[Site], threshold: float) -> Row:
    sums: EvaluationSums = add_up(
        evaluation_sums(site.y, probability(site.score), threshold, score=site.score) for site in test
    )
    parts = {
        "accuracy": (sums.tp + sums.tn, sums.n),
        "sensitivity": (sums.tp, sums.n_pos),
        "specificity": (sums.tn, sums.n - sums.n_pos),
        "ppv": (sums.tp, sums.tp + sums.fp),
        "npv": (sums.tn, sums.tn + sums.fn),
    }
    truth = true_shares(setting, threshold)
    return {f"{name}_covered": _holds(wilson_interval(*parts[name]).value, truth[name]) for name in SHARES}


def _holds(interval: tuple[float, float] | None, truth: float) -> float:
    """1 where the interval holds the truth, 0 where not; NaN where there is no interval."""
    return math.nan if interval is None else float(interval[0] <= truth <= interval[1])

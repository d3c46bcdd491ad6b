"""A site's evaluation sums: equal to scikit-learn's figures, silent below the minimum class counts."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, confusion_matrix, log_loss, roc_auc_score

from fedescc.client.learning.evaluate import (
    BELOW_MINIMUM,
    NOT_RELEASED,
    may_release,
    recalibration_sums,
    site_estimates,
    split_sums,
)
from fedescc.client.site import ReleasePolicy
from fedescc.common.statistics.roc import probability

RNG = np.random.default_rng(4)
Y = (RNG.random(80) < 0.4).astype(np.int8)
LOGIT = RNG.normal(0, 1, 80) + 1.2 * Y
OPEN = ReleasePolicy(min_class_count=3, score_histogram="plain")
EDGES = [-1.0, 0.0, 1.0]


def test_sums_equal_scikit_learn():
    sums, reasons = split_sums(Y, LOGIT, edges=EDGES, threshold=np.log(0.4 / 0.6), policy=OPEN)
    p = 1 / (1 + np.exp(-LOGIT))
    tn, fp, fn, tp = confusion_matrix(Y, p >= 0.4).ravel()
    assert [sums[key] for key in ("n", "n_pos", "tp", "fp", "tn", "fn")] == [80, Y.sum(), tp, fp, tn, fn]
    assert sums["brier_sum"] == pytest.approx(80 * brier_score_loss(Y, p))
    assert sums["log_loss_sum"] == pytest.approx(80 * log_loss(Y, p))
    assert sums["positives"] == np.histogram(LOGIT[Y == 1], [-np.inf, *EDGES, np.inf])[0].tolist()
    assert sum(sums["negatives"]) == 80 - Y.sum()
    assert reasons == {}


def test_the_default_policy_keeps_histograms():
    sums, reasons = split_sums(Y, LOGIT, edges=EDGES, threshold=0.0, policy=ReleasePolicy())
    assert not {"negatives", "positives"} & set(sums)
    assert reasons == {"negatives": NOT_RELEASED, "positives": NOT_RELEASED}


@pytest.mark.parametrize(
    ("positives", "patients", "released"), [(5, 10, True), (4, 10, False), (6, 10, False), (0, 9, False)]
)
def test_both_classes_must_reach_the_minimum(positives, patients, released):
    y = np.array([1] * positives + [0] * (patients - positives), dtype=np.int8)
    policy = ReleasePolicy(min_class_count=5, score_histogram="plain")
    assert may_release(y, policy) is released
    logit = np.linspace(-1, 1, patients)
    for sums, reasons in (
        split_sums(y, logit, edges=EDGES, threshold=0.0, policy=policy),
        recalibration_sums(y, logit, large=[0.0], slope=[0.0, 1.0], policy=policy),
    ):
        assert bool(sums) is released
        assert reasons == ({} if released else {"n": BELOW_MINIMUM})
    assert bool(site_estimates(y, logit, policy)[0]) is released


def test_an_empty_split_says_nothing_but_why():
    empty = np.zeros(0)
    assert split_sums(empty.astype(np.int8), empty, edges=EDGES, threshold=0.0, policy=OPEN) == (
        {},
        {"n": BELOW_MINIMUM},
    )


def test_site_estimates_are_the_sites_auc_and_calibration():
    sums, reasons = site_estimates(Y, LOGIT, OPEN)
    assert sums["auc"] == pytest.approx(roc_auc_score(Y, LOGIT))
    assert sums["auc_low"] < sums["auc"] < sums["auc_high"]
    assert {"calibration_intercept", "calibration_slope"} <= set(sums)
    assert reasons == {}


def test_a_perfect_score_has_no_interval_but_a_reason():
    sums, reasons = site_estimates(Y, np.where(Y == 1, 2.0, -2.0), OPEN)
    assert sums["auc"] == 1.0
    assert reasons["auc_low"] == reasons["auc_high"] == "auc-at-boundary"


def test_recalibration_terms_add_to_the_pooled_ones():
    whole, _ = recalibration_sums(Y, LOGIT, large=[0.1], slope=[0.2, 0.9], policy=OPEN)
    parts = [
        recalibration_sums(Y[rows], LOGIT[rows], large=[0.1], slope=[0.2, 0.9], policy=OPEN)[0]
        for rows in (slice(0, 40), slice(40, 80))
    ]
    for key in ("slope_gradient", "slope_hessian", "large_gradient", "large_loss"):
        assert np.sum([part[key] for part in parts], axis=0) == pytest.approx(whole[key])


def test_probability_is_stable():
    assert probability(np.array([-800.0, 0.0, 800.0])).tolist() == [0.0, 0.5, 1.0]

"""METRICS of folds as one, against the same patients counted together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedescc.common.statistics.metrics import METRIC_KEYS, suppressed_record
from fedescc.common.statistics.roc import auc, delong_variance
from fedescc.server.evaluation.pooling import AUC_METHOD, pool_explanations, pool_finals, pool_records
from fedescc.simulations.comparison.comparators import exact_record

COUNTED = ("n", "n_pos", "accuracy", "sensitivity", "specificity", "ppv", "npv", "brier")


def patients(seed, n, prevalence=0.4):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < prevalence).astype(np.int8)
    return y, rng.normal(y, 1.5)


def joined(folds):
    return np.concatenate([y for y, _ in folds]), np.concatenate([logit for _, logit in folds])


@given(st.lists(st.integers(1, 40), min_size=2, max_size=6), st.floats(0, 1), st.floats(-2, 2))
@settings(max_examples=60, deadline=None)
def test_counts_and_losses_are_those_of_all_patients_together(sizes, prevalence, threshold):
    """Also where a fold has one class, so that shares in it are undefined."""
    folds = [patients(seed, n, prevalence) for seed, n in enumerate(sizes)]
    pooled = pool_records([exact_record(*fold, threshold) for fold in folds])
    whole = exact_record(*joined(folds), threshold)
    for key in COUNTED:
        assert pooled[key] == (None if whole[key] is None else pytest.approx(whole[key], abs=1e-12)), key
    assert pooled["threshold"] == whole["threshold"]
    assert pooled["folds"] == len(sizes)


def test_the_auc_is_the_mean_by_patients_and_its_interval_has_every_folds_variance():
    folds = [patients(seed, n) for seed, n in enumerate((60, 90, 150))]
    pooled = pool_records([exact_record(*fold, 0.0) for fold in folds])
    shares = np.array([60, 90, 150]) / 300
    areas = np.array([auc(*fold).value for fold in folds])
    variance = float(shares**2 @ [delong_variance(*fold).value for fold in folds])
    area = float(shares @ areas)
    assert pooled["auc"] == pytest.approx(area)
    half = 1.959963984540054 * np.sqrt(variance) / (area * (1 - area))
    low, high = (1 / (1 + np.exp(-(np.log(area / (1 - area)) + sign * half))) for sign in (-1, 1))
    assert pooled["auc_ci95"] == pytest.approx([low, high])


def test_models_whose_scales_differ_do_not_lower_the_pooled_auc():
    """All scores in one ROC would: .5 and less where every fold alone is .9."""
    y, logit = patients(1, 400, 0.5)
    folds = [(y[:200], logit[:200]), (y[200:], logit[200:] + 1000)]
    pooled = pool_records([exact_record(*fold, 0.0) for fold in folds])
    apart = [auc(*fold).value for fold in folds]
    assert pooled["auc"] == pytest.approx(np.mean(apart))
    assert auc(*joined(folds)).value < pooled["auc"] - 0.05


def test_thresholds_that_differ_are_not_one_threshold():
    records = [exact_record(*patients(1, 50), 0.0), exact_record(*patients(2, 50), 0.5)]
    pooled = pool_records(records)
    assert pooled["threshold"] is None
    assert pooled["suppressed"]["threshold"] == "differs-by-fold"


def test_a_fold_that_released_nothing_is_missing_and_counted_as_such():
    shown = exact_record(*patients(1, 50), 0.0)
    pooled = pool_records([shown, suppressed_record("class-count-below-minimum", 0.5), shown])
    assert (pooled["n"], pooled["folds"]) == (100, 2)
    nothing = pool_records([suppressed_record("class-count-below-minimum", 0.5)] * 2)
    assert nothing["n"] is None
    assert nothing["suppressed"]["auc"] == "class-count-below-minimum"
    assert set(METRIC_KEYS) <= set(nothing)


def test_an_auc_that_one_fold_lacks_is_of_the_others_and_says_of_how_many():
    kept = exact_record(*patients(1, 50), 0.0) | {"auc": None, "auc_ci95": None, "suppressed": {"auc": "kept"}}
    shown = exact_record(*patients(2, 60), 0.0)
    pooled = pool_records([kept, shown])
    assert (pooled["n"], pooled["folds"], pooled["folds_with_auc"]) == (110, 2, 1)
    assert pooled["auc"] == shown["auc"]


def test_an_auc_that_no_fold_has_says_why():
    pooled = pool_records([exact_record(np.ones(4, np.int8), np.arange(4.0), 0.0)] * 2)
    assert pooled["auc"] is None
    assert pooled["suppressed"]["auc"] == "one-class"


def test_a_perfect_fold_leaves_no_interval():
    perfect = exact_record(np.array([0, 0, 1, 1], np.int8), np.array([0.0, 1, 2, 3]), 0.0)
    pooled = pool_records([perfect, exact_record(*patients(1, 60), 0.0)])
    assert pooled["auc"] is not None
    assert pooled["auc_ci95"] is None
    assert pooled["suppressed"]["auc_ci95"] == "auc-at-boundary"


@pytest.mark.parametrize("interval", [[0.0, 0.9], [0.6, 1.0], [0.0, 1.0]])
def test_an_interval_that_ends_where_none_can_leaves_no_interval(interval):
    """A site may claim it of its own patients; the other folds still pool."""
    claimed = exact_record(*patients(1, 60), 0.0) | {"auc_ci95": interval}
    pooled = pool_records([exact_record(*patients(2, 60), 0.0), claimed])
    assert pooled["auc"] is not None
    assert pooled["auc_ci95"] is None
    assert pooled["suppressed"]["auc_ci95"] == "auc-at-boundary"


def test_every_site_is_pooled_over_the_folds_that_tested_it():
    a, b, c = (exact_record(*patients(seed, 40), 0.0) for seed in range(3))
    finals = [{"pooled": a, "sites": {"x": a}}, {"pooled": b, "sites": {"x": b, "y": c}}]
    pooled = pool_finals(finals)
    assert pooled["sites"]["y"] == c
    assert pooled["sites"]["x"]["n"] == pooled["pooled"]["n"] == 80
    assert pooled["auc_method"] == AUC_METHOD


def test_shapley_summaries_are_averaged_by_patients():
    def row(n, mean_abs, mean):
        return {"n": n, "mean_abs": mean_abs, "mean": mean, "sd": 1.0}

    none = {"n": 0, "mean_abs": None, "mean": None, "sd": None}
    first = {"unit": "logit", "pooled": {"age": row(10, 1.0, -1.0), "sex": none}, "sites": {"x": {"age": none}}}
    second = {
        "unit": "logit",
        "pooled": {"age": row(30, 2.0, 1.0), "sex": none},
        "sites": {},
        "suppressed": {"y": "no"},
    }
    pooled = pool_explanations([first, second])
    assert pooled["pooled"]["age"] == {"n": 40, "mean_abs": 1.75, "mean": 0.5, "sd": None}
    assert pooled["pooled"]["sex"] == none
    assert pooled["suppressed"] == {"y": "no"}
    assert pool_explanations([{"pooled": None, "sites": {}, "suppressed": {}}])["pooled"] is None

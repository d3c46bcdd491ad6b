"""Metrics against scikit-learn and statsmodels, and the METRICS record of the contract."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    confusion_matrix,
    log_loss,
    precision_score,
    recall_score,
)
from statsmodels.stats.proportion import proportion_confint

from fedescc.common.errors import Refusal
from fedescc.common.statistics.metrics import (
    METRIC_KEYS,
    PROPORTIONS,
    EvaluationSums,
    classification_metrics,
    confusion_counts,
    evaluation_sums,
    metrics_record,
)
from fedescc.common.statistics.roc import Estimate

Labels = NDArray[np.bool_]
Floats = NDArray[np.float64]
EMPTY = EvaluationSums(0, 0, 0, 0, 0, 0, 0.0, 0.0)


def sample(n: int = 400) -> tuple[Labels, Floats]:
    rng = np.random.default_rng(5)
    probability = rng.beta(2, 3, size=n)
    return rng.random(n) < probability, probability


def test_sums_and_metrics_are_those_of_scikit_learn() -> None:
    y, p = sample()
    sums = evaluation_sums(y, p, threshold=0.4)
    called = p >= 0.4
    tn, fp, fn, tp = confusion_matrix(y, called).ravel()
    assert (sums.tp, sums.fp, sums.tn, sums.fn) == (tp, fp, tn, fn)
    assert sums.log_loss_sum == pytest.approx(log_loss(y, p, normalize=False), rel=1e-12)
    found = {name: estimate.value for name, estimate in classification_metrics(sums).items()}
    assert found == pytest.approx(
        {
            "accuracy": accuracy_score(y, called),
            "sensitivity": recall_score(y, called),
            "specificity": recall_score(~y, ~called),
            "ppv": precision_score(y, called),
            "npv": precision_score(~y, ~called),
            "brier": brier_score_loss(y, p),
        },
        rel=1e-12,
    )


def test_a_probability_at_the_threshold_counts_as_positive() -> None:
    assert confusion_counts([1, 0, 1, 0], [0.5, 0.5, 0.4999, 0.4999], 0.5) == (1, 1, 1, 1)
    assert confusion_counts([1, 0], [3.2, -1.0], 0.0) == (1, 0, 1, 0)


def test_certain_and_wrong_has_a_finite_log_loss() -> None:
    sums = evaluation_sums([1], [0.0], 0.5)
    assert sums.log_loss_sum == pytest.approx(-math.log(np.finfo(np.float64).eps))
    assert sums.log_loss_sum == pytest.approx(log_loss([1], [0.0], labels=[0, 1]))


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=40),
    st.integers(0, 40),
    st.floats(0, 1),
)
def test_sums_of_sites_add_to_the_pooled_ones(rows: list[tuple[bool, float]], cut: int, threshold: float) -> None:
    y, p = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    pooled = evaluation_sums(y, p, threshold)
    summed = evaluation_sums(y[:cut], p[:cut], threshold) + evaluation_sums(y[cut:], p[cut:], threshold)
    assert (summed.n, summed.n_pos) == (len(rows), int(y.sum()))
    assert (summed.tp, summed.fp, summed.tn, summed.fn) == (pooled.tp, pooled.fp, pooled.tn, pooled.fn)
    assert summed.brier_sum == pytest.approx(pooled.brier_sum, abs=1e-9)
    assert summed.log_loss_sum == pytest.approx(pooled.log_loss_sum, abs=1e-9)


@pytest.mark.parametrize(
    ("y", "p", "undefined"),
    [
        ([1, 1], [0.9, 0.1], {"specificity": "no-negatives"}),
        ([0, 0], [0.9, 0.1], {"sensitivity": "no-positives"}),
        ([0, 1], [0.1, 0.2], {"ppv": "nobody-called-positive"}),
        ([0, 1], [0.8, 0.9], {"npv": "nobody-called-negative"}),
        (
            [],
            [],
            {
                "accuracy": "no-patients",
                "sensitivity": "no-positives",
                "specificity": "no-negatives",
                "ppv": "nobody-called-positive",
                "npv": "nobody-called-negative",
                "brier": "no-patients",
            },
        ),
    ],
)
def test_nothing_over_nothing_has_a_reason(y: list[int], p: list[float], undefined: dict[str, str]) -> None:
    sums = evaluation_sums(y, p, 0.5)
    found = {name: e.reason for name, e in classification_metrics(sums).items() if e.value is None}
    assert found == undefined


def test_record_has_the_contracts_keys_and_no_reasons_when_all_is_known() -> None:
    sums = EvaluationSums(n=50, n_pos=20, tp=15, fp=6, tn=24, fn=5, brier_sum=9.0, log_loss_sum=25.0)
    record = metrics_record(
        sums,
        threshold=0.4,
        auc=Estimate(0.83),
        auc_ci95=Estimate((0.7, 0.9)),
        calibration_intercept=Estimate(-0.1),
        calibration_slope=Estimate(0.9),
    )
    assert record == {
        "n": 50,
        "n_pos": 20,
        "auc": 0.83,
        "auc_ci95": [0.7, 0.9],
        "accuracy": 0.78,
        "sensitivity": 0.75,
        "specificity": 0.8,
        "ppv": 15 / 21,
        "npv": 24 / 29,
        "brier": 0.18,
        "calibration_intercept": -0.1,
        "calibration_slope": 0.9,
        "threshold": 0.4,
        "ci95": {
            name: pytest.approx(list(proportion_confint(part, whole, method="wilson")), abs=1e-12)
            for name, (part, whole) in {
                "accuracy": (39, 50),
                "sensitivity": (15, 20),
                "specificity": (24, 30),
                "ppv": (15, 21),
                "npv": (24, 29),
            }.items()
        },
    }
    assert tuple(record) == (*METRIC_KEYS, "ci95")
    assert tuple(record["ci95"]) == PROPORTIONS
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_record_names_a_reason_for_every_null_and_no_other() -> None:
    record = metrics_record(
        EMPTY,
        threshold=0.5,
        auc=Estimate(None, "one-class"),
        auc_ci95=Estimate(None, "zero-variance"),
        calibration_intercept=Estimate(0.0),
        calibration_slope=Estimate(None, "separated"),
    )
    assert tuple(record) == (*METRIC_KEYS, "ci95", "suppressed")
    assert record["ci95"] == dict.fromkeys(PROPORTIONS)
    assert {key for key in METRIC_KEYS if record[key] is None} == set(record["suppressed"])
    assert record["calibration_intercept"] == 0.0
    assert record["suppressed"]["auc"] == "one-class"
    assert record["suppressed"]["auc_ci95"] == "zero-variance"
    assert record["suppressed"]["calibration_slope"] == "separated"
    assert record["suppressed"]["brier"] == "no-patients"
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_site_records_and_pooled_record_come_from_the_same_function() -> None:
    y, p = sample(90)
    parts = [evaluation_sums(y[k::3], p[k::3], 0.4) for k in range(3)]
    rest = {"auc": Estimate(0.7), "calibration_intercept": Estimate(0.0), "calibration_slope": Estimate(1.0)}
    records = [
        metrics_record(sums, threshold=0.4, auc_ci95=Estimate((0.6, 0.8)), **rest)
        for sums in (parts[0] + parts[1] + parts[2], evaluation_sums(y, p, 0.4))
    ]
    summed, pooled = ({key: value for key, value in r.items() if "ci95" not in key} for r in records)
    assert summed == pytest.approx(pooled, abs=1e-12)
    assert records[0]["ci95"] == records[1]["ci95"]
    assert records[0]["auc_ci95"] == records[1]["auc_ci95"] == [0.6, 0.8]


@pytest.mark.parametrize(
    "changed",
    [
        {"n": 51},
        {"n_pos": 21},
        {"tp": -1, "n_pos": 4, "n": 34},
        {"brier_sum": math.nan},
        {"brier_sum": 50.1},
        {"brier_sum": -1.0},
        {"log_loss_sum": math.inf},
        {"log_loss_sum": -0.1},
    ],
)
def test_sums_that_cannot_be_are_refused(changed: dict[str, float]) -> None:
    good = {
        "n": 50,
        "n_pos": 20,
        "tp": 15,
        "fp": 6,
        "tn": 24,
        "fn": 5,
        "brier_sum": 9.0,
        "log_loss_sum": 25.0,
    }
    with pytest.raises(Refusal) as caught:
        EvaluationSums(**(good | changed))  # type: ignore[arg-type]  # counts and totals share the table above
    assert caught.value.code == "inconsistent-sums"


@pytest.mark.parametrize(
    ("y", "p", "threshold", "code"),
    [
        ([0, 1], [0.1, 1.5], 0.5, "not-probabilities"),
        ([0, 1], [-0.1, 0.5], 0.5, "not-probabilities"),
        ([0, 1], [0.1, 0.5], math.nan, "bad-threshold"),
        ([0, 1], [0.1, math.nan], 0.5, "scores-not-finite"),
        ([0, 3], [0.1, 0.2], 0.5, "labels-not-binary"),
    ],
)
def test_bad_predictions_are_refused(y: list[int], p: list[float], threshold: float, code: str) -> None:
    with pytest.raises(Refusal) as caught:
        evaluation_sums(y, p, threshold)
    assert caught.value.code == code

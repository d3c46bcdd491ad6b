"""Curves of results: null with a reason where the plan or the sites do not give them, else those of the statistics."""

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from fedescc.common.analysis import Analysis
from fedescc.common.statistics.roc import ClassHistogram, Estimate, score_histogram
from fedescc.server.evaluation.curves import CURVES, curve_entries, no_curves

RNG = np.random.default_rng(5)
Y = (RNG.random(300) < 0.4).astype(int)
LOGIT = RNG.normal(1.2 * Y - 0.6)
EDGES = np.linspace(-2, 2, 21).tolist()
TOTAL = score_histogram(Y, LOGIT, EDGES)
PLAN = Analysis(partial_auc=0.3, decision_thresholds=(0.25, 0.5))


def test_entries_are_json_and_scikit_learns_on_the_bins():
    found = curve_entries(Estimate(TOTAL), EDGES, PLAN)
    bins = np.digitize(LOGIT, EDGES)
    assert found["partial_auc"] == {"auc": pytest.approx(roc_auc_score(Y, bins, max_fpr=0.3)), "max_fpr": 0.3}
    assert found["average_precision"] == pytest.approx(average_precision_score(Y, bins))
    assert found["suppressed"] == {}
    assert list(found["curves"]) == list(CURVES)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    decision = found["curves"]["decision"]
    called = LOGIT >= 0
    assert decision["model"][1] == pytest.approx(((called & (Y == 1)).sum() - (called & (Y == 0)).sum()) / 300)


def test_what_is_not_planned_is_null_and_says_so():
    found = curve_entries(Estimate(TOTAL), EDGES, Analysis())
    assert found["partial_auc"] is None
    assert found["suppressed"] == {"partial_auc": "not-planned"}
    assert found["curves"]["decision"] is None
    assert found["curves"]["suppressed"] == {"decision": "not-planned"}
    assert found["curves"]["calibration"] is not None


def test_without_a_histogram_everything_is_null_for_the_same_reason():
    found = curve_entries(Estimate(None, "histogram-not-released"), EDGES, PLAN)
    assert found == no_curves("histogram-not-released")
    assert found["partial_auc"] is found["average_precision"] is None
    assert set(found["curves"]["suppressed"].values()) == {"histogram-not-released"}


def test_a_histogram_of_one_class_gives_reasons_and_the_calibration_curve_alone():
    one_class = ClassHistogram(TOTAL.negatives, np.zeros_like(TOTAL.positives))
    found = curve_entries(Estimate(one_class), EDGES, PLAN)
    assert found["suppressed"] == {"partial_auc": "one-class", "average_precision": "one-class"}
    assert found["curves"]["suppressed"] == {"precision_recall": "one-class", "decision": "one-class"}
    assert set(found["curves"]["calibration"]["observed"]) == {0.0}

"""What is locked before the test set opens: the plan's edges, and a threshold by its rule."""

import numpy as np
import pytest

from fedescc.common.analysis import Analysis
from fedescc.common.statistics.roc import ClassHistogram, probability
from fedescc.server.evaluation.lock import plan_edges, threshold_by

# Sensitivity at the edges -1, 0, 1: 1, .9, .5; specificity: .2, .6, .9.
HISTOGRAM = ClassHistogram(np.array([2, 4, 3, 1]), np.array([0, 1, 4, 5]))
EDGES = [-1.0, 0.0, 1.0]


def plan(**settings):
    return Analysis.model_validate(settings)


def test_one_half_and_the_plans_probabilities_are_edges():
    assert plan_edges(plan()) == [0.0]
    found = plan_edges(plan(decision_thresholds=[0.1, 0.25, 0.5, 0.6]))
    assert probability(found) == pytest.approx([0.1, 0.25, 0.5, 0.6])
    assert found[2] == 0.0


@pytest.mark.parametrize(
    ("rule", "threshold"),
    [
        ("youden", 0.0),  # .5 at 0, .4 at 1, .2 at -1
        ({"rule": "sensitivity", "at": 0.9}, 0.0),
        ({"rule": "sensitivity", "at": 0.95}, -1.0),
        ({"rule": "specificity", "at": 0.6}, 0.0),
        ({"rule": "specificity", "at": 0.7}, 1.0),
        ({"rule": "cost", "false_negative": 9, "false_positive": 1}, -1.0),  # 8 false alarms against 9 + 4
        ({"rule": "cost", "false_negative": 1, "false_positive": 9}, 1.0),
    ],
)
def test_the_rule_chooses_the_edge(rule, threshold):
    assert threshold_by(plan(threshold=rule), HISTOGRAM, EDGES).value == threshold


def test_a_rule_that_no_edge_keeps_has_none():
    found = threshold_by(plan(threshold={"rule": "specificity", "at": 0.95}), HISTOGRAM, EDGES)
    assert (found.value, found.reason) == (None, "not-reached")

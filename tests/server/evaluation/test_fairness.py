"""Gaps between levels of a subgroup: the widest pair, and an interval that holds the true difference."""

import json

import numpy as np
import pytest
from statsmodels.stats.proportion import confint_proportions_2indep

from fedescc.common.analysis import MISSING
from fedescc.common.statistics.proportions import wilson_interval
from fedescc.server.evaluation.fairness import fairness_gaps


def level(sensitivity, specificity=0.5, area=0.7, n=50):
    """METRICS of a level with ``n`` patients of each class."""
    values = {"sensitivity": sensitivity, "specificity": specificity}
    ends = {key: None if v is None else list(wilson_interval(round(v * n), n).value) for key, v in values.items()}
    return {**values, "auc": area, "auc_ci95": None if area is None else [area - 0.1, area + 0.05], "ci95": ends}


def test_the_gap_is_the_largest_between_any_two_levels():
    entries = {"g": {"a": level(0.5), "b": level(0.9), "c": level(0.7), MISSING: level(0.1)}}
    found = fairness_gaps(entries)["g"]
    assert (found["sensitivity"]["gap"], found["sensitivity"]["levels"]) == (pytest.approx(0.4), ["a", "b"])
    assert found["specificity"]["gap"] == 0.0
    json.dumps(found, allow_nan=False)


def test_the_lower_level_comes_first_whatever_their_names():
    found = fairness_gaps({"g": {"a": level(0.9), "b": level(0.5)}})["g"]["sensitivity"]
    assert (found["gap"], found["levels"]) == (pytest.approx(0.4), ["b", "a"])


def test_fewer_than_two_levels_have_no_gap():
    found = fairness_gaps({"g": {"a": level(0.5, None), "b": level(0.9, None), "c": level(None, 0.4)}})["g"]
    nothing = {"gap": None, "ci95": None, "levels": None, "suppressed": "fewer-than-two-levels"}
    assert found["specificity"] == nothing
    assert found["sensitivity"]["gap"] == pytest.approx(0.4)
    assert fairness_gaps({"g": {}})["g"]["auc"] == nothing
    assert fairness_gaps({}) == {}


def test_the_interval_of_two_proportions_is_newcombes():
    found = fairness_gaps({"g": {"a": level(0.4, n=30), "b": level(0.8, n=70)}})["g"]["sensitivity"]
    expected = confint_proportions_2indep(56, 70, 12, 30, method="newcomb", compare="diff")
    assert found["ci95"] == pytest.approx(list(expected), abs=1e-9)


def test_the_interval_of_aucs_is_of_their_own_intervals():
    found = fairness_gaps({"g": {"a": level(0.5, area=0.6), "b": level(0.5, area=0.8)}})["g"]["auc"]
    assert found["ci95"] == pytest.approx([0.2 - np.hypot(0.1, 0.05), 0.2 + np.hypot(0.05, 0.1)])


def test_a_level_whose_auc_has_no_interval_leaves_the_gap_without_one_and_says_why():
    perfect = level(0.5, area=1.0) | {"auc_ci95": None, "suppressed": {"auc_ci95": "auc-at-boundary"}}
    found = fairness_gaps({"g": {"a": level(0.5), "b": perfect}})["g"]["auc"]
    assert (found["ci95"], found["suppressed"]) == (None, "auc-at-boundary")
    assert found["gap"] == pytest.approx(0.3)
    assert fairness_gaps({"g": {"a": perfect, "b": level(0.5)}})["g"]["auc"]["suppressed"] == "auc-at-boundary"


def test_the_interval_of_two_levels_holds_the_true_difference():
    rng = np.random.default_rng(5)
    held = []
    for _ in range(1500):
        a, b = rng.binomial(40, 0.6) / 40, rng.binomial(60, 0.7) / 60
        found = fairness_gaps({"g": {"a": level(a, n=40), "b": level(b, n=60)}})["g"]["sensitivity"]
        low, high = found["ci95"]
        truth = 0.1 if found["levels"] == ["a", "b"] else -0.1
        held.append(low <= truth <= high)
    assert 0.935 < np.mean(held) < 0.97

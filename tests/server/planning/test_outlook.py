"""What a run can show at an assumed AUC: figures at the planned threshold, and intervals of everything."""

import pytest
from binormal_scores import drawn
from statsmodels.stats.proportion import proportion_confint

from fedescc.common.analysis import AtSensitivity, AtSpecificity, LeastCost
from fedescc.server.planning.binormal import Binormal
from fedescc.server.planning.outlook import at_threshold, outlook, planned_threshold, proportion

RULES = {
    "youden": "youden",
    "sensitivity": AtSensitivity(rule="sensitivity", at=0.9),
    "specificity": AtSpecificity(rule="specificity", at=0.9),
    "cost": LeastCost(rule="cost", false_negative=5, false_positive=1),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_figures_are_those_of_simulated_patients(rule):
    score = Binormal(0.8, 0.3)
    y, odds = drawn(score, 200_000)
    called = odds >= planned_threshold(score, rule)
    found = at_threshold(score, (300, 700), rule)
    assert found["sensitivity"]["expected"] == pytest.approx(called[y].mean(), abs=0.005)
    assert found["specificity"]["expected"] == pytest.approx((~called[~y]).mean(), abs=0.005)
    assert found["ppv"]["expected"] == pytest.approx(y[called].mean(), abs=0.008)
    assert found["npv"]["expected"] == pytest.approx((~y[~called]).mean(), abs=0.008)


def test_a_planned_sensitivity_or_specificity_is_reached():
    score = Binormal(0.8, 0.3)
    assert at_threshold(score, (30, 70), RULES["sensitivity"])["sensitivity"]["expected"] == pytest.approx(0.9)
    assert at_threshold(score, (30, 70), RULES["specificity"])["specificity"]["expected"] == pytest.approx(0.9)


@pytest.mark.parametrize(("part", "whole"), [(15.2, 20), (0, 20), (20, 20), (0.4, 1)])
def test_intervals_of_proportions_are_wilsons(part, whole):
    found = proportion(part, whole)
    assert (found["low"], found["high"]) == pytest.approx(
        proportion_confint(round(part), whole, method="wilson"), abs=1e-9
    )
    assert found["expected"] == part / whole


def test_a_proportion_of_nobody_has_none():
    assert proportion(0.1, 0.2) == {
        "expected": None,
        "n": 0,
        "low": None,
        "high": None,
        "width": None,
        "reason": "no-patients",
    }


def test_pooling_narrows_every_sites_interval_and_a_better_model_too():
    own = {"b": (10, 20), "a": (20, 30), "c": (9, 30)}
    found = [outlook(auc, (39, 80), own, "youden") for auc in (0.65, 0.75, 0.85)]
    assert list(found[0]["sites"]) == ["a", "b", "c"]
    for entry in found:
        assert all(entry["pooled"]["width"] < site["width"] for site in entry["sites"].values())
        assert [one["width"] for one in entry["prediction"]] == sorted(one["width"] for one in entry["prediction"])
    widths = [entry["pooled"]["width"] for entry in found]
    assert widths == sorted(widths, reverse=True)

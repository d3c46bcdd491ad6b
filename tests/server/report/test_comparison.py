"""Who was judged on which patients: other sites than the run's own, and folds without an AUC, are said."""

import pytest
from report_page import Page
from results_factory import sample_comparators, sample_folds, sample_results

from fedescc.server.report.formats import fold_label
from fedescc.server.report.page import render

OWN = ["beijing", "chengdu", "henan-cancer", "shantou"]
SAME = "The same test patients, pooled over sites."


@pytest.fixture
def results():
    found = sample_results() | {"comparators": sample_comparators()}
    for name in ("clinical", "fusion"):
        found["comparators"][name]["pooled_sites"] = OWN
    assert found["final"]["pooled_sites"] == OWN
    return found


def test_other_sites_are_named_where_they_are_not_the_runs_own(results):
    results["comparators"]["clinical"]["pooled_sites"] = ["shantou", "beijing"]
    words = Page(render(results)).text
    said = "Clinical: pooled over beijing, shantou, not over beijing, chengdu, henan-cancer, shantou as the federated"
    assert said in words
    assert "Fusion: pooled" not in words
    assert SAME not in words
    assert "As many test patients, but of other sites; see below." in words


def test_the_same_sites_in_another_order_are_the_same(results):
    results["comparators"]["clinical"]["pooled_sites"] = OWN[::-1]
    words = Page(render(results)).text
    assert SAME in words
    assert "pooled over beijing" not in words


def test_a_comparator_of_no_site_says_so(results):
    results["comparators"]["clinical"]["pooled_sites"] = []
    assert "Clinical: pooled over no site, not over beijing" in Page(render(results)).text


def test_over_folds_the_fold_is_named():
    folds = sample_folds("kfold")
    one = folds["folds"][1]
    one["comparators"]["clinical"]["pooled_sites"] = ["beijing"]
    assert f"Clinical, {fold_label(one['fold'])}: pooled over beijing, not over" in Page(render(folds)).text


def test_an_auc_over_fewer_folds_than_there_are_says_so():
    folds = sample_folds("kfold")
    assert folds["final"]["pooled"]["folds_with_auc"] == folds["final"]["pooled"]["folds"] == 3
    assert "as the others have none" not in Page(render(folds)).text
    folds["final"]["pooled"]["folds_with_auc"] = 2
    folds["final"]["sites"]["beijing"]["folds_with_auc"] = 1
    folds["comparators"]["clinical"]["pooled"]["folds_with_auc"] = 2
    words = Page(render(folds)).text
    assert "AUC pooled: the mean of 2 of 3 folds, as the others have none." in words
    assert "AUC beijing: the mean of 1 of 3 folds, as the others have none." in words
    assert "AUC Clinical: the mean of 2 of 3 folds, as the others have none" in words


def test_without_any_auc_there_is_no_mean_to_speak_of():
    folds = sample_folds("kfold")
    folds["final"]["pooled"] |= {"auc": None, "auc_ci95": None, "folds_with_auc": 0}
    assert "the mean of 0" not in Page(render(folds)).text

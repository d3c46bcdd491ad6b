"""The plan on the page: what was fixed, when the test set opened, who had opened it before, what came on top."""

import pytest
from report_page import Page
from results_factory import LOST, PATIENTS, sample_folds, sample_results

from fedescc.common.errors import Refusal
from fedescc.common.study import read_study
from fedescc.server.entries import plan_entry
from fedescc.server.report.document import parse_results
from fedescc.server.report.page import render
from fedescc.server.report.plan import opened_before, plan_section


@pytest.fixture
def results():
    return sample_results()


def section(results):
    return Page(plan_section(parse_results(results)))


def test_the_plan_stands_in_words(results):
    words = section(results).text
    assert f"SHA-256 of the plan {results['plan']['sha256']}" in words
    assert "Primary metric AUC of all sites' test patients together Threshold rule the highest sum of" in words
    assert "Comparators Clinical, Features + clinical, Fusion Paired test Clinical with the federated model" in words
    assert "Subgroups sex, age (cut at 65), regimen, stage, scanner vendor" in words
    assert "Partial AUC up to a false positive rate of 0.2 Net benefit at 0.1, 0.15, 0.2, 0.25," in words


def test_what_the_plan_does_not_have_and_what_was_not_run_is_named(results):
    words = section(results).text
    assert "Exploratory, not in the plan Radiomics + clinical" in words
    assert "Planned and not run Features + clinical, Fusion" in words
    results["plan"]["comparators"] = {"planned": ["clinical"], "exploratory": [], "not_run": []}
    words = section(results).text
    assert "Exploratory" not in words
    assert "not run" not in words


def test_a_fusion_of_other_models_is_told_from_that_of_the_plan(results):
    plan = read_study("escc-pcr").analysis
    results["plan"] = plan_entry(plan, ("features_clinical", "fusion"))
    assert results["plan"]["comparators"]["exploratory"] == ["fusion"]
    words = section(results).text
    assert "Exploratory, not in the plan Fusion of other models than the plan's" in words
    assert "Planned and not run Clinical, Fusion of the plan's models" in words
    results["plan"] = plan_entry(plan, plan.comparators)
    assert "of other models" not in section(results).text


def test_an_empty_plan_says_so(results):
    results["plan"]["analysis"] = {}
    words = section(results).text
    assert "Primary metric – Threshold rule –" in words
    assert (
        "Comparators none Paired test none Subgroups none Partial AUC not planned Net benefit at not planned" in words
    )


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("youden", "the highest sum of sensitivity and specificity (Youden);"),
        ({"rule": "sensitivity", "at": 0.9}, "the highest that reaches a sensitivity of 0.9;"),
        ({"rule": "specificity", "at": 0.85}, "the most sensitive that reaches a specificity of 0.85;"),
        (
            {"rule": "cost", "false_negative": 5.0, "false_positive": 1.0},
            "least cost, a missed patient at 5 and a false alarm at 1;",
        ),
        ({"rule": "cost"}, "Threshold rule cost;"),
        ({"rule": "later", "at": 0.5}, "Threshold rule a later of 0.5;"),
        ("later", "Threshold rule later;"),
    ],
)
def test_every_threshold_rule_is_in_words(results, rule, said):
    results["plan"]["analysis"]["threshold"] = rule
    assert said in section(results).text


def test_a_rule_that_could_not_be_applied_is_a_departure(results):
    assert "Rule not applied" not in section(results).text
    results["final"]["threshold_source"] = "default"
    assert "Rule not applied the default threshold stands: no site released" in section(results).text
    folds = sample_folds()
    folds["folds"][1]["final"]["threshold_source"] = "default"
    assert "Rule not applied the default threshold stands in 1 of 3 folds: no site" in section(folds).text


def test_the_opening_has_its_time_digest_looks_and_thresholds(results):
    page = section(results)
    opening = results["opening"]
    assert page.table("Opened at")[1] == [opening["opened_at"], opening["plan_sha256"][:12], "2", "5"]
    assert page.table("Model", "Threshold")[1:] == [["Federated", "0.600"], ["Clinical", "0.550"]]
    assert all(look in page.text for look in opening["looks"])


def test_a_site_that_had_been_opened_before_is_flagged_in_table_warning_and_headline(results):
    page = section(results)
    assert dict(page.table("Site", "Opened before")[1:]) == dict.fromkeys(PATIENTS, "0") | {LOST: "1 ▲"}
    assert f"Not the first opening. Other runs had opened test patients before at {LOST} (1 time)." in page.text
    assert "But other runs had opened test patients of 1 site before; see Plan." in Page(render(results)).text
    assert opened_before(parse_results(results)) == {LOST: 1}


def test_a_first_opening_has_no_warning(results):
    results["opening"]["sites"] = dict.fromkeys(PATIENTS, 0)
    page = section(results)
    assert page.named("aside") == []
    assert "▲" not in page.text
    assert "other runs had opened test patients of" not in Page(render(results)).text


def test_a_site_that_does_not_say_is_not_called_untouched(results):
    results["opening"]["sites"] = {"beijing": None}
    page = section(results)
    assert page.table("Site", "Opened before")[1:] == [["beijing", "not told"]]
    assert page.named("aside") == []


def test_another_plan_at_the_opening_is_a_warning(results):
    assert "Opened under another plan" not in section(results).text
    results["opening"]["plan_sha256"] = "0" * 64
    assert (
        "Opened under another plan. The digest at the opening is not that of the plan above." in section(results).text
    )


@pytest.mark.parametrize("mode", ["kfold", "loso"])
def test_every_fold_has_its_opening(mode):
    folds = sample_folds(mode)
    tested = [fold for fold in folds["folds"] if "failed" not in fold]
    tested[0]["opening"]["thresholds"]["federated"] = 0.5
    tested[1]["opening"]["sites"][LOST] = 3
    tested[1]["opening"]["sites"]["beijing"] = 2
    page = section(folds)
    assert len(page.table("Of fold", "Opened at")) == 1 + len(tested)
    assert page.table("Model", "Threshold")[1:] == [["Federated", "0.500–0.600"], ["Clinical", "0.550"]]
    before = dict(page.table("Site", "Opened before")[1:])
    assert (before[LOST], before["beijing"], before["wuhan"]) == ("1–3 ▲", "0–2 ▲", "0")
    assert f"at beijing (2 times), {LOST} (3 times)" in page.text
    assert ("shown first, where every site is held out once" in page.text) == (mode == "loso")


@pytest.mark.parametrize("key", ["plan", "opening"])
def test_plan_or_opening_may_be_absent(results, key):
    del results[key]
    assert section(results).named("section")[0]["id"] == "plan"


def test_without_both_there_is_no_section(results):
    del results["plan"], results["opening"]
    assert plan_section(parse_results(results)) is None


@pytest.mark.parametrize("key", ["looks", "thresholds", "sites"])
def test_any_part_of_an_opening_may_be_absent(results, key):
    del results["opening"][key]
    assert "Opening of the test set" in section(results).text


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("plan", "sha256"), "a path/of/a/file"),
        (("opening", "plan_sha256"), "x"),
        (("opening", "looks"), ["no digest"]),
        (("opening", "thresholds"), {"federated": 1.2}),
        (("opening", "sites"), {"beijing": -1}),
    ],
)
def test_what_is_no_plan_or_opening_is_refused(results, path, value):
    results[path[0]][path[1]] = value
    with pytest.raises(Refusal, match=rf"{path[0]}\.{path[1]}"):
        parse_results(results)

"""Planning in the report: expected beside observed widths, and the plan's own tables and remarks."""

import re

import pytest
from examined_results import examined_results
from report_page import Page

from fedescc.common.errors import Refusal
from fedescc.server.planning import words
from fedescc.server.planning.widths import widths_figure
from fedescc.server.report.formats import decimal
from fedescc.server.report.page import render
from fedescc.server.report.svg import look


@pytest.fixture
def results():
    return examined_results()


@pytest.fixture
def page(results):
    return Page(render(results))


def at(results, auc):
    return next(one for one in results["planning"]["precision"]["at"] if one["auc"] == auc)


def width(metrics):
    return metrics["auc_ci95"][1] - metrics["auc_ci95"][0]


def test_expected_stands_beside_observed_for_all_and_for_every_site(results, page):
    rows = {row[0]: row[1:] for row in page.table("", "Expected at AUC 0.75")[1:]}
    assert set(rows) == {"all sites", *results["final"]["sites"]}
    pooled = results["final"]["pooled"]
    expected = at(results, 0.75)["pooled"]["width"]
    assert rows["all sites"][:3] == [decimal(expected), decimal(width(pooled)), decimal(pooled["auc"])]
    for site in ("beijing", "chengdu", "henan-cancer"):
        own = results["final"]["sites"][site]
        known = at(results, 0.75)["sites"][site]["width"]
        assert rows[site][:3] == [decimal(known), decimal(width(own)), decimal(own["auc"])]


def test_the_width_at_the_nearest_planned_auc_is_named_with_it(results):
    results["final"]["pooled"] |= {"auc": 0.861, "auc_ci95": [0.8, 0.92]}
    rows = {row[0]: row[1:] for row in Page(render(results)).table("", "Expected at AUC 0.75")[1:]}
    assert rows["all sites"][1:] == [
        "0.120",
        "0.861",
        f"{decimal(at(results, 0.85)['pooled']['width'])} (at 0.85)",
    ]


def test_a_site_that_shows_nothing_or_was_not_planned_for_has_dashes(results, page):
    rows = {row[0]: row[1:] for row in page.table("", "Expected at AUC 0.75")[1:]}
    assert rows["shantou"][0] == rows["shantou"][3] == "\u2013"
    assert rows["shantou"][1] == decimal(width(results["final"]["sites"]["shantou"]))
    assert rows["wuhan"] == ["\u2013"] * 4


def test_observed_widths_are_large_markers_at_their_auc(results, page):
    drawing = page.html.split('aria-labelledby="plan-widths-title')[1].split("</svg>")[0]
    assert drawing.count("scale(1.9)") == 4  # all sites and the three whose own results were expected
    spoken = re.search(r'id="plan-widths-desc">([^<]*)<', page.html)[1]
    assert f"Observed, all sites: {decimal(width(results['final']['pooled']))}" in spoken
    assert "Large markers: observed." in page.text


def test_an_auc_beyond_the_plans_stays_in_the_frame():
    spans = [{"auc": auc, "pooled": {"width": 0.2}, "sites": {}} for auc in (0.65, 0.9)]
    drawing = widths_figure(spans, {}, {"all sites": (0.5, 0.31), "elsewhere": (0.7, 0.9)})
    places = [tuple(map(float, pair)) for pair in re.findall(r"translate\(([\d.]+) ([\d.]+)\)", drawing)]
    assert all(46 <= x <= 462 and 34 <= y <= 300 for x, y in places[:3])
    assert "elsewhere" not in drawing


def test_the_plans_own_figure_needs_no_looks_and_has_no_large_marker():
    spans = [{"auc": auc, "pooled": {"width": 0.2}, "sites": {"a": {"width": None}}} for auc in (0.65, 0.9)]
    drawing = widths_figure(spans)
    assert "scale(1.9)" not in drawing
    assert look(0).css in drawing


def test_events_subgroups_and_remarks_are_those_of_the_plan(results, page):
    plan = results["planning"]
    for head, expected in (
        (("Model", "Parameters"), words.development_rows(plan)),
        (("Subgroup", "Level", "With the outcome / patients"), words.subgroup_rows(plan)),
    ):
        assert [tuple(row) for row in page.table(*head)[1:]] == expected
    for remark in words.remarks(plan):
        assert remark in page.text
    assert words.assumptions(plan) in page.text
    assert "This run has no differential privacy" in page.text


def test_epsilon_of_every_site_stands_where_training_is_protected():
    results = examined_results(protected=True)
    page = Page(render(results))
    rows = page.table("Site", "Sampling rate")[1:]
    assert [tuple(row) for row in rows] == words.budget_rows(results["planning"])
    assert float(rows[0][3]) == pytest.approx(results["planning"]["privacy"]["sites"]["beijing"]["epsilon"], abs=0.005)
    assert "noise multiplier 1.5 and delta 1e-05" in page.text


def test_sites_without_counts_are_named(page):
    assert "wuhan \u2013 the site did not answer before the deadline" in page.text


def test_without_test_patients_of_both_outcomes_no_interval_is_expected(results):
    results["planning"]["precision"] |= {"at": [], "reason": "counts-not-told"}
    page = Page(render(results))
    assert "No interval could be expected: the sites keep the counts of patients (counts-not-told)." in page.text
    assert "plan-widths" not in page.html


def test_where_no_site_told_anything_no_subgroup_is_listed(results):
    results["planning"] |= {"sites": {}}
    page = Page(render(results))
    assert not [found for found in page.tables if found[0][:2] == ["subgroup", "level"]]


def test_no_plan_has_its_reason(results):
    refused = {"beijing": "no-answer-in-time"}
    results["planning"] = {"format": "fedescc-plan-1", "reason": "bad-assumption", "refused": refused}
    text = Page(render(results)).text
    assert "No plan: no plan can be made of the assumptions (bad-assumption)." in text
    assert "Sites without an answer: beijing" in text


@pytest.mark.parametrize("absent", [True, False])
def test_what_is_not_in_the_results_is_one_sentence(results, absent):
    results["planning"] = None
    if absent:
        del results["planning"]
    assert "Planning The results hold no such part" in Page(render(results)).text


@pytest.mark.parametrize("key", ["assumed", "sites", "precision", "development", "subgroups", "privacy"])
def test_half_a_plan_is_refused_by_name(results, key):
    del results["planning"][key]
    with pytest.raises(Refusal, match="planning"):
        render(results)

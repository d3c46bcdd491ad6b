"""What each site gives: dots, intervals and table are those of the results; a missing gain has its reason."""

import re

import pytest
from examined_results import GAINS, LATE, UNTRAINED, examined_results
from report_page import Page

from fedescc.server.evaluation.calibration import CONTRIBUTORS_CHANGED
from fedescc.server.report.formats import p_value, signed, signed_interval
from fedescc.server.report.page import render
from fedescc.server.report.reasons import reason


@pytest.fixture
def results():
    return examined_results()


@pytest.fixture
def page(results):
    return Page(render(results))


def shown(page, name):
    return page.html.split(f'aria-labelledby="{name}-title')[1].split("</svg>")[0]


def test_the_table_has_both_gains_of_every_site(results, page):
    rows = {row[0]: row[1:] for row in page.table("Site", "Gain")[1:]}
    assert list(rows) == sorted(GAINS)
    for site, entry in results["contribution"]["sites"].items():
        for place, key in ((0, "all_sites"), (3, "other_sites")):
            one = entry[key]
            cells = rows[site][place : place + 3]
            if one["gain"] is None:
                assert cells == ["\u2013"] * 3
            else:
                assert cells == [signed(one["gain"]), signed_interval(one["ci95"]), p_value(one["p"])]
    assert rows["beijing"][0] == "+0.021"  # its model without the site is .021 worse
    reasons = [a["id"] for a in page.named("li") if a.get("id", "").startswith("contribution-reason")]
    assert reasons == ["contribution-reason-1"]  # of the one gain that is missing
    assert "no-quorum" in page.text


def test_both_plots_share_a_scale_with_a_line_at_zero(page):
    axes = [re.findall(r'middle">([^<]*)<', shown(page, name)) for name in ("contribution-all", "contribution-others")]
    assert axes[0] == axes[1]
    assert axes[0][0].startswith("\u2212")
    for name in ("contribution-all", "contribution-others"):
        assert '<line x1="295" y1="8" x2="295"' in shown(page, name)  # halfway from 190 to 400
    assert "right of the line at 0 the site improves the model" in page.text


def test_a_gain_is_drawn_on_its_side_of_zero(page):
    drawing = shown(page, "contribution-all")
    places = [float(x) for x in re.findall(r"translate\(([\d.]+) ", drawing)]
    assert places[0] > 295 > places[1]
    assert places[2] == 295
    assert "no value" in shown(page, "contribution-others")


def test_what_it_means_and_who_has_none_is_said(results, page):
    assert results["contribution"]["note"] in page.text
    assert f"{UNTRAINED} \u2013 the site has fewer training patients than its minimum count" in page.text


def test_sites_without_any_gain_still_render(results):
    for entry in results["contribution"]["sites"].values():
        null = {"gain": None, "standard_error": None, "ci95": None, "p": None, "suppressed": "no-quorum"}
        entry |= {"all_sites": null, "other_sites": null}
    page = Page(render(results))
    assert shown(page, "contribution-all").count("no value") == len(GAINS)
    assert page.table("Site", "Gain")[1][1:] == ["\u2013"] * 6


def test_where_no_site_can_be_told_the_reasons_stand(results):
    results["contribution"] = {"unit": "AUC", "sites": {}, "unavailable": {"beijing": "personalised"}, "note": "n"}
    words = Page(render(results)).text
    assert "No site's contribution can be told." in words
    assert "beijing \u2013 a part of the model is every site's own (personalised)" in words


@pytest.mark.parametrize("absent", [True, False])
def test_what_is_not_in_the_results_is_one_sentence(results, absent):
    results["contribution"] = None
    if absent:
        del results["contribution"]
    page = Page(render(results))
    assert "Site contribution The results hold no such part" in page.text
    assert "contribution-all" not in page.html


def test_sites_that_missed_a_part_of_a_model_without_another_are_named(page):
    said = f"Without beijing \u2013 {LATE} missed rounds of training: {reason('no-answer-in-time')}"
    assert f"Not the site's alone. In these models other sites are missing in part: {said}" in page.text
    assert f"Without beijing \u2013 {LATE} missed paired comparison: {reason('site-error')}" in page.text


def test_where_nobody_missed_anything_there_is_no_warning(results):
    for entry in results["contribution"]["sites"].values():
        entry["refused"] = {}
    assert "Not the site's alone" not in Page(render(results)).text


def test_a_model_that_lacks_more_than_one_site_says_what_that_means(results):
    results["contribution"]["unavailable"] = {"beijing": CONTRIBUTORS_CHANGED}
    words = Page(render(results)).text
    assert "beijing \u2013 the model without it was trained without other sites too, so the gain would not be" in words
    assert f"({CONTRIBUTORS_CHANGED})" in words

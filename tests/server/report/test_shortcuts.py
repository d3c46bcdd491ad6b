"""The section on scanner shortcuts: what embeddings tell, how scans differ, and what is said where nothing is known."""

import re

import pytest
from examined_results import NOISY, examined_results
from report_page import Page

from fedescc.server.report.formats import decimal, interval, p_value, scan_label, signed
from fedescc.server.report.page import render
from fedescc.server.shortcuts.accuracy import balanced_accuracy
from fedescc.server.shortcuts.drift import LARGEST_SMD
from fedescc.server.shortcuts.replies import Assigned


@pytest.fixture
def results():
    return examined_results()


@pytest.fixture
def page(results):
    return Page(render(results))


def drawing(page, name):
    return page.html.split(f'aria-labelledby="{name}-title')[1].split("</svg>")[0]


def test_what_the_embeddings_tell_has_a_verdict_with_its_numbers(results, page):
    for kind in ("site", "vendor"):
        one = results["shortcuts"]["embeddings"][kind]
        assert one["told_apart"]
        numbers = f"Balanced accuracy {decimal(one['accuracy'])}, 95 % interval {interval(one['ci95'])}; guessing gets "
        assert (
            f"The embeddings tell the {kind}. {numbers}{decimal(one['chance'])}. The interval lies above" in page.text
        )
    assert "no label is read" in page.text


def test_an_interval_that_reaches_chance_proves_nothing_and_says_so(results):
    results["shortcuts"]["embeddings"]["site"] |= {"told_apart": False, "not_judged": ["chengdu"]}
    words = Page(render(results)).text
    assert "The embeddings were not shown to tell the site." in words
    assert "which proves no absence. Without validation patients: chengdu." in words


def test_a_hidden_accuracy_is_told_by_its_bounds(results):
    hidden = balanced_accuracy({"a": [Assigned(20, 17, 19)], "b": [Assigned(20, 12, 12)]}, 0.5)
    results["shortcuts"]["embeddings"]["site"] = hidden
    page = Page(render(results))
    low, high = (decimal(end) for end in hidden["bounds"])
    assert f"Balanced accuracy between {low} and {high}, since small counts are hidden" in page.text
    assert drawing(page, "telling").count('class="mark accent"') == 3  # two bounds, and the vendor's accuracy
    rows = {row[1]: row for row in page.table("Kind", "Class")[1:]}
    assert rows["a"][2:] == ["20", "\u2013", "\u2013"]
    assert rows["b"][2:] == ["20", "12", "0.600"]
    assert "small-cells-hidden" in page.text


def test_every_class_has_its_patients(results, page):
    head, *rows = page.table("Kind", "Class")
    found = {(row[0], row[1]): row[2:] for row in rows}
    for site, one in results["shortcuts"]["embeddings"]["site"]["classes"].items():
        assert found["Site", site] == [str(one["n"]), str(one["right"]), decimal(one["accuracy"])]
    assert ("Vendor", "GE") in found
    assert head[2:] == ["Patients", "Assigned to it", "Share"]


def test_guessing_is_marked_where_it_lies(results, page):
    """The axis goes from 0 at 190 to 1 at 462."""
    for kind in ("site", "vendor"):
        chance = results["shortcuts"]["embeddings"][kind]["chance"]
        x = f"{190 + 272 * chance:.2f}".rstrip("0").rstrip(".")
        assert f'x1="{x}"' in drawing(page, "telling")


def test_every_site_is_a_dot_in_each_row_between_the_limits(results, page):
    numbers = results["shortcuts"]["drift"]["numbers"]
    told = sum(one["smd"] is not None for entry in numbers.values() for one in entry["sites"].values())
    shown = drawing(page, "drift")
    assert shown.count('class="mark') == told
    assert shown.count('class="chance"') == 2
    assert f"dashed: {LARGEST_SMD} SD either way" in page.text
    spoken = re.search(r'id="drift-desc">([^<]*)<', page.html)[1]
    smd = numbers["pre.noise_hu"]["sites"][NOISY]["smd"]
    assert f"{NOISY} {signed(smd)}" in spoken.split("Noise (HU), pre-treatment: ")[1].split(".  ")[0]


def test_tests_and_sites_numbers_are_those_of_the_results(results, page):
    numbers = results["shortcuts"]["drift"]["numbers"]
    tests = {row[0]: row[1:] for row in page.table("Number", "Welch's F")[1:]}
    sites = {(row[0], row[1]): row[2:] for row in page.table("Number", "Site")[1:]}
    for name, entry in numbers.items():
        row = tests[scan_label(name)]
        if entry["f"] is not None:
            assert row[0] == decimal(entry["f"], 2)
            assert row[2:4] == [p_value(entry["p"]), p_value(entry["p_adjusted"])]
        for site, one in entry["sites"].items():
            cells = sites[scan_label(name), site]
            assert cells[0] == str(one["n"])
            assert cells[1] == f"{one['mean']:.1f} \u00b1 {one['sd']:.1f} {entry['unit']}"
            assert cells[2:] == [decimal(one["rest_mean"], 1), signed(one["smd"])]
    assert tests["Slice (mm), pre-treatment"][:4] == ["\u2013"] * 4
    assert tests["Noise (HU), pre-treatment"][-1].endswith(f"({NOISY})")


def test_categories_show_chi_square_and_counts(results, page):
    categories = results["shortcuts"]["drift"]["categories"]
    rows = {row[0]: row[1:] for row in page.table("Category", "Sites compared")[1:]}
    vendor = categories["pre.vendor"]
    expected = [decimal(vendor["chi2"], 2), "2", p_value(vendor["p"]), p_value(vendor["p_adjusted"]), "1.00", "no"]
    assert rows["Vendor, pre-treatment"] == ["3", *expected]
    assert rows["Kernel, post-treatment"] == ["3", *["\u2013"] * 6]
    counts = {(row[0], row[1]): row[2] for row in page.table("Category", "Site")[1:]}
    assert counts["Vendor, pre-treatment", NOISY] == "GE 30"


def test_flags_are_a_warning_with_their_reasons(results, page):
    for flag in results["shortcuts"]["drift"]["flags"]:
        assert flag["why"] in page.text
    assert f"Noise (HU), pre-treatment, {NOISY} \u2013 mean" in page.text
    results["shortcuts"]["drift"]["flags"] = []
    assert "No difference was flagged." in Page(render(results)).text


def test_who_refused_is_named(results):
    results["shortcuts"]["drift"]["refused"] = {"wuhan": "no-answer-in-time"}
    assert "Sites without an answer: wuhan \u2013 the site did not answer" in Page(render(results)).text


def test_a_number_that_nobody_compares_has_a_row_without_dots(results):
    for one in results["shortcuts"]["drift"]["numbers"]["pre.blood_hu"]["sites"].values():
        one |= {"n": None, "suppressed": "too-few-patients"}
        for key in ("mean", "sd", "rest_mean", "smd"):
            del one[key]
    page = Page(render(results))
    assert "no difference told" in drawing(page, "drift")
    assert page.table("Number", "Site")[1][2:] == ["\u2013"] * 4


def test_without_images_each_part_says_so_in_a_sentence(results):
    null = {"accuracy": None, "suppressed": "no-images"}
    results["shortcuts"] = {"drift": {"suppressed": "no-images"}, "embeddings": {"site": null, "vendor": null}}
    page = Page(render(results))
    for words in ("Not examined for the site :", "Not examined for the vendor :", "Not examined:"):
        assert f"{words} the study has no images (no-images)." in page.text
    assert "telling-title" not in page.html
    assert "drift-title" not in page.html


@pytest.mark.parametrize("found", [None, {}, {"drift": None, "embeddings": None}])
def test_what_is_not_in_the_results_is_one_sentence(results, found):
    page = Page(render(results | {"shortcuts": found}))
    part = page.text[page.text.index("Scanner shortcuts") :]
    assert "The results hold no such part" in part[:300]
    assert not {"telling", "drift"} & {a.get("aria-labelledby", "").split("-title")[0] for a in page.named("svg")}

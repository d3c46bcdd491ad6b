"""Paired differences: planned ones marked, drawn about zero, and every null with its reason."""

import re
from itertools import pairwise

import numpy as np
import pytest
from report_page import Page
from results_factory import sample_comparators, sample_folds, sample_results

from fedescc.server.report import svg
from fedescc.server.report.charts import Row
from fedescc.server.report.differences import KINDS, differences
from fedescc.server.report.document import parse_results
from fedescc.server.report.forest import difference_chart
from fedescc.server.report.reasons import reason

NUMBER = r"(-?\d+(?:\.\d+)?)"
CODES = ("contributors-changed", "tested-at-other-sites", "impossible-covariance", "zero-variance", "one-class")


@pytest.fixture
def results():
    return sample_results() | {"comparators": sample_comparators()}


def part(results):
    return Page(differences(parse_results(results)))


def rows(results):
    return {row[0]: row[1:] for row in part(results).table("", "Comparison")[1:]}


def test_a_difference_stands_at_its_number_and_zero_is_marked():
    shown = [Row("a", svg.ACCENT, -0.04, (-0.07, -0.01)), Row("b", svg.look(1), 0.02, (-0.03, 0.07))]
    drawing = difference_chart("n", "t", "d", shown, "Difference").replace("\u2212", "-")
    ticks = re.findall(rf'<text x="{NUMBER}" y="[^"]*" class="text faint middle">{NUMBER}</text>', drawing)
    places, values = np.array(ticks, dtype=float).T
    slope, zero = np.polyfit(values, places, 1)
    points = re.findall(rf"translate\({NUMBER} ", drawing)
    assert [float(x) for x in points] == pytest.approx([zero - 0.04 * slope, zero + 0.02 * slope], abs=0.1)
    chance = re.search(rf'<line x1="{NUMBER}" y1="[^"]*" x2="{NUMBER}" y2="[^"]*" class="chance"', drawing)
    assert [float(x) for x in chance.groups()] == pytest.approx([zero, zero], abs=0.1)
    assert "-0.040 (-0.070 to -0.010)" in drawing
    assert "+0.020 (-0.030 to +0.070)" in drawing


@pytest.mark.parametrize("ends", [(0.0, 0.0), (0.3, 0.5), (-0.5, -0.3)])
def test_the_axis_always_holds_zero(ends):
    drawing = difference_chart("n", "t", "d", [Row("a", svg.ACCENT, ends[0], ends)], "Difference")
    assert re.search(r">0(\.0+)?</text>", drawing)
    assert all(0 <= float(x) <= 480 for x in re.findall(rf' (?:x|x1|x2)="{NUMBER}"', drawing))


def test_planned_comparisons_are_marked_in_words_and_by_marker(results):
    found = rows(results)
    assert found["Clinical"][0] == KINDS["primary"]
    assert found["Radiomics + clinical"][0] == KINDS["exploratory"]
    assert found["Centralised"][0] == KINDS["simulated"]
    results["final"]["comparisons"][1] |= {"planned": True}
    assert rows(results)["Radiomics + clinical"][0] == KINDS["planned"]
    page = part(results)
    spoken = re.search(r'id="differences-desc">([^<]*)<', page.html)[1]
    assert f"Clinical, {KINDS['primary']}: \u22120.031 (\u22120.056 to \u22120.006)" in spoken
    assert all(f">{KINDS[kind]}</span>" in page.html for kind in ("primary", "planned", "simulated"))
    assert f">{KINDS['exploratory']}</span>" not in page.html


def test_the_federations_own_test_stands_before_that_of_a_simulation(results):
    results["comparators"]["clinical"]["versus_federated"]["difference"] = 0.4
    found = rows(results)["Clinical"]
    assert found[2:] == ["\u22120.031", "\u22120.056 to \u22120.006", "0.017"]
    assert found[1] == f"{results['comparators']['clinical']['pooled']['auc']:.3f}"
    del results["final"]["comparisons"]
    assert rows(results)["Clinical"][2] == "+0.400"


@pytest.mark.parametrize("code", CODES)
def test_a_comparison_without_a_value_names_its_reason(results, code):
    nothing = dict.fromkeys(("difference", "standard_error", "ci95", "p"))
    results["final"]["comparisons"][0] |= nothing | {"suppressed": code}
    page = part(results)
    assert rows(results)["Clinical"][2:] == ["–", "–", "–"]
    assert f"{code} – " in page.text
    assert reason(code) != code
    assert ">no value</text>" in page.html


def test_where_no_comparison_has_a_value_there_is_a_table_and_no_plot(results):
    nothing = dict.fromkeys(("difference", "standard_error", "ci95", "p")) | {"suppressed": "contributors-changed"}
    results["comparators"] = {}
    results["final"]["comparisons"] = [one | nothing for one in results["final"]["comparisons"]]
    page = part(results)
    assert page.named("svg") == []
    assert len(page.table("", "Comparison")) == 3


def test_a_comparator_without_metrics_still_has_its_difference(results):
    results["comparators"] = {}
    assert rows(results)["Clinical"][1:3] == ["–", "\u22120.031"]


def test_over_folds_the_number_of_folds_is_named():
    folds = sample_folds()
    found = rows(folds)
    one = folds["final"]["comparisons"][0]
    assert found["Clinical"][0] == f"{KINDS['primary']} (3 folds)"
    assert found["Clinical"][2] == f"{one['difference']:+.3f}".replace("-", "\u2212")
    assert "in each fold, averaged over patients" in part(folds).text


def test_nothing_compared_is_said(results):
    results["comparators"] = {}
    results["final"]["comparisons"] = []
    assert part(results).text.strip() == "No paired difference was computed."


@pytest.mark.parametrize("ends", [(-0.056, -0.006), (-0.07, 0.09), (0.0001, 0.0009), (-1.2, 0.1)])
@pytest.mark.parametrize("label", ["a", "Ensemble of local models"])
def test_numbers_of_the_axis_do_not_run_into_each_other(ends, label):
    drawing = difference_chart("n", "t", "d", [Row(label, svg.ACCENT, ends[0], ends)], "Difference")
    ticks = re.findall(rf'<text x="{NUMBER}" y="[^"]*" class="text faint middle">([^<]*)</text>', drawing)
    assert len(ticks) >= 2
    letter = 8.3  # of a digit in DejaVu Sans at this size, the widest of the usual fonts
    for (place, number), (following, after) in pairwise(ticks):
        assert float(following) - float(place) > letter * (len(number) + len(after)) / 2


def test_every_sites_own_difference_can_be_unfolded(results):
    page = part(results)
    assert "Each site's own difference" in page.text
    shown = page.table("Site", "Model")[1:]
    assert ["beijing", "Clinical", "\u22120.052", "\u22120.093 to \u22120.011", "0.013"] in shown
    assert [row[2:] for row in shown if row[0] == "wuhan"] == [["\u2013"] * 3] * 2
    assert "zero-variance \u2013 the scores do not vary" in page.text


def test_without_tests_of_sites_there_is_nothing_to_unfold(results):
    results["final"] = {
        **results["final"],
        "comparisons": [one | {"sites": {}} for one in results["final"]["comparisons"]],
    }
    assert "Each site's own difference" not in part(results).text

"""The forest plot: what is drawn is the number, and every null has its reason."""

import re

import numpy as np
import pytest
from report_page import Page
from results_factory import HIDDEN, sample_folds, sample_results

from fedescc.server.evaluation.heterogeneity import FEW_SITES, NO_VARIANCE_FOUND
from fedescc.server.report import svg
from fedescc.server.report.charts import Row
from fedescc.server.report.document import parse_results
from fedescc.server.report.forest import forest_chart
from fedescc.server.report.formats import interval
from fedescc.server.report.page import render
from fedescc.server.report.reasons import reason
from fedescc.server.report.sites import sites_section

NUMBER = r"(-?\d+(?:\.\d+)?)"


@pytest.fixture
def results():
    return sample_results()


def section(results):
    parsed = parse_results(results)
    looks = {name: svg.look(place) for place, name in enumerate(parsed.site_names)}
    return Page(sites_section(parsed, looks))


def scale(drawing):
    """(units at 0, units per 1) of the horizontal axis, from its printed numbers."""
    ticks = re.findall(rf'<text x="{NUMBER}" y="[^"]*" class="text faint middle">{NUMBER}</text>', drawing)
    places, values = np.array(ticks, dtype=float).T
    slope, start = np.polyfit(values, places, 1)
    return start, slope


MEAN = Row("mean", svg.POOLED, 0.79, (0.66, 0.88), strong=True)
NEW = Row("new", svg.POOLED, None, (0.41, 0.93), absent="no value")
ROWS = [Row("a", svg.look(0), 0.8, (0.7, 0.9)), Row("b", svg.look(1), None)]


def test_diamond_and_bar_stand_at_their_numbers():
    drawing = forest_chart("n", "t", "d", ROWS, MEAN, NEW)
    start, slope = scale(drawing)
    corners = re.search(r'<polygon points="([^"]*)" class="mark pooled"', drawing)[1].split()
    xs = [float(corner.split(",")[0]) for corner in corners]
    assert xs == pytest.approx([start + end * slope for end in (0.66, 0.79, 0.88, 0.79)], abs=0.1)
    bar = re.search(rf'<rect x="{NUMBER}" y="[^"]*" width="{NUMBER}" height="14" class="bar pooled"', drawing)
    assert [float(v) for v in bar.groups()] == pytest.approx([start + 0.41 * slope, 0.52 * slope], abs=0.1)
    assert "0.790 (0.660–0.880)" in drawing
    assert "0.410–0.930" in drawing
    assert ">not released</text>" in drawing


def test_the_axis_reaches_to_the_end_of_the_prediction_interval():
    drawing = forest_chart("n", "t", "d", ROWS, MEAN, Row("new", svg.POOLED, None, (0.008, 1.0)))
    ticks = [float(value) for value in re.findall(rf'class="text faint middle">{NUMBER}</text>', drawing)]
    assert (ticks[0], ticks[-1]) == (0.0, 1.0)
    assert all(0 <= float(x) <= 480 for x in re.findall(rf' (?:x|x1|x2)="{NUMBER}"', drawing))


def test_mean_and_bar_may_be_absent():
    drawing = forest_chart(
        "n",
        "t",
        "d",
        ROWS,
        Row("mean", svg.POOLED, None, absent="no mean"),
        Row("new", svg.POOLED, None, absent="no bar"),
    )
    assert "<polygon" not in drawing
    assert "<rect" not in drawing
    assert ">no mean</text>" in drawing
    assert ">no bar</text>" in drawing


def test_a_mean_without_an_interval_is_a_point():
    drawing = forest_chart("n", "t", "d", ROWS, Row("mean", svg.POOLED, 0.7), NEW)
    assert "<polygon" not in drawing
    assert 'class="mark pooled"' in drawing


def test_every_site_the_mean_and_a_new_site_are_drawn_and_spoken(results):
    page = section(results)
    spoken = re.search(r'id="site-auc-desc">([^<]*)<', page.html)[1]
    for site, metrics in results["final"]["sites"].items():
        said = "not released" if site == HIDDEN else f"{metrics['auc']:.3f} ({interval(metrics['auc_ci95'])})"
        assert f"{site}: {said}" in spoken
    meta = results["final"]["meta"]
    assert f"Random-effects mean: {meta['auc']:.3f} ({interval(meta['ci95'])})" in spoken
    assert f"At a new site: {interval(meta['prediction95'])}, 95 % prediction interval." in spoken


def test_heterogeneity_is_beside_the_plot(results):
    meta = results["final"]["meta"] | {"tau2": 0.193, "i2": 0.7608, "q": 12.545, "q_p": 0.0004}
    results["final"]["meta"] = meta
    words = section(results).text
    assert f"Random-effects mean {meta['auc']:.3f}, 95 % CI {interval(meta['ci95'])}" in words
    assert "τ² 0.193, variance between sites on the logit scale" in words
    assert "I² 76\u202f% of the spread" in words
    assert "Cochran's Q 12.545, p < 0.001" in words
    assert "Hartung-Knapp interval" in words
    assert "prediction95" not in words
    assert f"Sites that the mean leaves out {HIDDEN} – {reason('class-count-below-minimum')}" in words


def test_a_mean_of_too_few_sites_says_why(results):
    keys = ("auc", "ci95", "prediction95", "tau2", "i2", "q", "q_p")
    results["final"]["meta"] |= dict.fromkeys(keys) | {"suppressed": dict.fromkeys(keys, "fewer-than-two-studies")}
    page = section(results)
    said = f"No value: {reason('fewer-than-two-studies')}"
    assert f"Random-effects mean {said}" in page.text
    assert f"At a new site {said}" in page.text
    assert "τ²" not in page.text
    assert page.html.count(">no value</text>") == 2


def test_two_sites_have_a_mean_and_no_prediction(results):
    results["final"]["meta"] |= {"prediction95": None, "suppressed": {"prediction95": "fewer-than-three-studies"}}
    page = section(results)
    assert f"At a new site No value: {reason('fewer-than-three-studies')}" in page.text
    assert page.html.count(">no value</text>") == 1
    assert "<polygon" in page.html


def test_older_results_have_the_sites_alone(results):
    del results["final"]["meta"]
    page = section(results)
    assert "Random-effects" not in page.text
    assert "henan-cancer" in page.text


def test_without_sites_there_is_no_section(results):
    results["final"]["sites"] = {}
    assert sites_section(parse_results(results), {}) is None


def test_where_every_site_is_held_out_the_plot_is_the_main_figure():
    page = Page(render(sample_folds("loso")))
    assert [a["id"] for a in page.named("section")][:2] == ["result", "sites"]
    assert "This is the main figure of the run" in page.text
    assert "This is the main figure of the run" not in Page(render(sample_folds("kfold"))).text


CARE = "Read the prediction interval with care:"


@pytest.mark.parametrize("note", [NO_VARIANCE_FOUND, FEW_SITES])
def test_how_far_the_prediction_interval_can_be_trusted_is_a_warning(results, note):
    results["final"]["meta"]["note"] = note
    page = section(results)
    assert f"{CARE} {note}." in page.text
    assert [a["role"] for a in page.named("aside")] == ["note"]


def test_without_a_note_or_an_interval_there_is_no_warning(results):
    noted = results["final"]["meta"] | {"note": FEW_SITES}
    results["final"]["meta"] = {key: value for key, value in noted.items() if key != "note"}
    assert CARE not in section(results).text
    results["final"]["meta"] = noted | {
        "prediction95": None,
        "suppressed": {"prediction95": "fewer-than-three-studies"},
    }
    assert CARE not in section(results).text


def test_of_sites_held_out_the_warning_stands_beside_the_headline_too():
    folds = sample_folds("loso")
    primary = folds["final"]["primary"]
    assert primary["note"] == folds["final"]["meta"]["note"]
    assert f"The interval at a new site needs care: {primary['note']}." in Page(render(folds)).text
    del primary["note"]
    assert "needs care" not in Page(render(folds)).text

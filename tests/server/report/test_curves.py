"""Curves: what is drawn and listed is what results.json holds, and what cannot be drawn says why."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_page import Page
from results_factory import sample_folds, sample_results

from fedescc.common.errors import Refusal
from fedescc.server.report import svg
from fedescc.server.report.curve_charts import FLOOR, TREAT_ALL, above, calibration_chart, decision_chart
from fedescc.server.report.curve_charts import precision_recall_chart as recall_chart
from fedescc.server.report.curves import curves_section
from fedescc.server.report.document import parse_results
from fedescc.server.report.formats import interval
from fedescc.server.report.judged import Calibration, Decision, PrecisionRecall
from fedescc.server.report.reasons import reason

NUMBER = r"(-?\d+(?:\.\d+)?)"
KEYS = ("precision_recall", "calibration", "decision")


@pytest.fixture
def results():
    return sample_results()


def section(results):
    parsed = parse_results(results)
    looks = {name: svg.look(place) for place, name in enumerate(parsed.site_names)}
    return Page(curves_section(parsed, looks))


def line(drawing, css):
    """Points (n, 2) of the line with this class, in SVG units."""
    points = re.search(rf'<polyline points="([^"]*)" class="line {css}"', drawing)[1]
    return np.array([[float(v) for v in point.split(",")] for point in points.split()])


def in_square(points):
    """SVG units of the square frame as numbers from 0 to 1."""
    return np.column_stack([(points[:, 0] - 46) / 404, (438 - points[:, 1]) / 404])


def whiskers(drawing):
    """(x, end, end) of every vertical stroke, in SVG units."""
    strokes = re.findall(rf'<line x1="{NUMBER}" y1="{NUMBER}" x2="{NUMBER}" y2="{NUMBER}" class="line accent"', drawing)
    return [(x1, y1, y2) for x1, y1, x2, y2 in np.array(strokes, dtype=float) if x1 == x2]


# --- precision and recall ---


def test_the_area_under_the_drawn_steps_is_the_average_precision(results):
    curve = PrecisionRecall(**results["final"]["curves"]["precision_recall"])
    x, y = in_square(line(recall_chart("n", curve, "d"), "pooled")).T
    assert np.trapezoid(y, x) == pytest.approx(results["final"]["average_precision"], abs=2e-3)
    steps = np.abs(np.diff(np.column_stack([x, y]), axis=0)) > 1e-9
    assert not np.any(steps.all(axis=1))  # no slanted line


def test_the_prevalence_is_a_level_line():
    curve = PrecisionRecall(precision=(1.0, 0.25), recall=(0.5, 1.0), prevalence=0.25)
    drawing = recall_chart("n", curve, "d")
    assert '<line x1="46" y1="337" x2="450" y2="337" class="chance">' in drawing
    assert in_square(line(drawing, "pooled")) == pytest.approx(np.array([[0, 1], [0.5, 1], [0.5, 0.25], [1, 0.25]]))


def test_the_caption_has_average_precision_and_prevalence(results):
    words = section(results).text
    final = results["final"]
    prevalence = final["curves"]["precision_recall"]["prevalence"]
    assert f"Average precision {final['average_precision']:.3f}. Dotted: the prevalence, {prevalence:.3f}" in words


# --- calibration ---


def test_groups_and_their_intervals_stand_at_their_numbers(results):
    curve = Calibration(**results["final"]["curves"]["calibration"])
    drawing = calibration_chart("n", curve, "d")
    points = np.array(re.findall(rf'translate\({NUMBER} {NUMBER}\)" class="mark accent"', drawing), dtype=float)
    assert in_square(points) == pytest.approx(np.column_stack([curve.predicted, curve.observed]), abs=1e-3)
    for found, low, high, predicted in zip(whiskers(drawing), curve.low, curve.high, curve.predicted, strict=True):
        assert found == pytest.approx((46 + 404 * predicted, 438 - 404 * low, 438 - 404 * high), abs=0.1)
    assert '<line x1="46" y1="438" x2="450" y2="34" class="chance">' in drawing


def test_groups_are_also_a_table_and_the_fit_is_in_the_caption(results):
    page = section(results)
    curve, pooled = results["final"]["curves"]["calibration"], results["final"]["pooled"]
    expected = [
        [str(n), f"{p:.3f}", f"{o:.3f}", interval((low, high))]
        for n, p, o, low, high in zip(
            *(curve[key] for key in ("n", "predicted", "observed", "low", "high")), strict=True
        )
    ]
    assert page.table("Patients", "Predicted")[1:] == expected
    said = f"Intercept {pooled['calibration_intercept']:.3f}, slope {pooled['calibration_slope']:.3f} (ideal: 0, 1)."
    assert said.replace("-", "\u2212", 1) in page.text
    assert "predicted 0.040, observed 0.043 of 23;" in page.html


# --- net benefit ---


def test_net_benefit_is_drawn_at_its_numbers_and_cut_off_far_below_zero():
    curve = Decision(thresholds=(0.1, 0.5, 0.9), model=(0.3, 0.2, 0.1), treat_all=(0.28, -0.2, -5.0))
    drawing = decision_chart("n", curve, "d")
    marks = [0.3, 0.2, 0.1, 0.0, -0.1]
    assert all(f">{mark:.1f}</text>".replace("-", "\u2212") in drawing for mark in marks)
    model = line(drawing, "accent")
    assert model[:, 0] == pytest.approx([46, 254, 462])
    assert (266 - model[:, 1]) / 232 * 0.4 - 0.1 == pytest.approx([0.3, 0.2, 0.1], abs=1e-3)
    everybody = line(drawing, TREAT_ALL.css)
    assert everybody[-1, 1] == pytest.approx(266)
    assert everybody[-1, 0] == pytest.approx(46 + 208 * (0.38 / 0.48), abs=0.1)
    assert "stroke-dasharray" in drawing  # not by colour alone


def test_one_threshold_alone_is_still_seen():
    drawing = decision_chart("n", Decision(thresholds=(0.3,), model=(0.1,), treat_all=(0.05,)), "d")
    assert drawing.count('class="mark') == 3
    assert "NaN" not in drawing


def test_a_model_of_no_use_has_a_frame():
    drawing = decision_chart("n", Decision(thresholds=(0.2, 0.4), model=(0.0, 0.0), treat_all=(-1.0, -2.0)), "d")
    assert line(drawing, "accent").shape == (2, 2)


def test_net_benefit_is_also_a_table(results):
    curve = results["final"]["curves"]["decision"]
    rows = section(results).table("Threshold", "Model", "Treat all", "Treat none")[1:]
    for row, at, model, everybody in zip(rows, curve["thresholds"], curve["model"], curve["treat_all"], strict=True):
        found = [float(cell.replace("\u2212", "-")) for cell in row]
        assert found == pytest.approx([at, model, everybody, 0.0], abs=5e-4)


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=8), st.floats(-1, 0))
def test_what_is_above_a_floor_is_kept_and_nothing_below(values, floor):
    points = [(float(place), value) for place, value in enumerate(values)]
    runs = above(points, floor)
    drawn = [point for run in runs for point in run]
    assert all(y >= floor for _, y in drawn)
    assert {point for point in points if point[1] >= floor} <= set(drawn)
    for x, y in drawn:
        assert np.interp(x, [p[0] for p in points], values) == pytest.approx(y, abs=1e-6)


def test_the_floor_is_below_zero():
    assert FLOOR < 0


# --- nulls ---


@pytest.mark.parametrize(
    "code", ["one-class", "no-edges", "not-planned", "fewer-than-three-sites", "histogram-not-released"]
)
@pytest.mark.parametrize("key", KEYS)
def test_a_curve_that_cannot_be_drawn_says_why(results, key, code):
    results["final"]["curves"] |= {key: None, "suppressed": {key: code}}
    page = section(results)
    assert f"Not drawn: {reason(code)}." in page.text
    assert len([a for a in page.named("svg") if a.get("role") == "img"]) == 3


def test_over_folds_every_curve_says_why():
    words = section(sample_folds()).text
    assert words.count(reason("scores-of-several-models")) == 3
    assert "Not drawn over folds" in words


def test_a_reason_that_is_missing_is_not_made_up(results):
    results["final"]["curves"] = {}
    assert section(results).text.count("Not drawn: ") == 3


def test_older_results_have_the_roc_curve_alone(results):
    del results["final"]["curves"]
    page = section(results)
    assert len([a for a in page.named("svg") if a.get("role") == "img"]) == 1
    assert "Not drawn" not in page.text


@pytest.mark.parametrize(
    ("key", "part"), [("precision_recall", "recall"), ("calibration", "low"), ("decision", "treat_all")]
)
def test_lists_of_different_lengths_are_refused(results, key, part):
    results["final"]["curves"][key][part].pop()
    with pytest.raises(Refusal, match=rf"final\.curves\.{key}: .*differ in length"):
        parse_results(results)


@pytest.mark.parametrize(
    ("key", "part", "value"),
    [("precision_recall", "precision", 1.2), ("calibration", "observed", -0.1), ("calibration", "n", -3)],
)
def test_impossible_numbers_are_refused(results, key, part, value):
    results["final"]["curves"][key][part][0] = value
    with pytest.raises(Refusal, match=rf"{key}\.{part}"):
        parse_results(results)

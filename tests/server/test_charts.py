"""Charts: what is drawn is the number, read back from the SVG's own coordinates."""

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from results_factory import sample_folds, sample_results

from fedescc.server.report import svg
from fedescc.server.report.charts import (
    Bar,
    Row,
    Series,
    auc_figure,
    bar_chart,
    glyph,
    interval_chart,
    roc_chart,
    round_chart,
)
from fedescc.server.report.page import render

NUMBER = r"(-?\d+(?:\.\d+)?)"


def polylines(drawing: str, css: str) -> list[np.ndarray]:
    """Points (n, 2) in SVG units of every line with this class."""
    found = re.findall(rf'<polyline points="([^"]*)" class="line {css}"', drawing)
    return [np.array([[float(v) for v in point.split(",")] for point in points.split()]) for points in found]


def markers(drawing: str, css: str) -> np.ndarray:
    """Places (n, 2) in SVG units of every marker with this class."""
    found = re.findall(rf'transform="translate\({NUMBER} {NUMBER}\)[^"]*" class="mark {css}"', drawing)
    return np.array(found, dtype=float)


def axis_scale(drawing: str) -> tuple[float, float]:
    """(units at 0, units per 1) of the horizontal axis, from its printed numbers."""
    ticks = re.findall(rf'<text x="{NUMBER}" y="[^"]*" class="text faint middle">{NUMBER}</text>', drawing)
    places, values = np.array(ticks, dtype=float).T
    slope, start = np.polyfit(values, places, 1)
    return start, slope


def test_the_area_under_the_drawn_roc_curve_is_the_auc_reported():
    results = sample_results()
    for name, curve in results["final"]["roc"].items():
        series = Series(name, svg.POOLED, tuple(zip(curve["fpr"], curve["tpr"], strict=True)))
        (points,) = polylines(roc_chart("roc", [series], "d"), "pooled")
        x = (points[:, 0] - points[0, 0]) / (points[-1, 0] - points[0, 0])
        y = (points[:, 1] - points[0, 1]) / (points[-1, 1] - points[0, 1])
        metrics = results["final"]["pooled"] if name == "pooled" else results["final"]["sites"][name]
        binning = 0 if name == "pooled" else 0.02  # a site's own AUC is exact, its curve is binned
        assert np.trapezoid(y, x) == pytest.approx(metrics["auc"], abs=binning + 1e-3)


def test_the_roc_square_is_square_and_the_diagonal_joins_its_corners():
    chance = r'<line x1="46" y1="438" x2="450" y2="34" class="chance">'
    drawing = roc_chart("roc", [Series("a", svg.look(0), ((0, 0), (0.2, 0.9), (1, 1)))], "d")
    assert re.search(chance, drawing)
    assert polylines(drawing, "series-0")[0].tolist() == [[46, 438], [126.8, 74.4], [450, 34]]


def test_an_interval_row_stands_at_its_numbers():
    rows = [Row("a", svg.look(0), 0.8, (0.7, 0.9)), Row("b", svg.look(1), None), Row("c", svg.look(2), 0.55)]
    drawing = interval_chart("name", "t", "d", rows)
    start, slope = axis_scale(drawing)
    assert markers(drawing, "series-0")[0, 0] == pytest.approx(start + 0.8 * slope, abs=0.1)
    assert markers(drawing, "series-2")[0, 0] == pytest.approx(start + 0.55 * slope, abs=0.1)
    whisker = re.search(rf'<line x1="{NUMBER}" y1="21" x2="{NUMBER}" y2="21" class="line series-0">', drawing)
    assert [float(end) for end in whisker.groups()] == pytest.approx(
        [start + end * slope for end in (0.7, 0.9)], abs=0.1
    )
    assert markers(drawing, "series-1").size == 0
    assert "not released" in drawing
    assert "0.800 (0.700–0.900)" in drawing


@pytest.mark.parametrize(("lowest", "first_tick"), [(0.62, 0.5), (0.41, 0.4), (0.0, 0.0)])
def test_the_interval_axis_reaches_below_chance_only_where_needed(lowest, first_tick):
    drawing = interval_chart("name", "t", "d", [Row("a", svg.look(0), 0.7, (lowest, 0.9))])
    start, slope = axis_scale(drawing)
    ticks = re.findall(rf'class="text faint middle">{NUMBER}</text>', drawing)
    assert float(ticks[0]) == first_tick
    assert markers(drawing, "series-0")[0, 0] == pytest.approx(start + 0.7 * slope, abs=0.1)


def test_bars_are_as_long_as_their_values_with_the_sites_on_them():
    bars = [Bar("x", 0.4, ((svg.look(0), 0.3), (svg.look(1), 0.5))), Bar("y", 0.1)]
    drawing = bar_chart("name", "t", "d", bars, "logit")
    start, slope = axis_scale(drawing)
    widths = [float(w) for w in re.findall(rf'<rect [^>]*width="{NUMBER}"', drawing)]
    assert widths == pytest.approx([0.4 * slope, 0.1 * slope], abs=0.1)
    assert markers(drawing, "series-0")[0, 0] == pytest.approx(start + 0.3 * slope, abs=0.1)
    assert markers(drawing, "series-1")[0, 0] == pytest.approx(start + 0.5 * slope, abs=0.1)


def test_a_missing_round_interrupts_line_and_band():
    points = ((1, 0.5), (2, 0.6), (3, None), (4, 0.7), (5, 0.8))
    band = tuple(None if y is None else (y - 0.1, y + 0.1) for _, y in points)
    drawing = round_chart("n", "t", "d", [Series("a", svg.ACCENT, points, band)], [0.0, 0.5, 1.0], "AUC")
    assert [len(line) for line in polylines(drawing, "accent")] == [2, 2]
    assert len(re.findall(r"<polygon", drawing)) == 2
    assert len(markers(drawing, "accent")) == 4


def test_one_round_alone_is_still_seen():
    drawing = round_chart("n", "t", "d", [Series("a", svg.ACCENT, ((1, 0.5),))], [0.0, 1.0], "Loss")
    assert markers(drawing, "accent").tolist() == [[254, 150]]


@pytest.mark.parametrize(("value", "bounds"), [(0.8, (0.7, 0.9)), (0.3, None), (0.55, (0.2, 0.8))])
def test_the_headline_glyph_stays_inside_its_scale(value, bounds):
    drawing = glyph("g", "Pooled AUC", value, bounds)
    places = [float(x) for x in re.findall(rf'x[12]="{NUMBER}"', drawing)] + markers(drawing, "accent")[:, 0].tolist()
    assert min(places) >= 16
    assert max(places) <= 464


def test_every_drawing_of_a_report_stays_inside_its_frame():
    page = render(sample_results())
    drawings = re.findall(r'<svg viewBox="0 0 480 (\d+)" role="img".*?</svg>', page)
    whole = re.findall(r'<svg viewBox="0 0 480 \d+" role="img".*?</svg>', page)
    assert len(whole) >= 14
    for height, drawing in zip(drawings, whole, strict=True):
        xs = re.findall(rf' (?:x|x1|x2)="{NUMBER}"', drawing)
        ys = re.findall(rf' (?:y|y1|y2)="{NUMBER}"', drawing)
        assert all(0 <= float(x) <= 480 for x in xs)
        assert all(0 <= float(y) <= float(height) for y in ys)


def test_series_differ_without_colour():
    """Dash and marker alone tell 35 sites apart, neighbours by both."""
    looks = [svg.look(place) for place in range(35)]
    assert len({(seen.dash, seen.path) for seen in looks}) == 35
    assert all(a.dash != b.dash and a.path != b.path and a.css != b.css for a, b in pairwise(looks))


def test_a_long_name_is_cut_in_the_chart_and_kept_in_its_title():
    name = "hospital-with-a-very-long-name-in-the-north"
    drawing = interval_chart("name", "t", "d", [Row(name, svg.look(0), 0.7)])
    assert f"<title>{name}</title>" in drawing
    assert f">{name[:26]}…</text>" in drawing


@pytest.mark.parametrize("strong", [False, True])
@pytest.mark.parametrize("name", ["a", "scanner vendor: siemens", "Random-effects mean", "w" * 60])
def test_no_name_runs_into_the_plot(name, strong):
    row = Row(name, svg.look(0), 0.0, (0.0, 1.0), strong)
    drawing = interval_chart("name", "t", "d", [row])
    shown = re.search(r'<text x="0" [^>]*>([^<]*)</text>', drawing)[1]
    start = min(float(x) for x in re.findall(r'<line x1="([^"]*)"', drawing))
    letter = 8.5 if strong else 7.4  # of DejaVu Sans, the widest of the usual fonts, in units of the drawing
    assert letter * len(shown) <= start - 4
    assert start <= 328 - 100  # what is left for the plot


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_ticks_are_even_few_and_cover_the_data(low, span):
    marks = svg.nice_ticks(low, low + span)
    steps = np.diff(marks)
    assert 2 <= len(marks) <= 8
    assert steps == pytest.approx(np.full(len(steps), steps[0]), rel=1e-6)
    slack = 1e-6 * max(span, abs(low))
    assert marks[0] <= low + slack
    assert marks[-1] >= low + span - slack
    leading = f"{steps[0]:.0e}"[0]
    assert leading in "125"


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_printed_ticks_differ(low, span):
    marks = svg.nice_ticks(low, low + span)
    digits = svg.tick_digits(marks)
    printed = [float(f"{mark:.{digits}f}") for mark in marks]
    assert printed == pytest.approx(marks, abs=1e-9 * max(1, abs(low)))


def test_ticks_of_a_constant_are_still_two():
    assert len(svg.nice_ticks(0.4, 0.4)) >= 2
    assert len(svg.nice_ticks(0.0, 0.0)) >= 2


def test_a_row_without_a_value_says_why_in_its_own_words():
    rows = [
        Row("a", svg.look(0), 0.8, (0.7, 0.9)),
        Row("b", svg.look(1), None),
        Row("c", svg.look(2), None, absent="failed"),
    ]
    drawing = interval_chart("name", "t", "d", rows)
    assert re.findall(r'class="text faint end">([^<]*)<', drawing) == ["not released", "failed"]
    assert len(markers(drawing, "series-1")) == len(markers(drawing, "series-2")) == 0


def test_an_auc_figure_speaks_its_values():
    drawing = auc_figure(
        "name", "Heading", "caption", [Row("a", svg.look(0), 0.8, (0.7, 0.9)), Row("b", svg.look(1), None)]
    )
    assert '<desc id="name-desc">a: 0.800. b: –</desc>' in drawing
    assert "<strong>Heading</strong>caption" in drawing


def test_the_mark_of_the_kept_round_stands_on_the_validation_line():
    results = sample_results()
    results["kept_round"] = 9
    drawing = re.search(r"<svg[^>]*\"loss-title.*?</svg>", render(results), re.DOTALL)[0]
    (place,) = markers(drawing, "pooled")
    assert place.tolist() == markers(drawing, "series-1")[8].tolist()


def test_every_fold_has_a_validation_line_as_long_as_its_rounds():
    results = sample_folds()
    drawing = re.search(r"<svg[^>]*fold-loss-title.*?</svg>", render(results), re.DOTALL)[0]
    for place, fold in enumerate(results["folds"]):
        (line,) = polylines(drawing, f"series-{place}")
        assert len(line) == len(fold["rounds"])

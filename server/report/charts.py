"""The report's charts: ROC, curves by round, intervals in rows, bars with markers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedescc.server.report import svg
from fedescc.server.report.formats import decimal, interval, shortened
from fedescc.server.report.markup import Html, el, join
from fedescc.server.report.svg import Frame, Look, Point

ROW = 26.0
"""Height of a row."""
_NAME_LENGTH, _STRONG_LENGTH = 27, 24
_LETTER, _STRONG_LETTER = 7.4, 8.5  # units of a letter, in the widest fonts that a reader's system may choose
_NARROWEST = 120.0


@dataclass(frozen=True)
class Series:
    """A named line; a point without a value interrupts it."""

    label: str
    look: Look
    points: tuple[tuple[float, float | None], ...]
    band: tuple[tuple[float, float] | None, ...] = ()


@dataclass(frozen=True)
class Row:
    """A value with its interval; ``absent`` stands where there is none."""

    label: str
    look: Look
    value: float | None
    interval: tuple[float, float] | None = None
    strong: bool = False
    absent: str = "not released"


@dataclass(frozen=True)
class Bar:
    """A length, and the same quantity at each site as (look, length)."""

    label: str
    value: float
    sites: tuple[tuple[Look, float], ...] = ()


def roc_chart(name: str, curves: Sequence[Series], description: str) -> Html:
    """ROC curves over the diagonal of chance.

    Points are joined by straight lines, so that the area drawn is the AUC reported: patients of one histogram bin
    count as tied.
    """
    frame = Frame(46, 34, 450, 438, (0.0, 1.0))
    marks = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    chance = svg.segment((frame.left, frame.bottom), (frame.right, frame.top), "chance")
    lines = [svg.line(frame.place(_known(curve)), curve.look) for curve in reversed(curves)]
    markers = [
        svg.marker(frame.place(_known(curve))[len(curve.points) // 2], curve.look)
        for curve in reversed(curves)
        if curve.look is not svg.POOLED
    ]
    axes = [svg.y_axis(frame, marks, "Sensitivity"), svg.x_axis(frame, marks, "1 \u2212 specificity")]
    return svg.canvas(name, "ROC curves", description, 484, *axes, chance, *lines, *markers)


def round_chart(
    name: str, title: str, description: str, series: Sequence[Series], y_marks: Sequence[float], y_title: str
) -> Html:
    """Lines by round, some with a band for their interval; ``y_marks`` set the vertical range."""
    rounds = [x for one in series for x, _ in one.points]
    first, last = min(rounds), max(rounds)
    pad = 0.5 if first == last else 0.0
    frame = Frame(46, 34, 462, 266, (first - pad, last + pad), (y_marks[0], y_marks[-1]))
    x_marks = [mark for mark in svg.nice_ticks(first, last, 8) if mark == int(mark) and first <= mark <= last]
    axes = [
        svg.y_axis(frame, y_marks, y_title, svg.tick_digits(y_marks)),
        svg.x_axis(frame, x_marks or [first], "Round", 0),
    ]
    drawn = [join([*_bands(frame, one), *_strokes(frame, one)]) for one in series]
    return svg.canvas(name, title, description, 312, *axes, *drawn)


def interval_chart(name: str, title: str, description: str, rows: Sequence[Row], unit: str = "AUC") -> Html:
    """One row a value: name, point with interval, numbers; a dotted line marks chance (0.5)."""
    frame, axis = area_frame([end for row in rows for end in ends_of(row)], rows, unit)
    drawn = [interval_row(frame, place, row) for place, row in enumerate(rows)]
    return svg.canvas(name, title, description, frame.bottom + 46, axis, *drawn)


def area_frame(values: Sequence[float], rows: Sequence[Row], unit: str = "AUC") -> tuple[Frame, Html]:
    """A frame for rows of areas, from chance or the lowest value to 1, and its axis with the line of chance."""
    marks = [mark / 10 for mark in range(int(min([0.5, *values]) * 10 + 1e-9), 11)]
    frame = Frame(names_width(rows), 8, 328, 8 + ROW * len(rows), (marks[0], 1.0), (0.0, 1.0))
    chance = svg.segment((frame.x(0.5), frame.top), (frame.x(0.5), frame.bottom), "chance")
    shown = marks[:: len(marks) // 7 + 1]
    return frame, join([svg.x_axis(frame, shown, unit), chance])


def names_width(rows: Sequence[Row]) -> float:
    """What the names of rows take at the left, so that none runs into the plot."""
    widths = [len(shortened(row.label, _length(row))) * (_STRONG_LETTER if row.strong else _LETTER) for row in rows]
    return max([_NARROWEST, *(width + 8 for width in widths)])


def ends_of(row: Row) -> list[float]:
    """What of a row must lie within the frame."""
    return [] if row.value is None else [row.value, *(row.interval or ())]


def area_numbers(row: Row) -> str:
    """A row's value and interval as text."""
    return decimal(row.value) + (f" ({interval(row.interval)})" if row.interval else "")


def interval_row(frame: Frame, place: int, row: Row, numbers: Callable[[Row], str] = area_numbers) -> Html:
    """The row at a place: name, point with interval, and its numbers at the right end."""
    y = frame.top + ROW * (place + 0.5)
    weight = "strong" if row.strong else ""
    name = row_name(y, row)
    if row.value is None:
        return join([name, svg.label((svg.WIDTH, y + 4.5), row.absent, "faint end")])
    parts = [name]
    if row.interval is not None:
        ends = frame.x(row.interval[0]), frame.x(row.interval[1])
        parts.append(svg.segment((ends[0], y), (ends[1], y), f"line {row.look.css}"))
        parts += [svg.segment((end, y - 4), (end, y + 4), f"line {row.look.css}") for end in ends]
    point = svg.marker((frame.x(row.value), y), row.look, 1.35 if row.strong else 1.1)
    return join([*parts, point, svg.label((svg.WIDTH, y + 4.5), numbers(row), f"end {weight}".rstrip())])


def row_name(y: float, row: Row) -> Html:
    """A row's name at the left end; one that is cut stands whole in its title."""
    shown = shortened(row.label, _length(row))
    name = svg.label((0, y + 4.5), shown, "strong" if row.strong else "")
    return name if shown == row.label else el("g", el("title", row.label), name)


def _length(row: Row) -> int:
    return _STRONG_LENGTH if row.strong else _NAME_LENGTH


def auc_figure(name: str, heading: str, caption: str, rows: Sequence[Row]) -> Html:
    """`interval_chart` under its caption."""
    spoken = ". ".join(f"{row.label}: {decimal(row.value)}" for row in rows)
    return svg.figure(interval_chart(name, heading, spoken, rows), heading, caption)


def bar_chart(name: str, title: str, description: str, bars: Sequence[Bar], unit: str) -> Html:
    """Horizontal bars, longest scale at 0, with a small marker for every site."""
    longest = max([1e-9, *(bar.value for bar in bars), *(value for bar in bars for _, value in bar.sites)])
    marks = svg.nice_ticks(0.0, longest, 4)
    frame = Frame(190, 8, 462, 8 + ROW * len(bars), (0.0, marks[-1]))
    grid = [svg.segment((frame.x(mark), frame.top), (frame.x(mark), frame.bottom), "grid") for mark in marks]
    drawn = [_bar(frame, place, bar) for place, bar in enumerate(bars)]
    axis = svg.x_axis(frame, marks, unit, svg.tick_digits(marks))
    return svg.canvas(name, title, description, frame.bottom + 46, *grid, axis, *drawn)


def glyph(name: str, title: str, value: float, bounds: tuple[float, float] | None) -> Html:
    """The headline's AUC on a scale from chance to perfect."""
    frame = Frame(16, 0, 464, 30, (min([0.5, value, *(bounds or ())]), 1.0))
    whisker = bounds and svg.segment((frame.x(bounds[0]), 15), (frame.x(bounds[1]), 15), "line accent")
    ends = [svg.label((frame.x(end), 44), f"{end:.1f}", "faint middle") for end in (frame.x_range[0], 1.0)]
    rule = svg.segment((frame.left, 15), (frame.right, 15), "grid")
    shapes = [rule, *ends, whisker, svg.marker((frame.x(value), 15), svg.ACCENT, 1.6)]
    description = f"AUC {decimal(value)}, 95 % interval {interval(bounds)}"
    return svg.canvas(name, f"{title} on a scale from chance to perfect", description, 50, *shapes)


def _bar(frame: Frame, place: int, bar: Bar) -> Html:
    y = frame.top + ROW * (place + 0.5)
    width = frame.x(bar.value) - frame.left
    shape = el("rect", x=frame.left, y=y - 7, width=width, height=14.0, class_="bar accent")
    end = svg.segment((frame.left + width, y - 7), (frame.left + width, y + 7), "bar-end accent")
    sites = [svg.marker((frame.x(value), y), seen, 0.85) for seen, value in bar.sites]
    name = svg.label((frame.left - 10, y + 4.5), shortened(bar.label, 27), "end")
    return join([name, shape, end, *sites])


def _strokes(frame: Frame, series: Series) -> list[Html]:
    runs = _runs([None if y is None else (frame.x(x), frame.y(y)) for x, y in series.points])
    markers = [point for run in runs for point in run] if len(series.points) <= 40 else []
    return [*(svg.line(run, series.look) for run in runs), *(svg.marker(point, series.look, 0.8) for point in markers)]


def _bands(frame: Frame, series: Series) -> list[Html]:
    xs = [frame.x(x) for x, _ in series.points]
    lows = _runs([None if b is None else (x, frame.y(b[0])) for x, b in zip(xs, series.band, strict=False)])
    highs = _runs([None if b is None else (x, frame.y(b[1])) for x, b in zip(xs, series.band, strict=False)])
    outlines = [[*low, *reversed(high)] for low, high in zip(lows, highs, strict=True)]
    return [
        el("polygon", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in outline), class_=f"band {series.look.css}")
        for outline in outlines
    ]


def _runs(points: Sequence[Point | None]) -> list[list[Point]]:
    """Stretches without a gap."""
    runs: list[list[Point]] = [[]]
    for point in points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return [run for run in runs if run]


def _known(series: Series) -> list[Point]:
    return [(x, y) for x, y in series.points if y is not None]

"""Dots in rows on one scale, such as differences between sites and gains; a dashed line marks a limit."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedescc.server.report import svg
from fedescc.server.report.formats import shortened
from fedescc.server.report.markup import Html, el, join
from fedescc.server.report.svg import Frame, Look

_ROW = 26.0
_LABEL = 27


@dataclass(frozen=True)
class Dot:
    """A value, with its interval if it has one; ``value`` is None where only the interval is known."""

    look: Look
    value: float | None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class DotRow:
    """A named row of dots; ``mark`` is a limit of this row alone, ``absent`` stands where there is no dot."""

    label: str
    dots: tuple[Dot, ...] = ()
    mark: float | None = None
    numbers: str = ""
    absent: str = "not released"


def dot_chart(
    name: str,
    title: str,
    description: str,
    rows: Sequence[DotRow],
    unit: str,
    *,
    limits: Sequence[float] = (),
    zero: bool = False,
    span: tuple[float, float] | None = None,
) -> Html:
    """Rows of dots over a common axis.

    Args:
        name: unique on the page.
        title: of the drawing.
        description: what it shows, in words and numbers.
        rows: from top to bottom.
        unit: title of the axis.
        limits: dashed lines through all rows.
        zero: draw a plain line at 0.
        span: range of the axis; None is that of everything drawn.

    """
    marks = svg.nice_ticks(*(span or _range(rows, [*limits, *([0.0] if zero else [])])))
    right = 400.0 if any(row.numbers for row in rows) else 462.0
    frame = Frame(190, 8, right, 8 + _ROW * len(rows), (marks[0], marks[-1]))
    lines = [_upright(frame, mark, "grid") for mark in marks]
    lines += [_upright(frame, limit, "chance") for limit in limits] + ([_upright(frame, 0.0, "axis")] if zero else [])
    drawn = [_row(frame, place, row) for place, row in enumerate(rows)]
    axis = svg.x_axis(frame, marks, unit, svg.tick_digits(marks))
    return svg.canvas(name, title, description, frame.bottom + 46, *lines, axis, *drawn)


def reach(rows: Sequence[DotRow]) -> float:
    """The largest distance from 0 of anything drawn, so that two charts can share a scale."""
    return max((abs(value) for value in _values(rows)), default=0.0)


def _values(rows: Sequence[DotRow]) -> list[float]:
    dots = [dot for row in rows for dot in row.dots]
    ends = [end for dot in dots for end in dot.interval or ()]
    return [*ends, *(dot.value for dot in dots if dot.value is not None)]


def _range(rows: Sequence[DotRow], lines: Sequence[float]) -> tuple[float, float]:
    own = [row.mark for row in rows if row.mark is not None]
    values = [*_values(rows), *lines, *own] or [0.0, 1.0]
    return min(values), max(values)


def _upright(frame: Frame, value: float, css: str) -> Html:
    return svg.segment((frame.x(value), frame.top), (frame.x(value), frame.bottom), css)


def _row(frame: Frame, place: int, row: DotRow) -> Html:
    y = frame.top + _ROW * (place + 0.5)
    short = shortened(row.label, _LABEL)
    name = svg.label((frame.left - 10, y + 4.5), short, "end")
    parts = [name if short == row.label else el("g", el("title", row.label), name)]
    if row.mark is not None:
        parts.append(svg.segment((frame.x(row.mark), y - 11), (frame.x(row.mark), y + 11), "axis", "3 2"))
    if not row.dots:
        return join([*parts, svg.label((frame.left + 8, y + 4.5), row.absent, "faint")])
    numbers = svg.label((svg.WIDTH, y + 4.5), row.numbers, "end") if row.numbers else None
    return join([*parts, *(_dot(frame, y, dot) for dot in row.dots), numbers])


def _dot(frame: Frame, y: float, dot: Dot) -> Html:
    parts = []
    if dot.interval is not None:
        ends = [frame.x(end) for end in dot.interval]
        parts.append(svg.segment((ends[0], y), (ends[1], y), f"line {dot.look.css}"))
        parts += [svg.segment((end, y - 4), (end, y + 4), f"line {dot.look.css}") for end in ends]
    if dot.value is not None:
        parts.append(svg.marker((frame.x(dot.value), y), dot.look, 1.1))
    return join(parts)

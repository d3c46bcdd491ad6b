"""Forest plots: rows with intervals above their mean and the interval of a new one; and differences about zero."""

import math
from collections.abc import Sequence

from fedescc.server.report import svg
from fedescc.server.report.charts import (
    ROW,
    Row,
    area_frame,
    area_numbers,
    ends_of,
    interval_row,
    names_width,
    row_name,
)
from fedescc.server.report.formats import interval, signed, signed_interval
from fedescc.server.report.markup import Html, el, join
from fedescc.server.report.svg import Frame

_NUMBER = 50.0  # units that a tick's number takes, with what parts it from the next
_HALF = 7.0  # of a diamond's height, and of a bar's


def forest_chart(name: str, title: str, description: str, rows: Sequence[Row], mean: Row, new: Row) -> Html:
    """Areas in rows; under a rule their mean as a diamond over its interval, and where a new one is expected, as a bar.

    Args:
        name: unique on the page.
        title: of the drawing.
        description: the same in words.
        rows: what is pooled.
        mean: of the rows.
        new: has only an interval, the prediction interval.

    """
    values = [end for row in (*rows, mean) for end in ends_of(row)]
    frame, axis = area_frame([*values, *(new.interval or ())], [*rows, mean, new])
    rule = svg.segment((0, frame.top + ROW * len(rows)), (svg.WIDTH, frame.top + ROW * len(rows)), "grid")
    drawn = [interval_row(frame, place, row) for place, row in enumerate(rows)]
    last = [_mean_row(frame, len(rows), mean), _bar_row(frame, len(rows) + 1, new)]
    return svg.canvas(name, title, description, frame.bottom + 46, axis, rule, *drawn, *last)


def difference_chart(name: str, title: str, description: str, rows: Sequence[Row], unit: str) -> Html:
    """One row a difference; a dotted line marks none."""
    marks = svg.nice_ticks(*_around_zero([end for row in rows for end in ends_of(row)]), 3)
    frame = Frame(names_width(rows), 8, 292, 8 + ROW * len(rows), (marks[0], marks[-1]))
    zero = svg.segment((frame.x(0.0), frame.top), (frame.x(0.0), frame.bottom), "chance")
    drawn = [interval_row(frame, place, row, _difference_numbers) for place, row in enumerate(rows)]
    axis = svg.x_axis(frame, _apart(frame, marks), unit, svg.tick_digits(marks))
    return svg.canvas(name, title, description, frame.bottom + 46, axis, zero, *drawn)


def _apart(frame: Frame, marks: Sequence[float]) -> list[float]:
    """The marks, zero among them, of which no number runs into the next."""
    step = math.ceil(_NUMBER / (frame.x(marks[1]) - frame.x(marks[0])))
    zero = min(range(len(marks)), key=lambda place: abs(marks[place]))
    return [mark for place, mark in enumerate(marks) if (place - zero) % step == 0]


def _around_zero(values: Sequence[float]) -> tuple[float, float]:
    """A range that has every value and zero, and is not empty."""
    low, high = min([0.0, *values]), max([0.0, *values])
    return (low, high) if low < high else (-0.1, 0.1)


def _difference_numbers(row: Row) -> str:
    return signed(row.value) + (f" ({signed_interval(row.interval)})" if row.interval else "")


def _mean_row(frame: Frame, place: int, row: Row) -> Html:
    if row.value is None or row.interval is None:
        return interval_row(frame, place, row)
    y, middle = frame.top + ROW * (place + 0.5), frame.x(row.value)
    low, high = (frame.x(end) for end in row.interval)
    corners = [(low, y), (middle, y - _HALF), (high, y), (middle, y + _HALF)]
    diamond = el("polygon", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in corners), class_=f"mark {row.look.css}")
    numbers = svg.label((svg.WIDTH, y + 4.5), area_numbers(row), "end strong")
    return join([row_name(y, row), diamond, numbers])


def _bar_row(frame: Frame, place: int, row: Row) -> Html:
    if row.interval is None:
        return interval_row(frame, place, row)
    y = frame.top + ROW * (place + 0.5)
    low, high = (frame.x(end) for end in row.interval)
    shape = el("rect", x=low, y=y - _HALF, width=high - low, height=2 * _HALF, class_=f"bar {row.look.css}")
    ends = [svg.segment((end, y - _HALF), (end, y + _HALF), f"bar-end {row.look.css}") for end in (low, high)]
    return join([row_name(y, row), shape, *ends, svg.label((svg.WIDTH, y + 4.5), interval(row.interval), "end")])

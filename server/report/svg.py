"""What the charts are drawn with: a frame with axes, lines and markers, all in one coordinate system of 480 units."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fedescc.server.report.formats import decimal
from fedescc.server.report.markup import Child, Html, el, join
from fedescc.server.report.style import SERIES

WIDTH = 480.0
Point = tuple[float, float]

# Seven markers, five dashes and six colours: the combination repeats after 210 series.
_MARKERS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z",
    "M-3.6 -3.6h7.2v7.2h-7.2Z",
    "M0 -4.8L4.8 3.8H-4.8Z",
    "M0 -5.2L5.2 0L0 5.2L-5.2 0Z",
    "M0 4.8L4.8 -3.8H-4.8Z",
    "M-1.6 -5h3.2v3.4H5v3.2H1.6V5h-3.2V1.6H-5v-3.2h3.4Z",
    "M0 -5L4.8 -1.5L2.9 4.2H-2.9L-4.8 -1.5Z",
)
_DASHES = (None, "7 3", "2 3", "9 3 2 3", "4 2")


@dataclass(frozen=True)
class Look:
    """How a series is told apart; `POOLED` is the thick dark one."""

    css: str
    dash: str | None
    path: str


POOLED = Look("pooled", None, _MARKERS[3])
ACCENT = Look("accent", None, _MARKERS[0])


def look(place: int) -> Look:
    """Look of the series at a place (0, 1, …) in an order that stays the same over the whole page."""
    return Look(f"series-{place % SERIES}", _DASHES[place % len(_DASHES)], _MARKERS[place % len(_MARKERS)])


@dataclass(frozen=True)
class Frame:
    """A rectangle in SVG units (y grows downwards) that shows the data ranges ``x_range`` and ``y_range``."""

    left: float
    top: float
    right: float
    bottom: float
    x_range: tuple[float, float]
    y_range: tuple[float, float] = (0.0, 1.0)

    def x(self, value: float) -> float:
        """Horizontal place of a value."""
        low, high = self.x_range
        return self.left + (self.right - self.left) * (value - low) / (high - low)

    def y(self, value: float) -> float:
        """Vertical place of a value."""
        low, high = self.y_range
        return self.bottom - (self.bottom - self.top) * (value - low) / (high - low)

    def place(self, points: Sequence[Point]) -> list[Point]:
        """Data points in SVG units."""
        return [(self.x(x), self.y(y)) for x, y in points]


def canvas(name: str, title: str, description: str, height: float, *shapes: Child) -> Html:
    """An accessible drawing, 480 units wide; ``name`` is unique on the page."""
    labels = [el("title", title, id=f"{name}-title"), el("desc", description, id=f"{name}-desc")]
    return el(
        "svg",
        *labels,
        *shapes,
        viewBox=f"0 0 {WIDTH:.0f} {height:.0f}",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
    )


def figure(drawing: Html, heading: str, caption: str, *below: Child) -> Html:
    """A drawing under its caption, with a legend or a note below."""
    return el("figure", el("figcaption", el("strong", heading), caption), drawing, *below)


def legend(entries: Sequence[tuple[Look, str]], *, lines: bool = True) -> Html:
    """A list of looks and their meaning."""
    return el("ul", *(el("li", _swatch(seen, lines), el("span", label)) for seen, label in entries), class_="legend")


def line(points: Sequence[Point], seen: Look) -> Html:
    """A line through points in SVG units."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return el("polyline", points=path, class_=f"line {seen.css}", stroke_dasharray=seen.dash)


def marker(point: Point, seen: Look, scale: float = 1.0) -> Html:
    """A marker at a point in SVG units."""
    move = f"translate({point[0]:.1f} {point[1]:.1f})" + (f" scale({scale:g})" if scale != 1 else "")
    return el("path", d=seen.path, transform=move, class_=f"mark {seen.css}")


def segment(start: Point, end: Point, css: str, dash: str | None = None) -> Html:
    """A straight line between two points in SVG units."""
    return el("line", x1=start[0], y1=start[1], x2=end[0], y2=end[1], class_=css, stroke_dasharray=dash)


def label(point: Point, words: str, css: str = "") -> Html:
    """Text at a point; ``css`` may hold ``end``, ``middle``, ``faint``, ``strong``."""
    return el("text", words, x=point[0], y=point[1], class_=f"text {css}".rstrip())


def x_axis(frame: Frame, marks: Sequence[float], title: str, digits: int = 1) -> Html:
    """Axis line, ticks with numbers and a title below the frame."""
    y = frame.bottom
    numbers = [label((frame.x(mark), y + 19), decimal(mark, digits), "faint middle") for mark in marks]
    notches = [segment((frame.x(mark), y), (frame.x(mark), y + 4), "axis") for mark in marks]
    name = label(((frame.left + frame.right) / 2, y + 40), title, "middle")
    return join([segment((frame.left, y), (frame.right, y), "axis"), *notches, *numbers, name])


def y_axis(frame: Frame, marks: Sequence[float], title: str, digits: int = 1) -> Html:
    """Grid lines with numbers, and a title above the frame so that nothing is read sideways."""
    rules = [segment((frame.left, frame.y(mark)), (frame.right, frame.y(mark)), "grid") for mark in marks]
    numbers = [label((frame.left - 8, frame.y(mark) + 4.5), decimal(mark, digits), "faint end") for mark in marks]
    return join([*rules, *numbers, label((0, frame.top - 14), title)])


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten that cover [low, high]."""
    span = (high - low) or abs(high) or 1.0
    rough = span / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]


def tick_digits(marks: Sequence[float]) -> int:
    """Decimals that tell neighbouring ticks apart."""
    return max(0, -math.floor(math.log10(marks[1] - marks[0]) + 1e-9))


def _swatch(seen: Look, lines: bool) -> Html:
    stroke = segment((0, 7), (38, 7), f"line {seen.css}", seen.dash) if lines else None
    return el("svg", stroke, marker((19, 7), seen), viewBox="0 0 38 14", aria_hidden="true")

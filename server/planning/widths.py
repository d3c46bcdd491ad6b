"""The plan's figure: expected width of the AUC's interval against the AUC, and widths that were observed since."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedescc.server.report import svg
from fedescc.server.report.formats import decimal
from fedescc.server.report.markup import Html
from fedescc.server.report.svg import Look, Point

Line = tuple[str, Look, list[Point]]
Observed = Mapping[str, Point]

ALL_SITES = "all sites"
_LARGE = 1.9


def widths_figure(
    entries: Sequence[Mapping[str, Any]], looks: Mapping[str, Look] | None = None, observed: Observed | None = None
) -> Html:
    """Width by assumed AUC, pooled and at each site that shows its own.

    Args:
        entries: ``precision.at`` of a plan, at least one.
        looks: of sites; None numbers them as they come.
        observed: AUC and width found by the run, of ``ALL_SITES`` or a site; drawn as large markers where a line is.

    """
    lines = _lines(entries, looks)
    found = {label: (observed or {})[label] for label, _, _ in lines if label in (observed or {})}
    heading, caption = "Width of the AUC's 95 % interval", "Expected, by assumed AUC; narrower is more certain."
    spoken = ". ".join(f"{label}: {_ends(points)}" for label, _, points in lines if points)
    spoken += "".join(f". Observed, {label}: {decimal(width)}" for label, (_, width) in found.items())
    legend = svg.legend([(seen, label) for label, seen, _ in lines])
    caption += " Large markers: observed." if found else ""
    return svg.figure(_chart(heading, spoken, lines, found), heading, caption, legend)


def _lines(entries: Sequence[Mapping[str, Any]], looks: Mapping[str, Look] | None) -> list[Line]:
    names = list(entries[0]["sites"])
    seen = {name: svg.look(place) for place, name in enumerate(names)} if looks is None else looks
    lines: list[Line] = [(ALL_SITES, svg.POOLED, _points((one["auc"], one["pooled"]) for one in entries))]
    return lines + [
        (name, seen[name], _points((one["auc"], one["sites"][name]) for one in entries if name in one["sites"]))
        for name in names
    ]


def _points(spans: Iterable[tuple[float, Mapping[str, Any]]]) -> list[Point]:
    return [(auc, span["width"]) for auc, span in spans if span["width"] is not None]


def _ends(points: Sequence[Point]) -> str:
    return f"{decimal(points[0][1])} to {decimal(points[-1][1])}"


def _chart(title: str, spoken: str, lines: Sequence[Line], observed: Observed) -> Html:
    everything = [point for _, _, points in lines for point in points] + list(observed.values())
    aucs, widths = zip(*everything, strict=True)
    marks = svg.nice_ticks(0.0, max(widths))
    frame = svg.Frame(46, 34, 462, 300, (min(aucs), max(aucs)), (marks[0], marks[-1]))
    ticks = [mark for mark in svg.nice_ticks(*frame.x_range, 6) if frame.x_range[0] <= mark <= frame.x_range[1]]
    axes = [svg.y_axis(frame, marks, "Width", svg.tick_digits(marks)), svg.x_axis(frame, ticks, "Assumed AUC", 2)]
    drawn = [
        shape
        for _, seen, points in reversed(lines)
        for shape in (svg.line(frame.place(points), seen), *(svg.marker(one, seen) for one in frame.place(points)))
    ]
    large = [(seen, observed[label]) for label, seen, _ in lines if label in observed]
    drawn += [svg.marker(frame.place([point])[0], seen, _LARGE) for seen, point in large]
    return svg.canvas("plan-widths", title, spoken, 346, *axes, *drawn)

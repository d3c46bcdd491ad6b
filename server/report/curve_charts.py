"""Charts of one model's curves: precision and recall, calibration, and net benefit."""

from collections.abc import Sequence

from fedescc.server.report import svg
from fedescc.server.report.judged import Calibration, Decision, PrecisionRecall
from fedescc.server.report.markup import Html, join
from fedescc.server.report.svg import Frame, Look, Point

TREAT_ALL = svg.look(1)
TREAT_NONE = svg.look(2)
FLOOR = -0.25
"""Net benefit below this share of the highest is cut off; treating all falls without end."""

_MARKS = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]


def precision_recall_chart(name: str, curve: PrecisionRecall, description: str) -> Html:
    """Precision in steps, so that the area drawn is the average precision; a dotted line marks the prevalence."""
    frame = _square()
    points: list[Point] = []
    for before, recall, precision in zip((0.0, *curve.recall), curve.recall, curve.precision, strict=False):
        points += [(before, precision), (recall, precision)]
    level = frame.y(curve.prevalence)
    prevalence = svg.segment((frame.left, level), (frame.right, level), "chance")
    axes = [svg.y_axis(frame, _MARKS, "Precision (PPV)"), svg.x_axis(frame, _MARKS, "Recall (sensitivity)")]
    line = svg.line(frame.place(points), svg.POOLED)
    return svg.canvas(name, "Precision and recall", description, 484, *axes, prevalence, line)


def calibration_chart(name: str, curve: Calibration, description: str) -> Html:
    """Groups of patients as points with intervals; on the dotted diagonal as many had the outcome as predicted."""
    frame = _square()
    ideal = svg.segment((frame.left, frame.bottom), (frame.right, frame.top), "chance")
    groups = zip(curve.predicted, curve.observed, curve.low, curve.high, strict=True)
    drawn = [_group(frame, *group) for group in groups]
    axes = [svg.y_axis(frame, _MARKS, "Observed share"), svg.x_axis(frame, _MARKS, "Predicted probability")]
    return svg.canvas(name, "Calibration", description, 484, *axes, ideal, *drawn)


def decision_chart(name: str, curve: Decision, description: str) -> Html:
    """Net benefit of the model, of treating all and of treating nobody, by threshold probability."""
    highest = max(*curve.model, *curve.treat_all, 0.01)
    floor = FLOOR * highest
    marks = svg.nice_ticks(floor, highest, 5)
    low, high = curve.thresholds[0], curve.thresholds[-1]
    pad = 0.05 if low == high else 0.0
    frame = Frame(46, 34, 462, 266, (low - pad, high + pad), (marks[0], marks[-1]))
    nobody = [0.0] * len(curve.thresholds)
    series = ((curve.treat_all, TREAT_ALL), (nobody, TREAT_NONE), (curve.model, svg.ACCENT))
    drawn = [_stroke(frame, list(zip(curve.thresholds, values, strict=True)), seen) for values, seen in series]
    axes = [
        svg.y_axis(frame, marks, "Net benefit", svg.tick_digits(marks)),
        svg.x_axis(frame, _threshold_marks(low, high), "Threshold probability", 2),
    ]
    return svg.canvas(name, "Net benefit", description, 312, *axes, *drawn)


def above(points: Sequence[Point], floor: float) -> list[list[Point]]:
    """The stretches of a line that lie at or above a floor, each up to where it crosses it."""
    runs: list[list[Point]] = [[]]
    for place, point in enumerate(points):
        if place:
            before = points[place - 1]
            if (before[1] < floor) != (point[1] < floor):
                share = (floor - before[1]) / (point[1] - before[1])
                runs[-1].append((before[0] + share * (point[0] - before[0]), floor))
                if point[1] < floor:
                    runs.append([])
        if point[1] >= floor:
            runs[-1].append(point)
    return [run for run in runs if run]


def _stroke(frame: Frame, points: list[Point], seen: Look) -> Html:
    bottom = frame.y_range[0]
    lines = [svg.line(frame.place(run), seen) for run in above(points, bottom) if len(run) > 1]
    markers = [svg.marker(place, seen, 0.8) for place in frame.place([p for p in points if p[1] >= bottom])]
    return join([*lines, *markers])


def _group(frame: Frame, predicted: float, observed: float, low: float, high: float) -> Html:
    x, css = frame.x(predicted), f"line {svg.ACCENT.css}"
    ends = [frame.y(low), frame.y(high)]
    caps = [svg.segment((x - 4, y), (x + 4, y), css) for y in ends]
    return join([svg.segment((x, ends[0]), (x, ends[1]), css), *caps, svg.marker((x, frame.y(observed)), svg.ACCENT)])


def _threshold_marks(low: float, high: float) -> list[float]:
    marks = [mark for mark in svg.nice_ticks(low, high, 8) if low <= mark <= high]
    return marks or [low]


def _square() -> Frame:
    return Frame(46, 34, 450, 438, (0.0, 1.0))

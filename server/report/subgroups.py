"""Patients judged apart: AUC of every level as a forest plot, errors as a table, hidden levels, and gaps."""

from collections import defaultdict

from fedescc.server.report import svg
from fedescc.server.report.charts import Row, area_numbers, interval_chart
from fedescc.server.report.document import Results
from fedescc.server.report.formats import decimal, signed_interval, whole, words
from fedescc.server.report.judged import Gap, Level
from fedescc.server.report.markup import Child, Html, el, join, section
from fedescc.server.report.parts import Metrics
from fedescc.server.report.performance import HEADINGS, metric_cell
from fedescc.server.report.reasons import NOT_RELEASED, reason
from fedescc.server.report.svg import Look
from fedescc.server.report.tables import Footnotes, table

_KEYS = ("n", "n_pos", "auc", "auc_ci95", "sensitivity", "specificity")
_GAPS = ("sensitivity", "specificity", "auc")
_MISSING = "missing"
_READING = (
    "Subgroups were fixed in the plan. They are small and many: read each with its interval, and a difference as a "
    "question for another study."
)
_GAP_READING = (
    "A gap is the difference between the highest and the lowest level, with its 95 % interval (Newcombe); chance alone "
    "makes one, the more levels the larger, and the interval does not count that the widest pair was picked. Patients "
    "without a value and hidden levels are not compared."
)


def subgroups_section(results: Results) -> Html | None:
    """All levels of all subgroups; None where the plan has none."""
    found = {(name, level): one for name, levels in results.final.subgroups.items() for level, one in levels.items()}
    if not found:
        return None
    return section(
        "subgroups",
        "Subgroups",
        el("p", _READING),
        el("div", _figure(results, found), _hidden(found), class_="columns"),
        _gaps(results),
        _table(found),
    )


def _figure(results: Results, found: dict[tuple[str, str], Level]) -> Html:
    shown = {label: one for label, one in found.items() if one.auc is not None or one.sensitivity is not None}
    if not shown:
        return el("div", el("h3", "By subgroup"), el("p", "No level has a value that may be shown."))
    drawn = any(one.auc is not None for one in shown.values())  # over folds no level has an AUC
    metric, unit = ("auc", "AUC") if drawn else ("sensitivity", "Sensitivity")
    heading = f"{unit} by subgroup"
    place = {name: number for number, name in enumerate(results.final.subgroups)}
    rows = [_row("All patients", svg.POOLED, results.final.pooled, metric, strong=True)]
    seen = {key: one for key, one in shown.items() if getattr(one, metric) is not None}
    rows += [_row(_label(*key), svg.look(place[key[0]]), one, metric) for key, one in seen.items()]
    spoken = ". ".join(f"{row.label}: {row.absent if row.value is None else area_numbers(row)}" for row in rows)
    drawing = interval_chart("subgroup-auc", f"{heading} with 95 % interval", spoken, rows, unit)
    dotted = "dotted line: chance" if metric == "auc" else "at the locked threshold; dotted line: one half"
    caption = f"All sites' patients of a level; 95 % intervals; {dotted}. One marker a subgroup."
    return svg.figure(drawing, heading, caption)


def _row(label: str, seen: Look, metrics: Metrics, metric: str, *, strong: bool = False) -> Row:
    bounds = metrics.auc_ci95 if metric == "auc" else metrics.ci95.get(metric)
    return Row(label, seen, getattr(metrics, metric), bounds, strong, "no value")


def _table(found: dict[tuple[str, str], Level]) -> Html:
    notes = Footnotes("subgroups")
    sites = any(one.sites is not None for one in found.values())  # a sum over folds has no number of sites
    head = ["Subgroup", "Level", *(["Sites"] if sites else []), *(HEADINGS[key] for key in _KEYS)]
    body = [
        [
            words(name),
            _level(level),
            *([_sites(one, notes)] if sites else []),
            *(metric_cell(one, key, notes) for key in _KEYS),
        ]
        for (name, level), one in found.items()
    ]
    return el("div", table("Performance by subgroup, pooled over sites.", head, body, left=2), notes.legend())


def _sites(one: Level, notes: Footnotes) -> Child:
    return notes.missing(one.suppressed.get("n")) if one.sites is None else whole(one.sites)


def _hidden(found: dict[tuple[str, str], Level]) -> Html | None:
    """Levels of which nothing is shown, by reason."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for key, one in found.items():
        if one.n is None:
            by_reason[one.suppressed.get("n", NOT_RELEASED)].append(_label(*key))
    if not by_reason:
        return None
    items = [el("li", el("b", reason(code)), f": {', '.join(levels)}") for code, levels in by_reason.items()]
    return el("div", el("h3", "Levels that are not shown"), el("ul", *items))


def _gaps(results: Results) -> Html | None:
    """Largest differences between levels."""
    if not results.final.fairness:
        return None
    notes = Footnotes("gaps")
    body = [
        [words(name), *(_gap(gaps.get(key, Gap()), notes) for key in _GAPS)]
        for name, gaps in results.final.fairness.items()
    ]
    head = ["Subgroup", *(HEADINGS[key] for key in _GAPS)]
    drawn = table("Largest gap between two levels, its 95 % interval, and from which to which.", head, body)
    reading = el("p", _GAP_READING, class_="small-text")
    return el("div", el("h3", "Gaps between levels"), drawn, notes.legend(), reading)


def _gap(found: Gap, notes: Footnotes) -> Child:
    if found.gap is None:
        return notes.missing(found.suppressed)
    bounds = signed_interval(found.ci95) if found.ci95 else notes.missing(found.suppressed or NOT_RELEASED)
    parts = [decimal(found.gap), el("br"), el("span", bounds, class_="small-text")]
    if found.levels is not None:
        between = f"{_level(found.levels[0])} to {_level(found.levels[1])}"
        parts += [el("br"), el("span", between, class_="small-text")]
    return join(parts)


def _label(name: str, level: str) -> str:
    return f"{words(name)}: {_level(level)}"


def _level(level: str) -> str:
    return "not known" if level == _MISSING else words(level)

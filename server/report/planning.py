"""Planning: what was to be expected before training, beside what the run found."""

from collections.abc import Mapping
from typing import Any

from fedescc.server.planning import words
from fedescc.server.planning.tables import SECTIONS
from fedescc.server.planning.widths import ALL_SITES, widths_figure
from fedescc.server.report.document import Results
from fedescc.server.report.expected import Outlook, Planned, Span, Unplanned
from fedescc.server.report.formats import DASH, decimal
from fedescc.server.report.markup import Html, el, section
from fedescc.server.report.parts import Area
from fedescc.server.report.reasons import NOT_IN_RESULTS, reason, refusals
from fedescc.server.report.svg import Look, Point
from fedescc.server.report.tables import table

_DEVELOPMENT, _SUBGROUPS, _BUDGET = 4, 5, 6  # places in SECTIONS


def planning_section(results: Results, looks: Mapping[str, Look]) -> Html:
    """Expected against observed widths, events per parameter, subgroups, epsilon; or why there is no plan."""
    found = results.planning
    if found is None:
        return section("planning", "Planning", el("p", NOT_IN_RESULTS))
    if isinstance(found, Unplanned):
        return section("planning", "Planning", el("p", f"No plan: {reason(found.reason)}."), refusals(found.refused))
    plan = found.model_dump(exclude_unset=True)
    return section(
        "planning",
        "Planning",
        el("p", f"Made from the sites' counts before training: {words.assumptions(plan)}."),
        _precision(results, found, looks),
        _rows(_DEVELOPMENT, words.development_rows(plan)),
        _rows(_SUBGROUPS, words.subgroup_rows(plan) if found.sites else [], left=2),
        _rows(_BUDGET, words.budget_rows(plan)),
        el("div", *(el("p", remark) for remark in words.remarks(plan)), class_="small-text"),
        refusals(found.refused),
    )


def _precision(results: Results, found: Planned, looks: Mapping[str, Look]) -> Html:
    """Intervals of the AUC; without test patients of both outcomes there is none to expect."""
    precision = found.precision
    if not precision.at:
        return el("p", f"No interval could be expected: {reason(precision.reason or 'counts-not-told')}.")
    observed = _observed(results)
    entries: list[Mapping[str, Any]] = [one.model_dump() for one in precision.at]
    figure = widths_figure(entries, looks, _points(observed))
    return el("div", figure, _against(found, observed), class_="columns")


def _observed(results: Results) -> dict[str, Area]:
    return {ALL_SITES: results.final.pooled, **dict(sorted(results.final.sites.items()))}


def _points(observed: Mapping[str, Area]) -> dict[str, Point]:
    """AUC and width of all that have both."""
    widths = {name: _width(area) for name, area in observed.items()}
    return {
        name: (area.auc, width)
        for name, area in observed.items()
        if area.auc is not None and (width := widths[name]) is not None
    }


def _width(area: Area) -> float | None:
    return None if area.auc_ci95 is None else area.auc_ci95[1] - area.auc_ci95[0]


def _against(found: Planned, observed: Mapping[str, Area]) -> Html:
    """Widths at the AUC that the plan assumed, at the planned AUC nearest to the one found, and as found."""
    at = found.precision.at
    assumed = min(at, key=lambda one: abs(one.auc - found.assumed.auc))
    names = [ALL_SITES, *sorted({*assumed.sites, *(observed.keys() - {ALL_SITES})})]
    rows = [_widths_row(name, at, assumed, observed.get(name, Area())) for name in names]
    head = [
        "",
        f"Expected at AUC {decimal(assumed.auc, 2)}",
        "Observed width",
        "Observed AUC",
        "Expected at the AUC nearest",
    ]
    caption = (
        "Width of the AUC's 95 % interval. A dash: the site's own results are not shown, or were not expected to be."
    )
    return table(caption, head, rows)


def _widths_row(name: str, at: tuple[Outlook, ...], assumed: Outlook, area: Area) -> list[str]:
    row = [name, decimal(_expected(name, assumed)), decimal(_width(area)), decimal(area.auc)]
    if area.auc is None:
        return [*row, DASH]
    own = area.auc
    nearest = min(at, key=lambda one: abs(one.auc - own))
    width = _expected(name, nearest)
    return [*row, DASH if width is None else f"{decimal(width)} (at {decimal(nearest.auc, 2)})"]


def _expected(name: str, one: Outlook) -> float | None:
    span: Span | None = one.pooled if name == ALL_SITES else one.sites.get(name)
    return None if span is None else span.width


def _rows(place: int, rows: words.Rows, left: int = 1) -> Html | None:
    """One of the plan's tables, as `fedescc-server plan` shows it."""
    if not rows:
        return None
    title, columns = SECTIONS[place]
    head = [column[:1].upper() + column[1:] for column in columns]
    return table(f"{title[:1].upper()}{title[1:]}.", head, rows, left=left)

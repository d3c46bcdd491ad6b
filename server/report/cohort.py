"""Who is in the study: flow of patients after STARD (Bossuyt et al., BMJ 351 (2015) h5527), in all and by site."""

from collections import Counter

from fedescc.server.report.document import Results
from fedescc.server.report.formats import plural, sentence, whole, words
from fedescc.server.report.markup import Child, Html, el, section
from fedescc.server.report.parts import Flow
from fedescc.server.report.tables import Footnotes, table

_HIDDEN = {"included": "flow_included", "n_train": "n_train", "excluded": "flow_excluded"}  # their keys of suppression


def cohort_section(results: Results) -> Html | None:
    """Flow diagram over all sites and a table by site; None without a flow."""
    if not results.flow:
        return None
    return section("cohort", "Cohort", _diagram(results), _flow_table(results.flow, folds=bool(results.folds)))


def _diagram(results: Results) -> Html:
    flows = list(results.flow.values())
    included, excluded = _total([flow.included for flow in flows]), _total([flow.excluded for flow in flows])
    steps = []
    if included is not None and excluded is not None:
        side = _box("Excluded", excluded, _reasons(flows), css="box side")
        steps.append(el("li", _box("In the sites' tables", included + excluded), side))
    steps.append(el("li", _box("Included", included)))
    if results.folds:
        steps.append(
            el("li", _box("Folds, each with its own training patients", len(results.folds)), _evaluated(results))
        )
    else:
        steps.append(el("li", _box("Training", _total([flow.n_train for flow in flows])), _evaluated(results)))
    return el("figure", el("figcaption", el("strong", "Flow of patients"), "All sites together."), _list(steps))


def _list(steps: list[Html]) -> Html:
    return el("ol", *steps, class_="flow")


def _evaluated(results: Results) -> Html | None:
    validated = [one.validation.n for one in results.rounds if one.validation.n is not None]
    rows = [("Validation", validated[-1] if validated else None), ("Test", results.final.pooled.n)]
    items = [el("li", name, el("span", whole(n))) for name, n in rows if n is not None]
    if not items:
        return None
    return el("div", "Held out, at sites that released counts", el("ul", *items), class_="box side")


def _box(label: str, count: int | None, below: Html | None = None, css: str = "box") -> Html:
    shown = whole(count) if count is not None else "not released"
    return el("div", label, el("b", shown), below, class_=css)


def _reasons(flows: list[Flow]) -> Html | None:
    """Excluded by rule over the sites whose breakdown shows; the rest in one line, so that the sum is right."""
    counts: Counter[str] = Counter()
    hidden = 0
    for flow in flows:
        if flow.by_rule is None:
            hidden += flow.excluded or 0
        else:
            counts.update(flow.by_rule)
    rows = [(words(code), count) for code, count in counts.items() if count]
    rows += [("by rule not released (small counts)", hidden)] if hidden else []
    items = [el("li", el("span", label), el("span", whole(count))) for label, count in rows]
    return el("ul", *items) if items else None


def _flow_table(flows: dict[str, Flow], *, folds: bool) -> Html:
    """By site; the training patients differ between folds and then have no column."""
    codes = list(dict.fromkeys(code for flow in flows.values() for code, n in (flow.by_rule or {}).items() if n))
    notes = Footnotes("cohort")
    counts = {"Included": "included", "Training": "n_train", "Excluded": "excluded"}
    if folds:
        del counts["Training"]
    head = ["Site", *counts, *(sentence(code) for code in codes)]
    body = [[site, *_flow_cells(flow, list(counts.values()), codes, notes)] for site, flow in sorted(flows.items())]
    caption = f"Patients by site ({plural(len(flows), 'site')}), and excluded patients by the first rule that applied."
    return el("div", el("h3", "By site"), table(caption, head, body), notes.legend())


def _flow_cells(flow: Flow, keys: list[str], codes: list[str], notes: Footnotes) -> list[Child]:
    hidden = flow.suppressed
    cells: list[Child] = [_count_cell(getattr(flow, key), hidden.get(_HIDDEN[key]), notes) for key in keys]
    if flow.by_rule is None:
        return cells + [notes.missing(hidden.get("flow_by_rule")) for _ in codes]
    return cells + [whole(flow.by_rule.get(code, 0)) for code in codes]


def _count_cell(count: int | None, code: str | None, notes: Footnotes) -> Child:
    return notes.missing(code) if count is None else whole(count)


def _total(counts: list[int | None]) -> int | None:
    """Sum, or None where one is hidden: a partial sum would not be what its label says."""
    return None if None in counts else sum(count for count in counts if count is not None)

"""Paired differences of AUC from the federated model: a plot about zero, and a table that says what was planned."""

from dataclasses import dataclass

from fedescc.server.report import svg
from fedescc.server.report.charts import Row
from fedescc.server.report.document import Results
from fedescc.server.report.forest import difference_chart
from fedescc.server.report.formats import decimal, method_label, p_value, plural, signed, signed_interval
from fedescc.server.report.judged import Compared, SiteTest
from fedescc.server.report.markup import Child, Html, el
from fedescc.server.report.parts import Versus
from fedescc.server.report.selection import NO_COMPARISON, personal_kind
from fedescc.server.report.svg import Look
from fedescc.server.report.tables import Footnotes, table

_Z95 = 1.959963984540054
_LOOKS = {
    "primary": svg.ACCENT,
    "planned": svg.look(1),
    "exploratory": svg.look(2),
    "simulated": svg.look(3),
}
KINDS = {
    "primary": "planned, primary",
    "planned": "planned",
    "exploratory": "exploratory",
    "simulated": "simulation only",
}
"""Whether a comparison was fixed beforehand; a simulation compares what no federation could have."""


@dataclass(frozen=True)
class Difference:
    """One comparator's AUC less the federated model's; ``reason`` where there is none."""

    model: str
    kind: str
    difference: float | None
    interval: tuple[float, float] | None
    p: float | None
    folds: int | None
    reason: str | None


def differences(results: Results) -> Html:
    """Plot and table; with personal models, and where nothing was compared, a sentence."""
    found = _differences(results)
    if not found:
        words = NO_COMPARISON if personal_kind(results) else "No paired difference was computed."
        return el("p", words, class_="small-text")
    return el("div", _figure(found), _table(results, found), _by_site(results))


def _differences(results: Results) -> list[Difference]:
    """In the order of the comparators. The federation's own paired test stands before that of a simulation."""
    own = {one.model: _own(one) for one in results.final.comparisons}
    others = {
        name: _simulated(name, other.versus_federated)
        for name, other in results.comparators.items()
        if other.versus_federated is not None and name not in own
    }
    known = own | others
    order = [
        *(name for name in results.comparators if name in known),
        *(n for n in known if n not in results.comparators),
    ]
    return [known[name] for name in order]


def _own(one: Compared) -> Difference:
    kind = "primary" if one.primary else "planned" if one.planned else "exploratory"
    return Difference(one.model, kind, one.difference, one.ci95, one.p, one.folds, one.suppressed)


def _simulated(name: str, versus: Versus) -> Difference:
    bounds = None
    if versus.difference is not None and versus.standard_error is not None:
        half = _Z95 * versus.standard_error
        bounds = (versus.difference - half, versus.difference + half)
    return Difference(name, "simulated", versus.difference, bounds, versus.p, None, versus.suppressed)


def _figure(found: list[Difference]) -> Html | None:
    rows = [
        Row(method_label(one.model), _LOOKS[one.kind], one.difference, one.interval, absent="no value") for one in found
    ]
    if all(row.value is None for row in rows):
        return None
    heading = "Difference of AUC to the federated model"
    spoken = ". ".join(f"{row.label}, {KINDS[one.kind]}: {_spoken(one)}" for row, one in zip(rows, found, strict=True))
    caption = "With 95 % intervals; dotted line: no difference. Left of it the federated model has the higher AUC."
    entries: list[tuple[Look, str]] = [
        (seen, KINDS[kind]) for kind, seen in _LOOKS.items() if any(one.kind == kind for one in found)
    ]
    drawing = difference_chart("differences", heading, spoken, rows, "Difference of AUC")
    return svg.figure(drawing, heading, caption, svg.legend(entries, lines=False))


def _spoken(one: Difference) -> str:
    if one.difference is None:
        return "no value"
    return signed(one.difference) + (f" ({signed_interval(one.interval)})" if one.interval else "")


def _table(results: Results, found: list[Difference]) -> Html:
    notes = Footnotes("versus")
    body = [[method_label(one.model), _kind(one), *_cells(results, one, notes)] for one in found]
    head = ["", "Comparison", "AUC", "Difference to the federation", "95 % CI", "p"]
    caption = "AUC minus that of the federated model on the same patients, by DeLong's paired test"
    caption += " in each fold, averaged over patients" if results.folds else ""
    drawn = table(f"{caption}; not corrected for the number of comparisons.", head, body, left=2)
    return el("div", drawn, notes.legend())


def _by_site(results: Results) -> Html | None:
    """Every site's own test, on its exact scores, where the sites told them."""
    notes = Footnotes("versus-site")
    body: list[list[Child]] = []
    for one in results.final.comparisons:
        for site, own in sorted(one.sites.items()):
            body.append([site, method_label(one.model), *_test_cells(own, notes)])
    if not body:
        return None
    caption = "The same difference among each site's own patients; small, and many: read them together."
    drawn = table(caption, ["Site", "Model", "Difference to the federation", "95 % CI", "p"], body, left=2)
    return el("details", el("summary", "Each site's own difference"), drawn, notes.legend())


def _kind(one: Difference) -> str:
    return KINDS[one.kind] + (f" ({plural(one.folds, 'fold')})" if one.folds else "")


def _cells(results: Results, one: Difference, notes: Footnotes) -> list[Child]:
    other = results.comparators.get(one.model)
    area = other.pooled.auc if other else None
    missing = other.pooled.suppressed.get("auc") if other else "not-evaluated"
    first = notes.missing(missing) if area is None else decimal(area)
    test = SiteTest(difference=one.difference, ci95=one.interval, p=one.p, suppressed=one.reason)
    return [first, *_test_cells(test, notes)]


def _test_cells(one: SiteTest, notes: Footnotes) -> list[Child]:
    if one.difference is None:
        gone = notes.missing(one.suppressed)
        return [gone, gone, gone]
    bounds: Child = notes.missing(None) if one.ci95 is None else signed_interval(one.ci95)
    return [signed(one.difference), bounds, p_value(one.p)]

"""How scans differ between sites before any model: differences in SD as dots, tests as tables, and what was flagged."""

from collections.abc import Mapping

from fedescc.server.report import svg
from fedescc.server.report.checks import Category, Drift, Flag, Number, SiteNumber
from fedescc.server.report.dots import Dot, DotRow, dot_chart
from fedescc.server.report.formats import DASH, decimal, p_value, plural, scan_label, signed, whole, words
from fedescc.server.report.markup import Child, Html, el
from fedescc.server.report.reasons import NOT_IN_RESULTS, reason, refusals
from fedescc.server.report.svg import Look
from fedescc.server.report.tables import Footnotes, table

_LIMIT = 0.5  # of an SD, from which the server flags a difference


def drift_part(found: Drift | None, looks: Mapping[str, Look]) -> Html:
    """The differences between scans, or why they were not examined."""
    head = el("h3", "Differences between scans")
    if found is None:
        return el("div", head, el("p", NOT_IN_RESULTS))
    if found.suppressed is not None:
        return el("div", head, el("p", f"Not examined: {reason(found.suppressed)}."), refusals(found.refused))
    return el(
        "div",
        head,
        el("p", _scope(found)),
        _flags(found.flags),
        _figure(found.numbers, looks),
        _numbers_table(found.numbers),
        _categories_table(found.categories),
        _details(found),
        refusals(found.refused),
    )


def _scope(found: Drift) -> str:
    patients = plural(sum(found.patients.values()), "training patient")
    first = f"Scans of {patients} at {plural(len(found.patients), 'site')}, before any model and whatever the outcome."
    return f"{first} Adjusted p values are Benjamini and Hochberg's over {plural(found.tests or 0, 'test')}."


def _flags(flags: tuple[Flag, ...]) -> Html:
    if not flags:
        return el("p", "No difference was flagged.")
    items = [el("li", el("b", _flagged(flag)), f" {DASH} {flag.why}") for flag in flags]
    return el("aside", el("p", el("strong", "Flagged.")), el("ul", *items), class_="notice", role="note")


def _flagged(flag: Flag) -> str:
    return scan_label(flag.what) + (f", {flag.site}" if flag.site is not None else "")


def _figure(numbers: Mapping[str, Number], looks: Mapping[str, Look]) -> Html | None:
    """A row a number, a dot a site."""
    rows = [DotRow(scan_label(name), _dots(one, looks), absent="no difference told") for name, one in numbers.items()]
    if not any(row.dots for row in rows):
        return None
    spoken = ". ".join(f"{scan_label(name)}: {_spoken(one)}" for name, one in numbers.items())
    title, unit = "Standardised difference of each site from the others", "SD from the other sites"
    drawing = dot_chart("drift", title, spoken, rows, unit, limits=(-_LIMIT, _LIMIT), zero=True)
    sites = sorted({site for one in numbers.values() for site, own in one.sites.items() if own.smd is not None})
    caption = f"Standardised mean differences (SMD); dashed: {_LIMIT} SD either way, beyond which a site is flagged."
    legend = svg.legend([(looks[site], site) for site in sites], lines=False)
    return svg.figure(drawing, "Each site against the others", caption, legend)


def _dots(one: Number, looks: Mapping[str, Look]) -> tuple[Dot, ...]:
    return tuple(Dot(looks[site], own.smd) for site, own in one.sites.items() if own.smd is not None)


def _spoken(one: Number) -> str:
    return ", ".join(f"{site} {signed(own.smd)}" for site, own in one.sites.items() if own.smd is not None) or "none"


def _numbers_table(numbers: Mapping[str, Number]) -> Html | None:
    if not numbers:
        return None
    notes = Footnotes("drift-numbers")
    rows = [[scan_label(name), *_welch(one, notes), _largest(one)] for name, one in numbers.items()]
    head = ["Number", "Welch's F", "df", "p", "Adjusted p", "Largest |SMD|"]
    return el("div", table("Whether the sites' means differ.", head, rows), notes.legend())


def _welch(one: Number, notes: Footnotes) -> list[Child]:
    if one.f is None or one.df is None:
        return [notes.missing(one.suppressed)] * 4
    freedom = f"{decimal(one.df[0], 0)}, {decimal(one.df[1], 1)}"
    return [decimal(one.f, 2), freedom, p_value(one.p), p_value(one.p_adjusted)]


def _largest(one: Number) -> str:
    known = {site: abs(own.smd) for site, own in one.sites.items() if own.smd is not None}
    if not known:
        return DASH
    site = max(known, key=lambda name: known[name])
    return f"{decimal(known[site], 2)} ({site})"


def _categories_table(categories: Mapping[str, Category]) -> Html | None:
    if not categories:
        return None
    notes = Footnotes("drift-categories")
    rows = [[scan_label(name), whole(len(one.compared)), *_pearson(one, notes)] for name, one in categories.items()]
    head = ["Category", "Sites compared", "\u03c7\u00b2", "df", "p", "Adjusted p", "Cram\u00e9r's V", "Sparse"]
    caption = "Whether the sites' shares differ, by Pearson's test. Sparse: a count below 5 is expected somewhere."
    return el("div", table(caption, head, rows), notes.legend())


def _pearson(one: Category, notes: Footnotes) -> list[Child]:
    if one.chi2 is None:
        return [notes.missing(one.suppressed)] * 6
    sparse = {True: "yes", False: "no", None: DASH}[one.sparse]
    numbers = [decimal(one.chi2, 2), decimal(one.df, 0), p_value(one.p), p_value(one.p_adjusted)]
    return [*numbers, decimal(one.cramers_v, 2), sparse]


def _details(found: Drift) -> Html | None:
    """Means and counts of every site, to unfold."""
    if not found.numbers and not found.categories:
        return None
    notes = Footnotes("drift-sites")
    means = [
        [scan_label(name), site, *_site_number(own, one.unit, notes)]
        for name, one in found.numbers.items()
        for site, own in one.sites.items()
    ]
    counts = [
        [scan_label(name), site, ", ".join(f"{words(level)} {whole(count)}" for level, count in cells.items()) or DASH]
        for name, one in found.categories.items()
        for site, cells in one.sites.items()
    ]
    head = ["Number", "Site", "Patients", "Mean \u00b1 SD", "Mean elsewhere", "SMD"]
    first = table("Numbers of scans at each site.", head, means, left=2)
    merged = "Counts of scans at each site; counts that are small are merged."
    return el(
        "details",
        el("summary", "Means and counts at every site"),
        first,
        notes.legend(),
        table(merged, ["Category", "Site", "Patients"], counts, left=3),
    )


def _site_number(own: SiteNumber, unit: str, notes: Footnotes) -> list[Child]:
    if own.n is None:
        return [notes.missing(own.suppressed)] * 4
    spread = f"{decimal(own.mean, 1)} \u00b1 {decimal(own.sd, 1)} {unit}"
    smd = notes.missing(own.suppressed) if own.smd is None else signed(own.smd)
    return [whole(own.n), spread, decimal(own.rest_mean, 1), smd]

"""What each site gives the model: AUC with the site's training patients less AUC without them."""

from collections.abc import Mapping

from fedescc.server.report import svg
from fedescc.server.report.checks import Contribution, Gain, SiteGains
from fedescc.server.report.document import Results
from fedescc.server.report.dots import Dot, DotRow, dot_chart, reach
from fedescc.server.report.formats import DASH, p_value, signed, signed_interval
from fedescc.server.report.markup import Child, Html, el, section
from fedescc.server.report.reasons import NOT_IN_RESULTS, NOT_RELEASED, phase, reason, reason_item
from fedescc.server.report.svg import Look
from fedescc.server.report.tables import Footnotes, table

_CHANGED = "contributors-changed"
_NOT_ALONE = "the model without it was trained without other sites too, so the gain would not be this site's alone"


def contribution_section(results: Results, looks: Mapping[str, Look]) -> Html:
    """Gains over all test patients and over the other sites', as dots and numbers; or why there are none."""
    found = results.contribution
    if found is None:
        return section("contribution", "Site contribution", el("p", NOT_IN_RESULTS))
    note = el("p", f"{found.note}.", class_="small-text") if found.note else None
    parts = [_figures(found, looks), _table(found)] if found.sites else [el("p", "No site's contribution can be told.")]
    return section("contribution", "Site contribution", *parts, note, _others_missing(found), _unavailable(found))


def _figures(found: Contribution, looks: Mapping[str, Look]) -> Html:
    """Both sets of patients side by side on one scale, so that they can be compared by eye."""
    everywhere = [_row(site, gains.all_sites, looks[site]) for site, gains in sorted(found.sites.items())]
    elsewhere = [_row(site, gains.other_sites, looks[site]) for site, gains in sorted(found.sites.items())]
    widest = reach([*everywhere, *elsewhere]) or 0.1
    figures = [
        _figure("contribution-all", "On all test patients", everywhere, found, widest),
        _figure("contribution-others", "On the other sites' test patients", elsewhere, found, widest),
    ]
    return el("div", *figures, class_="columns")


def _row(site: str, gain: Gain, seen: Look) -> DotRow:
    if gain.gain is None:
        return DotRow(site, absent="no value")
    return DotRow(site, (Dot(seen, gain.gain, gain.ci95),), numbers=signed(gain.gain))


def _figure(name: str, heading: str, rows: list[DotRow], found: Contribution, widest: float) -> Html:
    gains = {site: (one.all_sites if name.endswith("-all") else one.other_sites) for site, one in found.sites.items()}
    spoken = ". ".join(
        f"{site}: {signed(one.gain)} ({signed_interval(one.ci95)})" for site, one in sorted(gains.items())
    )
    title, unit = f"Gain by site: {heading.lower()}", f"Gain in {found.unit}"
    drawing = dot_chart(name, title, spoken, rows, unit, zero=True, span=(-widest, widest))
    return svg.figure(drawing, heading, "With 95 % intervals; right of the line at 0 the site improves the model.")


def _table(found: Contribution) -> Html:
    notes = Footnotes("contribution")
    rows = [[site, *_cells(gains, notes)] for site, gains in sorted(found.sites.items())]
    head = ["Site", "Gain", "95 % CI", "p", "Gain at the others", "95 % CI", "p"]
    caption = f"Gain in {found.unit} by each site's training patients, on all and on the other sites' test patients; "
    return el("div", table(f"{caption}p values are not corrected for their number.", head, rows), notes.legend())


def _cells(gains: SiteGains, notes: Footnotes) -> list[Child]:
    return [*_gain_cells(gains.all_sites, notes), *_gain_cells(gains.other_sites, notes)]


def _gain_cells(one: Gain, notes: Footnotes) -> list[Child]:
    if one.gain is None:
        return [notes.missing(one.suppressed or NOT_RELEASED)] * 3
    return [signed(one.gain), signed_interval(one.ci95), p_value(one.p)]


def _unavailable(found: Contribution) -> Html | None:
    if not found.unavailable:
        return None
    items = [
        el("li", el("b", site), f" {DASH} {_NOT_ALONE} ({code})") if code == _CHANGED else reason_item(site, code)
        for site, code in sorted(found.unavailable.items())
    ]
    return el("div", el("h3", "Without a contribution"), el("ul", *items))


def _others_missing(found: Contribution) -> Html | None:
    """Models without one site that other sites had missed a part of, so that the gain is not the one site's alone."""
    items = [
        el("li", el("b", f"Without {site}"), f" {DASH} {other} missed {phase(kind)}: {reason(code)}")
        for site, gains in sorted(found.sites.items())
        for kind, refused in gains.refused.items()
        for other, code in sorted(refused.items())
    ]
    if not items:
        return None
    head = el("p", el("strong", "Not the site's alone."), " In these models other sites are missing in part:")
    return el("aside", head, el("ul", *items), class_="notice", role="note")

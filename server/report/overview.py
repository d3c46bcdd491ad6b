"""The top of the page: what the study is, its headline numbers, and what a reader must know first."""

from fedescc.server.report.charts import glyph
from fedescc.server.report.document import Results
from fedescc.server.report.formats import DASH, decimal, interval, mode_label, percent, plural, span_of, whole
from fedescc.server.report.losses import lost_sites
from fedescc.server.report.markup import Html, el, join, section
from fedescc.server.report.plan import opened_before
from fedescc.server.report.primary import Headline, headline_area
from fedescc.server.report.reasons import REASONS

_ENGINES = {
    "local": "all sites in one process",
    "flower": "Flower deployment",
    "ray": "Ray simulation",
}


def masthead(results: Results, contents: list[tuple[str, str]]) -> Html:
    """Title, identity of the study, intended use and the page's contents as (anchor, words)."""
    facts = [
        ("Study", results.study),
        ("Registration", results.registration),
        ("Mode", _mode(results)),
        ("Strategy", results.strategy),
        ("Engine", _ENGINES.get(results.engine or "", results.engine)),
        ("Study hash", results.study_sha256[:12]),
    ]
    links = [el("li", el("a", words, href=f"#{anchor}")) for anchor, words in contents]
    return el(
        "header",
        el("p", "Federated study report", class_="eyebrow"),
        el("h1", results.title or results.study),
        el("ul", *(el("li", f"{name} ", el("b", value)) for name, value in facts if value), class_="facts"),
        el("p", el("strong", "Research use only."), " Not for the care of individual patients.", class_="use"),
        _synthetic(results),
        el("nav", el("ul", *links), aria_label="Contents"),
    )


def headline(results: Results) -> Html:
    """The primary metric with its interval, and the counts behind it."""
    pooled, final = results.final.pooled, results.final
    counts = [
        ("Test patients", whole(pooled.n)),
        ("With the outcome", whole(pooled.n_pos)),
        ("Sites", whole(len(final.sites))),
    ]
    cells = [el("div", el("dt", name), el("dd", value)) for name, value in counts]
    strip = el(
        "dl",
        _main_cell(headline_area(results)),
        *cells,
        _extent(results),
        class_="strip",
    )
    return section("result", "Result", strip, _sentence(results), _notices(results))


def _mode(results: Results) -> str | None:
    if results.mode is None:
        return None
    return mode_label(results.mode) + (f", {plural(len(results.folds), 'fold')}" if results.folds else "")


def _extent(results: Results) -> Html:
    """How long the run was: its rounds, or its folds with the rounds of each."""
    if not results.folds:
        return el("div", el("dt", "Rounds"), el("dd", whole(len(results.rounds))))
    tested = results.tested_folds
    span = span_of(len(fold.rounds) for fold in tested)
    each = f"{span} {'round' if span == '1' else 'rounds'} each"
    failed = f"; {len(results.folds) - len(tested)} failed" if len(tested) < len(results.folds) else ""
    return el("div", el("dt", "Folds"), el("dd", whole(len(results.folds))), el("dd", each + failed, class_="small"))


def _synthetic(results: Results) -> Html | None:
    if results.synthetic_test is None:
        return None
    words = " The figures show that the software works, not how well the model predicts in patients."
    return el("p", el("strong", "Synthetic cohort."), words, class_="use")


def _main_cell(found: Headline) -> Html:
    name, area = el("dt", found.label), found.area
    if area.auc is None:
        why = el("dd", f"No value: {REASONS.get(found.reason, found.reason)}.", class_="small")
        return el("div", name, el("dd", DASH), why, class_="main")
    bounds = f"95 % CI {interval(area.auc_ci95)}" if area.auc_ci95 else "no interval"
    new = f"; at a new site {interval(found.new_site)}" if found.new_site else ""
    drawing = glyph("headline", found.label, area.auc, area.auc_ci95)
    parts = [name, el("dd", decimal(area.auc)), el("dd", bounds + new, drawing, class_="small")]
    if found.new_site and found.note:
        said = el("strong", "The interval at a new site needs care: ")
        parts.append(el("dd", said, f"{found.note}.", class_="small caution"))
    return el("div", *parts, class_="main")


def _sentence(results: Results) -> Html:
    """The result in words."""
    pooled = results.final.pooled
    parts = []
    if results.endpoint:
        parts.append(f"Outcome: {results.endpoint}.")
    if pooled.n is not None and pooled.n_pos is not None:
        share = percent(pooled.n_pos, pooled.n)
        who = f"{whole(pooled.n_pos)} of {plural(pooled.n, 'test patient')} ({share}) had the outcome."
        opened = "In every fold the" if results.folds else "The"
        parts.append(f"{who} {opened} test set was opened once, after training and after the threshold was locked.")
    if before := opened_before(results):
        parts.append(f"But other runs had opened test patients of {plural(len(before), 'site')} before; see Plan.")
    if pooled.sensitivity is not None and pooled.specificity is not None:
        rates = f"sensitivity was {decimal(pooled.sensitivity)} and specificity {decimal(pooled.specificity)}"
        if results.folds:
            parts.append(f"{_fold_threshold_words(results)}, {rates}.")
        elif pooled.threshold is not None:
            parts.append(f"{_threshold_words(results)} of {decimal(pooled.threshold)}, {rates}.")
    return el("p", " ".join(parts), class_="lead-text") if parts else Html("")


def _threshold_words(results: Results) -> str:
    if results.final.threshold_source == "default":
        return "No site released the validation histograms that the planned threshold needs; at the default threshold"
    return "At the locked threshold"


def _fold_threshold_words(results: Results) -> str:
    sources = [fold.final.threshold_source for fold in results.folds if fold.final is not None]
    if default := sources.count("default"):
        return f"At each fold's own threshold (in {plural(default, 'fold')} the default one)"
    return "At each fold's own locked threshold"


def _notices(results: Results) -> Html:
    """What must not be missed: lost sites, and the run's own notes."""
    boxes = []
    if lost := lost_sites(results):
        items = [el("li", el("b", site), f": {'; '.join(where)}") for site, where in lost.items()]
        head = f"{plural(len(lost), 'site')} did not take part throughout. "
        boxes.append(_notice(el("p", el("strong", head), "When and why, with the reason code:"), el("ul", *items)))
    if results.notes:
        items = [el("li", note) for note in results.notes]
        boxes.append(_notice(el("p", el("strong", "Notes of this run")), el("ul", *items), quiet=True))
    return join(boxes)


def _notice(*children: Html, quiet: bool = False) -> Html:
    return el("aside", *children, class_="notice quiet" if quiet else "notice", role="note")

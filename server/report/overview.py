"""The top of the page: what the study is, its headline numbers, and what a reader must know first."""

from collections import defaultdict

from fedescc.server.report.charts import glyph
from fedescc.server.report.document import Metrics, Results, Round
from fedescc.server.report.formats import DASH, decimal, interval, percent, plural, ranges, whole
from fedescc.server.report.markup import Html, el, join, section
from fedescc.server.report.tables import REASONS

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
    """Pooled AUC with its interval and the counts behind it."""
    pooled, final = results.final.pooled, results.final
    counts = [
        ("Test patients", whole(pooled.n)),
        ("With the outcome", whole(pooled.n_pos)),
        ("Sites", whole(len(final.sites))),
        ("Rounds", whole(len(results.rounds))),
    ]
    cells = [el("div", el("dt", name), el("dd", value)) for name, value in counts]
    strip = el("dl", _main_cell(pooled), *cells, class_="strip")
    return section("result", "Result", strip, _sentence(results), _notices(results))


def lost_sites(results: Results) -> dict[str, str]:
    """Site -> when it was missing and why, for every site that was lost at any time."""
    when: dict[str, list[str]] = defaultdict(list)
    for site, codes in _refusals(results.rounds).items():
        when[site] += [f"round {ranges(numbers)} ({code})" for code, numbers in codes.items()]
    for site, code in results.refused_before_training.items():
        when[site].insert(0, f"before training ({code})")
    for phase, refused in results.refused_in_evaluation.items():
        for site, code in refused.items():
            when[site].append(f"{phase.removeprefix('evaluate.').replace('_', ' ')} ({code})")
    for site in results.sites_lost:
        if site not in when:
            when[site].append("at some point of the run")
    return {site: "; ".join(where) for site, where in sorted(when.items())}


def _synthetic(results: Results) -> Html | None:
    if results.synthetic_test is None:
        return None
    words = " The figures show that the software works, not how well the model predicts in patients."
    return el("p", el("strong", "Synthetic cohort."), words, class_="use")


def _refusals(rounds: tuple[Round, ...]) -> dict[str, dict[str, list[int]]]:
    found: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for one in rounds:
        for site, code in one.refused.items():
            found[site][code].append(one.round)
    return found


def _main_cell(pooled: Metrics) -> Html:
    if pooled.auc is None:
        code = pooled.suppressed.get("auc", "not-released")
        why = el("dd", f"No value: {REASONS.get(code, code)}.", class_="small")
        return el("div", el("dt", "Pooled AUC"), el("dd", DASH), why, class_="main")
    bounds = f"95 % CI {interval(pooled.auc_ci95)}" if pooled.auc_ci95 else "no interval"
    drawing = glyph("headline", pooled.auc, pooled.auc_ci95)
    parts = [el("dt", "Pooled AUC"), el("dd", decimal(pooled.auc)), el("dd", bounds, drawing, class_="small")]
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
        parts.append(f"{who} The test set was opened once, after training and after the threshold was locked.")
    if pooled.sensitivity is not None and pooled.specificity is not None and pooled.threshold is not None:
        rates = f"sensitivity was {decimal(pooled.sensitivity)} and specificity {decimal(pooled.specificity)}"
        parts.append(f"{_threshold_words(results)} of {decimal(pooled.threshold)}, {rates}.")
    return el("p", " ".join(parts), class_="lead-text") if parts else Html("")


def _threshold_words(results: Results) -> str:
    if results.final.threshold_source == "default":
        return "No site released the validation histograms that the planned threshold needs; at the default threshold"
    return "At the locked threshold"


def _notices(results: Results) -> Html:
    """What must not be missed: lost sites, and the run's own notes."""
    boxes = []
    if lost := lost_sites(results):
        items = [el("li", el("b", site), f": {where}") for site, where in lost.items()]
        head = f"{plural(len(lost), 'site')} did not take part throughout. "
        boxes.append(_notice(el("p", el("strong", head), "Where and why, by reason code:"), el("ul", *items)))
    if results.notes:
        items = [el("li", note) for note in results.notes]
        boxes.append(_notice(el("p", el("strong", "Notes of this run")), el("ul", *items), quiet=True))
    return join(boxes)


def _notice(*children: Html, quiet: bool = False) -> Html:
    return el("aside", *children, class_="notice quiet" if quiet else "notice", role="note")

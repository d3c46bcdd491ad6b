"""Scanner shortcuts: whether the model's embeddings tell the site or the vendor, beside how the scans differ."""

from collections.abc import Mapping

from fedescc.server.report import svg
from fedescc.server.report.checks import Assigned, Embeddings, Telling
from fedescc.server.report.document import Results
from fedescc.server.report.dots import Dot, DotRow, dot_chart
from fedescc.server.report.drift import drift_part
from fedescc.server.report.formats import decimal, interval, sentence, whole, words
from fedescc.server.report.markup import Child, Html, el, section
from fedescc.server.report.reasons import NOT_IN_RESULTS, NOT_RELEASED, reason, refusals
from fedescc.server.report.svg import Look
from fedescc.server.report.tables import Footnotes, table

_BASES = {
    "all-dimensions": "on all dimensions of the embedding",
    "directions-of-class-means": "on the directions in which the means of sites and vendors differ",
}


def shortcuts_section(results: Results, looks: Mapping[str, Look]) -> Html:
    """What the embeddings tell, and the drift of the scans; or why neither was examined."""
    found = results.shortcuts
    if found is None:
        return section("shortcuts", "Scanner shortcuts", el("p", NOT_IN_RESULTS))
    return section("shortcuts", "Scanner shortcuts", _embeddings_part(found.embeddings), drift_part(found.drift, looks))


def _embeddings_part(found: Embeddings | None) -> Html:
    head = el("h3", "What the model's embeddings tell")
    if found is None:
        return el("div", head, el("p", NOT_IN_RESULTS))
    kinds = {"site": found.site, "vendor": found.vendor}
    told = [el("p", _verdict(kind, one)) for kind, one in kinds.items()]
    judged = {kind: one for kind, one in kinds.items() if one.ci95 is not None}
    parts = el("div", _figure(judged), _classes(judged), class_="columns") if judged else None
    return el("div", head, *told, parts, _method(found), refusals(found.refused))


def _verdict(kind: str, one: Telling) -> Html:
    """Whether the classes are told apart, with the numbers that say so."""
    if one.ci95 is None:
        why = reason(one.suppressed or NOT_RELEASED)
        return el("span", el("strong", f"Not examined for the {kind}"), f": {why}.")
    numbers = f" Balanced accuracy {_accuracy(one)}, 95 % interval {interval(one.ci95)}; guessing gets "
    numbers += f"{decimal(one.chance)}."
    first = el("strong", f"The embeddings {'tell' if one.told_apart else 'were not shown to tell'} the {kind}.")
    why = (
        " The interval lies above chance."
        if one.told_apart
        else " The interval reaches chance, which proves no absence."
    )
    left_out = f" Without validation patients: {', '.join(one.not_judged)}." if one.not_judged else ""
    return el("span", first, numbers, why, left_out)


def _accuracy(one: Telling) -> str:
    if one.accuracy is not None:
        return decimal(one.accuracy)
    return (
        f"between {decimal(one.bounds[0])} and {decimal(one.bounds[1])}, since small counts are hidden"
        if one.bounds
        else "hidden"
    )


def _figure(judged: Mapping[str, Telling]) -> Html:
    rows = [DotRow(sentence(kind), _dots(one), mark=one.chance) for kind, one in judged.items()]
    spoken = ". ".join(
        f"{sentence(kind)}: {_accuracy(one)} ({interval(one.ci95)}), guessing {decimal(one.chance)}"
        for kind, one in judged.items()
    )
    title = "Balanced accuracy of telling site and vendor"
    drawing = dot_chart("telling", title, spoken, rows, "Balanced accuracy", span=(0.0, 1.0))
    caption = "With 95 % intervals; dashed: what guessing gets. Two markers are the bounds of a hidden accuracy."
    return svg.figure(drawing, "Told from embeddings", caption)


def _dots(one: Telling) -> tuple[Dot, ...]:
    if one.accuracy is not None:
        return (Dot(svg.ACCENT, one.accuracy, one.ci95),)
    return (Dot(svg.ACCENT, None, one.ci95), *(Dot(svg.ACCENT, end) for end in one.bounds or ()))


def _classes(judged: Mapping[str, Telling]) -> Html:
    notes = Footnotes("telling")
    rows = [
        [sentence(kind), words(name) if kind == "vendor" else name, *_assigned(one, notes)]
        for kind, telling in judged.items()
        for name, one in telling.classes.items()
    ]
    caption = "Validation patients of each class, and how many the embeddings assign to it."
    drawn = table(caption, ["Kind", "Class", "Patients", "Assigned to it", "Share"], rows, left=2)
    return el("div", drawn, notes.legend())


def _assigned(one: Assigned, notes: Footnotes) -> list[Child]:
    if one.right is None:
        return [whole(one.n), notes.missing(one.suppressed), notes.missing(one.suppressed)]
    return [whole(one.n), whole(one.right), decimal(one.accuracy)]


def _method(found: Embeddings) -> Html | None:
    if found.basis is None and found.note is None:
        return None
    basis = _BASES.get(found.basis or "", found.basis)
    size = f" ({whole(found.columns)} of {whole(found.embedding)})" if found.columns and found.embedding else ""
    first = f"A linear discriminant {basis}{size}: " if basis else ""
    return el("p", f"{first}{found.note or 'no method is given'}.", class_="small-text")

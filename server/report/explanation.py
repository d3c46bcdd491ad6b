"""What the predictions rest on: mean |SHAP| by group of inputs, its ranks, and the gates that vouch for it."""

from collections.abc import Mapping

from fedescc.server.report import svg
from fedescc.server.report.baselines import baselines_part
from fedescc.server.report.charts import Bar, bar_chart
from fedescc.server.report.document import Results
from fedescc.server.report.formats import decimal, player_label, whole
from fedescc.server.report.gates import gates_part
from fedescc.server.report.importance import columns_part, comparators_part, ranked
from fedescc.server.report.markup import Html, el, section
from fedescc.server.report.parts import Explanation, Player, Reference
from fedescc.server.report.reasons import NOT_IN_RESULTS, reason, reason_item
from fedescc.server.report.stability import stability_part
from fedescc.server.report.svg import Look
from fedescc.server.report.tables import table


def explanation_section(results: Results, looks: Mapping[str, Look]) -> Html:
    """Bars by group with the sites as markers, ranks, gates, baselines and comparators; or why there are none."""
    found, compared = results.explanation, comparators_part(results.comparators)
    if found is None:
        return section("explanation", "Explanation", el("p", NOT_IN_RESULTS), compared)
    hidden = [reason_item(site, code) for site, code in sorted(found.suppressed.items())]
    missing = el("div", el("p", "Sites without a value:"), el("ul", *hidden), class_="small-text") if hidden else None
    if not found.pooled:
        why = f"Not explained: {reason(found.reason)}." if found.reason else "No site released Shapley sums."
        return section("explanation", "Explanation", el("p", why), missing, compared)
    order = ranked(found.pooled)
    labels = [(name, player_label(name)) for name, _ in order]
    beside = el("div", _table(found.unit, order), _reference(found.reference), missing)
    return section(
        "explanation",
        "Explanation",
        el("div", _figure(found, order, looks), beside, class_="columns"),
        stability_part(found.rank_stability, labels),
        gates_part(found.gates),
        baselines_part(found.local_baseline, labels, found.unit),
        columns_part(found.columns),
        compared,
    )


def _figure(found: Explanation, order: list[tuple[str, Player]], looks: Mapping[str, Look]) -> Html:
    bars = [
        Bar(player_label(name), row.mean_abs, _site_lengths(found, name, looks))
        for name, row in order
        if row.mean_abs is not None
    ]
    title = "Mean absolute SHAP value by group of inputs"
    spoken = ". ".join(f"{bar.label}: {decimal(bar.value)}" for bar in bars)
    drawing = bar_chart("shap", title, spoken, bars, f"mean |SHAP| ({found.unit})")
    caption = "Bars: all patients. Markers: single sites. Exact Shapley values on the test patients."
    entries = [(looks[site], site) for site in sorted(found.sites)]
    return svg.figure(drawing, "What the predictions rest on", caption, svg.legend(entries, lines=False))


def _site_lengths(found: Explanation, name: str, looks: Mapping[str, Look]) -> tuple[tuple[Look, float], ...]:
    lengths = [
        (looks[site], players[name].mean_abs) for site, players in sorted(found.sites.items()) if name in players
    ]
    return tuple((seen, length) for seen, length in lengths if length is not None)


def _reference(found: Reference | None) -> Html | None:
    """What a removed clinical input shows instead."""
    if found is None:
        return None
    means = f"its mean over {whole(found.patients)} training patients of all sites that gave sums"
    shown = means if found.kind == "federated-means" else "0, because no site gave sums"
    return el("p", f"A removed clinical input shows {shown}.", class_="small-text")


def _table(unit: str, order: list[tuple[str, Player]]) -> Html:
    rows = [
        [player_label(name), whole(row.n), decimal(row.mean_abs), decimal(row.mean), decimal(row.sd)]
        for name, row in order
    ]
    caption = f"SHAP values by group of inputs, in units of {unit}; a positive mean raises the predicted probability."
    return table(caption, ["Group", "Patients", "Mean |SHAP|", "Mean", "SD"], rows)

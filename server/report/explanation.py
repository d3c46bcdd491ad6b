"""What the predictions rest on: mean |SHAP| by group of inputs."""

from collections.abc import Mapping

from fedescc.server.report import svg
from fedescc.server.report.charts import Bar, bar_chart
from fedescc.server.report.document import Results
from fedescc.server.report.formats import decimal, player_label, whole
from fedescc.server.report.markup import Html, el, section
from fedescc.server.report.parts import Explanation, Player
from fedescc.server.report.reasons import reason_item
from fedescc.server.report.svg import Look
from fedescc.server.report.tables import table


def explanation_section(results: Results, looks: Mapping[str, Look]) -> Html | None:
    """Bars by group, pooled, with the sites as markers, and the numbers; None without an explanation."""
    found = results.explanation
    if found is None:
        return None
    hidden = [reason_item(site, code) for site, code in sorted(found.suppressed.items())]
    missing = el("div", el("p", "Sites without a value:"), el("ul", *hidden), class_="small-text") if hidden else None
    if not found.pooled:
        return section("explanation", "Explanation", el("p", "No site released Shapley sums."), missing)
    order = sorted(found.pooled.items(), key=lambda item: -(item[1].mean_abs or 0.0))
    columns = el("div", _figure(found, order, looks), el("div", _table(found.unit, order), missing), class_="columns")
    return section("explanation", "Explanation", columns)


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


def _table(unit: str, order: list[tuple[str, Player]]) -> Html:
    rows = [
        [player_label(name), whole(row.n), decimal(row.mean_abs), decimal(row.mean), decimal(row.sd)]
        for name, row in order
    ]
    caption = f"SHAP values by group of inputs, in units of {unit}; a positive mean raises the predicted probability."
    return table(caption, ["Group", "Patients", "Mean |SHAP|", "Mean", "SD"], rows)

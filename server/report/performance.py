"""Performance on the test set: the METRICS table, ROC curves, and AUC by site."""

from collections.abc import Mapping

from fedescc.common.statistics.metrics import METRIC_KEYS
from fedescc.server.report import svg
from fedescc.server.report.charts import Row, Series, interval_chart, roc_chart
from fedescc.server.report.document import Results
from fedescc.server.report.formats import DASH, decimal, interval, plural, whole
from fedescc.server.report.markup import Child, Html, el, section
from fedescc.server.report.parts import Metrics
from fedescc.server.report.svg import Look
from fedescc.server.report.tables import Footnotes, table

HEADINGS = {
    "n": "Patients",
    "n_pos": "With outcome",
    "auc": "AUC",
    "auc_ci95": "95 % CI",
    "accuracy": "Accuracy",
    "sensitivity": "Sensi\u00adtivity",
    "specificity": "Speci\u00adficity",
    "ppv": "PPV",
    "npv": "NPV",
    "brier": "Brier",
    "calibration_intercept": "Calibration intercept",
    "calibration_slope": "Calibration slope",
    "threshold": "Threshold",
}


def performance_section(results: Results, looks: Mapping[str, Look]) -> Html:
    """Table of all metrics, pooled and by site, then the curves behind the AUC."""
    final = results.final
    rows = {"Pooled": final.pooled, **dict(sorted(final.sites.items()))}
    caption = "Performance on the test set, pooled over sites and at each site."
    metrics = metrics_table("performance", caption, rows, METRIC_KEYS, lead=1)
    beside = el("div", _site_figure(results, looks), _reading(results))
    return section(
        "performance", "Performance", metrics, el("div", _roc_figure(results, looks), beside, class_="columns")
    )


def metrics_table(name: str, caption: str, rows: Mapping[str, Metrics], keys: tuple[str, ...], lead: int = 0) -> Html:
    """Chosen METRICS keys by row label; a missing value is an en dash with a footnote."""
    notes = Footnotes(name)
    body = [[label, *(metric_cell(metrics, key, notes) for key in keys)] for label, metrics in rows.items()]
    drawn = table(caption, ["", *(HEADINGS[key] for key in keys)], body, lead=lead)
    return el("div", drawn, notes.legend())


def metric_cell(metrics: Metrics, key: str, notes: Footnotes) -> Child:
    """One value as text, or an en dash with its reason."""
    value = getattr(metrics, key)
    if value is None:
        return notes.missing(metrics.suppressed.get(key))
    if key in {"n", "n_pos"}:
        return whole(value)
    return interval(value) if key == "auc_ci95" else decimal(value)


def _reading(results: Results) -> Html:
    final = results.final
    parts = [
        "AUC with 95 % intervals by DeLong variance on the logit scale. A calibration slope of 1 and intercept of 0"
    ]
    parts.append(" are ideal; a slope below 1 means predictions that are too extreme.")
    if results.folds:
        parts.append(" Of several folds, counts are summed and AUC and calibration averaged; see Folds.")
    if final.pooled_sites is not None and len(final.pooled_sites) < len(final.sites):
        shown = f" Pooled values cover {len(final.pooled_sites)} of {plural(len(final.sites), 'site')}: "
        parts.append(f"{shown}{', '.join(final.pooled_sites) or 'none'}.")
    return el("p", "".join(parts), class_="small-text")


def _site_figure(results: Results, looks: Mapping[str, Look]) -> Html | None:
    rows = [_row("Pooled", results.final.pooled, svg.POOLED, strong=True)]
    rows += [_row(site, metrics, looks[site]) for site, metrics in sorted(results.final.sites.items())]
    if all(row.value is None for row in rows):
        return None
    words = ". ".join(f"{row.label}: {decimal(row.value)} ({interval(row.interval)})" for row in rows)
    chart = interval_chart("site-auc", "AUC with 95 % interval, pooled and by site", words, rows)
    caption = "With 95 % intervals; dotted line: chance."
    return svg.figure(chart, "AUC by site", caption)


def _roc_figure(results: Results, looks: Mapping[str, Look]) -> Html:
    curves = [
        Series(name, svg.POOLED if name == "pooled" else looks[name], tuple(zip(curve.fpr, curve.tpr, strict=True)))
        for name, curve in sorted(results.final.roc.items(), key=lambda item: (item[0] != "pooled", item[0]))
    ]
    if not curves:
        words = "No site released score histograms, from which the curves are drawn."
        if results.folds:
            words = "Not drawn over folds: scores of different models are not comparable."
        return el("div", el("h3", "ROC curves"), el("p", words))
    entries = [(curve.look, _legend_entry(results, curve.label)) for curve in curves]
    description = "Sensitivity against 1 minus specificity. AUC: " + "; ".join(words for _, words in entries) + "."
    caption = "From summed score histograms; patients of one bin count as tied. Dotted: chance."
    drawing = roc_chart("roc", curves, description)
    return svg.figure(drawing, "ROC curves", caption, svg.legend(entries))


def _legend_entry(results: Results, name: str) -> str:
    metrics = results.final.pooled if name == "pooled" else results.final.sites.get(name, Metrics())
    area = decimal(metrics.auc) + (f" ({interval(metrics.auc_ci95)})" if metrics.auc_ci95 else "")
    return f"{'Pooled' if name == 'pooled' else name} {area if metrics.auc is not None else DASH}"


def _row(label: str, metrics: Metrics, seen: Look, *, strong: bool = False) -> Row:
    return Row(label, seen, metrics.auc, metrics.auc_ci95, strong)

"""Performance on the test set: the primary metric beside the other areas, and all METRICS pooled and by site."""

from collections.abc import Mapping

from fedescc.common.statistics.metrics import METRIC_KEYS, PROPORTIONS
from fedescc.server.report.document import Results
from fedescc.server.report.formats import decimal, interval, plural, whole
from fedescc.server.report.markup import Child, Html, el, join, section
from fedescc.server.report.parts import Interval, Metrics
from fedescc.server.report.primary import discrimination
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

_READING = (
    "95 % intervals: of AUC by DeLong variance on the logit scale, of shares of patients Wilson's. A calibration slope "
    "of 1 and intercept of 0 are ideal; a slope below 1 means predictions that are too extreme."
)


def performance_section(results: Results) -> Html:
    """The areas, the primary one first; then a table of all metrics, pooled and by site."""
    final = results.final
    rows = {"Pooled": final.pooled, **dict(sorted(final.sites.items()))}
    caption = "Performance on the test set, pooled over sites and at each site."
    metrics = metrics_table("performance", caption, rows, METRIC_KEYS, lead=1)
    return section("performance", "Performance", discrimination(results), metrics, _reading(results))


def metrics_table(name: str, caption: str, rows: Mapping[str, Metrics], keys: tuple[str, ...], lead: int = 0) -> Html:
    """Chosen METRICS keys by row label; a missing value is an en dash with a footnote."""
    notes = Footnotes(name)
    body = [[label, *(metric_cell(metrics, key, notes) for key in keys)] for label, metrics in rows.items()]
    drawn = table(caption, ["", *(HEADINGS[key] for key in keys)], body, lead=lead)
    return el("div", drawn, notes.legend())


def metric_cell(metrics: Metrics, key: str, notes: Footnotes) -> Child:
    """One value as text, a share with its interval below, or an en dash with its reason."""
    value = getattr(metrics, key)
    if value is None:
        return notes.missing(metrics.suppressed.get(key))
    if key in {"n", "n_pos"}:
        return whole(value)
    if key == "auc_ci95":
        return interval(value)
    bounds = metrics.ci95.get(key) if key in PROPORTIONS else None
    return decimal(value) if bounds is None else _with_interval(value, bounds)


def folds_without_auc(named: Mapping[str, Metrics]) -> list[str]:
    """By name, over how many of its folds an AUC is the mean, where some have none."""
    return [
        f"AUC {name}: the mean of {one.folds_with_auc} of {plural(one.folds, 'fold')}, as the others have none"
        for name, one in named.items()
        if one.folds is not None and one.folds_with_auc is not None and 0 < one.folds_with_auc < one.folds
    ]


def _with_interval(value: float, bounds: Interval) -> Html:
    return join([decimal(value), el("br"), el("span", interval(bounds), class_="small-text")])


def _reading(results: Results) -> Html:
    final = results.final
    parts = [_READING]
    if results.folds:
        parts.append(" Of several folds, counts are summed and AUC and calibration averaged; see Folds.")
        named = {"pooled": final.pooled, **dict(sorted(final.sites.items()))}
        parts += [f" {said}." for said in folds_without_auc(named)]
    if final.pooled_sites is not None and len(final.pooled_sites) < len(final.sites):
        shown = f" Pooled values cover {len(final.pooled_sites)} of {plural(len(final.sites), 'site')}: "
        parts.append(f"{shown}{', '.join(final.pooled_sites) or 'none'}.")
    return el("p", "".join(parts), class_="small-text")

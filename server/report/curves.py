"""ROC, precision and recall, calibration and net benefit, each with its numbers in words or as a table."""

from collections.abc import Mapping, Sequence

from fedescc.server.report import svg
from fedescc.server.report.charts import Series, roc_chart
from fedescc.server.report.curve_charts import (
    TREAT_ALL,
    TREAT_NONE,
    calibration_chart,
    decision_chart,
    precision_recall_chart,
)
from fedescc.server.report.document import Results
from fedescc.server.report.formats import DASH, decimal, interval, signed, whole
from fedescc.server.report.judged import Calibration, Curves, Decision, PrecisionRecall
from fedescc.server.report.markup import Child, Html, el, section
from fedescc.server.report.parts import Metrics
from fedescc.server.report.reasons import NOT_RELEASED, no_value
from fedescc.server.report.svg import Look
from fedescc.server.report.tables import table

_TITLES = {
    "precision_recall": "Precision and recall",
    "calibration": "Calibration",
    "decision": "Net benefit",
}


def curves_section(results: Results, looks: Mapping[str, Look]) -> Html:
    """Every curve of the pooled test patients; one that cannot be drawn says why."""
    figures = [_roc_figure(results, looks)]
    if results.final.curves is not None:
        figures += _more(results, results.final.curves)
    return section("curves", "Curves", el("div", *figures, class_="columns"))


def _more(results: Results, curves: Curves) -> list[Html]:
    recall, groups, benefit = curves.precision_recall, curves.calibration, curves.decision
    return [
        _absent(curves, "precision_recall") if recall is None else _recall_figure(results, recall),
        _absent(curves, "calibration") if groups is None else _calibration_figure(results, groups),
        _absent(curves, "decision") if benefit is None else _decision_figure(benefit),
    ]


def _absent(curves: Curves, key: str) -> Html:
    why = no_value(curves.suppressed.get(key, NOT_RELEASED), "Not drawn")
    return el("div", el("h3", _TITLES[key]), el("p", f"{why}."))


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


def _recall_figure(results: Results, curve: PrecisionRecall) -> Html:
    area = results.final.average_precision
    said = "" if area is None else f"Average precision {decimal(area)}. "
    words = f"{said}Dotted: the prevalence, {decimal(curve.prevalence)}, the precision of calling everybody positive."
    drawing = precision_recall_chart("precision-recall", curve, f"Precision by recall. {words}")
    return svg.figure(drawing, _TITLES["precision_recall"], words)


def _calibration_figure(results: Results, curve: Calibration) -> Html:
    pooled = results.final.pooled
    fit = f"Intercept {decimal(pooled.calibration_intercept)}, slope {decimal(pooled.calibration_slope)} (ideal: 0, 1)."
    words = f"Groups of patients by predicted probability, with 95 % intervals (Wilson). Dotted: ideal. {fit}"
    groups = list(zip(curve.n, curve.predicted, curve.observed, zip(curve.low, curve.high, strict=True), strict=True))
    spoken = "; ".join(f"predicted {decimal(p)}, observed {decimal(o)} of {n}" for n, p, o, _ in groups)
    rows = [[whole(n), decimal(p), decimal(o), interval(bounds)] for n, p, o, bounds in groups]
    numbers = _numbers(
        "Groups as numbers", "Calibration by group.", ["Patients", "Predicted", "Observed", "95 % CI"], rows
    )
    return svg.figure(
        calibration_chart("calibration", curve, f"{words} {spoken}."), _TITLES["calibration"], words, numbers
    )


def _decision_figure(curve: Decision) -> Html:
    words = (
        "True positives per patient, less false positives weighted by the odds of the probability from which on one "
        "would treat. A model is of use where it lies above both other lines. Far below zero lines are cut off."
    )
    rows = [
        [decimal(at, 2), signed(model), signed(everybody), signed(0.0)]
        for at, model, everybody in zip(curve.thresholds, curve.model, curve.treat_all, strict=True)
    ]
    spoken = "; ".join(f"at {row[0]} model {row[1]}, treat all {row[2]}" for row in rows)
    legend = svg.legend([(svg.ACCENT, "Model"), (TREAT_ALL, "Treat all"), (TREAT_NONE, "Treat none")])
    head = ["Threshold", "Model", "Treat all", "Treat none"]
    numbers = _numbers("Net benefit as numbers", "Net benefit by threshold probability.", head, rows)
    drawing = decision_chart("decision", curve, f"Net benefit by threshold probability: {spoken}.")
    return svg.figure(drawing, _TITLES["decision"], words, legend, numbers)


def _numbers(summary: str, caption: str, head: Sequence[str], rows: Sequence[Sequence[Child]]) -> Html:
    return el("details", el("summary", summary), table(caption, head, rows))

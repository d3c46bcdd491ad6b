"""Other ways to train, on the same test patients; and, for a synthetic cohort, what could have been reached."""

from collections.abc import Mapping

from fedescc.server.report import svg
from fedescc.server.report.charts import Row, interval_chart
from fedescc.server.report.document import Area, Metrics, Results, SyntheticTest
from fedescc.server.report.formats import decimal, interval, method_label, plural, sentence, whole
from fedescc.server.report.markup import Child, Html, el, section
from fedescc.server.report.performance import metrics_table
from fedescc.server.report.svg import Look
from fedescc.server.report.tables import Footnotes, table

_KEYS = ("n", "n_pos", "auc", "auc_ci95", "sensitivity", "specificity", "brier", "calibration_slope")
_CEILINGS = (
    "Ceilings: a regression on the true causes, fitted to as many patients as the models, and the true probability."
)


def comparison_section(results: Results, looks: Mapping[str, Look]) -> Html | None:
    """Comparators and the synthetic test set; None where there is neither."""
    parts = [*_comparators(results), *_synthetic(results.synthetic_test, looks)]
    return section("comparison", "Comparison", *parts) if parts else None


def _comparators(results: Results) -> list[Html]:
    if not results.comparators:
        return []
    pooled = {"Federated": results.final.pooled}
    pooled |= {method_label(name): other.pooled for name, other in results.comparators.items()}
    rows = [_row(label, metrics, place) for place, (label, metrics) in enumerate(pooled.items())]
    figure = _figure("methods-auc", "Pooled AUC by way of training", _patients(pooled), rows)
    intro = "Local only: each site trains on its own patients. Centralised: all patients in one place, which the "
    intro += "federation avoids."
    return [
        el("div", el("div", figure, el("p", intro, class_="small-text")), _by_site(results), class_="columns"),
        metrics_table("methods", "Ways of training, pooled over sites.", pooled, _KEYS, lead=1),
        *_versus(results),
    ]


def _versus(results: Results) -> list[Html]:
    """Paired differences from the federated model in words."""
    found = {method_label(name): other.versus_federated for name, other in results.comparators.items()}
    said = [
        f"{label}: AUC {versus.difference:+.3f} (p = {versus.p:.3f})"
        for label, versus in found.items()
        if versus and versus.difference is not None and versus.p is not None
    ]
    words = "Compared with the federated model on the same patients (DeLong's paired test): "
    return [el("p", words + "; ".join(said).replace("-", "\u2212") + ".", class_="small-text")] if said else []


def _patients(pooled: Mapping[str, Metrics]) -> str:
    """Whether the methods were judged on as many patients; a site that releases nothing is missing from some."""
    counts = {label: metrics.n for label, metrics in pooled.items()}
    if len(set(counts.values())) == 1:
        return "The same test patients, pooled over sites."
    listed = ", ".join(f"{label} {whole(n)}" for label, n in counts.items())
    return f"Compare with care: not the same test patients ({listed}), because some sites released nothing."


def _by_site(results: Results) -> Html | None:
    """AUC of every method at every site: what a hospital gains from taking part."""
    methods = {"Federated": results.final.sites}
    methods |= {method_label(name): other.sites for name, other in results.comparators.items() if other.sites}
    if len(methods) < 2:
        return None
    notes = Footnotes("methods-sites")
    sites = sorted({site for by_site in methods.values() for site in by_site})
    body = [[site, *(_area_cell(by_site.get(site), notes) for by_site in methods.values())] for site in sites]
    return el("div", table("AUC at each site (95 % interval below).", ["Site", *methods], body), notes.legend())


def _area_cell(metrics: Metrics | None, notes: Footnotes) -> Child:
    if metrics is None or metrics.auc is None:
        return notes.missing(metrics.suppressed.get("auc") if metrics else "not-evaluated")
    below = [el("br"), el("span", interval(metrics.auc_ci95), class_="small-text")] if metrics.auc_ci95 else []
    return el("span", decimal(metrics.auc), *below)


def _synthetic(test: SyntheticTest | None, looks: Mapping[str, Look]) -> list[Html]:
    if test is None:
        return []
    events = f", {whole(test.n_pos)} with the outcome" if test.n_pos is not None else ""
    who = f"{plural(test.n, 'further synthetic patient')}{events}, that no model was trained on."
    figures = []
    if rows := _synthetic_rows(test, looks):
        caption = f"{who} {_CEILINGS}"
        figures.append(_figure("synthetic-auc", "Large synthetic test set", caption, rows))
    if cues := _cue_rows(test):
        caption = (
            "AUC of scores that need no learning; far from 0.5, the cohort could be solved without reading the CT."
        )
        figures.append(_figure("cues-auc", "Trivial cues", caption, cues))
    return [el("h3", "Synthetic cohort: what could be reached"), el("div", *figures, class_="columns")]


def _synthetic_rows(test: SyntheticTest, looks: Mapping[str, Look]) -> list[Row]:
    areas = test.auc
    mean = None if areas.local_only_mean is None else Area(auc=areas.local_only_mean)
    named: list[tuple[str, Area | None, Look, bool]] = [
        ("Federated", areas.federated, svg.ACCENT, True),
        ("Centralised", areas.centralised, svg.look(1), False),
        ("Local only, mean", mean, svg.look(3), False),
        *((f"Local: {site}", area, looks[site], False) for site, area in sorted(areas.local_only.items())),
        ("Ceiling: true causes", areas.ceiling_latent_regression, svg.POOLED, False),
        ("Ceiling: Bayes", areas.ceiling_bayes, svg.POOLED, False),
    ]
    return [Row(label, seen, area.auc, area.auc_ci95, strong) for label, area, seen, strong in named if area]


def _cue_rows(test: SyntheticTest) -> list[Row]:
    return [Row(sentence(name), svg.look(0), area) for name, area in test.trivial_cues.items()]


def _row(label: str, metrics: Metrics, place: int) -> Row:
    seen = svg.ACCENT if place == 0 else svg.look(place)
    return Row(label, seen, metrics.auc, metrics.auc_ci95, place == 0)


def _figure(name: str, heading: str, caption: str, rows: list[Row]) -> Html:
    spoken = ". ".join(f"{row.label}: {decimal(row.value)}" for row in rows)
    return svg.figure(interval_chart(name, heading, spoken, rows), heading, caption)

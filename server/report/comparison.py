"""Other ways to train, on the same test patients; and, for a synthetic cohort, what could have been reached."""

from collections.abc import Mapping

from fedescc.server.report import svg
from fedescc.server.report.charts import Row, auc_figure
from fedescc.server.report.differences import differences
from fedescc.server.report.document import Results
from fedescc.server.report.fits import fits_table
from fedescc.server.report.formats import decimal, fold_label, interval, method_label, plural, whole
from fedescc.server.report.markup import Child, Html, el, section
from fedescc.server.report.parts import Comparator, Metrics
from fedescc.server.report.performance import folds_without_auc, metrics_table
from fedescc.server.report.reasons import reason_item
from fedescc.server.report.selection import facts
from fedescc.server.report.svg import Look
from fedescc.server.report.synthetic import synthetic_parts
from fedescc.server.report.tables import Footnotes, table

_KEYS = ("n", "n_pos", "auc", "auc_ci95", "sensitivity", "specificity", "brier", "calibration_slope")
_MEANINGS = {
    "clinical": "a logistic regression on the clinical variables, by the federation",
    "features_clinical": "a logistic regression on named image features and clinical variables, by the federation",
    "radiomics_clinical": "a logistic regression on radiomic features and clinical variables, by the federation",
    "fusion": "a logistic regression on the scores of the federated model and of the regressions",
    "local_only": "each site trains the network on its own patients",
    "ensemble": "the mean of the local models' probabilities",
    "centralised": "the network trained on all patients in one place, which the federation avoids",
    "local_clinical": "each site's own logistic regression on the clinical variables",
    "centralised_clinical": "the logistic regression on the clinical variables of all patients in one place",
}
_SAME = "The same test patients, pooled over sites."
_FEW = 2  # ways of training whose table by site fits beside the plot


def comparison_section(results: Results, looks: Mapping[str, Look]) -> Html | None:
    """Comparators, those that could not be had, and the synthetic test set; None where there is none of them."""
    missing = _unavailable(results)
    parts = [*_comparators(results), *([missing] if missing else []), *synthetic_parts(results.synthetic_test, looks)]
    return section("comparison", "Comparison", *parts) if parts else None


def _comparators(results: Results) -> list[Html]:
    if not results.comparators:
        return []
    pooled = {"Federated": results.final.pooled}
    pooled |= {method_label(name): other.pooled for name, other in results.comparators.items()}
    rows = [_row(label, metrics, place) for place, (label, metrics) in enumerate(pooled.items())]
    figure = auc_figure("methods-auc", "Pooled AUC by way of training", _patients(results, pooled), rows)
    meanings: list[tuple[str, Child]] = [
        (method_label(name), _MEANINGS[name]) for name in results.comparators if name in _MEANINGS
    ]
    by_site = _by_site(results)
    few = len(results.comparators) <= _FEW
    fits = fits_table(results)
    care = _other_patients(results, pooled)
    return [
        el("div", el("div", figure), by_site if few else facts(meanings), class_="columns"),
        metrics_table("methods", "Ways of training, pooled over sites.", pooled, _KEYS, lead=1),
        *([care] if care else []),
        differences(results),
        *([fits] if fits else []),
        *[part for part in [facts(meanings) if few else by_site] if part],
    ]


def _unavailable(results: Results) -> Html | None:
    """Comparators that could not be had, in no fold or in some, with the reason."""
    items = [reason_item(_where_missing(results, name), code) for name, code in results.comparators_unavailable.items()]
    for name in sorted(results.comparators.keys() - results.comparators_unavailable.keys()):
        entries = [fold.comparators[name] for fold in results.tested_folds if name in fold.comparators]
        codes = sorted({one.unavailable for one in entries if one.unavailable is not None})
        items += [reason_item(_where_missing(results, name), code) for code in codes]
    return el("div", el("h3", "Not available"), el("ul", *items)) if items else None


def _where_missing(results: Results, name: str) -> str:
    """A comparator, and in how many of the folds it is missing where others have it."""
    if name not in results.comparators:
        return method_label(name)
    folds = [fold.comparators.get(name) for fold in results.tested_folds]
    missing = sum(one is None or one.unavailable is not None for one in folds)
    return f"{method_label(name)} ({missing} of {plural(len(folds), 'fold')})"


def _patients(results: Results, pooled: Mapping[str, Metrics]) -> str:
    """Whether the methods were judged on the same patients; a site that releases nothing is missing from some."""
    counts = {label: metrics.n for label, metrics in pooled.items()}
    if len(set(counts.values())) == 1:
        other = _other_sites(results)
        return "As many test patients, but of other sites; see below." if other else _SAME
    listed = ", ".join(f"{label} {whole(n)}" for label, n in counts.items())
    return f"Compare with care: not the same test patients ({listed}), because some released nothing or have no model."


def _other_patients(results: Results, pooled: Mapping[str, Metrics]) -> Html | None:
    """Comparators that were pooled over other sites than the federated model, or whose AUC lacks folds."""
    items: list[Child] = [el("li", one) for one in (*_other_sites(results), *folds_without_auc(pooled))]
    return el("ul", *items, class_="small-text") if items else None


def _other_sites(results: Results) -> list[str]:
    """Over which sites a comparator is pooled, where these are not the run's own."""
    found = _sites_of(None, results.final.pooled_sites, results.comparators)
    for fold in results.tested_folds:
        found += _sites_of(fold.fold, fold.final.pooled_sites if fold.final else None, fold.comparators)
    return found


def _sites_of(fold: str | None, own: tuple[str, ...] | None, comparators: Mapping[str, Comparator]) -> list[str]:
    where = f", {fold_label(fold)}" if fold else ""
    return [
        f"{method_label(name)}{where}: pooled over {_listed(one.pooled_sites)}, not over {_listed(own)} "
        "as the federated model"
        for name, one in comparators.items()
        if own is not None and one.pooled_sites is not None and {*one.pooled_sites} != {*own}
    ]


def _listed(sites: tuple[str, ...]) -> str:
    return ", ".join(sorted(sites)) or "no site"


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


def _row(label: str, metrics: Metrics, place: int) -> Row:
    seen = svg.ACCENT if place == 0 else svg.look(place)
    return Row(label, seen, metrics.auc, metrics.auc_ci95, place == 0)

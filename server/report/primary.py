"""The primary metric: what it is called, its value, and what else says how well classes are told apart."""

from dataclasses import dataclass

from fedescc.server.report.document import Results
from fedescc.server.report.formats import decimal, interval, whole
from fedescc.server.report.judged import Final
from fedescc.server.report.markup import Child, Html, el
from fedescc.server.report.parts import Area, Interval, Unit
from fedescc.server.report.reasons import NOT_RELEASED
from fedescc.server.report.tables import Footnotes, table

HELD_OUT = "site_meta_analysis"
PRIMARY = {
    "pooled_auc": "Pooled AUC",
    "mean_site_auc": "Within-site AUC",
    HELD_OUT: "Random-effects mean AUC",
}
OVER_FOLDS = "Mean AUC over folds"
_POOLED = "all sites' test patients together; patients of different sites are compared too"
_OVER_FOLDS = "mean of the folds' AUCs by patients, each of its own model"
_WITHIN = "mean of the sites' own AUCs by patients; only patients of one site are compared"
_META = "mean over sites, whose own AUCs may differ; see Sites"
_APART = (
    "The pooled and the within-site AUC differ where sites differ: where one site has both more patients with the "
    "outcome and higher scores, or scores on another scale, that moves the pooled AUC alone. Inside one hospital the "
    "within-site AUC is what counts."
)
_APART_HELD_OUT = (
    "Where every site is held out once, no patient is compared with one of another site. The two means by patients "
    "speak of the sites seen here; the random-effects mean lets sites differ, and so has the wider interval."
)


@dataclass(frozen=True)
class Headline:
    """The primary metric as the top of the page shows it.

    ``reason`` is the code of why it has no value, ``note`` how far the interval of a new site can be trusted.
    """

    label: str
    area: Area
    new_site: Interval | None
    reason: str
    note: str | None = None


def headline_area(results: Results) -> Headline:
    """The primary metric; of results that do not name one, the pooled AUC."""
    final = results.final
    metric = final.primary.metric if final.primary else "pooled_auc"
    source = {"mean_site_auc": final.auc_within_site, HELD_OUT: final.meta}.get(metric) or final.pooled
    found = final.primary or final.pooled
    area = Area(auc=found.auc, auc_ci95=final.primary.ci95 if final.primary else final.pooled.auc_ci95)
    new_site, note = (final.primary.prediction95, final.primary.note) if final.primary else (None, None)
    return Headline(_label(results, metric), area, new_site, source.suppressed.get("auc", NOT_RELEASED), note)


def discrimination(results: Results) -> Html | None:
    """All areas side by side, the primary one first; None where the results do not tell them apart."""
    final = results.final
    if final.primary is None:
        return None
    notes = Footnotes("areas")
    rows = {
        "pooled_auc": _pooled_row(results, notes),
        **_site_rows(final, notes),
        "bootstrap": _bootstrap_row(final, notes),
        "partial_auc": _partial_row(final, notes),
        "average_precision": _precision_row(final, notes),
    }
    first = final.primary.metric
    order = [*([first] if first in rows else []), *(name for name in rows if name != first)]
    body = [row for name in order if (row := rows[name]) is not None]
    body[0] = [f"{body[0][0]} (primary)", *body[0][1:]] if first in rows else body[0]
    caption = "How well those with the outcome are told from those without it."
    drawn = table(caption, ["", "What it is", "Value", "95 % CI"], body, left=2, lead=int(first in rows))
    apart = _APART_HELD_OUT if first == HELD_OUT else _APART
    return el("div", drawn, notes.legend(), el("p", apart, class_="small-text"))


def _label(results: Results, metric: str) -> str:
    return OVER_FOLDS if metric == "pooled_auc" and results.folds else PRIMARY.get(metric, metric)


def _pooled_row(results: Results, notes: Footnotes) -> list[Child]:
    pooled = results.final.pooled
    what = _OVER_FOLDS if results.folds else _POOLED
    return [
        _label(results, "pooled_auc"),
        what,
        *_area(pooled.auc, pooled.auc_ci95, pooled.suppressed, notes, "auc_ci95"),
    ]


def _site_rows(final: Final, notes: Footnotes) -> dict[str, list[Child] | None]:
    found = {"mean_site_auc": (final.auc_within_site, _WITHIN), HELD_OUT: (final.meta, _META)}
    return {
        name: [PRIMARY[name], what, *_area(one.auc, one.ci95, one.suppressed, notes, "ci95")]
        for name, (one, what) in found.items()
        if one is not None
    }


def _bootstrap_row(final: Final, notes: Footnotes) -> list[Child] | None:
    found = final.bootstrap
    if found is None:
        return None
    what = f"interval from {whole(found.draws)} draws of whole sites with replacement"
    if found.draws is None:
        what = "interval from whole sites drawn with replacement"
    area = final.pooled.auc if found.auc_ci95 else None
    reasons = found.suppressed | {"auc": found.suppressed.get("auc_ci95", NOT_RELEASED)}
    return ["Pooled AUC, sites drawn again", what, *_area(area, found.auc_ci95, reasons, notes, "auc_ci95")]


def _partial_row(final: Final, notes: Footnotes) -> list[Child]:
    found = final.partial_auc
    what = "part of the ROC curve at few false positives, standardised: 0.5 is chance, 1 perfect"
    if found is not None:
        what = f"ROC curve up to a false positive rate of {found.max_fpr:g}, standardised: 0.5 is chance, 1 perfect"
    value = None if found is None else found.auc
    return ["Partial AUC", what, *_value(value, final.suppressed.get("partial_auc"), notes)]


def _precision_row(final: Final, notes: Footnotes) -> list[Child]:
    curve = final.curves.precision_recall if final.curves else None
    chance = f"; chance is the prevalence, {decimal(curve.prevalence)}" if curve else ""
    what = f"area under precision by recall{chance}"
    return [
        "Average precision",
        what,
        *_value(final.average_precision, final.suppressed.get("average_precision"), notes),
    ]


def _area(
    value: Unit | None, bounds: Interval | None, reasons: dict[str, str], notes: Footnotes, key: str
) -> list[Child]:
    first: Child = decimal(value) if value is not None else notes.missing(reasons.get("auc"))
    return [first, interval(bounds) if bounds is not None else notes.missing(reasons.get(key))]


def _value(value: float | None, code: str | None, notes: Footnotes) -> list[Child]:
    """A value whose interval nobody computes."""
    if value is None:
        return [notes.missing(code), notes.missing(code)]
    return [decimal(value), notes.missing(None)]

"""How the sites' AUCs differ: a forest plot with their random-effects mean and where a new site is expected."""

from collections.abc import Mapping

from fedescc.server.report import svg
from fedescc.server.report.charts import Row, area_numbers, interval_chart
from fedescc.server.report.document import Results
from fedescc.server.report.forest import forest_chart
from fedescc.server.report.formats import decimal, interval, p_value
from fedescc.server.report.judged import Meta
from fedescc.server.report.markup import Html, el, section
from fedescc.server.report.reasons import NOT_RELEASED, no_value, reason_item
from fedescc.server.report.selection import Fact, facts
from fedescc.server.report.svg import Look

_HELD_OUT = (
    "Each site was tested by a model in which it had no part. This is the main figure of the run: the diamond is the "
    "mean, and the bar at the bottom is where the AUC of a hospital that comes later is expected."
)
_MEAN, _NEW = "Random-effects mean", "At a new site"


def sites_section(results: Results, looks: Mapping[str, Look]) -> Html | None:
    """Forest plot and heterogeneity; None where there is no site to show."""
    sites, meta = sorted(results.final.sites.items()), results.final.meta
    rows = [Row(site, looks[site], metrics.auc, metrics.auc_ci95) for site, metrics in sites]
    if not rows:
        return None
    words = el("p", _HELD_OUT) if results.mode == "loso" else None
    beside = el("div", _caution(meta), _heterogeneity(meta), _left_out(meta)) if meta else None
    return section("sites", "Sites", words, el("div", _figure(rows, meta), beside, class_="columns"))


def _figure(rows: list[Row], meta: Meta | None) -> Html:
    heading, caption = "AUC by site", "With 95 % intervals; dotted line: chance."
    spoken = ". ".join(f"{row.label}: {_spoken(row)}" for row in rows)
    if meta is None:
        return svg.figure(interval_chart("site-auc", f"{heading} with 95 % interval", spoken, rows), heading, caption)
    mean = Row(_MEAN, svg.POOLED, meta.auc, meta.ci95, strong=True, absent="no value")
    new = Row(_NEW, svg.POOLED, None, meta.prediction95, absent="no value")
    spoken += f". {_MEAN}: {_spoken(mean)}. {_NEW}: {_prediction(meta)}."
    drawing = forest_chart("site-auc", f"{heading}, their mean and a new site's", spoken, rows, mean, new)
    shapes = " Diamond: their mean with its interval. Bar: 95 % prediction interval of the AUC at a new site."
    return svg.figure(drawing, heading, caption + shapes)


def _spoken(row: Row) -> str:
    return row.absent if row.value is None else area_numbers(row)


def _prediction(meta: Meta) -> str:
    if meta.prediction95 is None:
        return no_value(meta.suppressed.get("prediction95", NOT_RELEASED))
    return f"{interval(meta.prediction95)}, 95 % prediction interval"


def _caution(meta: Meta) -> Html | None:
    """Where the prediction interval cannot be taken at its word."""
    if meta.note is None or meta.prediction95 is None:
        return None
    said = el("p", el("strong", "Read the prediction interval with care: "), f"{meta.note}.")
    return el("aside", said, class_="notice", role="note")


def _heterogeneity(meta: Meta) -> Html | None:
    found: list[Fact] = [(_MEAN, _mean(meta)), (_NEW, _prediction(meta))]
    if meta.tau2 is not None:
        found.append(("\u03c4\u00b2", f"{decimal(meta.tau2)}, variance between sites on the logit scale"))
    if meta.i2 is not None:
        share = f"{100 * meta.i2:.0f}\u202f%"
        found.append(("I\u00b2", f"{share} of the spread of the sites' AUCs is beyond chance"))
    if meta.q is not None:
        found.append(("Cochran's Q", f"{decimal(meta.q)}, p {p_value(meta.q_p)}"))
    if meta.method is not None:
        found.append(("Method", meta.method.replace("prediction95", "the prediction interval")))
    return facts(found)


def _mean(meta: Meta) -> str:
    if meta.auc is None:
        return no_value(meta.suppressed.get("auc", NOT_RELEASED))
    return f"{decimal(meta.auc)}, 95 % CI {interval(meta.ci95)}"


def _left_out(meta: Meta) -> Html | None:
    if not meta.left_out:
        return None
    items = [reason_item(site, code) for site, code in sorted(meta.left_out.items())]
    return el("div", el("h3", "Sites that the mean leaves out"), el("ul", *items))

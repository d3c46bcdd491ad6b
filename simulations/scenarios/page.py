"""``scenarios.html``: a dot plot a heterogeneity, then the tables; one file without network, script or font."""

from typing import Any

from fedescc.server.report import svg
from fedescc.server.report.charts import Row, interval_chart
from fedescc.server.report.formats import decimal, interval, sentence
from fedescc.server.report.markup import Html, el, section
from fedescc.server.report.page import document_page
from fedescc.server.report.svg import look
from fedescc.server.report.tables import table
from fedescc.simulations.scenarios.markdown import by_kind, marked, reading
from fedescc.simulations.scenarios.summary import MEASURES, best


def as_page(document: dict[str, Any]) -> str:
    """The sweep as an HTML page; the same document always gives the same bytes."""
    header = el(
        "header",
        el("p", "Simulated comparison", class_="eyebrow"),
        el("h1", f"Strategies under heterogeneity: {document['study']}"),
        el("p", reading(document)),
    )
    plots = [_plot(document, kind) for kind in document["heterogeneity"]]
    tables = [_table(document, key) for key in MEASURES]
    main = [section("plots", MEASURES["auc"], *plots), section("tables", "Tables", *tables, _settings(document))]
    footer = el("footer", f"fedescc {document['version']}. Synthetic patients. All numbers are also in scenarios.json.")
    return document_page("Strategies under heterogeneity", el("body", header, el("main", *main), footer))


def _plot(document: dict[str, Any], kind: str) -> Html:
    leader = best(document["groups"], kind, "auc")
    rows = [
        Row(
            group["strategy"],
            look(place),
            group["auc"]["mean"],
            (group["auc"]["low"], group["auc"]["high"]),
            strong=group["strategy"] == leader,
        )
        for place, group in enumerate(g for g in document["groups"] if g["heterogeneity"] == kind)
        if group["auc"]
    ]
    about = document["heterogeneity"][kind]["text"]
    if not rows:
        return el("p", f"{sentence(kind)}: no federation finished.")
    words = ". ".join(f"{row.label}: {decimal(row.value)} ({interval(row.interval)})" for row in rows)
    chart = interval_chart(f"plot-{kind}", f"AUC by strategy: {sentence(kind)}", words, rows)
    return svg.figure(chart, sentence(kind), f"{about}. Mean and range over the seeds; dotted line: chance.")


def _table(document: dict[str, Any], key: str) -> Html:
    head, *rows = by_kind(document, lambda group: marked(document, group, key))
    words = MEASURES[key]
    return table(f"{words[:1].upper()}{words[1:]}", ["Strategy", *map(sentence, head[1:])], rows)


def _settings(document: dict[str, Any]) -> Html:
    rows = [[name, entry["training"]["optimizer"], entry["why"]] for name, entry in document["strategies"].items()]
    return table("Settings of every strategy", ["Strategy", "At the sites", "Why"], rows, left=3)

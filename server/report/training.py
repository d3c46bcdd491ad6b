"""Training by round: losses, validation AUC, and who took part."""

from fedescc.server.report import svg
from fedescc.server.report.charts import Series, round_chart
from fedescc.server.report.document import Results, Round
from fedescc.server.report.formats import DASH, decimal, duration, interval, whole
from fedescc.server.report.markup import Html, el, section
from fedescc.server.report.tables import table


def training_section(results: Results) -> Html | None:
    """Two charts by round and the collapsible table of rounds; None without rounds."""
    if not results.rounds:
        return None
    charts = [chart for chart in (_loss_figure(results.rounds), _auc_figure(results.rounds)) if chart is not None]
    parts = [el("div", *charts, class_="columns")]
    if all(one.validation.auc is None for one in results.rounds):
        parts.append(el("p", "No validation AUC: no site released validation histograms.", class_="small-text"))
    summary = el("summary", f"Every round: sites, refusals, losses and time ({len(results.rounds)})")
    return section("training", "Training", *parts, el("details", summary, _rounds_table(results.rounds)))


def _loss_figure(rounds: tuple[Round, ...]) -> Html | None:
    train = Series("Training", svg.look(0), tuple((one.round, one.train_loss) for one in rounds))
    validation = Series("Validation", svg.look(1), tuple((one.round, one.validation.loss) for one in rounds))
    series = [one for one in (train, validation) if any(y is not None for _, y in one.points)]
    values = [y for one in series for _, y in one.points if y is not None]
    if not values:
        return None
    marks = svg.nice_ticks(min(values), max(values))
    words = ". ".join(f"{one.label} loss {_first_to_last(one)}" for one in series)
    drawing = round_chart("loss", "Loss by round", words, series, marks, "Loss")
    caption = "Training loss during the round; validation log-loss of the model the round produced."
    return svg.figure(drawing, "Loss", caption, svg.legend([(one.look, one.label) for one in series]))


def _auc_figure(rounds: tuple[Round, ...]) -> Html | None:
    bands = tuple(one.validation.auc_ci95 for one in rounds)
    series = Series("Validation AUC", svg.ACCENT, tuple((one.round, one.validation.auc) for one in rounds), bands)
    values = [y for _, y in series.points if y is not None] + [end for band in bands for end in band or ()]
    if not values:
        return None
    marks = svg.nice_ticks(min(0.5, *values), 1.0)
    words = f"Validation AUC {_first_to_last(series)}"
    drawing = round_chart("validation-auc", "Validation AUC by round", words, [series], marks, "AUC")
    return svg.figure(drawing, "Validation AUC", "Pooled over sites; shaded: 95 % interval of each round's model.")


def _first_to_last(series: Series) -> str:
    known = [(x, y) for x, y in series.points if y is not None]
    (first, start), (last, end) = known[0], known[-1]
    return f"{decimal(start)} at round {first:g}, {decimal(end)} at round {last:g}"


def _rounds_table(rounds: tuple[Round, ...]) -> Html:
    head = [
        "Round",
        "Sites accepted",
        "Refused",
        "Patients",
        "Train loss",
        "Validation loss",
        "Validation AUC",
        "95 % CI",
    ]
    rows = [
        [
            str(one.round),
            f"{len(one.sites)}: {', '.join(one.sites)}" if one.sites else "0",
            ", ".join(f"{site} ({code})" for site, code in sorted(one.refused.items())) or DASH,
            whole(one.patients),
            decimal(one.train_loss),
            decimal(one.validation.loss),
            decimal(one.validation.auc),
            interval(one.validation.auc_ci95),
            duration(one.seconds),
        ]
        for one in rounds
    ]
    return table("Training rounds. Refused sites are named with their reason code.", [*head, "Time"], rows, left=3)

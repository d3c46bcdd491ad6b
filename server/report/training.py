"""Training: where the weights started, losses and validation AUC by round, who took part, which round was kept."""

from fedescc.server.report import svg
from fedescc.server.report.charts import Series, round_chart
from fedescc.server.report.document import Results
from fedescc.server.report.formats import DASH, decimal, duration, fold_label, interval, plural, whole
from fedescc.server.report.learning import Fold, Learned, Round
from fedescc.server.report.losses import refused_in_words
from fedescc.server.report.markup import Html, el, section
from fedescc.server.report.selection import (
    facts,
    kept_by_fold,
    kept_facts,
    personalisation_facts,
    pretraining_table,
    start_facts,
    validation_losses,
)
from fedescc.server.report.tables import table


def training_section(results: Results) -> Html | None:
    """How the model came about: where it started, charts by round, which round was kept; of folds each. Or None."""
    parts = _of_folds(results) if results.folds else _of_one(results)
    kept = [*kept_facts(results), *kept_by_fold(results)]
    about = facts([*start_facts(results), *kept, *personalisation_facts(results)])
    return section("training", "Training", about, *parts) if parts or about else None


def _of_one(results: Results) -> list[Html]:
    rounds = results.rounds
    pretraining = pretraining_table(results.pretraining)
    if not rounds:
        return [pretraining] if pretraining else []
    charts = [chart for chart in (_loss_figure(results), _auc_figure(rounds)) if chart is not None]
    parts = [el("div", *charts, class_="columns")]
    if all(one.validation.auc is None for one in rounds):
        parts.append(el("p", "No validation AUC: no site released validation histograms.", class_="small-text"))
    summary = el("summary", f"Every round: sites, refusals, losses and time ({len(rounds)})")
    details = el("details", summary, _rounds_table(rounds))
    return [*parts, *([pretraining] if pretraining else []), details]


def _of_folds(results: Results) -> list[Html]:
    """The validation loss of every fold, and each fold's rounds to unfold."""
    tested = [(fold_label(fold.fold), fold) for fold in results.tested_folds]
    return [*_folds_figure(tested), *(_fold_details(label, fold) for label, fold in tested)]


def _fold_details(label: str, fold: Fold) -> Html:
    missing = sum(len(one.refused) for one in fold.rounds)
    refusals = "nobody missing" if not missing else plural(missing, "refusal")
    summary = el("summary", f"{label}: {plural(len(fold.rounds), 'round')}, {refusals}")
    about = facts([*start_facts(fold), *kept_facts(fold)])
    caption = f"{label}: training rounds. Refused sites are named with their reason code."
    return el("details", summary, about, pretraining_table(fold.pretraining), _rounds_table(fold.rounds, caption))


def _folds_figure(tested: list[tuple[str, Fold]]) -> list[Html]:
    series = [Series(label, svg.look(place), validation_losses(fold)) for place, (label, fold) in enumerate(tested)]
    shown = [one for one in series if any(y is not None for _, y in one.points)]
    values = [y for one in shown for _, y in one.points if y is not None]
    if not values:
        return []
    words = ". ".join(f"{one.label}: {_first_to_last(one)}" for one in shown)
    marks = svg.nice_ticks(min(values), max(values))
    drawing = round_chart("fold-loss", "Validation loss by round and fold", words, shown, marks, "Loss")
    caption = "Of each fold's own model, on its own validation patients."
    legend = svg.legend([(one.look, one.label) for one in shown])
    return [svg.figure(drawing, "Validation loss", caption, legend)]


def _loss_figure(one: Learned) -> Html | None:
    train = Series("Training", svg.look(0), tuple((row.round, row.train_loss) for row in one.rounds))
    losses = validation_losses(one)
    validation = Series("Validation", svg.look(1), losses)
    kept = tuple(point for point in losses if point[0] == one.kept_round)
    marked = Series(f"Kept: round {one.kept_round}", svg.POOLED, kept)
    series = [one for one in (train, validation, marked) if any(y is not None for _, y in one.points)]
    values = [y for one in series for _, y in one.points if y is not None]
    if not values:
        return None
    marks = svg.nice_ticks(min(values), max(values))
    words = ". ".join(f"{one.label} loss {_first_to_last(one)}" for one in series if one is not marked)
    drawing = round_chart("loss", "Loss by round", words, series, marks, "Loss")
    caption = "Training loss during the round; validation log-loss of the model the round produced"
    caption += "; round 0 is the initial model." if losses and losses[0][0] == 0 else "."
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


def _rounds_table(
    rounds: tuple[Round, ...], caption: str = "Training rounds. Refused sites are named with their reason code."
) -> Html:
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
            refused_in_words(one.refused) or DASH,
            whole(one.patients),
            decimal(one.train_loss),
            decimal(one.validation.loss),
            decimal(one.validation.auc),
            interval(one.validation.auc_ci95),
            duration(one.seconds),
        ]
        for one in rounds
    ]
    return table(caption, [*head, "Time"], rows, left=3)

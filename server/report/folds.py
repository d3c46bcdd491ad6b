"""Every fold of a run: who was tested, how well, by which round's model, and who was missing."""

from fedescc.server.report import svg
from fedescc.server.report.charts import Row, interval_chart
from fedescc.server.report.document import Results
from fedescc.server.report.formats import DASH, decimal, fold_label, interval
from fedescc.server.report.learning import Fold
from fedescc.server.report.markup import Child, Html, el, section
from fedescc.server.report.parts import Metrics
from fedescc.server.report.performance import metric_cell
from fedescc.server.report.reasons import reason_item
from fedescc.server.report.tables import Footnotes, table

_EXPLAINED = {
    "kfold": "Every site's patients were divided into folds, and each fold was tested by a model that was trained "
    "without it.",
    "loso": "Every site was held out once: its patients were tested by a model in which the site had no part.",
    "temporal": "At every site the earliest patients trained the model, later ones validated it, and the latest were "
    "tested.",
}
_METRICS = ("n", "n_pos", "auc", "auc_ci95")


def folds_section(results: Results) -> Html | None:
    """A row a fold as table and plot, and how their AUCs became one; None for a fixed split."""
    folds = _folds(results)
    if not folds:
        return None
    explained = _EXPLAINED.get(results.mode or "")
    return section(
        "folds",
        "Folds",
        el("p", explained) if explained else None,
        _table(folds),
        _failures(folds),
        el("div", _figure(results, folds), _method(results), class_="columns"),
    )


def _folds(results: Results) -> tuple[Fold, ...]:
    """The folds; a temporal run is one fold, which its own results describe."""
    if results.folds or results.mode != "temporal":
        return results.folds
    return (
        Fold(
            fold="latest-patients",
            final=results.final,
            rounds=results.rounds,
            kept_round=results.kept_round,
            sites_lost=results.sites_lost,
        ),
    )


def _table(folds: tuple[Fold, ...]) -> Html:
    held_out = any(fold.held_out is not None for fold in folds)
    head = ["Fold", *(["Held-out site"] if held_out else []), "Sites lost", "State"]
    notes = Footnotes("folds")
    rows = [
        [
            fold_label(fold.fold),
            *([fold.held_out or DASH] if held_out else []),
            ", ".join(fold.sites_lost) or DASH,
            "tested" if fold.failed is None else "failed",
            *_numbers(fold, notes),
        ]
        for fold in folds
    ]
    numbers = ["Test patients", "With outcome", "AUC", "95 % CI", "Rounds", "Kept round"]
    caption = "Each fold's own test patients, judged by its own model at its own threshold."
    return el("div", table(caption, [*head, *numbers], rows, left=len(head)), notes.legend())


def _numbers(fold: Fold, notes: Footnotes) -> list[Child]:
    if fold.final is None:
        return [notes.missing(fold.failed) for _ in range(len(_METRICS) + 2)]
    kept = DASH if fold.kept_round is None else str(fold.kept_round)
    return [*(metric_cell(fold.final.pooled, key, notes) for key in _METRICS), str(len(fold.rounds)), kept]


def _failures(folds: tuple[Fold, ...]) -> Html | None:
    failed = [reason_item(fold_label(fold.fold), fold.failed) for fold in folds if fold.failed is not None]
    if not failed:
        return None
    words = el("p", el("strong", "Failed folds."), " Their patients are in no figure of this page.")
    return el("aside", words, el("ul", *failed), class_="notice", role="note")


def _figure(results: Results, folds: tuple[Fold, ...]) -> Html | None:
    rows = [_row("All folds", results.final.pooled, svg.POOLED, strong=True)] if len(folds) > 1 else []
    rows += [_fold_row(fold, place) for place, fold in enumerate(folds)]
    if all(row.value is None for row in rows):
        return None
    words = ". ".join(f"{row.label}: {decimal(row.value)} ({interval(row.interval)})" for row in rows)
    drawing = interval_chart("fold-auc", "AUC with 95 % interval, by fold", words, rows)
    return svg.figure(drawing, "AUC by fold", "With 95 % intervals; dotted line: chance.")


def _fold_row(fold: Fold, place: int) -> Row:
    if fold.final is None:
        return Row(fold_label(fold.fold), svg.look(place), None, absent="failed")
    return _row(fold_label(fold.fold), fold.final.pooled, svg.look(place))


def _row(label: str, metrics: Metrics, seen: svg.Look, *, strong: bool = False) -> Row:
    return Row(label, seen, metrics.auc, metrics.auc_ci95, strong, "no value")


def _method(results: Results) -> Html | None:
    """``final.auc_method`` as the results give it."""
    if results.final.auc_method is None:
        return None
    said = el("p", f"{results.final.auc_method[:1].upper()}{results.final.auc_method[1:]}.")
    return el("div", el("h3", "How the folds' AUCs became one"), said)

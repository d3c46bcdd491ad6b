"""Results of folds: kept one by one, and put together as the run's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedescc.common.errors import Refusal
from fedescc.common.fold import Fold
from fedescc.server.evaluation.pooling import pool_explanations, pool_finals
from fedescc.server.evaluation.several import pool_evaluations
from fedescc.server.modes import Plan, fold_name
from fedescc.server.results import read_json
from fedescc.server.run_folder import FOLDS, MODEL, RESULTS

_OF_FOLDS_ALONE = frozenset({"fold", "held_out", "place", "task", "comparator_models", "told"})
_OF_A_FOLD = (
    "fold", "held_out", "rounds", "final", "comparators", "kept_round", "sites_lost",
    "selection", "pretraining", "warm_start", "personalisation", "opening",
)  # fmt: skip

Document = dict[str, Any]


def fold_folder(out: Path, fold: Fold | None) -> Path:
    """Where a fold's results, model and checkpoint lie."""
    return out / FOLDS / fold_name(fold)


def read_fold_results(out: Path, fold: Fold | None) -> Document | None:
    """The results of a finished fold; None while it has none."""
    path = fold_folder(out, fold) / RESULTS
    try:
        return read_json(path)
    except Refusal:
        return None


def fold_files(out: Path) -> list[Path]:
    """The results of all finished folds of a run, in their order."""
    found = [(read_json(path)["place"], path) for path in (out / FOLDS).glob(f"*/{RESULTS}")]
    return [path for _, path in sorted(found)]


def assemble(plan: Plan, done: Sequence[Document], lost: Sequence[Document]) -> Document:
    """The run's results: of one fold as they are, of several pooled, with each fold's under ``folds``.

    ``lost`` are the folds whose held-out site could not be tested; their sites count as lost.
    """
    if not plan.several:
        own = {key: value for key, value in done[0].items() if key not in _OF_FOLDS_ALONE}
        return {"mode": plan.mode, **own, "model": MODEL, "folds": []}
    return {
        "mode": plan.mode,
        "sites_lost": sorted({site for one in done for site in one["sites_lost"]} | {one["held_out"] for one in lost}),
        "refused_before_training": _merged(done, "refused_before_training"),
        "refused_in_evaluation": _refused_in_evaluation(done),
        "flow": _flow(done),
        "rounds": [],
        "final": pool_evaluations(plan.mode, [one["final"] for one in done], [one["told"] for one in done]),
        "opening": None,  # every fold has its own
        "comparators": _comparators(done),
        "comparators_unavailable": _merged(done, "comparators_unavailable"),
        "explanation": pool_explanations([one["explanation"] for one in done]),
        "shortcuts": None,  # every fold has another model, and k folds differ by too few patients to ask
        "contribution": None,
        "timing": {"seconds": _seconds(done)},
        "model": None,  # the folds estimate how well the study's model does; that model is the one of the fixed split
        "folds": [_entry(one) for one in sorted((*done, *lost), key=lambda one: int(one["place"]))],
    }


def _entry(document: Document) -> Document:
    """A fold as the run's results show it; ``refused`` in its rounds says who was missing and why."""
    own = {key: document[key] for key in (*_OF_A_FOLD, "failed") if key in document}
    if "failed" in document:
        return own
    refused = {key: document[key] for key in ("refused_before_training", "refused_in_evaluation")}
    return own | refused | {"model": f"{FOLDS}/{document['fold']}/{MODEL}"}


def _comparators(documents: Sequence[Document]) -> Document:
    """Models that the federation fitted in every fold, over the folds that have them."""
    names = sorted({name for one in documents for name in one["comparators"]})
    entries = {name: [one["comparators"][name] for one in documents if name in one["comparators"]] for name in names}
    return {name: pool_finals(folds) for name, folds in entries.items()}


def _flow(documents: Sequence[Document]) -> Document:
    """Every site's cohort; the training patients differ by fold and are left out."""
    by_site = {site: entry for one in documents for site, entry in one["flow"].items()}
    return {site: {**entry, "n_train": None} for site, entry in sorted(by_site.items())}


def _merged(documents: Sequence[Document], key: str) -> dict[str, str]:
    return dict(sorted({site: code for one in documents for site, code in one[key].items()}.items()))


def _refused_in_evaluation(documents: Sequence[Document]) -> dict[str, dict[str, str]]:
    kinds = sorted({kind for one in documents for kind in one["refused_in_evaluation"]})
    refused = [one["refused_in_evaluation"] for one in documents]
    return {kind: _merged([phases for phases in refused if kind in phases], kind) for kind in kinds}


def _seconds(documents: Sequence[Document]) -> dict[str, float]:
    steps = {step for one in documents for step in one["timing"]["seconds"]}
    return {step: sum(one["timing"]["seconds"].get(step, 0.0) for one in documents) for step in sorted(steps)}

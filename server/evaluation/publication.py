"""What results show of single sites: no confusion cell of few patients, given or computable from what else is shown.

A site's counts reach the coordinator so that they can be pooled. Shown beside n, its sensitivity tells how many of its
patients were missed, so where a cell is small the site's threshold metrics and curve appear only within pooled figures,
of three sites or more. One more site is hidden with it, since the total less all others would tell. Patients by
outcome, AUC, Brier score and calibration of a site stay: no cell follows from them.

Every total of a run is one of the same sites: that of a comparator which other sites were tested with is hidden, or
the site by which the two differ could be found by subtraction.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fedescc.common.disclosure.cells import small
from fedescc.common.disclosure.secondary import FEWEST_POOLED, hidden_sites
from fedescc.common.names import POOLED
from fedescc.common.statistics.metrics import PROPORTIONS, suppressed_record
from fedescc.server.evaluation.comparison import OTHER_SITES
from fedescc.server.evaluation.curves import no_curves

SMALL_CELLS = "small-cells"
"""Code: a confusion cell of this site speaks of too few patients."""
PROTECTS_ANOTHER = "protects-another-site"
"""Code: shown, it could be taken off the total to find a site that is hidden."""
TOO_FEW_SITES = "fewer-than-three-sites"
"""Code: a total that would tell of a site which is hidden."""

Document = dict[str, Any]


def published(final: Mapping[str, Any], minimum: int) -> Document:
    """``final`` of one fold, or a comparator's entry, with what may not be shown replaced by null and its reason.

    Args:
        final: ``pooled`` and ``sites`` with METRICS; where there are any, ``pooled_sites``, ``roc`` and curves.
        minimum: the study's; with 1 everything is shown.

    """
    primary = _with_small_cells(final, minimum)
    return _shown(final, primary, _hidden(final, primary, minimum))


def published_results(results: Mapping[str, Any], minimum: int) -> Document:
    """A run's whole results as they may be shown: its own model and comparators, over all folds and in each.

    A site's figures of all folds together, less those of the others, would tell one fold's: so a site that a fold must
    hide is hidden in every fold.

    Args:
        results: as put together from the folds' unpublished ones.
        minimum: the study's.

    """
    shown = {**results, "folds": [dict(fold) for fold in results["folds"]]}
    shown["final"], parts = _over_folds(results["final"], [fold.get("final") for fold in results["folds"]], minimum)
    _put(shown["folds"], "final", parts)
    comparators = {}
    for name, entry in results["comparators"].items():
        of_folds = [fold.get("comparators", {}).get(name) for fold in results["folds"]]
        comparators[name], parts = _over_folds(entry, of_folds, minimum)
        if minimum > 1:
            pairs = zip(parts, results["folds"], strict=True)
            parts = [None if part is None else _of_the_same_sites(part, fold) for part, fold in pairs]
            others = any(part is not None and _is_of_others(part) for part in parts)
            comparators[name] = _of_the_same_sites(comparators[name], results, others=others)
        for fold, part in zip(shown["folds"], parts, strict=True):
            if part is not None:
                fold["comparators"] = {**fold["comparators"], name: part}
    return shown | {"comparators": comparators}


def _of_the_same_sites(entry: Document, run: Mapping[str, Any], *, others: bool = False) -> Document:
    """A comparator's entry, without its total where that is of other sites than the run's own model's."""
    if not others and entry.get("pooled_sites") == run["final"].get("pooled_sites"):
        return entry
    return {**entry, "pooled": suppressed_record(OTHER_SITES, entry["pooled"]["threshold"])}


def _is_of_others(part: Mapping[str, Any]) -> bool:
    return bool(part["pooled"].get("suppressed", {}).get("n") == OTHER_SITES)


def _over_folds(
    final: Mapping[str, Any], folds: Sequence[Mapping[str, Any] | None], minimum: int
) -> tuple[Document, list[Document | None]]:
    primary = _with_small_cells(final, minimum)
    in_folds = primary.union(*(_with_small_cells(fold, minimum) for fold in folds if fold is not None))
    hidden = _closed([final, *(fold for fold in folds if fold is not None)], in_folds, minimum)
    parts = [None if fold is None else _shown(fold, in_folds, hidden) for fold in folds]
    return _shown(final, primary, _hidden(final, primary, minimum)), parts


def _put(folds: Sequence[Document], key: str, parts: Sequence[Document | None]) -> None:
    for fold, part in zip(folds, parts, strict=True):
        if part is not None:
            fold[key] = part


def _with_small_cells(final: Mapping[str, Any], minimum: int) -> set[str]:
    return {
        name
        for name, record in final["sites"].items()
        if record["n"] is not None and any(small(cell, minimum) for cell in _cells(record))
    }


def _hidden(final: Mapping[str, Any], primary: Collection[str], minimum: int) -> set[str]:
    counts = {
        name: (record["n_pos"], record["n"] - record["n_pos"])
        for name, record in final["sites"].items()
        if record["n"] is not None
    }
    return hidden_sites(counts, primary, minimum)


def _closed(entries: Sequence[Mapping[str, Any]], primary: set[str], minimum: int) -> set[str]:
    """The sites to hide in every one of several entries: in none do the hidden ones stand alone."""
    hidden = primary
    while (more := hidden.union(*(_hidden(entry, hidden, minimum) for entry in entries))) != hidden:
        hidden = more
    return hidden


def _cells(record: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """(tp, fp, tn, fn) of METRICS; counts are whole, so shares of them tell them exactly."""
    positives, negatives = record["n_pos"], record["n"] - record["n_pos"]
    hits = round((record["sensitivity"] or 0.0) * positives)
    rejected = round((record["specificity"] or 0.0) * negatives)
    return hits, negatives - rejected, rejected, positives - hits


def _shown(final: Mapping[str, Any], primary: Collection[str], hidden: Collection[str]) -> Document:
    """An entry without the hidden sites, and without its total where that has too few sites to cover them."""
    sites = {
        name: _without(record, SMALL_CELLS if name in primary else PROTECTS_ANOTHER) if name in hidden else record
        for name, record in final["sites"].items()
    }
    pooled = [name for name, record in final["sites"].items() if record["n"] is not None]
    alone = len(pooled) < FEWEST_POOLED and not set(pooled).isdisjoint(hidden)
    shown = {**final, "sites": sites}
    if "roc" in final:
        gone = {*hidden, POOLED} if alone else set(hidden)
        shown["roc"] = {name: curve for name, curve in final["roc"].items() if name not in gone}
    if alone:
        shown["pooled"] = _without(final["pooled"], TOO_FEW_SITES)
        shown |= no_curves(TOO_FEW_SITES) if "curves" in final else {}
    return shown


def _without(record: Mapping[str, Any], reason: str) -> Document:
    """METRICS without those that tell confusion cells."""
    reasons = record.get("suppressed", {}) | dict.fromkeys(PROPORTIONS, reason)
    gone = dict.fromkeys(PROPORTIONS)
    return {**record, **gone, "ci95": gone, "suppressed": reasons}

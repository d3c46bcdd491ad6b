"""How the comparators that the federation fitted came about: penalty, selected image features, and at which sites."""

from collections import Counter

from fedescc.server.report.document import Results
from fedescc.server.report.formats import DASH, method_label, plural, words
from fedescc.server.report.losses import refused_in_words
from fedescc.server.report.markup import Html
from fedescc.server.report.parts import Comparator
from fedescc.server.report.tables import table

_CAPTION = (
    "Fits by the federation. C is the inverse of the penalty's strength; of regressions it was chosen on the "
    "validation patients, of a fusion it is fixed."
)


def fits_table(results: Results) -> Html | None:
    """A row a fitted comparator, of several folds over them; None where nothing was fitted by the federation."""
    rows = []
    for name in results.comparators:
        fits = [one for one in _entries(results, name) if one.penalty is not None]
        if fits:
            rows.append([method_label(name), _penalties(fits), _features(fits), _sites(fits)])
    return table(_CAPTION, ["", "Penalty C", "Selected image features", "Sites"], rows, left=4) if rows else None


def _entries(results: Results, name: str) -> list[Comparator]:
    if not results.folds:
        return [results.comparators[name]]
    return [fold.comparators[name] for fold in results.folds if name in fold.comparators]


def _penalties(fits: list[Comparator]) -> str:
    counts = Counter(one.penalty for one in fits if one.penalty is not None)
    return _listed({f"{penalty:g}": counts[penalty] for penalty in sorted(counts)}, len(fits))


def _features(fits: list[Comparator]) -> str:
    """In the order of how often they were selected, then as the first fold lists them."""
    counts = Counter(feature for one in fits for feature in one.selected)
    return _listed({words(feature): count for feature, count in counts.most_common()}, len(fits)) or DASH


def _sites(fits: list[Comparator]) -> str:
    """Where it was fitted, and who was missing."""
    names = {site for one in fits for site in one.fitted_on or ()}
    refused = {site: code for one in fits for site, code in one.refused.items()}
    who = plural(len(names), "site") if names else DASH
    return f"{who}; without {refused_in_words(refused)}" if refused else who


def _listed(counts: dict[str, int], folds: int) -> str:
    """Things with the number of folds that have them; of one fold the things alone."""
    if folds == 1:
        return ", ".join(counts)
    return ", ".join(f"{thing} ({count} of {folds})" for thing, count in counts.items())

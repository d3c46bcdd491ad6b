"""When a site was missing and why, over the phases of a run and over its folds."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from fedescc.server.report.document import Results
from fedescc.server.report.formats import fold_label, ranges
from fedescc.server.report.learning import Learned, PretrainingRound, Round
from fedescc.server.report.reasons import phase, reason


def lost_sites(results: Results) -> dict[str, list[str]]:
    """Site -> when it was missing and why, for every site that was lost at any time; what several folds share once."""
    lost = _over_folds(results) if results.folds else {site: list(said) for site, said in _lost(results).items()}
    for site in results.sites_lost:
        lost.setdefault(site, ["at some point of the run"])
    return dict(sorted(lost.items()))


def refused_in_words(refused: Mapping[str, str]) -> str:
    """Sites and their codes in one line."""
    return ", ".join(f"{site} ({code})" for site, code in sorted(refused.items()))


def _over_folds(results: Results) -> dict[str, list[str]]:
    where: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for fold in results.folds:
        for site, said in _lost(fold).items():
            for one in said:
                where[site][one].append(fold.fold)
        if fold.failed is not None and fold.held_out is not None:
            where[fold.held_out][f"could not be tested while held out: {reason(fold.failed)}"].append(fold.fold)
    whole = len(results.folds)
    return {site: [f"{_folds(names, whole)}: {one}" for one, names in found.items()] for site, found in where.items()}


def _folds(names: list[str], whole: int) -> str:
    return "In every fold" if len(names) == whole > 1 else ", ".join(fold_label(name) for name in names)


def _lost(one: Learned) -> dict[str, list[str]]:
    """The same of one model."""
    when: dict[str, list[str]] = defaultdict(list)
    for site, code in one.refused_before_training.items():
        when[site].append(f"before training: {reason(code)}")
    for kind, rounds in (("pretraining round", one.pretraining), ("round", one.rounds)):
        for site, codes in _refusals(rounds).items():
            when[site] += [f"{kind} {ranges(numbers)}: {reason(code)}" for code, numbers in codes.items()]
    for kind, refused in one.refused_in_evaluation.items():
        for site, code in refused.items():
            when[site].append(f"{phase(kind)}: {reason(code)}")
    return when


def _refusals(rounds: Iterable[Round | PretrainingRound]) -> dict[str, dict[str, list[int]]]:
    found: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for one in rounds:
        for site, code in one.refused.items():
            found[site][code].append(one.round)
    return found

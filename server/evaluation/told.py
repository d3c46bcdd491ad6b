"""What sites told of their test patients by level of the plan's subgroups; over several folds, their sums."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fedescc.common.statistics.metrics import EvaluationSums
from fedescc.common.sums import add_up
from fedescc.server.evaluation.replies import LevelShare

SEVERAL_MODELS = "scores-of-several-models"  # code: no histogram is of one model

Shares = Mapping[str, Sequence[LevelShare | None]]  # of a subgroup, by site


@dataclass(frozen=True)
class Told:
    """What sites told of their test patients by level; not yet fit to be shown.

    Attributes:
        levels: subgroup -> its levels, `MISSING` last.
        shares: subgroup -> site -> the share of each level, None where the site hides it.
        tested: site -> sums of all its test patients.
        minimum: the study's.
        threshold: logit at and above which a patient is called positive; None of several models.

    """

    levels: Mapping[str, tuple[str, ...]]
    shares: Mapping[str, Shares]
    tested: Mapping[str, EvaluationSums]
    minimum: int
    threshold: float | None

    def document(self) -> dict[str, Any]:
        """JSON-able, without histograms: those of several models cannot be added."""
        shares = {
            name: {
                site: [None if one is None else asdict(one.sums) for one in levels] for site, levels in sites.items()
            }
            for name, sites in self.shares.items()
        }
        tested = {site: asdict(sums) for site, sums in self.tested.items()}
        levels = {name: list(known) for name, known in self.levels.items()}
        return {"levels": levels, "shares": shares, "tested": tested, "minimum": self.minimum}


def add_documents(documents: Sequence[Mapping[str, Any]]) -> Told:
    """What several folds told, their test patients together: a level that a site hides in one fold it hides in all."""
    parts = [_from_document(document) for document in documents]
    tested: dict[str, EvaluationSums] = {}
    for part in parts:
        for site, sums in part.tested.items():
            tested[site] = tested[site] + sums if site in tested else sums
    shares = {name: _add_shares([part.shares[name] for part in parts], parts) for name in parts[0].levels}
    return Told(parts[0].levels, shares, tested, parts[0].minimum, None)


def _from_document(document: Mapping[str, Any]) -> Told:
    shares = {
        name: {site: [one and LevelShare(EvaluationSums(**one), None) for one in levels]
               for site, levels in sites.items()}
        for name, sites in document["shares"].items()
    }  # fmt: skip
    tested = {site: EvaluationSums(**sums) for site, sums in document["tested"].items()}
    levels = {name: tuple(known) for name, known in document["levels"].items()}
    return Told(levels, shares, tested, int(document["minimum"]), None)


def _add_shares(folds: Sequence[Shares], parts: Sequence[Told]) -> Shares:
    """Of one subgroup over folds; a site that was tested in a fold and told nothing there hides every level."""
    found: dict[str, list[LevelShare | None]] = {}
    for site in sorted({site for part in parts for site in part.tested}):
        told = [fold.get(site) for fold, part in zip(folds, parts, strict=True) if site in part.tested]
        if all(one is not None for one in told):
            found[site] = [_add_level(level) for level in zip(*(one or () for one in told), strict=True)]
    return found


def _add_level(folds: Sequence[LevelShare | None]) -> LevelShare | None:
    known = [share for share in folds if share is not None]
    return LevelShare(add_up(share.sums for share in known), None) if len(known) == len(folds) else None

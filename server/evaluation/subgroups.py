"""METRICS of the plan's subgroups over all sites; no site's own are published.

What the sites told is kept (`Told`) until it is known which sites' own figures are published: a level's figures, or all
patients' less those of the levels shown, must not give away a site that is hidden.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.common import wire
from fedescc.common.analysis import MISSING, subgroup_levels
from fedescc.common.disclosure.cells import both_reach, small
from fedescc.common.disclosure.secondary import FEWEST_POOLED
from fedescc.common.statistics.metrics import EvaluationSums, metrics_record, suppressed_record
from fedescc.common.statistics.roc import ClassHistogram, Estimate, probability
from fedescc.common.subgroups import Flags, coarse_edges
from fedescc.common.sums import add_up
from fedescc.common.wire import Reply
from fedescc.server.evaluation.evaluate import Evaluation, auc_of
from fedescc.server.evaluation.evaluator import Evaluator
from fedescc.server.evaluation.publication import published
from fedescc.server.evaluation.replies import LevelShare, level_shares
from fedescc.server.evaluation.told import SEVERAL_MODELS, Shares, Told

HIDDEN = "subgroup-too-small"  # code: too few patients of a class, or they could be found by subtraction

_TP, _FN = 0, 3
_NOT_ASKED = "not-by-subgroup"

Record = dict[str, Any]
Cells = NDArray[np.int64]  # true and false positives, true and false negatives
Entries = dict[str, dict[str, Record]]


def ask_levels(evaluator: Evaluator, evaluation: Evaluation) -> Told:
    """What the sites that were tested tell of the plan's subgroups; nothing is asked where it has none."""
    study = evaluator.study
    levels = {name: (*known, MISSING) for name, known in subgroup_levels(study).items()}
    tested = {site: share.sums for site, share in evaluation.tested.items() if share.sums is not None}
    if not levels:
        return Told({}, {}, tested, study.disclosure.min_class_count, evaluation.threshold)
    sizes, bins = [len(known) for known in levels.values()], len(coarse_edges(evaluation.edges)) + 1

    def read(reply: Reply) -> list[list[LevelShare | None]] | None:
        share = evaluation.tested.get(reply.site)
        return None if share is None else level_shares(reply, sizes, bins, share)

    replies, _ = evaluator.ask(wire.SUBGROUPS, read, edges=evaluation.edges, threshold=evaluation.threshold)
    told = {name: groups for name, groups in replies.items() if groups is not None}
    shares = {name: {site: groups[place] for site, groups in told.items()} for place, name in enumerate(levels)}
    return Told(levels, shares, tested, study.disclosure.min_class_count, evaluation.threshold)


def show_levels(told: Told, sites: Mapping[str, Record]) -> Entries:
    """Subgroup -> level -> METRICS of all sites that show the level, with ``sites``, how many they are.

    Coarser bins than the whole's make the AUC of a level, and its interval by DeLong's variance, a little less exact.
    A level of fewer than 3 sites is as good as theirs alone, and is shown only where each of them could show it.

    Args:
        told: by the sites.
        sites: their METRICS, as far as known, before publication.

    """
    shown = published({"pooled": {}, "sites": sites}, told.minimum)["sites"]
    visible = {site for site, record in shown.items() if record["accuracy"] is not None}
    return {name: _show(told, known, told.shares[name], visible) for name, known in told.levels.items()}


def _show(told: Told, levels: Sequence[str], sites: Shares, visible: Collection[str]) -> dict[str, Record]:
    """METRICS by level of one subgroup."""
    shares = [{site: found for site, one in sites.items() if (found := one[place])} for place in range(len(levels))]
    with_patients = [{site: one for site, one in level.items() if one.sums.n} for level in shares]
    hidden = _hidden(told, with_patients, visible)
    # Nobody has a level only where every site says so.
    empty = [len(level) == len(told.tested) and not some for level, some in zip(shares, with_patients, strict=True)]
    return {
        name: _level_record(told, list(level.values()))
        if level and not gone
        else _suppressed(told, "no-patients" if nobody else HIDDEN)
        for name, level, gone, nobody in zip(levels, with_patients, hidden, empty, strict=True)
    }


def _hidden(told: Told, levels: Sequence[Mapping[str, LevelShare]], visible: Collection[str]) -> Flags:
    """Levels that stay hidden: those that may not stand, and the smallest as long as what is left over may not."""
    cells = [{site: _cells(share.sums) for site, share in level.items()} for level in levels]
    sizes = np.array([sum(share.sums.n for share in level.values()) for level in levels])
    hidden: Flags = np.array([not _may_stand(level, told.minimum, visible) for level in cells])
    while (shown := np.flatnonzero((sizes > 0) & ~hidden)).size:
        if _may_stand(_left_over(told, cells, hidden), told.minimum, visible):
            break
        hidden[shown[np.argmin(sizes[shown])]] = True
    return hidden


def _left_over(told: Told, levels: Sequence[Mapping[str, Cells]], hidden: Flags) -> dict[str, Cells]:
    """All patients less those of the levels shown, by site: anybody can subtract."""
    rest = {site: _cells(sums) for site, sums in told.tested.items()}
    for level, gone in zip(levels, hidden, strict=True):
        for site, cells in ({} if gone else level).items():
            rest[site] = rest[site] - cells
    return {site: cells for site, cells in rest.items() if cells.any()}


def _may_stand(cells: Mapping[str, Cells], minimum: int, visible: Collection[str]) -> bool:
    """Whether figures of these sites may be told: they are enough, or each could be shown alone."""
    return len(cells) >= FEWEST_POOLED or all(
        site in visible
        and both_reach(int(one[_TP] + one[_FN]), int(one.sum()), minimum)
        and not any(small(int(cell), minimum) for cell in one)
        for site, one in cells.items()
    )


def _cells(sums: EvaluationSums) -> Cells:
    return np.array([sums.tp, sums.fp, sums.tn, sums.fn])


def _level_record(told: Told, shares: Sequence[LevelShare]) -> Record:
    area, interval = auc_of(_total(told, shares))
    record = metrics_record(
        add_up(share.sums for share in shares),
        threshold=_probability(told),
        auc=area,
        auc_ci95=interval,
        calibration_intercept=Estimate(None, _NOT_ASKED),
        calibration_slope=Estimate(None, _NOT_ASKED),
    )
    return _with_threshold(told, record) | {"sites": len(shares)}


def _total(told: Told, shares: Sequence[LevelShare]) -> Estimate[ClassHistogram]:
    histograms = [share.histogram for share in shares if share.histogram is not None]
    if len(histograms) == len(shares):
        return Estimate(add_up(histograms))
    return Estimate(None, SEVERAL_MODELS if told.threshold is None else "histogram-not-released")


def _suppressed(told: Told, reason: str) -> Record:
    return _with_threshold(told, suppressed_record(reason, _probability(told))) | {"sites": None}


def _probability(told: Told) -> float:
    return float(probability(told.threshold or 0.0))


def _with_threshold(told: Told, record: Record) -> Record:
    if told.threshold is not None:
        return record
    return record | {"threshold": None, "suppressed": record["suppressed"] | {"threshold": "differs-by-fold"}}

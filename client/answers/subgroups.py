"""Sums over the test patients of each level of the plan's subgroups, where enough patients of both classes have it."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fedescc.client.answers.comparison import require_same_look
from fedescc.client.answers.evaluation import may_tell
from fedescc.client.answers.levels import ByLevel, class_counts, hidden_by_subgroup
from fedescc.client.cohort import SiteCohort
from fedescc.client.learning.evaluate import NOT_RELEASED, Floats, Labels
from fedescc.client.local_site import LocalSite
from fedescc.client.site import BELOW_MINIMUM, ReleasePolicy
from fedescc.common import wire
from fedescc.common.analysis import MISSING, SCANNER_VENDOR, Subgroup, subgroup_levels
from fedescc.common.disclosure.rounding import DECIMALS
from fedescc.common.errors import Refusal
from fedescc.common.statistics.metrics import EvaluationSums, evaluation_sums
from fedescc.common.statistics.roc import ClassHistogram, probability, score_histogram
from fedescc.common.study import Study
from fedescc.common.subgroups import Codes, Flags, coarse_edges, level_codes
from fedescc.common.wire import Reply, Request

COUNTED = ("n", "n_pos", "tp", "fp", "tn", "fn")

_NOBODY = EvaluationSums(0, 0, 0, 0, 0, 0, 0.0, 0.0)


def subgroups(site: LocalSite, request: Request) -> Reply:
    """Sums by level at the look's threshold, in the order of `fedescc.common.analysis.all_levels`.

    ``shown`` tells which levels are not hidden, see `hidden_by_subgroup`. Histograms are over few of the look's edges.

    Raises:
        Refusal: ``test-not-opened``, ``test-already-opened`` (a model, threshold or bins that have not looked),
            ``unknown-variable`` (this site's cohort was prepared without one of the plan's variables).

    """
    require_same_look(site, request)
    cohort = site.view(request)
    if not may_tell(site, cohort, "test"):
        return site.reply({}, {"shown": BELOW_MINIMUM})
    rows = cohort.rows("test")
    labels, codes = cohort.labels[rows], subgroup_codes(site.study, cohort, rows)
    edges, threshold = coarse_edges(request.task["edges"]), float(request.task["threshold"])
    logit, kept = site.logits(request, "test"), _leaving_few(site, codes, rows)
    return site.reply(*level_sums(codes, labels, logit, edges, threshold, site.policy, kept))


def subgroup_codes(study: Study, cohort: SiteCohort, rows: NDArray[np.intp]) -> dict[str, tuple[Codes, int]]:
    """Subgroup -> the level of each of the rows, (rows,), and the number of levels, the last one `MISSING`.

    Raises:
        Refusal: ``unknown-variable``.

    """
    found = {}
    for name, levels in subgroup_levels(study).items():
        subgroup = study.analysis.subgroups[name]
        codes = level_codes(subgroup, _column(cohort, subgroup)[rows], len(levels))
        found[name] = codes, len((*levels, MISSING))
    return found


def level_sums(
    codes: ByLevel,
    labels: Labels,
    logit: Floats,
    edges: list[float],
    threshold: float,
    policy: ReleasePolicy,
    kept: Mapping[str, Flags] | None = None,
) -> tuple[wire.Sums, dict[str, str]]:
    """Counts, Brier sums and histograms of every level; 0 of one that is hidden.

    Args:
        codes: as `subgroup_codes`.
        labels: (n,) 0 or 1.
        logit: (n,).
        edges: logits between a histogram's bins.
        threshold: logit at and above which a patient is called positive.
        policy: the stricter of the site's and the study's limits.
        kept: levels that stay hidden for another reason, by subgroup.

    """
    chance, concealed = probability(logit), hidden_by_subgroup(codes, labels, policy.min_class_count, kept)
    shown: list[int] = []
    sums: list[EvaluationSums] = []
    histograms: list[ClassHistogram] = []
    for name, (of_patient, levels) in codes.items():
        for level, hidden in zip(range(levels), concealed[name], strict=True):
            inside = (of_patient == level) & ~hidden
            found = evaluation_sums(labels[inside], chance[inside], threshold, score=logit[inside])
            shown.append(int(not hidden))
            sums.append(found if inside.any() else _NOBODY)
            histograms.append(score_histogram(labels[inside], logit[inside], edges))
    values: wire.Sums = {"shown": shown, "brier_sum": [round(one.brier_sum, DECIMALS) for one in sums]}
    values |= {key: [getattr(one, key) for one in sums] for key in COUNTED}
    if policy.score_histogram == "never":
        return values, {"negatives": NOT_RELEASED, "positives": NOT_RELEASED}
    for key in ("negatives", "positives"):
        values[key] = np.concatenate([getattr(one, key) for one in histograms]).tolist()
    return values, {}


def _leaving_few(site: LocalSite, codes: ByLevel, rows: NDArray[np.intp]) -> dict[str, Flags]:
    """Levels of which few are left beside the training patients among the rows, whom the counts for the plan tell.

    That is so of a site held out, whose whole cohort is tested.
    """
    among = site.cohort.split[rows] == "train"
    labels, minimum = site.cohort.labels[rows], site.policy.min_class_count
    training = {name: (of_patient[among], levels) for name, (of_patient, levels) in codes.items()}
    hidden = hidden_by_subgroup(training, labels[among], minimum)
    found = {}
    for name, (of_patient, levels) in codes.items():
        told = class_counts(*training[name], labels[among]) * ~hidden[name][:, None]
        rest = class_counts(of_patient, levels, labels) - told
        few = (rest > 0) & (rest < minimum)
        found[name] = np.asarray(few.any(axis=1) & told.any(axis=1))
    return found


def _column(cohort: SiteCohort, subgroup: Subgroup) -> Floats:
    """A value a patient, (n,), as `level_codes` takes them; of scanners that of the last time point."""
    name = subgroup.variable
    if name == SCANNER_VENDOR:
        vendors = cohort.acquisition.get("vendor")
        return np.full(len(cohort), np.nan) if vendors is None else vendors[:, -1].astype(np.float64)
    for columns in (cohort.numeric, cohort.categorical):
        if name in columns:
            return np.asarray(columns[name], dtype=np.float64)
    raise Refusal("unknown-variable", f"the cohort lacks {name}", "prepare the patients again with this study")

"""What sites answer about opened test patients, as typed values; a reply that contradicts their test is refused."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedescc.common.disclosure.rounding import DECIMALS
from fedescc.common.errors import Refusal
from fedescc.common.statistics.metrics import EvaluationSums
from fedescc.common.statistics.paired import PlacementSums
from fedescc.common.statistics.roc import ClassHistogram, Estimate, PairedComparison, paired_comparison
from fedescc.common.subgroups import coarse_histogram
from fedescc.common.wire import Reply
from fedescc.server.replies import SplitShare, malformed, real_numbers, whole_numbers

_COUNTED = ("n", "n_pos", "tp", "fp", "tn", "fn")
_ROUNDING = 10.0**-DECIMALS


@dataclass(frozen=True)
class LevelShare:
    """One site's sums over the test patients of one level of a subgroup; the log loss is not told and 0.

    Attributes:
        sums: of all its patients, or of none.
        histogram: None unless the site's policy releases it.

    """

    sums: EvaluationSums
    histogram: ClassHistogram | None


def level_shares(
    reply: Reply, sizes: Sequence[int], bins: int, tested: SplitShare
) -> list[list[LevelShare | None]] | None:
    """Of every subgroup the share of each level, None where it is hidden; None where the site keeps all.

    Args:
        reply: of a site.
        sizes: levels of each subgroup.
        bins: of a level's histogram.
        tested: what the site answered to the test.

    Raises:
        Refusal: ``malformed-message``, of another number of levels or bins; ``patients-changed``, other patients than
            were tested.

    """
    if "shown" not in reply.sums:
        return None
    total = sum(sizes)
    shown = whole_numbers(reply.sums, "shown", total)
    counts = np.stack([whole_numbers(reply.sums, key, total) for key in _COUNTED], axis=1)
    losses = real_numbers(reply.sums, "brier_sum", total)
    histograms = _level_histograms(reply, total, bins)
    shares = [
        _level_share(counts[level], float(losses[level]), histograms[level]) if shown[level] else None
        for level in range(total)
    ]
    ends = np.cumsum(sizes)
    groups = [shares[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    for group in groups:
        _require_part([share for share in group if share is not None], len(group), tested)
    return groups


def placement_share(reply: Reply, models: int, tested: SplitShare) -> PlacementSums | None:
    """A site's sums of placements; None where it keeps them.

    Raises:
        Refusal: ``malformed-message``, of another number of models; ``patients-changed``, of other patients than were
            tested; ``bad-placement-sums``.

    """
    if "n" not in reply.sums:
        return None
    if tested.sums is None or (reply.sums["n"], reply.sums.get("n_pos")) != (tested.sums.n, tested.sums.n_pos):
        raise _patients_changed()
    n, positives = tested.sums.n, tested.sums.n_pos
    pairs = models * (models + 1) // 2
    return PlacementSums(
        np.array([n - positives, positives]),
        whole_numbers(reply.sums, "sums", 2 * models).reshape(2, models),
        whole_numbers(reply.sums, "products", 2 * pairs).reshape(2, pairs),
    )


def own_differences(reply: Reply, aucs: Sequence[Estimate[float]]) -> list[Estimate[PairedComparison]]:
    """A site's own paired tests of every model but the first against the first.

    Args:
        reply: to a comparison.
        aucs: the site's AUC of every model as it was tested, the first model's first.

    Raises:
        Refusal: ``malformed-message``: of another number of models, or differences that are not those of the AUCs.

    """
    differences, errors = (real_numbers(reply.sums, key, len(aucs) - 1) for key in ("differences", "standard_errors"))
    first = aucs[0].value
    for difference, error, area in zip(differences, errors, aucs[1:], strict=True):
        if error == 0 or first is None or area.value is None:
            continue
        if abs(area.value - first - difference) > 3 * _ROUNDING:  # all three are rounded
            raise malformed("a site's paired difference is not that of its AUCs")
    return [paired_comparison(float(one), float(error)) for one, error in zip(differences, errors, strict=True)]


def _level_histograms(reply: Reply, levels: int, bins: int) -> list[ClassHistogram | None]:
    if "negatives" not in reply.sums or "positives" not in reply.sums:
        return [None] * levels
    negatives, positives = (
        whole_numbers(reply.sums, key, levels * bins).reshape(levels, bins) for key in ("negatives", "positives")
    )
    return [ClassHistogram(*counts) for counts in zip(negatives, positives, strict=True)]


def _level_share(counts: NDArray[np.int64], loss: float, histogram: ClassHistogram | None) -> LevelShare:
    n, n_pos, tp, fp, tn, fn = (int(count) for count in counts)
    sums = EvaluationSums(n, n_pos, tp, fp, tn, fn, loss, 0.0)
    if histogram is not None:
        classes = int(histogram.negatives.sum()), int(histogram.positives.sum())
        if classes != (sums.n - sums.n_pos, sums.n_pos):
            raise malformed("a level's histogram does not hold the patients it should")
    return LevelShare(sums, histogram)


def _require_part(shown: Sequence[LevelShare], levels: int, tested: SplitShare) -> None:
    """Refuse levels that are not part of the patients tested, or do not make them up where none is hidden."""
    if tested.sums is None:
        raise _patients_changed()
    whole = tested.sums
    parts = [sum(getattr(share.sums, key) for share in shown) for key in _COUNTED]
    rest = [getattr(whole, key) - part for key, part in zip(_COUNTED, parts, strict=True)]
    loss = whole.brier_sum - sum(share.sums.brier_sum for share in shown)
    complete, rounding = len(shown) == levels, _ROUNDING * (levels + 1)
    if min(rest) < 0 or loss < -rounding or (complete and (any(rest) or loss > rounding)):
        raise _patients_changed()
    histograms = [share.histogram for share in shown if share.histogram is not None]
    if histograms and tested.histogram is not None:
        own = coarse_histogram(tested.histogram)
        for key in ("negatives", "positives"):
            if (getattr(own, key) < sum(getattr(one, key) for one in histograms)).any():
                raise _patients_changed()


def _patients_changed() -> Refusal:
    return Refusal("patients-changed", "sums of other patients than were tested", "check the site")

"""Paired DeLong test of models over all sites' patients, from sums that add, with no score leaving a site.

Of each test patient a site computes, for every model, the placement among the *pooled* patients of the other class; the
pooled class histograms that the server sends tell it. What leaves is the count, sums and products of placements by
class. They are counted in half patients, so that all sums are whole numbers and exact.

Source: DeLong et al., Biometrics 44 (1988) 837, whose covariance is that of these placements.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedescc.common.errors import Refusal
from fedescc.common.statistics.roc import (
    ClassHistogram,
    Counts,
    Estimate,
    Floats,
    PairedComparison,
    checked_scores,
    edges_of,
    paired_comparison,
    score_histogram,
    too_few,
)

_SUM_LIMIT = 2**62


@dataclass(frozen=True, eq=False)
class PlacementSums:
    """Sums of placements over a site's patients; of several sites they add with ``+``.

    A patient's placement counts the pooled patients of the other class on the right side (below a positive one, above a
    negative one): 2 each, and 1 where both lie in one bin.

    Attributes:
        n: (2,) patients without and with the outcome.
        sums: (2, models) sums of placements, by class.
        products: (2, models · (models + 1) / 2) sums of products of two models' placements: upper triangle, row by row.

    Raises:
        Refusal: "bad-placement-sums" when shapes do not fit, or a value is not whole, is negative, or overflowed.

    """

    n: Counts
    sums: Counts
    products: Counts

    def __post_init__(self) -> None:
        for name in ("n", "sums", "products"):
            object.__setattr__(self, name, _whole(getattr(self, name)))
        models = self.sums.shape[-1] if self.sums.ndim == 2 else 0
        wanted = ((2,), (2, models), (2, models * (models + 1) // 2))
        if models == 0 or (self.n.shape, self.sums.shape, self.products.shape) != wanted:
            raise _bad_sums(f"shapes {self.n.shape}, {self.sums.shape}, {self.products.shape}")

    def __add__(self, other: "PlacementSums") -> "PlacementSums":
        if self.sums.shape != other.sums.shape:
            raise _bad_sums(f"{self.models} models cannot be added to {other.models}")
        return PlacementSums(self.n + other.n, self.sums + other.sums, self.products + other.products)

    @property
    def models(self) -> int:
        """How many models are compared."""
        return int(self.sums.shape[1])


@dataclass(frozen=True, eq=False)
class AucCovariance:
    """Pooled AUCs (models,) and DeLong's covariance of them (models, models), positive semidefinite."""

    areas: Floats
    covariance: Floats


def placement_sums(
    y: ArrayLike, scores: ArrayLike, histograms: Sequence[ClassHistogram], edges: Sequence[ArrayLike]
) -> PlacementSums:
    """One site's sums.

    Args:
        y: 0/1, (n,).
        scores: logits, (n, models).
        histograms: every model's pooled class histogram, over the patients of all sites, these included.
        edges: every model's own edges.

    Raises:
        Refusal: "length-mismatch" (shapes); "not-the-pool" when a pooled histogram lacks patients of this site, or the
            models' histograms hold different numbers of patients, because the sums would then tell something else than
            a comparison; "sum-too-large"; and as `fedescc.common.statistics.roc.checked_scores` and `edges_of`.

    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or not table.shape[1] or not len(histograms) == len(edges) == table.shape[1]:
        what = f"scores of shape {table.shape}, {len(histograms)} histograms, {len(edges)} sets of edges"
        raise Refusal("length-mismatch", what, "give scores (patients, models), a histogram and edges a model")
    labels = checked_scores(y, table[:, 0])[0]
    _require_summable(histograms)
    columns = zip(table.T, histograms, edges, strict=True)
    doubled = np.stack([_doubled_placements(y, score, pool, cuts) for score, pool, cuts in columns], axis=1)
    by_class = [doubled[~labels], doubled[labels]]
    upper = np.triu_indices(table.shape[1])
    return PlacementSums(
        np.array([len(rows) for rows in by_class]),
        np.stack([rows.sum(axis=0) for rows in by_class]),
        np.stack([(rows.T @ rows)[upper] for rows in by_class]),
    )


def agrees(part: PlacementSums, own: Sequence[ClassHistogram], pooled: Sequence[ClassHistogram]) -> bool:
    """Whether sums are those of the patients in ``own``, every model's class histogram of one site or of all.

    Counts, sums and squares follow from the histograms; only products of different models tell anything new, and those
    are held to Cauchy and Schwarz. So a site that sends wrong sums, or was tested on other patients, is found out.
    """
    if not part.models == len(own) == len(pooled):
        return False
    for label in (0, 1):
        products, sums, n = _matrix(part, label), part.sums[label].astype(object), int(part.n[label])
        told = [(n, int(sums[model]), int(products[model, model])) for model in range(part.models)]
        expected = [_margins(h, pool, label) for h, pool in zip(own, pooled, strict=True)]
        if told != expected or not _possible(products, sums, n):
            return False
    return True


def auc_covariance(total: PlacementSums) -> Estimate[AucCovariance]:
    """AUCs and their covariance over all patients, from the sum over all sites.

    Undefined with fewer than two patients a class, and, as "contributors-changed", where the two classes' placements
    disagree: then the sums are not of the patients in the pooled histograms.
    """
    negatives, positives = (int(n) for n in total.n)
    if reason := too_few(negatives, positives, at_least=2):
        return Estimate(None, reason)
    if (total.sums[0] != total.sums[1]).any() or (total.sums[1] > 2 * negatives * positives).any():
        return Estimate(None, "contributors-changed")
    areas = np.array([int(pairs) / (2 * negatives * positives) for pairs in total.sums[1]])
    covariance = _covariance_of_means(total, 0, others=positives) + _covariance_of_means(total, 1, others=negatives)
    return Estimate(AucCovariance(areas, covariance))


def compare(covariance: AucCovariance, i: int, j: int) -> Estimate[PairedComparison]:
    """DeLong's test of model i less model j; undefined where their difference does not vary."""
    table = covariance.covariance
    variance = float(table[i, i] + table[j, j] - 2 * table[i, j])
    if variance < 0:
        return Estimate(None, "impossible-covariance")
    return paired_comparison(float(covariance.areas[i] - covariance.areas[j]), math.sqrt(variance))


def _doubled_placements(y: ArrayLike, score: Floats, pool: ClassHistogram, edges: ArrayLike) -> Counts:
    """Placement of every patient of the site, (n,)."""
    labels, scores = checked_scores(y, score)
    cuts = edges_of(pool, edges)
    own = score_histogram(labels, scores, cuts)
    if (own.negatives > pool.negatives).any() or (own.positives > pool.positives).any():
        raise _not_the_pool("a pooled histogram holds fewer patients in a bin than this site alone")
    of_negatives, of_positives = _bin_placements(pool)
    bins = np.searchsorted(cuts, scores, side="right")
    return np.where(labels, of_positives[bins], of_negatives[bins])


def _bin_placements(pool: ClassHistogram) -> tuple[Counts, Counts]:
    """Placement of a negative and of a positive patient in each bin, (bins,) each."""
    not_above = 2 * (pool.positives.sum() - np.cumsum(pool.positives)) + pool.positives
    not_below = 2 * np.cumsum(pool.negatives) - pool.negatives
    return not_above, not_below


def _margins(own: ClassHistogram, pool: ClassHistogram, label: int) -> tuple[int, int, int]:
    """Patients of a class, and the sum and sum of squares of their placements."""
    counts = (own.positives if label else own.negatives).astype(object)
    placements = _bin_placements(pool)[label].astype(object)
    return int(counts.sum()), int((counts * placements).sum()), int((counts * placements**2).sum())


def _require_summable(histograms: Sequence[ClassHistogram]) -> None:
    sizes = {(int(pool.negatives.sum()), int(pool.positives.sum())) for pool in histograms}
    if len(sizes) > 1:
        raise _not_the_pool("the models' pooled histograms hold different numbers of patients")
    largest = max(max(size) for size in sizes)
    if (2 * largest) ** 2 * largest > _SUM_LIMIT:
        raise Refusal("sum-too-large", f"{largest} patients of a class", "compare the models on fewer patients")


def _covariance_of_means(total: PlacementSums, label: int, others: int) -> Floats:
    """Covariance over models of the class's mean placement, each a share of the other class."""
    n = int(total.n[label])
    deviations = _scaled_deviations(_matrix(total, label), total.sums[label].astype(object), n)
    return np.asarray(deviations / (n * n * (n - 1) * (2 * others) ** 2), dtype=np.float64)


def _possible(products: NDArray[np.object_], sums: NDArray[np.object_], n: int) -> bool:
    """Whether two models' products can be those of n patients (Cauchy and Schwarz)."""
    deviations = _scaled_deviations(products, sums, n)
    squared = np.diag(deviations)
    return bool((deviations**2 <= np.outer(squared, squared)).all())


def _scaled_deviations(products: NDArray[np.object_], sums: NDArray[np.object_], n: int) -> NDArray[np.object_]:
    """n times the sums of products around the means; in Python's integers, which lose nothing."""
    return np.asarray(n * products - np.outer(sums, sums))


def _matrix(part: PlacementSums, label: int) -> NDArray[np.object_]:
    table = np.zeros((part.models, part.models), dtype=object)
    rows, columns = np.triu_indices(part.models)
    table[rows, columns] = table[columns, rows] = part.products[label].astype(object)
    return table


def _whole(values: ArrayLike) -> Counts:
    given = np.asarray(values)
    if given.dtype.kind not in "iu" or (given < 0).any() or (given > _SUM_LIMIT).any():
        raise _bad_sums(f"values of type {given.dtype} that are not whole numbers from 0 to 2^62")
    return given.astype(np.int64)


def _bad_sums(what: str) -> Refusal:
    return Refusal("bad-placement-sums", what, "make the sums with placement_sums for the same models")


def _not_the_pool(what: str) -> Refusal:
    return Refusal("not-the-pool", what, "send the histograms summed over all sites that are compared")

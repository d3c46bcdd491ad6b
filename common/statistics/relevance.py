"""Which features tell the classes apart without repeating each other, from exact sums over sites.

Relevance is Welch's t between the classes (Biometrika 34 (1947) 28); redundancy the correlation of two features with a
missing value at the mean. Both come from integers in steps of each feature's declared range, so that they equal the
pooled computation bit for bit.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedescc.common.disclosure.groups import Cells, Rule, one_group, told_pairs
from fedescc.common.errors import Refusal
from fedescc.common.tabular.moments import Numeric, Rows, Variables, in_steps, moment_table

MAX_SCREENED = 400
MAX_CANDIDATES = 60
MAX_CORRELATION = 0.9
_ROUNDING_VARIANCE = 1 / 12  # of a value rounded to whole steps

Whole = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ClassMoments:
    """Exact moments by class; moments of sites add with ``+``.

    Attributes:
        table: (3, 2, k) int64: patients with a value, sum and sum of squares in steps, without and with the outcome.

    """

    table: Whole

    def __add__(self, other: "ClassMoments") -> "ClassMoments":
        return ClassMoments(_added(self.table, other.table))

    def hide_small(self, minimum: int) -> "ClassMoments":
        """Without features that fewer patients of a class have: their total would tell the other class's."""
        counts = self.table[0]
        return ClassMoments(np.where((counts >= minimum).all(axis=0), self.table, 0))

    def relevance(self) -> NDArray[np.float64]:
        """|t| of every feature, (k,); 0 where a class has fewer than two patients with a value."""
        counts, totals, squares = self.table.astype(object)  # Python's integers: large products lose nothing
        enough = (self.table[0] >= 2).all(axis=0)
        n = np.where(enough, self.table[0], 2).astype(np.float64)
        mean = self.table[1] / n
        spread = (counts * squares - totals * totals).astype(np.float64)
        variance = np.maximum(spread / (n * (n - 1)), _ROUNDING_VARIANCE)
        t = np.abs(mean[1] - mean[0]) / np.sqrt((variance / n).sum(axis=0))
        return np.where(enough, t, 0.0)

    def centres(self) -> list[int]:
        """Mean of every feature over both classes, to the nearest step; 0 where nobody has it."""
        n, total, _ = self.table.sum(axis=1)
        return [int(mean) for mean in np.rint(total / np.maximum(n, 1))]


@dataclass(frozen=True, eq=False)
class Products:
    """Exact sums of products of two features' deviations from given centres; they add with ``+``.

    Attributes:
        triangle: upper triangle of the (m, m) matrix, row by row, int64.

    """

    triangle: Whole

    def __add__(self, other: "Products") -> "Products":
        return Products(_added(self.triangle, other.triangle))

    def correlation(self, size: int) -> NDArray[np.float64]:
        """(size, size); 0 where a feature does not vary."""
        matrix = np.zeros((size, size))
        matrix[np.triu_indices(size)] = self.triangle
        matrix += np.triu(matrix, 1).T
        length = np.sqrt(np.maximum(np.diag(matrix), 1.0))
        return np.asarray(matrix / np.outer(length, length))


def class_moments(variables: Variables, numeric: Numeric, labels: NDArray[np.int8], rows: Rows) -> ClassMoments:
    """Moments of the rows given, by class.

    Args:
        variables: the features and their declared ranges.
        numeric: feature -> (all patients,), NaN = missing.
        labels: (all patients,) 0 or 1.
        rows: a site's training patients.

    Raises:
        Refusal: ``value-out-of-range``.

    """
    of_class = [rows[labels[rows] == label] for label in (0, 1)]
    return ClassMoments(np.stack([moment_table(variables, numeric, own) for own in of_class], axis=1))


def products(
    variables: Variables, numeric: Numeric, rows: Rows, centres: list[int], rule: Rule, groups: Cells | None = None
) -> Products:
    """Products over the rows given, (n,); a pair that may not be told counts as 0, see `told_pairs`.

    Args:
        variables: the m features and their declared ranges.
        numeric: feature -> (all patients,), NaN = missing.
        rows: a site's training patients.
        centres: (m,) steps that deviations are taken from.
        rule: limits of what may be told.
        groups: (n,) of the rows, where sums of whole groups are subtracted from each other.

    Raises:
        Refusal: ``value-out-of-range``.

    """
    deviation = np.zeros((len(rows), len(variables)), np.int64)
    present = np.zeros((len(rows), len(variables)), bool)
    for column, (name, variable) in enumerate(variables.items()):
        known = ~np.isnan(numeric[name][rows])
        deviation[known, column] = in_steps(name, variable, numeric[name][rows]) - centres[column]
        present[:, column] = known
    told = told_pairs(present, one_group(len(rows)) if groups is None else groups, rule)
    sums = np.where(told, deviation.T @ deviation, 0)
    return Products(sums[np.triu_indices(len(variables))])


def choose(relevance: NDArray[np.float64], correlation: NDArray[np.float64], k: int) -> list[int]:
    """Up to k features, the most relevant first, none correlated beyond .9 with one taken before; ties in order."""
    taken: list[int] = []
    for feature in np.argsort(-relevance, kind="stable"):
        if len(taken) == k or not relevance[feature] > 0:
            break
        if (np.abs(correlation[feature, taken]) <= MAX_CORRELATION).all():
            taken.append(int(feature))
    return taken


def _added(one: Whole, other: Whole) -> Whole:
    if one.shape != other.shape:
        raise Refusal("feature-mismatch", f"sums of shapes {one.shape} and {other.shape}", "check the sites' versions")
    return one + other

"""Replies about acquisition and embeddings as typed values; a bad one counts against its own site alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedescc.common.acquisition import KINDS, VENDORS, number_columns
from fedescc.common.shortcut import FEW, FEW_RIGHT, FEW_WRONG, MAX_EMBEDDING, TOLD, symmetric
from fedescc.common.tabular.moments import contradictory
from fedescc.common.wire import Reply
from fedescc.server.replies import malformed, real_numbers, whole_numbers

_ROUNDING = 1e-6  # relative; sums of float64 products of some hundred patients are closer

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AcquisitionShare:
    """One site's training scans.

    Attributes:
        n: training patients.
        cells: kind -> (time points, levels + 2): each level, the unknown, and what is merged because it is small.
        moments: (3, columns): count, sum and sum of squares in steps, columns as `number_columns`.

    """

    n: int
    cells: dict[str, Counts]
    moments: Counts


@dataclass(frozen=True, eq=False)
class Group:
    """Sums over some training patients' embeddings: ``n``, ``total`` (d,), and ``products`` (d, d) where told."""

    n: int
    total: Floats
    products: Floats | None = None


@dataclass(frozen=True, eq=False)
class MomentsShare:
    """One site's embeddings: sums over all training patients, their squares (d,), and sums by vendor."""

    whole: Group
    squares: Floats
    vendors: dict[str, Group]


@dataclass(frozen=True, eq=False)
class ProductsShare:
    """One site's sums of products (k, k): of all training patients, and by vendor where they may be told."""

    whole: Floats
    vendors: dict[str, Floats]


@dataclass(frozen=True)
class Assigned:
    """Validation patients of one class at one site, and how many the rule assigned to it: at least and at most."""

    n: int
    low: int
    high: int

    @property
    def told(self) -> bool:
        """Whether the count is known."""
        return self.low == self.high


@dataclass(frozen=True)
class AssignedShare:
    """One site's validation patients: by its own name (None where the rule does not know it), and by vendor."""

    own: Assigned | None
    vendors: dict[str, Assigned]


def acquisition_share(reply: Reply, time_points: Sequence[str]) -> AcquisitionShare:
    """A site's scans out of a reply.

    Raises:
        Refusal: counts of another length, that do not sum to the patients, or moments that no patients can have.

    """
    n, cells = _patients(reply), dict[str, Counts]()
    for kind, levels in KINDS.items():
        shape = (len(time_points), len(levels) + 2)
        cells[kind] = whole_numbers(reply.sums, f"{kind}_counts", shape[0] * shape[1]).reshape(shape)
        if (cells[kind].sum(axis=1) != n).any():
            raise malformed(f"{kind}_counts are not those of all patients")
    keys = ("number_counts", "number_totals", "number_squares")
    table = np.array([whole_numbers(reply.sums, key, len(number_columns(time_points))) for key in keys])
    if contradictory(table) or (table[0] > n).any():
        raise malformed("moments contradict each other")
    return AcquisitionShare(n, cells, table)


def moments_share(reply: Reply) -> MomentsShare:
    """Sums of embeddings out of a reply.

    Raises:
        Refusal: sums of different lengths, or that no patients can have.

    """
    n, totals = _patients(reply), reply.sums.get("totals")
    size = len(totals) if isinstance(totals, list) else 0
    if not 0 < size <= MAX_EMBEDDING:
        raise malformed("there are no sums of embeddings")
    total, squares = (real_numbers(reply.sums, key, size) for key in ("totals", "squares"))
    if (total**2 > n * squares * (1 + _ROUNDING)).any():
        raise malformed("sums of embeddings contradict each other")
    cells = _vendor_cells(reply, n)
    by_vendor = real_numbers(reply.sums, "vendor_totals", len(cells) * size).reshape(len(cells), size)
    vendors = {name: Group(count, own) for (name, count), own in zip(cells.items(), by_vendor, strict=True)}
    return MomentsShare(Group(n, total), squares, vendors)


def products_share(reply: Reply, known: MomentsShare, columns: int) -> ProductsShare:
    """Sums of products out of a reply.

    Args:
        reply: of a site that has told its sums before.
        known: these.
        columns: of the projection.

    Raises:
        Refusal: of other patients, of another length, or that no patients can have.

    """
    if _patients(reply) != known.whole.n:
        raise malformed("products are of other patients than the sums")
    size = columns * (columns + 1) // 2
    whole = _products(real_numbers(reply.sums, "products", size), columns)
    if "vendor_products" not in reply.sums:
        return ProductsShare(whole, {})
    count = len(known.vendors)
    by_vendor = real_numbers(reply.sums, "vendor_products", count * size).reshape(count, size)
    vendors = {name: _products(own, columns) for name, own in zip(known.vendors, by_vendor, strict=True)}
    return ProductsShare(whole, vendors)


def assigned_share(reply: Reply) -> AssignedShare:
    """Counts of validation patients assigned to their class, out of a reply.

    Raises:
        Refusal: more patients than there are, or an unknown way to hide a count.

    """
    n, minimum = _patients(reply), reply.sums.get("minimum")
    if type(minimum) is not int or minimum < 1:
        raise malformed("the site's minimum is missing")
    own = None
    if "right" in reply.sums:
        own = _assigned(n, reply.sums["right"], reply.sums.get("right_hidden"), minimum)
    if "vendor_counts" not in reply.sums:
        return AssignedShare(own, {})
    cells = _vendor_cells(reply, n)
    right, hidden = (whole_numbers(reply.sums, key, len(cells)) for key in ("vendor_right", "vendor_hidden"))
    told = zip(cells, right.tolist(), hidden.tolist(), strict=True)
    return AssignedShare(own, {name: _assigned(cells[name], count, code, minimum) for name, count, code in told})


def _patients(reply: Reply) -> int:
    n = reply.sums.get("n")
    if type(n) is not int or n < 1:
        raise malformed("there are no patients")
    return n


def _vendor_cells(reply: Reply, n: int) -> dict[str, int]:
    """Vendors whose patients are told, with their number."""
    cells = whole_numbers(reply.sums, "vendor_counts", len(VENDORS) + 2)
    if int(cells.sum()) != n:
        raise malformed("vendor_counts are not those of all patients")
    return {name: int(count) for name, count in zip(VENDORS, cells[:-2], strict=True) if count}


def _products(triangle: Floats, columns: int) -> Floats:
    matrix = symmetric(triangle, columns)
    diagonal = np.diag(matrix)
    bound = np.sqrt(np.outer(diagonal.clip(0), diagonal.clip(0))) * (1 + _ROUNDING)
    if (diagonal < 0).any() or (np.abs(matrix) > bound + _ROUNDING).any():
        raise malformed("products contradict each other")
    return matrix


def _assigned(n: int, right: object, hidden: object, minimum: int) -> Assigned:
    """A count with what hiding it leaves open: few are 1 to one below the minimum."""
    if type(right) is not int or not 0 <= right <= n:
        raise malformed("a count of patients assigned rightly does not fit")
    most = min(minimum - 1, n - 1)
    if hidden != TOLD and (right or most < 1):
        raise malformed("a count is both hidden and told, or nothing can be hidden of so few")
    bounds = {TOLD: (right, right), FEW_RIGHT: (1, most), FEW_WRONG: (n - most, n - 1), FEW: (1, n - 1)}
    if type(hidden) is not int or hidden not in bounds:
        raise malformed("a count is hidden in an unknown way")
    return Assigned(n, *bounds[hidden])

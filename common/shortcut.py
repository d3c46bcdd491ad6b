"""How embeddings become columns, and a linear rule over them: what server and sites must compute alike."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.common.errors import Refusal

MAX_EMBEDDING = 4096  # columns of all time points
MAX_PRODUCTS = 160  # columns that sums of products are told of
MAX_CLASSES = 128
TOLD, FEW_RIGHT, FEW_WRONG, FEW = range(4)
"""What became of a count of patients assigned rightly: told, or hidden because it, the rest, or both are few."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Projection:
    """Columns out of embeddings: ``(embedding - centre) / scale``, then along the axes where there are any.

    Attributes:
        centre, scale: (d,).
        axes: (k, d), or None where every dimension is a column.

    """

    centre: Floats
    scale: Floats
    axes: Floats | None = None

    @property
    def columns(self) -> int:
        """How many columns there are."""
        return len(self.centre) if self.axes is None else len(self.axes)

    def apply(self, embeddings: Floats) -> Floats:
        """Embeddings (n, d) as columns (n, k)."""
        standard = (embeddings - self.centre) / self.scale
        return standard if self.axes is None else np.asarray(standard @ self.axes.T)

    def task(self) -> dict[str, Any]:
        """The projection in a request."""
        axes = None if self.axes is None else self.axes.tolist()
        return {"centre": self.centre.tolist(), "scale": self.scale.tolist(), "axes": axes}


@dataclass(frozen=True, eq=False)
class LinearRule:
    """A linear rule: of several classes the one with the highest score, the first of those that are equal.

    Attributes:
        names: of the classes, in order.
        weights: (classes, k).
        intercepts: (classes,).

    """

    names: tuple[str, ...]
    weights: Floats
    intercepts: Floats

    def assign(self, columns: Floats) -> NDArray[np.intp]:
        """Place of each row's class, (n,), from columns (n, k)."""
        return np.asarray(np.argmax(columns @ self.weights.T + self.intercepts, axis=1))

    def task(self) -> dict[str, Any]:
        """The rule in a request."""
        names, weights, intercepts = list(self.names), self.weights.tolist(), self.intercepts.tolist()
        return {"names": names, "weights": weights, "intercepts": intercepts}


def read_projection(value: Any, dimensions: int) -> Projection:
    """The projection that a request carries.

    Raises:
        Refusal: ``malformed-message``, numbers of another shape, NaN, infinity, a scale of 0 or too many columns.

    """
    if not isinstance(value, dict):
        raise _malformed("no projection")
    centre, scale = (_numbers(value.get(key), (dimensions,)) for key in ("centre", "scale"))
    axes = value.get("axes")
    found = Projection(centre, scale, None if axes is None else _numbers(axes, (None, dimensions)))
    if not (scale > 0).all() or not 0 < found.columns <= MAX_PRODUCTS:
        raise _malformed(f"a projection without scale or to other than 1 to {MAX_PRODUCTS} columns")
    return found


def read_rule(value: Any, columns: int) -> LinearRule:
    """The rule that a request carries.

    Raises:
        Refusal: ``malformed-message``, other than 2 to 128 different classes, or numbers of another shape.

    """
    names = value.get("names") if isinstance(value, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _malformed("no names of classes")
    if not 2 <= len(names) <= MAX_CLASSES or len(set(names)) < len(names):
        raise _malformed(f"a rule of other than 2 to {MAX_CLASSES} classes")
    weights = _numbers(value.get("weights"), (len(names), columns))
    return LinearRule(tuple(names), weights, _numbers(value.get("intercepts"), (len(names),)))


def upper_triangle(matrix: Floats) -> Floats:
    """Entries on and above the diagonal of (k, k), row by row, (k (k + 1) / 2,)."""
    return np.asarray(matrix[np.triu_indices(len(matrix))])


def symmetric(triangle: Floats, size: int) -> Floats:
    """The symmetric matrix (k, k) of `upper_triangle`."""
    matrix = np.zeros((size, size))
    matrix[np.triu_indices(size)] = triangle
    return np.asarray(matrix + np.triu(matrix, 1).T)


def _numbers(value: Any, shape: tuple[int | None, ...]) -> Floats:
    """A list, or list of lists, of finite numbers; None in the shape is any length."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise _malformed("something else than numbers") from None
    fits = array.ndim == len(shape) and all(size in (None, n) for size, n in zip(shape, array.shape, strict=True))
    if not fits or not np.isfinite(array).all():
        raise _malformed(f"numbers of another shape than {len(shape)} dimensions, or not finite")
    return array


def _malformed(what: str) -> Refusal:
    return Refusal("malformed-message", f"the request carries {what}", "check the server's version")

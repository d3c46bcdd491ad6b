"""Penalised logistic regression by Newton steps on exact sums over sites, equal to the fit on pooled patients.

The objective is scikit-learn's: ½ wᵀPw + C · Σ loss, the intercept free, P = 1 unless said otherwise. Each site's sums
are rounded once to 64-bit fixed point, so that a total does not depend on the order of sites; the gradient's steps of
2^-38 move the optimum by less than C · sites · 2^-39, because the penalty curves every weight by at least P's smallest
eigenvalue. The Hessian only decides how fast the optimum is reached and is kept coarser.

Newton steps for the logistic likelihood are iteratively reweighted least squares (Green, J. R. Stat. Soc. B 46 (1984)
149); summed over sites, GLORE (Wu et al., J. Am. Med. Inform. Assoc. 19 (2012) 758).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedescc.common.errors import Refusal
from fedescc.common.statistics.newton import MAX_EVALUATIONS, NewtonFit, likelihood_terms
from fedescc.common.statistics.roc import Floats, checked_scores

LOSS_BITS, GRADIENT_BITS, HESSIAN_BITS = 32, 38, 28
LOSS_NOISE = 1e-9  # of rounding, relative: no rise
MAX_SITES = 128
TERM_LIMIT = 2**55  # of one site's sum, so that those of 128 sites stay below 2^62
MAX_QUESTIONS = 160  # per run, fold and model: a path over ten penalties takes about 50
MAX_COLUMNS = 160
EQUAL_WEIGHTS_FREEDOM = 0.01  # of `towards_equal`: the common weight is all but free

Whole = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LogisticTerms:
    """Exact sums over patients at given coefficients (intercept first); terms of sites add with ``+``.

    Attributes:
        n: patients.
        n_pos: patients with the outcome.
        loss: negative log likelihood, in steps of 2^-32.
        gradient: (columns + 1,) int64, in steps of 2^-38.
        hessian: upper triangle, row by row, int64, in steps of 2^-28.

    """

    n: int
    n_pos: int
    loss: int
    gradient: Whole
    hessian: Whole

    def __add__(self, other: "LogisticTerms") -> "LogisticTerms":
        if self.gradient.shape != other.gradient.shape:
            raise _bad_coefficients(f"terms of {self.gradient.size} and {other.gradient.size} coefficients")
        return LogisticTerms(
            self.n + other.n,
            self.n_pos + other.n_pos,
            self.loss + other.loss,
            self.gradient + other.gradient,
            self.hessian + other.hessian,
        )

    def possible(self) -> bool:
        """Whether patients can have such sums: what a reply is checked for."""
        _, _, hessian = self.values()
        diagonal = np.diag(hessian)
        # Rounding may move an entry by half a step beyond the geometric mean of its diagonal's.
        length = np.sqrt(diagonal.clip(0) + 2.0**-HESSIAN_BITS)
        bound = np.outer(length, length) * (1 + 1e-9) + 2.0**-HESSIAN_BITS
        counts = 0 <= self.n_pos <= self.n and self.loss >= 0
        return counts and bool((diagonal >= 0).all() and (np.abs(hessian) <= bound).all())

    def values(self) -> tuple[float, Floats, Floats]:
        """Loss, gradient (k,) and whole Hessian (k, k) as real numbers."""
        size = self.gradient.size
        hessian = np.zeros((size, size))
        hessian[np.triu_indices(size)] = self.hessian / 2.0**HESSIAN_BITS
        hessian += np.triu(hessian, 1).T
        return self.loss / 2.0**LOSS_BITS, self.gradient / 2.0**GRADIENT_BITS, hessian


@dataclass(frozen=True, eq=False)
class Penalty:
    """½ wᵀPw + c · Σ loss, as scikit-learn weighs them; ``matrix`` P (columns, columns) is the identity if None."""

    c: float
    matrix: Floats | None = None

    def of(self, columns: int) -> Floats:
        """P for a number of columns."""
        return np.eye(columns) if self.matrix is None else self.matrix


def towards_equal(columns: int, c: float) -> Penalty:
    """A ridge on how the weights differ from their mean, which itself is all but free."""
    mean = np.full((columns, columns), 1.0 / columns)
    return Penalty(c, np.eye(columns) - mean + EQUAL_WEIGHTS_FREEDOM * mean)


def terms(
    X: ArrayLike, y: ArrayLike, coefficients: ArrayLike, class_weights: tuple[float, float] = (1.0, 1.0)
) -> LogisticTerms:
    """One site's sums.

    Args:
        X: (n, columns) inputs without the intercept's column.
        y: (n,) 0 or 1.
        coefficients: (columns + 1,), intercept first.
        class_weights: of a patient without and with the outcome.

    Raises:
        Refusal: "bad-coefficients", "sum-too-large"; and as `fedescc.common.statistics.roc.checked_scores`.

    """
    inputs, at = np.asarray(X, dtype=np.float64), np.asarray(coefficients, dtype=np.float64)
    if inputs.ndim != 2 or at.shape != (inputs.shape[1] + 1,) or not np.isfinite(at).all():
        raise _bad_coefficients(f"coefficients of shape {at.shape} for inputs of shape {inputs.shape}")
    design = np.column_stack([np.ones(len(inputs)), inputs])
    labels, linear = checked_scores(y, design @ at)
    weights = np.where(labels, class_weights[1], class_weights[0])
    loss, gradient, hessian = likelihood_terms(design, labels, linear, weights)
    return LogisticTerms(
        int(labels.size),
        int(labels.sum()),
        int(_fixed(np.array([loss]), LOSS_BITS)[0]),
        _fixed(gradient, GRADIENT_BITS),
        _fixed(hessian[np.triu_indices(at.size)], HESSIAN_BITS),
    )


def start(columns: int) -> NewtonFit:
    """A fit at zero."""
    return NewtonFit((0.0,) * (columns + 1))


def newton_step(total: LogisticTerms, fit: NewtonFit, penalty: Penalty, tolerance: float = 1e-6) -> NewtonFit:
    """Use the summed terms, taken at ``fit.coefficients``, to move the fit on or end it.

    A fit ends once a step is at most tolerance · (1 + |coefficient|), with that step taken: Newton's error is then of
    the order of its square.

    Raises:
        Refusal: "bad-coefficients" when terms, fit and penalty differ in size.

    """
    if fit.outcome is not None:
        return fit
    columns = len(fit.coefficients) - 1
    matrix = penalty.of(columns)
    if total.gradient.size != columns + 1 or matrix.shape != (columns, columns):
        raise _bad_coefficients(f"terms of {total.gradient.size} for {columns + 1} coefficients")
    fit = replace(fit, evaluations=fit.evaluations + 1)
    if total.n_pos in (0, total.n):
        return replace(fit, outcome="one-class")
    loss, gradient, hessian = _penalised(total, fit, penalty.c, matrix)
    if fit.rose(loss, LOSS_NOISE):
        moved = fit.halved()
    else:
        step = np.asarray(-np.linalg.lstsq(hessian, gradient)[0], dtype=np.float64)
        moved = fit.ahead(step, loss)
        if fit.ends(step, tolerance):
            return replace(moved, outcome="converged")
    return replace(moved, outcome="not-converged" if fit.evaluations >= MAX_EVALUATIONS else None)


def balanced_weights(total: LogisticTerms) -> tuple[float, float]:
    """Weights that give both classes the same say, as scikit-learn's ``class_weight="balanced"``.

    Raises:
        Refusal: "one-class".

    """
    negatives = total.n - total.n_pos
    if 0 in (negatives, total.n_pos):
        raise Refusal("one-class", "the training patients have one outcome", "add sites, or patients")
    return total.n / (2 * negatives), total.n / (2 * total.n_pos)


def flat_weights(coefficients: ArrayLike) -> NDArray[np.float32]:
    """Coefficients, intercept first, as the flat parameters of `fedescc.common.network.model.LinearModel`."""
    return np.asarray(coefficients, dtype=np.float32)


def _penalised(total: LogisticTerms, fit: NewtonFit, c: float, matrix: Floats) -> tuple[float, Floats, Floats]:
    loss, gradient, hessian = total.values()
    weights = np.asarray(fit.coefficients[1:])
    pull = matrix @ weights
    curved = c * hessian
    curved[1:, 1:] += matrix
    return c * loss + 0.5 * float(weights @ pull), c * gradient + np.concatenate([[0.0], pull]), curved


def _fixed(values: Floats, bits: int) -> Whole:
    scaled = np.rint(values * 2.0**bits)
    if not (np.abs(scaled) <= TERM_LIMIT).all():  # NaN is not either
        raise Refusal("sum-too-large", "a sum does not fit the exact total", "check the encoding of the inputs")
    return scaled.astype(np.int64)


def _bad_coefficients(what: str) -> Refusal:
    return Refusal("bad-coefficients", what, "give one finite coefficient a column and the intercept first")

"""Logistic recalibration by Newton steps on sums that add across sites, equal to the fit on pooled patients.

Two models of the outcome given a model's logit: *calibration in the large*, an intercept with the slope fixed
at 1 (ideal 0), and the *slope model*, intercept and slope (ideal slope 1). Van Calster et al., BMC Medicine
17 (2019) 230.

A federated fit sends ``fit.coefficients`` to the sites, adds their `recalibration_terms`, hands the sum to
`newton_step` and repeats until ``fit.outcome`` is set; `recalibrate` is that loop with one site.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from fedescc.common.errors import Refusal
from fedescc.common.statistics.newton import MAX_EVALUATIONS, NewtonFit, likelihood_terms
from fedescc.common.statistics.roc import Estimate, Floats, checked_scores

NEGLIGIBLE = 1e-12
FIRST_INTERCEPT_BOUND = 5.0


@dataclass(frozen=True, eq=False)
class RecalibrationTerms:
    """Sums over patients at given coefficients; terms of sites add with ``+``.

    Attributes:
        n: patients.
        n_pos: patients with the outcome.
        log_loss: total negative log-likelihood, natural logarithm.
        gradient: of log_loss, shape (coefficients,).
        hessian: of log_loss, shape (coefficients, coefficients).

    """

    n: int
    n_pos: int
    log_loss: float
    gradient: Floats
    hessian: Floats

    def __add__(self, other: "RecalibrationTerms") -> "RecalibrationTerms":
        if self.gradient.shape != other.gradient.shape:
            raise _bad_coefficients(f"terms of {self.gradient.size} and {other.gradient.size} coefficients")
        return RecalibrationTerms(
            self.n + other.n,
            self.n_pos + other.n_pos,
            self.log_loss + other.log_loss,
            self.gradient + other.gradient,
            self.hessian + other.hessian,
        )


@dataclass(frozen=True)
class Recalibration:
    """Calibration in the large (slope fixed at 1; ideal 0) and calibration slope (ideal 1)."""

    intercept: Estimate[float]
    slope: Estimate[float]


IN_THE_LARGE = NewtonFit((0.0,))
# Slope 0 rather than the ideal 1: an overconfident model is flat there, and a flat start throws Newton far
# off.
SLOPE_MODEL = NewtonFit((0.0, 0.0))


def recalibrate(y: ArrayLike, logit: ArrayLike) -> Recalibration:
    """Both fits on one site's patients; y 0/1 and logit of shape (patients,).

    Reasons for a missing estimate: "no-patients", "one-class", "zero-variance" (constant logit), "separated"
    (a threshold splits the classes, so the slope has no maximum), "saturated", "not-converged".

    Raises:
        Refusal: as `fedescc.common.statistics.roc.checked_scores`.

    """
    return Recalibration(
        _fit(y, logit, IN_THE_LARGE).estimate(),
        _fit(y, logit, SLOPE_MODEL).estimate(),
    )


def recalibration_terms(y: ArrayLike, logit: ArrayLike, coefficients: tuple[float, ...]) -> RecalibrationTerms:
    """One site's sums; one coefficient is an intercept with slope 1, two are (intercept, slope).

    Raises:
        Refusal: "bad-coefficients"; and as `fedescc.common.statistics.roc.checked_scores`.

    """
    labels, logits = checked_scores(y, logit)
    if len(coefficients) not in (1, 2) or not np.isfinite(coefficients).all():
        raise _bad_coefficients(f"coefficients {coefficients}")
    design = np.column_stack([np.ones_like(logits), logits])[:, : len(coefficients)]
    offset = logits if len(coefficients) == 1 else 0.0
    linear = offset + design @ np.asarray(coefficients)
    loss, gradient, hessian = likelihood_terms(design, labels, linear)
    return RecalibrationTerms(int(labels.size), int(labels.sum()), loss, gradient, hessian)


def newton_step(terms: RecalibrationTerms, fit: NewtonFit, tolerance: float = 1e-9) -> NewtonFit:
    """Use the summed terms, taken at ``fit.coefficients``, to move the fit on or end it.

    A step of (intercept, slope) that raised the loss is halved, a single intercept stays inside its bracket,
    and after 60 evaluations the fit ends as "not-converged". It has converged when every coefficient's next
    step is at most tolerance · (1 + |coefficient|).

    Raises:
        Refusal: "bad-coefficients" when terms and fit differ in size.

    """
    if fit.outcome is not None:
        return fit
    if terms.gradient.shape != (len(fit.coefficients),):
        raise _bad_coefficients(f"terms of {terms.gradient.size} for {len(fit.coefficients)} coefficients")
    fit = replace(fit, evaluations=fit.evaluations + 1)
    if reason := _hopeless(terms, fit):
        return replace(fit, outcome=reason)
    if fit.rose(terms.log_loss, tolerance):
        return fit.halved()
    if reason := _singular(terms, fit):
        return replace(fit, outcome=reason)
    return _advance(terms, fit, tolerance)


def _fit(y: ArrayLike, logit: ArrayLike, fit: NewtonFit) -> NewtonFit:
    while fit.outcome is None:
        fit = newton_step(recalibration_terms(y, logit, fit.coefficients), fit)
    return fit


def _hopeless(terms: RecalibrationTerms, fit: NewtonFit) -> str | None:
    if terms.n == 0:
        return "no-patients"
    if terms.n_pos in (0, terms.n):
        return "one-class"
    # A total below log 2 puts every patient on the right side of 1/2: complete separation, and no finite
    # slope.
    if len(fit.coefficients) == 2 and terms.log_loss < math.log(2.0):
        return "separated"
    return "not-converged" if fit.evaluations >= MAX_EVALUATIONS else None


def _singular(terms: RecalibrationTerms, fit: NewtonFit) -> str | None:
    diagonal = np.diag(terms.hessian)
    if diagonal.size == 1:
        return None if diagonal[0] > 0 or terms.gradient[0] != 0 else "saturated"
    if not diagonal.min() > 0:
        return "zero-variance" if diagonal[0] > 0 else "saturated"
    # What the logits' spread around their weighted mean tells about the slope.
    information = diagonal[1] - terms.hessian[0, 1] ** 2 / diagonal[0]
    if not information > NEGLIGIBLE * diagonal[1]:
        return "zero-variance" if fit.evaluations == 1 else "separated"
    # A slope that runs away empties its own weights; slope² · information does not depend on the logits'
    # scale.
    ran_away = fit.evaluations > 1 and information * fit.coefficients[1] ** 2 < NEGLIGIBLE
    return "separated" if ran_away else None


def _advance(terms: RecalibrationTerms, fit: NewtonFit, tolerance: float) -> NewtonFit:
    if len(fit.coefficients) == 1:
        step = np.array([_intercept_step(float(terms.gradient[0]), float(terms.hessian[0, 0]), fit)])
    else:
        step = -np.linalg.solve(terms.hessian, terms.gradient)
    if fit.ends(step, tolerance):
        return replace(fit, outcome="converged")
    if len(fit.coefficients) == 1:
        return _within_bracket(fit.coefficients[0] + float(step[0]), fit)
    return fit.ahead(step, terms.log_loss)


def _intercept_step(gradient: float, curvature: float, fit: NewtonFit) -> float:
    """Newton's step, bounded because a confident model's loss has plateaus; the bound doubles to cross wide ones."""
    bound = FIRST_INTERCEPT_BOUND * 2.0 ** (fit.evaluations - 1)
    if curvature * bound > abs(gradient):
        return -gradient / curvature
    return math.copysign(bound, -gradient)


def _within_bracket(ahead: float, fit: NewtonFit) -> NewtonFit:
    """The loss is convex, so its minimum lies on the side the step points to; leave that side only by bisecting."""
    here, (low, high) = fit.coefficients[0], fit.bracket
    low, high = (here, high) if ahead > here else (low, here)
    if math.isfinite(high - low) and not low < ahead < high:
        ahead = (low + high) / 2
    return replace(fit, coefficients=(ahead,), bracket=(low, high))


def _bad_coefficients(what: str) -> Refusal:
    return Refusal("bad-coefficients", what, "give finite (intercept,) or (intercept, slope), the same at all sites")

"""Newton's method where loss, gradient and Hessian arrive as sums over sites.

A fit names the coefficients to evaluate next; a step that raised the loss is halved back towards the last good
place. What it minimises and when it is hopeless say `fedescc.common.statistics.recalibration` and
`fedescc.common.statistics.logistic`.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedescc.common.statistics.roc import Estimate, Floats

MAX_EVALUATIONS = 60


@dataclass(frozen=True)
class NewtonFit:
    """Where a fit stands.

    Attributes:
        coefficients: evaluate the next sums here.
        outcome: None while running, "converged", or the reason why there is no estimate.
        evaluations: sums used so far.
        anchor: the best coefficients so far, to which a failed step is halved back.
        anchor_loss: loss there.
        bracket: of a single coefficient, the interval known to hold it, from the gradient's signs.

    """

    coefficients: tuple[float, ...]
    outcome: str | None = None
    evaluations: int = 0
    anchor: tuple[float, ...] = ()
    anchor_loss: float = math.inf
    bracket: tuple[float, float] = (-math.inf, math.inf)

    def estimate(self) -> Estimate[float]:
        """The last coefficient (calibration in the large, or slope), or why there is none."""
        if self.outcome == "converged":
            return Estimate(self.coefficients[-1])
        return Estimate(None, self.outcome or "not-converged")

    def rose(self, loss: float, tolerance: float) -> bool:
        """Whether the step that led to ``coefficients`` raised the loss."""
        return loss > self.anchor_loss + tolerance * (1.0 + abs(self.anchor_loss))

    def halved(self) -> "NewtonFit":
        """Half of the last step."""
        middle = tuple((a + c) / 2 for a, c in zip(self.anchor, self.coefficients, strict=True))
        return replace(self, coefficients=middle)

    def ends(self, step: Floats, tolerance: float) -> bool:
        """Whether every coefficient's next step is at most tolerance · (1 + |coefficient|)."""
        return bool((np.abs(step) <= tolerance * (1.0 + np.abs(self.coefficients))).all())

    def ahead(self, step: Floats, loss: float) -> "NewtonFit":
        """Take the step; this place, with its loss, is the new anchor."""
        there = tuple(float(c) for c in np.asarray(self.coefficients) + step)
        return replace(self, coefficients=there, anchor=self.coefficients, anchor_loss=loss)


def likelihood_terms(
    design: Floats, labels: NDArray[np.bool_], linear: Floats, weights: Floats | float = 1.0
) -> tuple[float, Floats, Floats]:
    """Negative log likelihood, natural logarithm, its gradient and its Hessian in the design's coefficients.

    Args:
        design: (n, k).
        labels: (n,).
        linear: (n,) logits.
        weights: (n,) weight of each patient, or one for all.

    """
    # Towards the wrong class: keeps 1 - p exact where p rounds to 1.
    sign = np.where(labels, -1.0, 1.0)
    loss = weights * np.logaddexp(0.0, sign * linear)
    residual = weights * sign * np.exp(-np.logaddexp(0.0, -sign * linear))
    tail = np.exp(-np.abs(linear))
    curvature = weights * tail / (1.0 + tail) ** 2
    return float(loss.sum()), design.T @ residual, design.T @ (curvature[:, None] * design)

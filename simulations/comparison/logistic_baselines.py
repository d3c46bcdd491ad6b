"""Logistic regressions by scikit-learn on the encoded columns, to stand beside the federated one."""

from dataclasses import dataclass

import numpy as np

from fedescc.client.cohort import SiteCohort
from fedescc.common.errors import Refusal
from fedescc.common.network.fusion import fused_logits
from fedescc.common.statistics.roc import Floats
from fedescc.common.tabular.covariates import Encoding
from fedescc.server.evaluation.logistic import DEFAULT_PENALTY, PENALTIES
from fedescc.simulations.comparison.comparators import Scorer

_LOSSES_DIFFER = 1e-9
Rows = np.typing.NDArray[np.intp]


@dataclass(frozen=True)
class Logistic:
    """A logistic regression on an encoding's columns.

    Attributes:
        encoding: of the columns.
        coefficients: (columns + 1,), intercept first.
        penalty: scikit-learn's C.

    """

    encoding: Encoding
    coefficients: Floats
    penalty: float

    def logits(self, cohort: SiteCohort, rows: Rows) -> Floats:
        """Logits (n,) of some rows of a cohort."""
        X = self.encoding.encode(cohort.numeric, cohort.categorical, rows).astype(np.float64)
        return np.asarray(self.coefficients[0] + X @ self.coefficients[1:])


@dataclass(frozen=True)
class Fusion:
    """One logit out of several models'.

    Attributes:
        models: what is joined.
        coefficients: intercept, then one weight a model.

    """

    models: tuple[Scorer, ...]
    coefficients: tuple[float, ...]

    def logits(self, cohort: SiteCohort, rows: Rows) -> Floats:
        """Logits (n,) of some rows of a cohort."""
        scores = np.stack([model.logits(cohort, rows) for model in self.models], axis=1)
        return fused_logits(scores, list(self.coefficients))


def fit_logistic(cohort: SiteCohort, encoding: Encoding, *, balanced: bool, penalty: float | None = None) -> Logistic:
    """Fit on a cohort's training patients; without ``penalty``, the one of least validation loss.

    The penalties tried, the tie rule and the default where nobody validates are the federated regression's.

    Raises:
        Refusal: ``one-class``.

    """
    from sklearn.linear_model import LogisticRegression

    train, validation = cohort.rows("train"), cohort.rows("validation")
    y = cohort.labels[train]
    if len(np.unique(y)) < 2:
        raise Refusal("one-class", "the training patients have one outcome", "add patients")
    X = encoding.encode(cohort.numeric, cohort.categorical, train).astype(np.float64)

    def at(c: float) -> Logistic:
        weight = "balanced" if balanced else None
        model = LogisticRegression(C=c, class_weight=weight, solver="newton-cholesky", tol=1e-10, max_iter=1000)
        model.fit(X, y)
        return Logistic(encoding, np.concatenate([model.intercept_, model.coef_[0]]), c)

    if penalty is not None:
        return at(penalty)
    if not len(validation):
        return at(DEFAULT_PENALTY)
    fits = [at(c) for c in sorted(PENALTIES)]
    losses = [_log_loss(cohort.labels[validation], fitted.logits(cohort, validation)) for fitted in fits]
    return next(one for one, loss in zip(fits, losses, strict=True) if loss <= min(losses) + _LOSSES_DIFFER)


def _log_loss(y: np.typing.NDArray[np.int8], logit: Floats) -> float:
    return float(np.logaddexp(0.0, np.where(y == 1, -logit, logit)).mean())

"""The comparators that the sites fitted by Newton steps, fitted by scikit-learn on their pooled patients."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedescc.client.cohort import SiteCohort
from fedescc.common.statistics.logistic import towards_equal
from fedescc.common.tabular.covariates import Encoding
from fedescc.server.evaluation.comparators import FUSION_PENALTY
from fedescc.simulations.audit.figures import EXACT, Ledger
from fedescc.simulations.audit.pairs import Floats, Labels
from fedescc.simulations.audit.scores import pool, score
from fedescc.simulations.comparison.comparators import Scorer

GROUP = "regression coefficients"


def audit_regression(
    ledger: Ledger, name: str, model: Mapping[str, Any], inputs: Sequence[tuple[Floats, Labels]], *, balanced: bool
) -> None:
    """Coefficients of a regression; ``inputs`` are the columns and outcomes of each site that it was fitted on."""
    X, y = (np.concatenate(parts) for parts in zip(*inputs, strict=True))
    expected = _fit(X, y, model["penalty"], balanced=balanced)
    labels = ("intercept", *Encoding.model_validate(model["encoding"]).columns)
    for label, published, pooled in zip(labels, model["coefficients"], expected, strict=True):
        ledger.check(GROUP, f"{name} / {label}", published, pooled, EXACT * max(1.0, abs(published)))


def audit_fusion(
    ledger: Ledger, name: str, model: Mapping[str, Any], parts: list[Scorer], cohorts: Mapping[str, SiteCohort]
) -> None:
    """Coefficients of a fusion, whose ridge ½ wᵀPw becomes scikit-learn's when the scores are turned by P^-1/2."""
    scored = [pool(score(part, cohorts, "validation").values()) for part in parts]
    scores = np.stack([one.logit for one in scored], axis=1)
    spread = scores.std(axis=0)
    turn = _inverse_root(towards_equal(len(parts), FUSION_PENALTY).of(len(parts)) * np.outer(spread, spread))
    fitted = _fit(scores @ turn, scored[0].y, FUSION_PENALTY, balanced=False)
    expected = [fitted[0], *(turn @ fitted[1:])]
    for label, published, pooled in zip(("intercept", *model["of"]), model["coefficients"], expected, strict=True):
        ledger.check(GROUP, f"{name} / {label}", published, pooled, EXACT * max(1.0, abs(published)))


def _fit(X: Floats, y: Labels, penalty: float, *, balanced: bool) -> Floats:
    from sklearn.linear_model import LogisticRegression

    weight = "balanced" if balanced else None
    model = LogisticRegression(C=penalty, class_weight=weight, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    model.fit(X, y)
    return np.concatenate([model.intercept_, model.coef_[0]])


def _inverse_root(matrix: Floats) -> Floats:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors / np.sqrt(values) @ vectors.T)

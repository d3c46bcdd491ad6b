"""Calibration in the large and calibration slope, fitted by statsmodels on the pooled patients."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from fedescc.simulations.audit.figures import EXACT, Ledger
from fedescc.simulations.audit.scores import Floats, Scored

GROUP = "calibration"


def audit_calibration(ledger: Ledger, name: str, record: Mapping[str, Any], scored: Scored) -> None:
    """Both figures of one METRICS record; a large one is compared relative to its size."""
    for key, fit in (("calibration_intercept", _intercept), ("calibration_slope", _slope)):
        expected = fit(scored) if record[key] is not None else None
        ledger.check(GROUP, f"{name} / {key}", record[key], expected, EXACT * max(1.0, abs(record[key] or 0.0)))


def _intercept(scored: Scored) -> float | None:
    """Of the logistic model whose slope is fixed at 1."""
    return _last_coefficient(scored, np.ones((len(scored.y), 1)), scored.logit)


def _slope(scored: Scored) -> float | None:
    return _last_coefficient(scored, np.column_stack([np.ones(len(scored.y)), scored.logit]), None)


def _last_coefficient(scored: Scored, design: Floats, offset: Floats | None) -> float | None:
    """None where statsmodels does not converge."""
    from statsmodels.genmod.families import Binomial
    from statsmodels.genmod.generalized_linear_model import GLM

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its opinion on separation is the null that we compare with
        try:
            fit = GLM(scored.y, design, family=Binomial(), offset=offset).fit(tol=1e-14, maxiter=500)
        except (ValueError, np.linalg.LinAlgError):
            return None
    return float(fit.params[-1])

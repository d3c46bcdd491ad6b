"""What the federated network is compared with: penalised logistic regressions, fitted over the wire by Newton steps.

``clinical`` uses the clinical columns; ``features_clinical`` adds the named image features that screening keeps, and
``radiomics_clinical`` those that it keeps of named and radiomic ones. ``fuse`` joins the scores of finished models.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.common.errors import Refusal
from fedescc.common.network.fusion import MAX_FUSED, join_models
from fedescc.common.statistics.logistic import LogisticTerms, Penalty, flat_weights, towards_equal
from fedescc.common.statistics.roc import Floats
from fedescc.common.tabular.covariates import Encoding
from fedescc.common.tabular.features import NAMED_FEATURES, RADIOMIC_FEATURES
from fedescc.server.evaluation.evaluate import Evaluator
from fedescc.server.evaluation.logistic import PENALTIES, PathStep, Regression, choose_penalty, fit_path
from fedescc.server.evaluation.screening import screen
from fedescc.server.exchange import Attendance

# Features to choose from, and how many of them at most: about one for every ten events in a study of 300.
SCREENED: dict[str, tuple[tuple[str, ...], int]] = {
    "clinical": ((), 0),
    "features_clinical": (tuple(NAMED_FEATURES), 8),
    "radiomics_clinical": ((*NAMED_FEATURES, *RADIOMIC_FEATURES), 8),
}
# Of how far the weights of fused models may differ: at 45 validation patients the data weigh half of this penalty.
FUSION_PENALTY = 0.1


@dataclass(frozen=True)
class Comparator:
    """A fitted comparator.

    Attributes:
        name: what results call it.
        evaluator: asks about it; hand it to `fedescc.server.evaluation.evaluate.evaluate_all`.
        encoding: of its columns; None for a fusion.
        weights: flat float32, as `fedescc.common.network.model.LinearModel` takes them; of a fusion those of all its
            models.
        coefficients: float64, intercept first.
        penalty: scikit-learn's C.
        selected: image features that screening kept.
        path: every penalty tried, with its validation loss.
        attendance: the sites whose patients it was fitted on, and why others were not.

    """

    name: str
    evaluator: Evaluator
    encoding: Encoding | None
    weights: NDArray[np.float32]
    coefficients: tuple[float, ...]
    penalty: float
    selected: tuple[str, ...]
    path: tuple[PathStep, ...]
    attendance: Attendance

    def entry(self) -> dict[str, Any]:
        """What ``results.json`` says of the fit."""
        steps = [{"penalty": step.penalty, "validation_loss": step.validation_loss} for step in self.path]
        return {
            "penalty": self.penalty,
            "path": steps,
            "selected": list(self.selected),
            "fitted_on": self.attendance.accepted,
            "refused": dict(sorted(self.attendance.refused.items())),
        }


def candidate_features(name: str) -> tuple[str, ...]:
    """The image features that a comparator chooses from: ask for their statistics before it is fitted.

    Raises:
        Refusal: ``unknown-comparator``.

    """
    if name not in SCREENED:
        known = ", ".join(SCREENED)
        raise Refusal("unknown-comparator", f"no comparator named {name!r}", f"give one of: {known}")
    return SCREENED[name][0]


def fit_comparator(
    name: str,
    evaluator: Evaluator,
    encoding: Encoding,
    *,
    penalties: tuple[float, ...] = PENALTIES,
    balanced: bool = False,
) -> Comparator:
    """Screen, fit under every penalty, and choose one by the validation patients' log loss.

    Args:
        name: one of `SCREENED`.
        evaluator: reaches the sites; its task names the run and the fold, its weights are not used.
        encoding: of the clinical covariates and of `candidate_features`, as `collect_statistics` gives it.
        penalties: scikit-learn's C, to choose from.
        balanced: both classes get the same say, as scikit-learn's ``class_weight="balanced"``.

    Raises:
        Refusal: unknown name, no column, too few sites, or no fit that converged.

    """
    candidates = [feature for feature in candidate_features(name) if feature in encoding.features]
    bare = replace(evaluator, weights=None, refused={})
    selected = screen(bare, candidates, SCREENED[name][1])
    clinical = {covariate.name for covariate in encoding.covariates} - set(encoding.features)
    own = encoding.only(clinical | set(selected)).model_copy(update={"harmonisation": None})
    if not own.columns:
        raise Refusal("no-columns", f"{name} has no column to learn from", "leave this comparator out")
    task = {**evaluator.task, "encoding": own.model_dump(mode="json"), "model": "linear"}
    model = replace(bare, task=task)
    regression = Regression(model, len(own.columns))
    if balanced:
        regression.balance()
    chosen, path = choose_penalty(model, fit_path(regression, penalties))
    weights = flat_weights(chosen.coefficients)
    fitted = replace(model, weights=weights)
    return Comparator(
        name,
        fitted,
        own,
        weights,
        chosen.coefficients,
        chosen.penalty,
        selected,
        tuple(path),
        regression.attendance,
    )


def fuse(name: str, models: Mapping[str, Evaluator]) -> Comparator:
    """A logistic regression on the models' scores over the validation patients, whom none of them was trained on.

    A ridge pulls the weights of the standardised scores towards each other, so that few validation patients cannot
    prefer a model by chance. The same patients chose the penalties and rounds of the models, and lock the fusion's
    threshold afterwards: its validation figures flatter it, its test figures do not.

    Args:
        name: what results call the fusion.
        models: two or more finished models of one run and fold.

    Raises:
        Refusal: another number of models, too few sites, or a fit that did not converge.

    """
    if not 2 <= len(models) <= MAX_FUSED:
        code = "too-few-models" if len(models) < 2 else "too-many-models"
        raise Refusal(code, f"a fusion of {len(models)} models", f"fuse 2 to {MAX_FUSED}")
    first = next(iter(models.values()))
    joined = join_models([model.request() for model in models.values()])
    model = replace(first, task=joined.task, weights=joined.weights, refused={})
    regression = Regression(model, len(models))
    spread = _score_spread(regression.terms((0.0,) * (len(models) + 1)))
    equal = towards_equal(len(models), FUSION_PENALTY)
    penalty = Penalty(equal.c, equal.of(len(models)) * np.outer(spread, spread))
    fit = regression.fit(penalty)
    if fit.outcome != "converged":
        raise Refusal("not-converged", f"{name} did not converge ({fit.outcome})", "leave the fusion out")
    fitted = replace(model, task={**joined.task, "fusion": list(fit.coefficients)})
    weights, step = _weights_of(fitted), PathStep(FUSION_PENALTY, fit.coefficients, "converged")
    return Comparator(name, fitted, None, weights, fit.coefficients, FUSION_PENALTY, (), (step,), regression.attendance)


def _score_spread(at_zero: LogisticTerms) -> Floats:
    """SD of every model's score over the patients; 1 where a score does not vary.

    At zero coefficients the Hessian is a quarter of the design's cross-products.
    """
    _, _, hessian = at_zero.values()
    moments = 4 * hessian / at_zero.n
    variance = np.diag(moments)[1:] - moments[0, 1:] ** 2
    varies = variance > 1e-9 * np.diag(moments)[1:]
    return np.where(varies, np.sqrt(np.maximum(variance, 0.0)), 1.0)


def _weights_of(evaluator: Evaluator) -> NDArray[np.float32]:
    if evaluator.weights is None:
        raise Refusal("malformed-message", "a fusion without models", "fit the models first")
    return evaluator.weights

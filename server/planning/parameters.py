"""How many parameters each planned model can choose from: what Riley's criteria are asked about.

A numeric covariate gives a value and a flag for missing ones; a categorical one a flag a category and one for missing,
which with the intercept leave as many free parameters as it has categories. Where nobody can be missing, the flag never
varies. Features that screening only looks at count too: choosing among them spends the same data.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from fedescc.common.protocol import CategoricalVariable, NumericVariable
from fedescc.common.study import Study
from fedescc.server.evaluation.comparators import SCREENED

NETWORK = "federated"


@dataclass(frozen=True)
class Parameters:
    """Of one planned model.

    Attributes:
        fitted: free parameters at most, the intercept not among them; None of a deep network.
        candidates: free parameters to choose from.
        weights: of a deep network; None of a regression.

    """

    fitted: int | None
    candidates: int | None
    weights: int | None = None


def planned_parameters(study: Study, names: Iterable[str]) -> dict[str, Parameters]:
    """Parameters of the study's own model and of the comparators named that rest on columns of their own."""
    clinical = clinical_parameters(study)
    found = {NETWORK: _network(study, clinical)}
    for name in names:
        if name in SCREENED:
            features, most = SCREENED[name]
            offered = len(features) if study.imaging is not None else 0
            found[name] = Parameters(clinical + 2 * min(most, offered), clinical + 2 * offered)
    return found


def clinical_parameters(study: Study) -> int:
    """Free parameters of all clinical covariates together."""
    total = 0
    for variable in study.covariates.values():
        may_miss = int(not variable.required)
        if isinstance(variable, NumericVariable):
            total += 1 + may_miss
        elif isinstance(variable, CategoricalVariable):
            total += len(variable.categories) - 1 + may_miss
    return total


def _network(study: Study, clinical: int) -> Parameters:
    if study.model.kind == "linear":
        return Parameters(clinical, clinical)
    from fedescc.common.network.model import build_model

    columns = sum(_columns(variable) for variable in study.covariates.values()) + 2 * len(study.model.image_features)
    network = build_model(study, columns, seed=0)
    return Parameters(None, None, sum(weights.numel() for weights in network.parameters()))


def _columns(variable: object) -> int:
    """Columns of a covariate none of whose categories is rare."""
    return len(variable.categories) + 1 if isinstance(variable, CategoricalVariable) else 2

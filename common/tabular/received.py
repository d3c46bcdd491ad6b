"""An encoding that comes from a server, checked by a site against its own study before a patient is encoded by it.

What a site's own code could have built from honest sums is accepted and nothing else: a mean or a knot outside the
declared range, a scale that no patients can have or columns of other categories would let a server look at patients
through a lens of its own making.
"""

from collections.abc import Mapping
from typing import Any

from fedescc.common.errors import Refusal
from fedescc.common.players import covariate_groups
from fedescc.common.protocol import CategoricalVariable, NumericVariable, Variable
from fedescc.common.study import FEATURE_GROUP, Study
from fedescc.common.tabular.columns import CategoricalColumns, NumericColumn, QuantileColumn
from fedescc.common.tabular.covariates import Encoding
from fedescc.common.tabular.features import NAMED_FEATURES, RADIOMIC_FEATURES
from fedescc.common.tabular.moments import STEPS
from fedescc.common.yamlfile import check_model

_ROUNDING = 1e-9  # of the declared range
_MOST_PATIENTS = 2.0**24  # exact sums of moments do not hold more
# One patient a single step away from all the others has the least SD that is not 0, and the largest normal score.
_LEAST_SD = _MOST_PATIENTS**-0.5 / STEPS  # of the declared range
_LARGEST_SCORE = _MOST_PATIENTS**0.5

Column = NumericColumn | QuantileColumn | CategoricalColumns


def received_encoding(task: Mapping[str, Any], study: Study) -> Encoding:
    """The encoding of a request's task.

    Raises:
        Refusal: ``invalid-settings``, it is no encoding; ``wrong-encoding``, it is none of this study.

    """
    received: Any = task.get("encoding")
    encoding = check_model(received, Encoding, "the server's encoding")
    _require_names(encoding, study)
    groups = {member: group for group, members in covariate_groups(study).items() for member in members}
    variables: dict[str, Variable] = {**NAMED_FEATURES, **RADIOMIC_FEATURES, **study.covariates}
    for column in encoding.covariates:
        if column.group != groups.get(column.name, FEATURE_GROUP) or not _fits(column, variables[column.name]):
            raise _wrong(f"{column.name} is not encoded as this study encodes it")
    _require_harmonisation(encoding, study)
    if not encoding.columns and (study.imaging is None or task.get("model") is not None):
        raise _wrong("it leaves a model without images no column to learn from")
    return encoding


def _require_names(encoding: Encoding, study: Study) -> None:
    """The study's covariates in its order, then image features; any may be missing, none stands twice."""
    names = [column.name for column in encoding.covariates]
    own = [name for name in study.covariates if name in names]
    features = names[len(own) :]
    known = {*NAMED_FEATURES, *RADIOMIC_FEATURES} - set(study.variables)
    if names[: len(own)] != own or len(set(features)) < len(features) or not known.issuperset(features):
        raise _wrong("its columns are not those of this study's covariates and of known image features")
    if features and study.imaging is None:
        raise _wrong("it encodes image features and the study has no images")


def _require_harmonisation(encoding: Encoding, study: Study) -> None:
    """A regression has no scans, and none to harmonise."""
    if (found := encoding.harmonisation) is None:
        return
    imaging = study.imaging
    if imaging is None or imaging.harmonisation == "none" or found.window_hu != imaging.grid.window_hu:
        raise _wrong("it harmonises scans as this study does not")


def _fits(column: Column, variable: Variable) -> bool:
    match column, variable:
        case NumericColumn(), NumericVariable():
            return _has_moments(column, variable)
        case QuantileColumn(), NumericVariable(transform="quantile"):
            inside = all(_inside(knot, variable) for knot in column.knots)
            return inside and max(map(abs, column.scores)) <= _LARGEST_SCORE
        case CategoricalColumns(), CategoricalVariable():
            return column.categories == variable.categories
        case _:
            return False


def _has_moments(column: NumericColumn, variable: NumericVariable) -> bool:
    """Whether values in the declared range can have this mean and SD; 0 is that of a value that never varied."""
    low, high = variable.range
    possible = column.sd == 0 or _LEAST_SD <= column.sd / (high - low) <= 0.5 + _ROUNDING
    return possible and _inside(column.mean, variable)


def _inside(value: float, variable: NumericVariable) -> bool:
    low, high = variable.range
    slack = _ROUNDING * (high - low)
    return low - slack <= value <= high + slack


def _wrong(what: str) -> Refusal:
    return Refusal("wrong-encoding", f"the server's encoding: {what}", "check that both sides run the same version")

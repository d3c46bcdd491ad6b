"""What sites say of their training patients' covariates, image features and scans, as exact sums."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.common.errors import Refusal
from fedescc.common.protocol import CategoricalVariable, NumericVariable
from fedescc.common.study import Study
from fedescc.common.tabular.features import NAMED_FEATURES, RADIOMIC_FEATURES
from fedescc.common.tabular.harmonisation import LandmarkSums
from fedescc.common.tabular.levels import Categorical, count_levels
from fedescc.common.tabular.moments import Numeric, Rows, moment_table, present_values
from fedescc.common.tabular.quantiles import Runs, count_bins, exact_runs


@dataclass(frozen=True, eq=False)
class CovariateSums:
    """What sites say of their training patients, exactly: a total does not depend on the sites' order.

    Attributes:
        names: (k,) numeric columns: the study's covariates in its order, then image features.
        table: (3, k) int64 moments, see `fedescc.common.tabular.moments.moment_table`.
        levels: categorical covariate -> (categories,) int64 patients. One that is absent was not counted, and keeps
            all its categories.
        runs: column with ``transform: quantile`` -> patients between two bounds.
        landmarks: of the scans; None unless the study harmonises intensities.

    """

    names: tuple[str, ...]
    table: NDArray[np.int64]
    levels: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    runs: dict[str, Runs] = field(default_factory=dict)
    landmarks: LandmarkSums | None = None

    def __add__(self, other: "CovariateSums") -> "CovariateSums":
        if self._kinds() != other._kinds():
            raise Refusal(
                "covariate-mismatch",
                f"sums of {self.names} and of {other.names} cannot be added",
                "check that all sites run the same study",
            )
        return CovariateSums(
            self.names,
            self.table + other.table,
            {name: counts + other.levels[name] for name, counts in self.levels.items()},
            {name: runs + other.runs[name] for name, runs in self.runs.items()},
            self.landmarks + other.landmarks if self.landmarks and other.landmarks else None,
        )

    def _kinds(self) -> tuple[object, ...]:
        return self.names, set(self.levels), set(self.runs), self.landmarks is None


def column_sums(
    study: Study,
    numeric: Numeric,
    rows: Rows,
    *,
    categorical: Categorical | None = None,
    features: Sequence[str] = (),
    landmarks: LandmarkSums | None = None,
) -> CovariateSums:
    """Sums of the rows given (training patients) with nothing hidden, for who may see them all.

    What a site sends is made of the same parts, but governed: ``client/answers/statistics.py``.

    Args:
        study: its covariates.
        numeric: column -> (patients,), NaN = missing.
        rows: which patients.
        categorical: covariate -> (patients,) category numbers, -1 = missing; None leaves categories uncounted.
        features: image features that ``numeric`` holds too.
        landmarks: of the rows' scans, for a study that harmonises intensities.

    Raises:
        Refusal: ``value-out-of-range``, or as `numeric_columns`.

    """
    columns = numeric_columns(study, features)
    levels = categorical_columns(study) if categorical is not None else {}
    return CovariateSums(
        tuple(columns),
        moment_table(columns, numeric, rows),
        {name: count_levels((categorical or {})[name][rows], len(one.categories)) for name, one in levels.items()},
        {
            name: exact_runs(count_bins(one, present_values(name, one, numeric[name][rows])))
            for name, one in quantile_columns(columns).items()
        },
        landmarks,
    )


def asked_features(study: Study, task: Mapping[str, Any]) -> list[str]:
    """The image features that a task names; by default those of the study's model.

    Raises:
        Refusal: ``malformed-message``.

    """
    asked = task.get("features", list(study.model.image_features))
    if not isinstance(asked, list) or not all(isinstance(name, str) for name in asked):
        raise Refusal("malformed-message", "features must be a list of names", "check the server's version")
    return asked


def numeric_columns(study: Study, features: Sequence[str] = ()) -> dict[str, NumericVariable]:
    """The study's numeric covariates in its order, then the image features in theirs.

    Raises:
        Refusal: ``unknown-feature``: no such image feature, one that is named twice, or a variable of the study.

    """
    known = NAMED_FEATURES | RADIOMIC_FEATURES
    for name in features:
        if name not in known or name in study.variables or list(features).count(name) > 1:
            raise Refusal(
                "unknown-feature", f"no image feature {name!r} can be added", "see common/tabular/features.py"
            )
    own = {name: variable for name, variable in study.covariates.items() if isinstance(variable, NumericVariable)}
    return own | {name: known[name] for name in features}


def categorical_columns(study: Study) -> dict[str, CategoricalVariable]:
    """The study's categorical covariates in its order."""
    return {name: v for name, v in study.covariates.items() if isinstance(v, CategoricalVariable)}


def quantile_columns(columns: dict[str, NumericVariable]) -> dict[str, NumericVariable]:
    """Those columns that go through their ranks."""
    return {name: variable for name, variable in columns.items() if variable.transform == "quantile"}

"""Clinical covariates as model inputs, scaled by the federation's means and SDs instead of one site's.

Sites send `CovariateSums`; their total gives one `Encoding` for everybody.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedescc.common.errors import Refusal
from fedescc.common.players import covariate_groups
from fedescc.common.protocol import CategoricalVariable, NumericVariable
from fedescc.common.study import Study
from fedescc.common.yamlfile import Strict

# A value becomes this many steps of its declared range: squares of 8 million patients still fit an int64.
STEPS = 1 << 20
Numeric = Mapping[str, NDArray[np.float64]]
Categorical = Mapping[str, NDArray[np.int16]]
Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class CovariateSums:
    """Exact moments of the numeric covariates; integers, so a total does not depend on the sites' order.

    Attributes:
        names: (k,) numeric covariates, in the study's order.
        table: (3, k) int64: patients with a value, sum and sum of squares of the value in steps of
            range / 2^20 above the low end of its declared range.

    """

    names: tuple[str, ...]
    table: NDArray[np.int64]

    def __add__(self, other: "CovariateSums") -> "CovariateSums":
        if self.names != other.names:
            raise Refusal(
                "covariate-mismatch",
                f"sums of {self.names} and of {other.names} cannot be added",
                "check that all sites run the same study",
            )
        return CovariateSums(self.names, self.table + other.table)


def column_sums(study: Study, numeric: Numeric, rows: Rows) -> CovariateSums:
    """Moments of the rows given (a site's training patients), NaN = missing left out.

    Raises:
        Refusal: ``value-out-of-range`` when a value lies outside the range the study declares.

    """
    variables = _numeric(study)
    table = np.zeros((3, len(variables)), np.int64)
    for column, (name, variable) in enumerate(variables.items()):
        steps = _steps(name, variable, numeric[name][rows])
        table[:, column] = len(steps), steps.sum(), (steps * steps).sum()
    return CovariateSums(tuple(variables), table)


class NumericColumn(Strict):
    """A standardised value, (x - mean) / sd, and a missing flag; missing is 0, the mean."""

    type: Literal["numeric"] = "numeric"
    name: str
    group: str
    mean: float
    sd: Annotated[float, Field(gt=0)]

    def labels(self) -> tuple[str, ...]:
        """Column names."""
        return (self.name, f"{self.name}_missing")

    def encode(self, numeric: Numeric, categorical: Categorical) -> NDArray[np.float64]:  # noqa: ARG002
        """(n, 2): value, missing."""
        values = numeric[self.name]
        missing = np.isnan(values)
        return np.stack([np.where(missing, 0.0, (values - self.mean) / self.sd), missing], axis=1)


class CategoricalColumns(Strict):
    """One flag a category, none dropped, and a missing flag; missing is all zeros but its flag."""

    type: Literal["categorical"] = "categorical"
    name: str
    group: str
    categories: tuple[str, ...]

    def labels(self) -> tuple[str, ...]:
        """Column names."""
        return (*(f"{self.name}={category}" for category in self.categories), f"{self.name}_missing")

    def encode(self, numeric: Numeric, categorical: Categorical) -> NDArray[np.float64]:  # noqa: ARG002
        """(n, categories + 1): one-hot, missing."""
        codes = categorical[self.name].astype(np.intp)
        if codes.size and not (codes.min() >= -1 and codes.max() < len(self.categories)):
            raise Refusal(
                "unknown-category",
                f"{self.name}: category numbers {codes.min()}..{codes.max()} where the study has "
                f"{len(self.categories)} categories",
                "run intake again with this study",
            )
        # The identity's last row is the missing flag, and index -1 is the last row.
        return np.eye(len(self.categories) + 1)[codes]


class Encoding(Strict):
    """How covariates become columns, the same at every site. JSON-able (``model_dump_json``)."""

    covariates: tuple[Annotated[NumericColumn | CategoricalColumns, Field(discriminator="type")], ...]

    @classmethod
    def from_sums(cls, study: Study, sums: CovariateSums) -> "Encoding":
        """The encoding by federated mean and (population) SD.

        A constant covariate gets SD 1; one that nobody has gets mean 0 and SD 1.
        """
        moments = {name: sums.table[:, column] for column, name in enumerate(sums.names)}
        groups = _group_of(study)
        columns: list[NumericColumn | CategoricalColumns] = []
        for name, variable in study.covariates.items():
            if isinstance(variable, NumericVariable):
                mean, sd = _mean_and_sd(variable, moments[name])
                columns.append(NumericColumn(name=name, group=groups[name], mean=mean, sd=sd))
            elif isinstance(variable, CategoricalVariable):
                columns.append(CategoricalColumns(name=name, group=groups[name], categories=variable.categories))
        return cls(covariates=tuple(columns))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the encoded columns, in order."""
        return tuple(label for covariate in self.covariates for label in covariate.labels())

    @property
    def column_groups(self) -> tuple[str, ...]:
        """For every encoded column the explanation group it belongs to."""
        return tuple(covariate.group for covariate in self.covariates for _ in covariate.labels())

    @property
    def column_covariates(self) -> tuple[str, ...]:
        """For every encoded column the covariate it was made from."""
        return tuple(covariate.name for covariate in self.covariates for _ in covariate.labels())

    def encode(self, numeric: Numeric, categorical: Categorical, rows: Rows | None = None) -> NDArray[np.float32]:
        """Model inputs: (n, columns) float32 for the rows given (default all). Always finite.

        Raises:
            Refusal: ``unknown-category`` when a category number is not one of the study's.

        """
        take = slice(None) if rows is None else rows
        numeric = {name: values[take] for name, values in numeric.items()}
        categorical = {name: codes[take] for name, codes in categorical.items()}
        pieces = [covariate.encode(numeric, categorical) for covariate in self.covariates]
        if not pieces:
            return np.zeros((_length(numeric, categorical, rows), 0), np.float32)
        return np.concatenate(pieces, axis=1).astype(np.float32)


def _length(numeric: Numeric, categorical: Categorical, rows: Rows | None) -> int:
    if rows is not None:
        return len(rows)
    return max([0, *map(len, numeric.values()), *map(len, categorical.values())])


def _numeric(study: Study) -> dict[str, NumericVariable]:
    return {name: variable for name, variable in study.covariates.items() if isinstance(variable, NumericVariable)}


def _group_of(study: Study) -> dict[str, str]:
    return {member: group for group, members in covariate_groups(study).items() for member in members}


def _steps(name: str, variable: NumericVariable, values: NDArray[np.float64]) -> NDArray[np.int64]:
    low, high = variable.range
    present = values[~np.isnan(values)]
    if present.size and not (low <= present.min() and present.max() <= high):
        raise Refusal(
            "value-out-of-range",
            f"{name}: a value lies outside {low:g}..{high:g} {variable.unit}",
            "correct the unit or the value in the clinical table and run intake again",
        )
    return np.rint((present - low) / (high - low) * STEPS).astype(np.int64)


def _mean_and_sd(variable: NumericVariable, moments: NDArray[np.int64]) -> tuple[float, float]:
    n, total, squares = (int(moment) for moment in moments)
    if n == 0:
        return 0.0, 1.0
    low, high = variable.range
    step = (high - low) / STEPS
    variance = (n * squares - total * total) / (n * n)  # exact integers until this division
    return low + step * total / n, step * variance**0.5 if variance > 0 else 1.0

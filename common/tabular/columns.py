"""How one covariate becomes model inputs; JSON-able, frozen with the model."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fedescc.common.errors import Refusal
from fedescc.common.tabular.levels import Categorical
from fedescc.common.tabular.moments import Numeric
from fedescc.common.yamlfile import Strict

Floats = NDArray[np.float64]


class NumericColumn(Strict):
    """A standardised value, (x - mean) / sd, and a missing flag; missing is 0, the mean.

    An ``sd`` of 0 is that of a covariate which never varied in training: no value of it means anything, all are 0.
    """

    type: Literal["numeric"] = "numeric"
    name: str
    group: str
    mean: float
    sd: Annotated[float, Field(ge=0)]

    def labels(self) -> tuple[str, ...]:
        """Column names."""
        return (self.name, f"{self.name}_missing")

    def encode(self, numeric: Numeric, categorical: Categorical) -> Floats:  # noqa: ARG002
        """(n, 2): value, missing."""
        values = numeric[self.name]
        return _with_flag((values - self.mean) / self.sd if self.sd else np.zeros_like(values), np.isnan(values))


class QuantileColumn(Strict):
    """The normal score of a value's rank in the federation, and a missing flag; missing is 0, the mean.

    ``scores`` belong to the values ``knots``; between two knots the map is linear, outside all of them constant.
    """

    type: Literal["quantile"] = "quantile"
    name: str
    group: str
    knots: Annotated[tuple[float, ...], Field(min_length=1, max_length=1000)]
    scores: tuple[float, ...]

    @model_validator(mode="after")
    def _increasing(self) -> Self:
        knots, scores = np.array(self.knots), np.array(self.scores)
        if len(scores) != len(knots) or not (np.diff(knots) > 0).all() or not (np.diff(scores) >= 0).all():
            msg = "knots and as many scores must increase"
            raise ValueError(msg)
        return self

    def labels(self) -> tuple[str, ...]:
        """Column names."""
        return (self.name, f"{self.name}_missing")

    def encode(self, numeric: Numeric, categorical: Categorical) -> Floats:  # noqa: ARG002
        """(n, 2): score, missing."""
        values = numeric[self.name]
        return _with_flag(np.interp(values, self.knots, self.scores), np.isnan(values))


class CategoricalColumns(Strict):
    """One flag a category, none dropped but the rare, and a missing flag; missing is all zeros but its flag.

    A category that fewer training patients had than may be counted is not in ``kept`` and counts as missing: a
    column of its own would be noise, or point at a patient; one for all rare categories together could be as rare
    itself, and no site may tell. Either way the model knows nothing of the value.
    """

    type: Literal["categorical"] = "categorical"
    name: str
    group: str
    categories: tuple[str, ...]
    kept: Annotated[tuple[str, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _known(self) -> Self:
        if [category for category in self.categories if category in self.kept] != list(self.kept):
            msg = "kept must be some of the categories, in their order"
            raise ValueError(msg)
        return self

    def labels(self) -> tuple[str, ...]:
        """Column names."""
        return (*(f"{self.name}={category}" for category in self.kept), f"{self.name}_missing")

    def encode(self, numeric: Numeric, categorical: Categorical) -> Floats:  # noqa: ARG002
        """(n, kept + 1): one-hot, missing or rare."""
        codes = categorical[self.name].astype(np.intp)
        if codes.size and not (codes.min() >= -1 and codes.max() < len(self.categories)):
            raise Refusal(
                "unknown-category",
                f"{self.name}: category numbers {codes.min()}..{codes.max()} where the study has "
                f"{len(self.categories)} categories",
                "run intake again with this study",
            )
        place: Mapping[str, int] = {category: column for column, category in enumerate(self.kept)}
        # Code -1 is the last entry, and the last column is the flag.
        columns = np.array([place.get(category, len(place)) for category in (*self.categories, "")])
        flags: Floats = np.eye(len(place) + 1)[columns[codes]]
        return flags


def _with_flag(values: Floats, missing: NDArray[np.bool_]) -> Floats:
    return np.stack([np.where(missing, 0.0, values), missing], axis=1)

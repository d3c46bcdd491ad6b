"""Covariates and image features as model inputs, scaled by all sites together instead of one.

Sites send counts and sums (`fedescc.common.tabular.moments`, `levels`, `quantiles`, `harmonisation`); their total,
`CovariateSums`, gives one `Encoding` for everybody, which is frozen with the model.
"""

import json
from collections import Counter
from collections.abc import Collection
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedescc.common.errors import Refusal
from fedescc.common.players import covariate_groups
from fedescc.common.protocol import CategoricalVariable, NumericVariable
from fedescc.common.study import FEATURE_GROUP, Study
from fedescc.common.tabular.columns import CategoricalColumns, NumericColumn, QuantileColumn
from fedescc.common.tabular.covariate_sums import CovariateSums, column_sums, numeric_columns
from fedescc.common.tabular.harmonisation import Harmonisation
from fedescc.common.tabular.levels import Categorical
from fedescc.common.tabular.moments import STEPS, Numeric, Rows, in_steps, mean_and_sd
from fedescc.common.tabular.quantiles import bin_edges, estimate, score_knots
from fedescc.common.yamlfile import Strict, check_model

# With what it is made of, so that most need no other module.
__all__ = [
    "STEPS",
    "Categorical",
    "CategoricalColumns",
    "CovariateSums",
    "Encoding",
    "Numeric",
    "NumericColumn",
    "QuantileColumn",
    "Rows",
    "column_sums",
    "in_steps",
    "read_encoding",
]

_FORMAT = 2  # 1 knew neither rare categories nor quantiles
_MOST_COVARIATES = 1000  # and image features


class Encoding(Strict):
    """How covariates and image features become columns, and scans comparable, the same at every site.

    JSON-able (``model_dump_json``; back by `read_encoding`). A covariate of which the training patients gave no
    value, or no category often enough, has no column: whatever a later patient has there means nothing to the model.
    """

    format: Literal[2] = 2
    covariates: Annotated[
        tuple[Annotated[NumericColumn | QuantileColumn | CategoricalColumns, Field(discriminator="type")], ...],
        Field(max_length=_MOST_COVARIATES),
    ]
    harmonisation: Harmonisation | None = None

    @classmethod
    def from_sums(cls, study: Study, sums: CovariateSums) -> "Encoding":
        """The encoding by federated mean and (population) SD, or by ranks; rare categories count as missing.

        Raises:
            Refusal: ``no-landmarks`` when the study harmonises intensities and no scan has landmarks.

        """
        groups = {member: group for group, members in covariate_groups(study).items() for member in members}
        columns = numeric_columns(study, [name for name in sums.names if name not in study.covariates])
        covariates: list[NumericColumn | QuantileColumn | CategoricalColumns] = []
        for name, variable in (study.covariates | columns).items():
            group = groups.get(name, FEATURE_GROUP)
            if isinstance(variable, NumericVariable):
                covariates += _numeric_column(name, group, variable, sums)
            elif isinstance(variable, CategoricalVariable):
                covariates += _categorical_columns(name, group, variable, sums, study.disclosure.min_class_count)
        return cls(covariates=tuple(covariates), harmonisation=_harmonisation(study, sums))

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
        """For every encoded column the covariate or image feature it was made from."""
        return tuple(covariate.name for covariate in self.covariates for _ in covariate.labels())

    @property
    def features(self) -> tuple[str, ...]:
        """The image features that `encode` needs beside the study's covariates."""
        return tuple(covariate.name for covariate in self.covariates if covariate.group == FEATURE_GROUP)

    def only(self, names: Collection[str]) -> "Encoding":
        """The encoding of some covariates and image features by name, in the order of this one."""
        kept = tuple(covariate for covariate in self.covariates if covariate.name in names)
        return self.model_copy(update={"covariates": kept})

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


def read_encoding(text: str) -> Encoding:
    """The encoding in a model file's metadata.

    Raises:
        Refusal: ``old-encoding`` when an older fedescc wrote it, ``invalid-settings`` when it is damaged.

    """
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if not isinstance(data, dict) or data.get("format") != _FORMAT:
        raise Refusal(
            "old-encoding",
            f"the model's inputs are not described in format {_FORMAT}",
            "train the model again with this fedescc, or score with the version named in its metadata",
        )
    return check_model(data, Encoding, "the model's encoding")


def _numeric_column(
    name: str, group: str, variable: NumericVariable, sums: CovariateSums
) -> list[NumericColumn | QuantileColumn]:
    """One column, or none where nobody has a value."""
    moments = sums.table[:, sums.names.index(name)]
    if not moments[0]:
        return []
    mean, sd = mean_and_sd(variable, moments)
    runs = sums.runs.get(name, Counter())
    if not runs:
        return [NumericColumn(name=name, group=group, mean=mean, sd=sd)]
    edges = bin_edges(variable)
    knots, scores = score_knots(edges, estimate(runs, edges, mean, sd))
    return [QuantileColumn(name=name, group=group, knots=knots, scores=scores)]


def _categorical_columns(
    name: str, group: str, variable: CategoricalVariable, sums: CovariateSums, least: int
) -> list[CategoricalColumns]:
    """One set of columns, or none where no category is frequent enough."""
    counts = sums.levels.get(name, np.full(len(variable.categories), least))
    kept = tuple(category for category, n in zip(variable.categories, counts, strict=True) if n >= least)
    return [CategoricalColumns(name=name, group=group, categories=variable.categories, kept=kept)] if kept else []


def _harmonisation(study: Study, sums: CovariateSums) -> Harmonisation | None:
    if sums.landmarks is None or study.imaging is None:
        return None
    found = Harmonisation.from_sums(sums.landmarks, study.imaging.grid.window_hu)
    if found is None:
        raise Refusal(
            "no-landmarks",
            "no site has enough training scans that show fat and contrast medium",
            "check the window, or set imaging.harmonisation: none",
        )
    return found


def _length(numeric: Numeric, categorical: Categorical, rows: Rows | None) -> int:
    if rows is not None:
        return len(rows)
    return max([0, *map(len, numeric.values()), *map(len, categorical.values())])

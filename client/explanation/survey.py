"""One model explained on all test patients of a site, with its gates: the embeddings are made once, for everything."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedescc.client.explanation.games import full_logits
from fedescc.client.explanation.gates import (
    RANDOM_LINEAR_MODELS,
    RANDOM_MODELS,
    REPEATED,
    Gates,
    additivity_error,
    gate_rows,
    largest_difference,
    random_correlation,
)
from fedescc.client.explanation.randomise import randomised
from fedescc.client.explanation.values import (
    AnyModel,
    Explanation,
    explain_columns,
    explain_embedded,
    inputs_of,
    region_embeddings,
)
from fedescc.client.learning.dataset import SiteTensors
from fedescc.common.disclosure.cells import enough
from fedescc.common.network.model import LinearModel
from fedescc.common.statistics.shapley import summarise
from fedescc.common.study import Study
from fedescc.common.tabular.covariates import Encoding

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Subject:
    """What is explained.

    Attributes:
        model: in evaluation mode.
        tensors: the site's test patients as they are.
        governed: (n, columns), their clinical columns as figures about them may leave: rare categories merged.
        logits: (n,) the model's own logits of ``tensors``.
        encoding: of the columns.
        reference: (columns,), what a removed column shows.
        study: its players and grid.
        minimum: fewest patients that anything may be said of.

    """

    model: AnyModel
    tensors: SiteTensors
    governed: Floats
    logits: Floats
    encoding: Encoding
    reference: Floats
    study: Study
    minimum: int

    def to_release(self) -> SiteTensors:
        """The patients with the columns that figures may rest on."""
        return replace(self.tensors, clinical=torch.from_numpy(self.governed.astype(np.float32)))


@dataclass(frozen=True, eq=False)
class Survey:
    """What was found.

    Attributes:
        released: the explanation that sums may be made of.
        exact: of the patients as they are, for local eyes.
        shown: (m,) bool, players of enough patients.
        rows: patients of the gates.
        gates: the figures.
        of_columns: whether the players are a linear model's columns.

    """

    released: Explanation
    exact: Explanation
    shown: NDArray[np.bool_]
    rows: NDArray[np.intp]
    gates: Gates
    of_columns: bool = False


_Explain = Callable[[AnyModel, SiteTensors], Explanation]


def survey_columns(subject: Subject) -> Survey:
    """Every column of a linear model."""

    def explain(model: AnyModel, tensors: SiteTensors) -> Explanation:
        assert isinstance(model, LinearModel)
        return explain_columns(model, tensors, subject.encoding, subject.reference)

    return replace(_of_columns_alone(subject, explain), of_columns=True)


def survey_players(subject: Subject) -> Survey:
    """Regions and clinical groups."""
    if not isinstance(subject.model, LinearModel):
        return _of_scans(subject)
    everybody = np.arange(len(subject.tensors))
    nothing = torch.zeros(len(everybody), 0, 1, 0)

    def explain(model: AnyModel, tensors: SiteTensors) -> Explanation:
        return explain_embedded(model, nothing, tensors, everybody, subject.study, subject.encoding, subject.reference)

    return _of_columns_alone(subject, explain)


def _of_columns_alone(subject: Subject, explain: _Explain) -> Survey:
    """Explanations that cost nothing are made of everybody, twice, and for many randomised models."""
    tensors = subject.to_release()
    found, exact = explain(subject.model, tensors), explain(subject.model, subject.tensors)
    shown = _shown(found, len(tensors), subject.minimum)
    random = [explain(randomised(subject.model, seed), tensors) for seed in range(RANDOM_LINEAR_MODELS)]
    gates = Gates(
        additivity_error(found, exact.logits, subject.logits),
        largest_difference(found, explain(subject.model, tensors)),
        random_correlation(found, random, shown),
    )
    return Survey(found, exact, shown, np.arange(len(tensors)), gates)


def _of_scans(subject: Subject) -> Survey:
    model, study, tensors = subject.model, subject.study, subject.to_release()
    n = len(tensors)

    def explain(
        model: AnyModel, embedded: Tensor, rows: NDArray[np.intp], inputs: SiteTensors = tensors
    ) -> Explanation:
        return explain_embedded(model, embedded, inputs, rows, study, subject.encoding, subject.reference)

    rows, everybody = gate_rows(n, subject.minimum), np.arange(n)
    random = [randomised(model, seed) for seed in range(RANDOM_MODELS)]
    gated, *shuffled = region_embeddings([model, *random], tensors, study, rows)
    embedded = _whole(subject, gated, rows)
    found, exact = explain(model, embedded, everybody), explain(model, embedded, everybody, subject.tensors)
    again = rows[:REPEATED]
    repeated = region_embeddings([model], tensors, study, again)[0]
    local = explain(model, region_embeddings([model], tensors, study, rows, "local")[0], rows)
    fixed = explain(model, gated, rows)
    shown = _shown(found, n, subject.minimum)
    among = shown & _shown(fixed, len(rows), subject.minimum)
    inputs = inputs_of(embedded, subject.tensors, everybody, study, subject.encoding, subject.reference)
    gates = Gates(
        additivity_error(found, full_logits(model, inputs), subject.logits),
        largest_difference(explain(model, gated[:REPEATED], again), explain(model, repeated, again)),
        random_correlation(fixed, [explain(*pair, rows) for pair in zip(random, shuffled, strict=True)], among),
        summarise(fixed.phi, fixed.present),
        summarise(local.phi, local.present),
    )
    return Survey(found, exact, shown, rows, gates)


def _whole(subject: Subject, gated: Tensor, rows: NDArray[np.intp]) -> Tensor:
    """Embeddings of all patients, those of the gates made before."""
    n = len(subject.tensors)
    rest = np.setdiff1d(np.arange(n), rows)
    whole = gated.new_zeros(n, *gated.shape[1:])
    whole[torch.from_numpy(rows)] = gated
    if len(rest):
        found = region_embeddings([subject.model], subject.tensors, subject.study, rest)[0]
        whole[torch.from_numpy(rest)] = found
    return whole


def _shown(found: Explanation, patients: int, minimum: int) -> NDArray[np.bool_]:
    """Players whose patients, and whose patients' complement, are none or at least the minimum."""
    counts = found.present.sum(axis=0)
    return np.array([count > 0 and enough(int(count), patients, minimum) for count in counts], np.bool_)

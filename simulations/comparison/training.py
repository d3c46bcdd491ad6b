"""A model trained in one place, as the federation trains it: a hospital's own, or one of all patients together."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.client.cohort import SiteCohort
from fedescc.client.learning.dataset import SiteTensors
from fedescc.client.learning.harmonise import harmonised_sums
from fedescc.client.learning.predict import predict_logits
from fedescc.client.learning.schedule import Turn
from fedescc.client.learning.train import ISOTROPIC, train_round
from fedescc.common.arrays import FlatParameters, flatten_parameters, load_parameters, parameter_layout
from fedescc.common.console import Advance
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation, Selection
from fedescc.common.network.model import build_model
from fedescc.common.network.warm_start import warm_start_from
from fedescc.common.study import Study
from fedescc.common.tabular.covariates import Encoding, column_sums
from fedescc.simulations.comparison.comparators import Fitted


def fit(
    study: Study,
    cohort: SiteCohort,
    federation: Federation,
    name: str,
    advance: Advance,
    warm_start: Path | None = None,
) -> Fitted:
    """Train on one cohort's training patients, with as many passes as the federation makes over them.

    Where the federation keeps its best round or stops early, so does this, by the cohort's own validation patients.

    Args:
        study: the model and covariates.
        cohort: one site, or several pooled.
        federation: rounds, seed, selection and local training.
        name: enters the derived seed, as a site's name does.
        advance: called once a planned round.
        warm_start: weights that the federation started from too. Its pretraining is not repeated.

    Raises:
        Refusal: no training patient, or training diverged.

    """
    rows = cohort.rows("train")
    if not len(rows):
        raise Refusal("no-training-patients", f"{name} has no patient to train on", "leave this comparator out")
    encoding = own_encoding(study, cohort, rows)
    model = build_model(study, len(encoding.columns), seed=federation.seed)
    if warm_start is not None:
        load_parameters(model, warm_start_from(warm_start, parameter_layout(model), flatten_parameters(model))[0])
    tensors = SiteTensors.from_cohort(cohort, encoding, rows)
    best = _Best(federation.selection, SiteTensors.from_cohort(cohort, encoding, cohort.rows("validation")))
    spacing = study.imaging.grid.spacing_zyx_mm if study.imaging else ISOTROPIC
    for number in range(1, federation.rounds + 1):
        if not best.waited_enough:
            best.look(model)
            train_round(
                model,
                tensors,
                federation.training,
                Turn(federation.seed, number, federation.rounds, name),
                spacing_zyx_mm=spacing,
            )
        advance()
    best.look(model)
    best.keep(model)
    return Fitted(model, encoding)


def own_encoding(study: Study, cohort: SiteCohort, rows: NDArray[np.intp]) -> Encoding:
    """The encoding by a cohort's own patients, with nothing hidden."""
    sums = column_sums(
        study,
        cohort.numeric,
        rows,
        categorical=cohort.categorical,
        features=study.model.image_features,
        landmarks=harmonised_sums(study.imaging, cohort, rows),
    )
    return Encoding.from_sums(study, sums)


class _Best:
    """The model of the round that validates best, as the federation's selection says."""

    def __init__(self, selection: Selection, validation: SiteTensors) -> None:
        self._selection, self._validation = selection, validation
        self._best: tuple[float, FlatParameters] | None = None
        self._waited = 0

    @property
    def waited_enough(self) -> bool:
        return self._selection.patience is not None and self._waited >= self._selection.patience

    def look(self, model: Any) -> None:
        if self._selection == Selection() or not len(self._validation):
            return
        y, logit = self._validation.labels.numpy(), predict_logits(model, self._validation)
        loss = float(np.logaddexp(0.0, np.where(y > 0, -logit, logit)).mean())
        if self._best is None or loss < self._best[0]:
            self._best, self._waited = (loss, flatten_parameters(model)), 0
        else:
            self._waited += 1

    def keep(self, model: Any) -> None:
        if self._selection.keep == "best" and self._best is not None:
            load_parameters(model, self._best[1])

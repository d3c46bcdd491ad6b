"""The scores behind a fold's results: every model on every site's patients, as the site itself scored them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.client.cohort import SiteCohort, SplitName
from fedescc.common.arrays import load_parameters
from fedescc.common.network.model import LinearModel
from fedescc.common.statistics.logistic import flat_weights
from fedescc.common.tabular.covariates import Encoding
from fedescc.server.evaluation.fold_comparators import NETWORK
from fedescc.simulations.comparison.comparators import Fitted, Scorer
from fedescc.simulations.comparison.fold_comparison import FoldComparison
from fedescc.simulations.comparison.logistic_baselines import Fusion

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]
Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Scored:
    """Patients of one or more sites under one model.

    Attributes:
        y: (n,) 0 or 1.
        logit: (n,).

    """

    y: Labels
    logit: Floats

    @property
    def classes(self) -> tuple[int, int]:
        """Patients without and with the outcome."""
        positives = int(self.y.sum())
        return len(self.y) - positives, positives


@dataclass(frozen=True)
class Regression:
    """A regression in single precision, as a site's network layer computes it, without touching the images."""

    fitted: Fitted

    def logits(self, cohort: SiteCohort, rows: Rows) -> Floats:
        """Logits (n,) of some rows of a cohort."""
        return self.fitted.logits(replace(cohort, images=None, rois=None), rows)


def models_of(fold: FoldComparison) -> dict[str, Scorer]:
    """The network and what the sites fitted together; where each site has its own network, only what needs none."""
    shared = fold.federation.personalisation.kind == "none"
    found: dict[str, Scorer] = {NETWORK: fold.federated} if shared else {}
    for name, model in fold.results["comparator_models"].items():
        parts = model["of"]
        if parts is None:
            found[name] = Regression(regression_of(model))
        elif all(part in found for part in parts):
            found[name] = Fusion(tuple(found[part] for part in parts), tuple(model["coefficients"]))
    return found


def regression_of(model: Mapping[str, Any]) -> Fitted:
    """A regression of the results, its coefficients in single precision."""
    encoding = Encoding.model_validate(model["encoding"])
    layer = LinearModel(len(encoding.columns))
    load_parameters(layer, flat_weights(model["coefficients"]))
    return Fitted(layer, encoding)


def score(model: Scorer, cohorts: Mapping[str, SiteCohort], split: SplitName) -> dict[str, Scored]:
    """One split of every site under one model."""
    rows = {site: cohort.rows(split) for site, cohort in cohorts.items()}
    return {site: Scored(cohorts[site].labels[r], model.logits(cohorts[site], r)) for site, r in rows.items()}


def pool(scored: Iterable[Scored]) -> Scored:
    """Patients of several sites together."""
    parts = [Scored(np.zeros(0, np.int8), np.zeros(0)), *scored]
    return Scored(np.concatenate([one.y for one in parts]), np.concatenate([one.logit for one in parts]))

"""The comparators that only a simulation can have, fold by fold; each is kept as soon as it is known."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from fedescc.client.cohort import SiteCohort
from fedescc.common.console import progress
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.study import Study
from fedescc.common.tabular.covariates import Encoding
from fedescc.server.evaluation.fold_comparators import NETWORK
from fedescc.server.evaluation.pooling import pool_finals
from fedescc.server.modes import ON_THE_WIRE
from fedescc.server.results import read_json, write_json
from fedescc.server.run_folder import MODEL
from fedescc.simulations.comparison.comparators import (
    Ensemble,
    Fitted,
    Scorer,
    comparator_entry,
    pool_cohorts,
    pool_versus,
    versus_entry,
)
from fedescc.simulations.comparison.fitted import read_fitted
from fedescc.simulations.comparison.logistic_baselines import Fusion, Logistic, fit_logistic
from fedescc.simulations.comparison.training import fit, own_encoding

_KEPT = "comparators.json"

Entry = dict[str, Any]


@dataclass
class FoldComparison:
    """One fold's models, each fitted when it is first asked for.

    Attributes:
        study: the study.
        federation: local training, rounds and seed.
        cohorts: sites as the fold divides them.
        results: of the fold.
        folder: of the fold.
        warm_start: what the federation started from.

    """

    study: Study
    federation: Federation
    cohorts: Mapping[str, SiteCohort]
    results: Mapping[str, Any]
    folder: Path
    warm_start: Path | None = None

    def entries(self, names: Sequence[str]) -> dict[str, Entry]:
        """The comparators named, taken from the fold's folder where they are known already.

        One that cannot be had says why, under ``unavailable``.
        """
        return {name: self._once(name, partial(self._entry, name)) for name in names}

    def all_entries(self, names: Sequence[str]) -> dict[str, Entry]:
        """What the federation fitted, with its paired differences, and the comparators named."""
        versus = self.versus()
        wired = {
            name: entry | ({"versus_federated": versus[name]} if name in versus else {})
            for name, entry in self.results["comparators"].items()
        }
        return wired | self.entries(names)

    def versus(self) -> dict[str, Entry]:
        """The paired difference of every comparator that the federation fitted; one that is known stays."""
        if self._reference is None:
            return {}
        return {
            name: self._once(f"versus {name}", partial(self._versus, name, self._reference))
            for name in self.results["comparators"]
        }

    def _versus(self, name: str, reference: Scorer) -> Entry:
        released = {site for site, record in self.results["final"]["sites"].items() if record["n"] is not None}
        tested = {site: cohort for site, cohort in self.cohorts.items() if site in released}
        return versus_entry(self.everywhere(self._wired(name)), tested, reference)

    def wired(self) -> dict[str, Scorer]:
        """The models that the federation fitted, ready to score."""
        return {name: self._wired(name) for name in self.results["comparators"]}

    def _wired(self, name: str) -> Scorer:
        """A model that the federation fitted; its coefficients as the sites had them, in single precision."""
        model = self.results["comparator_models"][name]
        if model["of"] is None:
            coefficients = np.asarray(model["coefficients"], np.float32).astype(np.float64)
            return Logistic(Encoding.model_validate(model["encoding"]), coefficients, model["penalty"])
        parts = tuple(self.federated if part == NETWORK else self._wired(part) for part in model["of"])
        return Fusion(parts, tuple(model["coefficients"]))

    @property
    def _reference(self) -> Fitted | None:
        """What the federation was judged by; where every site has a model of its own, that is not the shared one."""
        return self.federated if self.federation.personalisation.kind == "none" else None

    @cached_property
    def federated(self) -> Fitted:
        """The federation's model of this fold."""
        return read_fitted(self.folder / MODEL, self.study)

    @cached_property
    def local(self) -> dict[str, Fitted]:
        """Every training site's own model."""
        with progress("local models", len(self.trained) * self.federation.rounds) as advance:
            return {
                name: fit(self.study, cohort, self.federation, name, advance, self.warm_start)
                for name, cohort in self.trained.items()
            }

    @cached_property
    def centralised(self) -> Fitted:
        """The model of all training sites' patients in one place."""
        with progress("centralised model", self.federation.rounds) as advance:
            return fit(self.study, self.pooled, self.federation, "centralised", advance, self.warm_start)

    @cached_property
    def trained(self) -> dict[str, SiteCohort]:
        """The sites that took part in any round: the federation has learned from each of them."""
        names = sorted({name for entry in self.results["rounds"] for name in entry["sites"]})
        return {name: self.cohorts[name] for name in names if name in self.cohorts}

    @cached_property
    def pooled(self) -> SiteCohort:
        """Their patients as one cohort."""
        return pool_cohorts(list(self.trained.values()))

    def local_clinical(self) -> dict[str, Logistic]:
        """Every training site's own logistic regression."""
        return {name: self._logistic(cohort) for name, cohort in self.trained.items()}

    def centralised_clinical(self) -> Logistic:
        """The logistic regression of all training sites' patients in one place."""
        return self._logistic(self.pooled)

    def _logistic(self, cohort: SiteCohort) -> Logistic:
        study = self.study.model_copy(update={"model": self.study.model.model_copy(update={"image_features": ()})})
        clinical = own_encoding(study, cohort, cohort.rows("train"))
        return fit_logistic(cohort, clinical, balanced=self.federation.training.class_weight == "balanced")

    def _entry(self, name: str) -> Entry:
        tested = self.results["final"]["sites"]
        try:
            models = self._own_models(name) if name in _OWN else self.everywhere(EVERYWHERE[name](self))
            return comparator_entry(models, self.cohorts, tested, self._reference)
        except Refusal as refusal:
            return {"unavailable": refusal.code}

    def _own_models(self, name: str) -> Mapping[str, Scorer]:
        if not self.trained.keys() & self.results["final"]["sites"].keys():
            raise Refusal("no-local-model", "the site held out trains no model of its own", "see the ensemble instead")
        return _OWN[name](self)

    def everywhere(self, model: Scorer) -> Mapping[str, Scorer]:
        """One model for every site's patients."""
        return dict.fromkeys(self.cohorts, model)

    def _once(self, key: str, make: Callable[[], Entry]) -> Entry:
        """What is kept under a key, or is made now and kept."""
        try:
            kept: dict[str, Entry] = read_json(self.folder / _KEPT)
        except Refusal:
            kept = {}
        if key not in kept:
            kept[key] = make()
            write_json(self.folder / _KEPT, kept)
        return kept[key]


EVERYWHERE: dict[str, Callable[[FoldComparison], Scorer]] = {
    "ensemble": lambda fold: Ensemble(tuple(fold.local.values())),
    "centralised": lambda fold: fold.centralised,
    "centralised_clinical": FoldComparison.centralised_clinical,
}
"""Comparators that are one model for all patients."""

_OWN: dict[str, Callable[[FoldComparison], Mapping[str, Scorer]]] = {
    "local_only": lambda fold: fold.local,
    "local_clinical": FoldComparison.local_clinical,
}
IN_SIMULATION = ("local_only", "ensemble", "centralised", "local_clinical", "centralised_clinical")
COMPARATORS = (*ON_THE_WIRE, *IN_SIMULATION)


def read_comparators(text: str | None, study: Study) -> tuple[str, ...]:
    """Comparators out of a comma-separated list; ``all``, ``none``, or the study's own choice if there is no list.

    Raises:
        Refusal: ``unknown-comparator``, or one that needs images where the study has none.

    """
    possible = [name for name in COMPARATORS if study.imaging is not None or name in _OF_TABLES]
    match text:
        case None:
            return ("local_only", "centralised", *(("clinical",) if study.imaging else ()))
        case "all":
            return tuple(possible)
        case "none" | "":
            return ()
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in COMPARATORS:
            raise Refusal("unknown-comparator", f"no comparator {name!r}", f"choose out of: {', '.join(COMPARATORS)}")
        if name not in possible:
            raise Refusal("unknown-comparator", f"{name} needs images", f"choose out of: {', '.join(possible)}")
    return tuple(dict.fromkeys(names))


_OF_TABLES = ("clinical", *IN_SIMULATION)


def pool_comparators(folds: Sequence[Mapping[str, Entry]]) -> dict[str, Entry]:
    """Every comparator over the folds that have it; one that no fold has is absent."""
    found: dict[str, Entry] = {}
    for name in dict.fromkeys(name for fold in folds for name in fold):
        entries = [fold[name] for fold in folds if "pooled" in fold.get(name, {})]
        if len(entries) == 1:
            found[name] = dict(entries[0])
        elif entries:
            paired = [(one["pooled"]["n"], one["versus_federated"]) for one in entries if "versus_federated" in one]
            found[name] = pool_finals(entries) | ({"versus_federated": pool_versus(paired)} if paired else {})
    return found

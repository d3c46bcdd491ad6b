"""The runs behind docs/verification/learning.md; each is a simulation that goes on where it was stopped."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from learning_patients import SIZES, TestPatients, of_site, test_patients
from numpy.typing import NDArray

from fedescc.common.federation import Federation
from fedescc.common.statistics.roc import auc
from fedescc.common.study import Study, read_study
from fedescc.simulations.cli import shipped_federation
from fedescc.simulations.comparison.finished import finished_folds, scorers
from fedescc.simulations.comparison.ground_truth import synthetic_test_entry, training_truth
from fedescc.simulations.hospitals import open_hospitals
from fedescc.simulations.patients.outcome import IMAGE_LATENTS, LATENTS
from fedescc.simulations.simulate import Simulation, simulate

ON_THE_WIRE = ("clinical", "features_clinical", "fusion")
COMPARATORS = (*ON_THE_WIRE, "local_only", "ensemble", "centralised")
STUDY = "escc-pcr"
CURVE_FACTORS = (0.5, 2.0)  # beside the main run itself


@dataclass(frozen=True)
class Seed:
    """Everything of one seed: cohort, run, leave-one-site-out, and the extra patients they are judged on."""

    seed: int
    folder: Path

    @cached_property
    def study(self) -> Study:
        """The shipped study, as a synthetic cohort follows it."""
        study = read_study(STUDY)
        return study.model_copy(update={"disclosure": study.disclosure.model_copy(update={"min_class_count": 1})})

    @cached_property
    def federation(self) -> Federation:
        """The shipped settings."""
        return shipped_federation(self.study, (f"seed={self.seed}",))

    @cached_property
    def patients(self) -> TestPatients:
        """The extra test patients."""
        return test_patients(self.folder / "test", self.seed, self.study)

    def main(self) -> dict[str, Any]:
        """AUCs of every model, ceilings, trivial cues, and which latents the scores follow."""
        out = self.folder / "split"
        results = simulate(self._simulation(out, ON_THE_WIRE))  # the others are fitted once, below
        hospitals = open_hospitals(out / "cohort", self.study, self.seed, None)
        fold = finished_folds(out, self.federation, hospitals)[0]
        models = scorers(fold, COMPARATORS)
        files, _ = hospitals.by_name(fold.results["final"]["sites"])
        latents, labels = training_truth(out / "cohort", files, {name: fold.cohorts[name] for name in files})
        phantom = self.patients.phantom
        entry = synthetic_test_entry(models, phantom, latents, labels)
        rows = phantom.cohort.rows("test")
        scores = {name: models[name].logits(phantom.cohort, rows) for name in ("federated", "fusion")}
        follows = {name: _correlations(score, phantom.latents) for name, score in scores.items()}
        truth = {name: _correlations(np.log(p / (1 - p)), phantom.latents) for name, p in _probability(phantom)}
        return {
            "seed": self.seed,
            "training": len(labels),
            "positive": float(phantom.cohort.labels.mean()),
            **entry,
            "follows": follows | truth,
            "seconds": results["timing"]["seconds"],
        }

    def leave_one_out(self) -> dict[str, dict[str, float]]:
        """Held-out site -> AUC on its extra patients of the model that never saw the site, and of the whole run's."""
        whole = self.folder / "split"
        out = self.folder / "loso"
        simulate(self._simulation(out, (), cohort=whole / "cohort", mode="loso"))
        hospitals = open_hospitals(whole / "cohort", self.study, self.seed, None)
        everybody = finished_folds(whole, self.federation, hospitals)[0].federated
        found = {}
        for fold in finished_folds(out, self.federation, hospitals):
            site = fold.results["held_out"]
            phantom = of_site(self.patients, site)
            rows = phantom.cohort.rows("test")
            labels = phantom.cohort.labels[rows]
            found[site] = {
                "unseen": _auc(labels, fold.federated.logits(phantom.cohort, rows)),
                "seen": _auc(labels, everybody.logits(phantom.cohort, rows)),
            }
        return found

    def curve(self, factor: float) -> dict[str, float]:
        """The federated model, trained on ``factor`` times as many patients at every site."""
        out = self.folder / f"times-{factor:g}"
        sizes = tuple(round(size * factor) for size in SIZES)
        simulate(self._simulation(out, (), sizes=sizes))
        hospitals = open_hospitals(out / "cohort", self.study, self.seed, None)
        fold = finished_folds(out, self.federation, hospitals)[0]
        files, _ = hospitals.by_name(fold.results["final"]["sites"])
        latents, labels = training_truth(out / "cohort", files, {name: fold.cohorts[name] for name in files})
        phantom = self.patients.phantom
        entry = synthetic_test_entry({"federated": fold.federated}, phantom, latents, labels)["auc"]
        score = fold.federated.logits(phantom.cohort, phantom.cohort.rows("test"))
        return {
            "factor": factor,
            "training": len(labels),
            "federated": entry["federated"]["auc"],
            "ceiling": entry["ceiling_latent_regression"]["auc"],
            **_correlations(score, phantom.latents),
        }

    def _simulation(self, out: Path, comparators: tuple[str, ...], **more: Any) -> Simulation:
        settings = {"sizes": SIZES, "test_patients": 0, "comparators": comparators, **more}
        return Simulation(read_study(STUDY), self.federation, out, **settings)


def _probability(phantom: Any) -> list[tuple[str, NDArray[np.float64]]]:
    return [("truth", phantom.probability)]


def _correlations(score: NDArray[np.float64], latents: NDArray[np.float64]) -> dict[str, float]:
    """Pearson's r of a score with every latent that an image can show."""
    return {name: float(np.corrcoef(score, latents[:, LATENTS.index(name)])[0, 1]) for name in IMAGE_LATENTS}


def _auc(labels: NDArray[np.int8], score: NDArray[np.float64]) -> float:
    area = auc(labels, score).value
    if area is None:
        raise ValueError("a test set of one class")
    return area

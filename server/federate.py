"""A whole run from the coordinator's side: its folds one after the other, and their results as one."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flwr.serverapp import Grid

from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation, require_fit
from fedescc.common.fold import Fold, Loso
from fedescc.common.study import Study
from fedescc.common.wire import installed_version
from fedescc.server.entries import plan_entry
from fedescc.server.evaluation.publication import published_results
from fedescc.server.exchange import Roster
from fedescc.server.fold import FoldRun, OnRound
from fedescc.server.fold_results import assemble, fold_folder, read_fold_results
from fedescc.server.modes import Plan, folds_of, has_dates
from fedescc.server.planning.in_run import plan_run
from fedescc.server.results import read_json, write_json
from fedescc.server.run_folder import FOLDS, RESULTS, claim, make_folder
from fedescc.server.statistics import collect_statistics
from fedescc.server.training.rounds import ignore_record

_SITES = "sites.json"

LEAVES = {
    wire.STATISTICS: "before training: training patients; count, sum and sum of squares of each numeric covariate and "
    "image feature; a lower bound of the patients of each category; of covariates with transform: quantile a "
    "histogram without small cells; where intensities are harmonised, scans and sums of their landmarks; patients "
    "included and excluded, by rule",
    wire.COUNTS: "before training, for the plan: patients, and those with the outcome, in all, in each split and, of "
    "the training patients, in each level of the subgroups; patients without a value of each covariate; no count that "
    "is, or tells, a small one",
    wire.TRAIN: "each round: update of the model's weights, training patients, number of updates, loss; of the "
    "validation patients, by outcome, how many they are and, where both outcomes have enough, counts of right and "
    "wrong calls, losses and, where the policy allows, class histograms",
    wire.PRETRAIN: "each round of pretraining: update of the weights of the encoder and its pretext head, training "
    "patients, loss",
    wire.SCREENING: "for comparators with image features: training patients; by outcome, count, sum and sum of squares "
    "of each feature, and sums of products of the most relevant",
    wire.LOGISTIC: "for comparators: patients by outcome, losses, gradients and Hessians of a logistic regression on "
    "the training patients, or of models' scores on the validation patients",
    wire.TRAINING_SCORES: "a fine histogram of training scores, both classes together, where the site's policy allows",
    wire.VALIDATION: "of the validation patients, by outcome, how many they are, counts of right and wrong calls, "
    "losses and, where the policy allows, class histograms",
    wire.TEST: "the same of the test patients; the site's own AUC with interval and calibration; how often other runs "
    "have tested these patients before",
    wire.RECALIBRATION: "patients by outcome, losses, gradients and Hessians of two recalibration models on the test "
    "patients",
    wire.COMPARISON: "where models are compared and the policy allows histograms: by outcome, how many test patients, "
    "and sums and products of their placements among all sites' test patients; the site's own differences of AUC and "
    "their standard errors",
    wire.SUBGROUPS: "of the plan's subgroups: which levels are shown; of the test patients of each, by outcome, how "
    "many they are, counts of right and wrong calls, Brier sums and, where the policy allows, class histograms; of "
    "none where too few of a class have it, or could be told by subtraction",
    wire.REFERENCE: "for explanations: training patients and the sum of each column of the clinical inputs",
    wire.EXPLANATION: "of the test patients: how many they are and have each player, sums of Shapley values, their "
    "sizes and squares by player, or by column of a linear model, under one baseline and, of some patients, under "
    "two; sums of the players' ranks over bootstrap samples; the explanation's gates: size of the largest errors, "
    "rank correlation with shuffled models, area of the deletion curves",
    wire.ACQUISITION: "training patients; by time point, counts of their scanner vendors, kernels and contrast phases "
    "with small cells merged; count, sum and sum of squares of blood's HU, noise and slice thickness",
    wire.SHORTCUT: "training patients and, of their embeddings, sums, sums of squares and, of fewer columns than "
    "patients, sums of products, also by scanner vendor; validation patients, by vendor with small cells merged, and "
    "how many of them a linear rule assigns to their site and to their vendor, or that this is few or leaves few; the "
    "site's minimum count",
}


@dataclass
class Run:
    """A federated run: its study, its settings and the grid that reaches the sites."""

    grid: Grid
    study: Study
    federation: Federation
    plan: Plan = field(default_factory=Plan)
    on_round: OnRound = ignore_record
    roster: Roster = field(default_factory=Roster)

    def execute(self, out: Path) -> dict[str, Any]:
        """Run every fold, write ``results.json`` into ``out``, return the results.

        A run that was stopped goes on where it was, and a finished one is not run again: what lies in ``out`` is used
        if study, settings, mode and patients are the same. ``out`` also gets ``model.safetensors`` where the mode has
        one fold; of several folds, every one's model lies in its own folder.

        Raises:
            Refusal: the settings do not fit the model, too few sites took part in an exchange that needs a quorum,
                ``out`` cannot be written or holds another run, or a site's patients changed between two folds.

        """
        require_fit(self.federation, self.study.model.kind)
        self._require_dates()
        run = claim(out, self._settings())
        planning = plan_run(self.grid, self.study, self.federation, self.plan, out, run, LEAVES)
        done: list[dict[str, Any]] = []
        lost: list[dict[str, Any]] = []
        for place, fold in enumerate(self._folds(out, run)):
            document = read_fold_results(out, fold) or self._run_fold(out, run, fold, place, done)
            (lost if "failed" in document else done).append(document)
        if not done:
            raise Refusal("no-quorum", "no site could be tested while held out", "mend the sites and run again")
        results = self._head() | {"planning": planning} | assemble(self.plan, done, lost)
        results = published_results(results, self.study.disclosure.min_class_count)
        write_json(out / RESULTS, results)
        return results

    def _settings(self) -> dict[str, Any]:
        """Whatever decides the results."""
        warm = self.plan.warm_start
        return {
            "version": installed_version(),
            "study": self.study.sha256,
            "federation": self.federation.model_dump(mode="json"),
            "mode": self.plan.mode,
            "folds": self.plan.folds if self.plan.mode == "kfold" else None,
            "comparators": list(self.plan.comparators_of(self.study)),
            "warm_start": None if warm is None else file_digest(warm),
            "contribution": self.plan.contribution,
            "patients": self.plan.cohort,
        }

    def _require_dates(self) -> None:
        if self.plan.mode == "temporal" and not has_dates(self.study):
            what = f"study {self.study.name} has no date that would order patients"
            raise Refusal("no-dates", what, "choose another run mode")

    def _folds(self, out: Path, run: str) -> list[Fold | None]:
        return folds_of(self.plan, lambda: self._site_names(out, run))

    def _site_names(self, out: Path, run: str) -> list[str]:
        """Sites to hold out: those that answered when the run began, so that going on has the same folds.

        While there is a fold to run they are asked anyway, because a site is excused by its name.
        """
        path = out / FOLDS / _SITES
        names = [str(name) for name in read_json(path)["sites"]] if path.exists() else []
        if not names or any(read_fold_results(out, Loso(held_out=name)) is None for name in names):
            flow = collect_statistics(self.grid, self.roster, self.study, self.federation, {"run": run}).flow
            names = names or list(flow)
            if len(names) - 1 < self.federation.min_sites:
                what = f"{len(names)} sites answered; with one held out, {len(names) - 1} train"
                raise Refusal("no-quorum", what, f"min_sites asks for {self.federation.min_sites}")
            make_folder(path.parent)
            write_json(path, {"sites": names})
        return names

    def _run_fold(
        self, out: Path, run: str, fold: Fold | None, place: int, done: list[dict[str, Any]]
    ) -> dict[str, Any]:
        folder = fold_folder(out, fold)
        make_folder(folder)
        folders = (folder,) if self.plan.several else (folder, out)
        known = {site: entry for document in done for site, entry in document["flow"].items()}
        one = FoldRun(
            self.grid, self.roster, self.study, self.federation, self.plan, run, fold, folders, self.on_round, known
        )
        try:
            document = {"place": place, "task": one.task, **one.execute()}
        except Refusal as refusal:
            if not (isinstance(fold, Loso) and one.trained and refusal.code == "no-quorum"):
                raise
            return {"place": place, "fold": fold.name, "held_out": fold.held_out, "failed": refusal.code}
        write_json(folder / RESULTS, document)
        return document

    def _head(self) -> dict[str, Any]:
        return {
            "study": self.study.name,
            "title": self.study.title,
            "registration": self.study.registration,
            "endpoint": self.study.endpoint.text,
            "study_sha256": self.study.sha256,
            "seed": self.federation.seed,
            "strategy": self.federation.strategy.name,
            "federation": self.federation.model_dump(mode="json"),
            "version": installed_version(),
            "plan": plan_entry(self.study.analysis, self.plan.comparators_of(self.study)),
            "privacy": privacy_entry(self.study),
        }


def privacy_entry(study: Study) -> dict[str, Any]:
    """What protects patients in this run, and every kind of value that a reply could carry."""
    return {
        "differential_privacy": False,
        "epsilon": None,
        "secure_sum": False,
        "min_class_count": study.disclosure.min_class_count,
        "left_the_sites": [*LEAVES.values(), "codes for what is absent or refused"],
    }


def file_digest(path: Path) -> str:
    """SHA-256 of a file that the weights start from.

    Raises:
        Refusal: ``unreadable-weights``.

    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        what = f"cannot read {path}: {type(error).__name__}"
        raise Refusal("unreadable-weights", what, "check the path of --warm-start") from error

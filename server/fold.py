"""One fold of a run, from the sites' statistics to its results: every step one function, in the order they happen."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flwr.serverapp import Grid

from fedescc.common.arrays import parameter_layout, save_safetensors, split_parameters
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.fold import Fold, Loso
from fedescc.common.identity import MAX_DECLARED
from fedescc.common.network.model import build_model
from fedescc.common.statistics.score_bins import fine_logit_edges
from fedescc.common.study import Study
from fedescc.common.tabular.covariates import Encoding
from fedescc.common.wire import Request, installed_version
from fedescc.server.entries import final_entry, round_entry
from fedescc.server.evaluation.comparison import compare_models
from fedescc.server.evaluation.contribution import (
    Without,
    contributions,
    contributors,
    missed,
    require_others,
    train_without,
)
from fedescc.server.evaluation.evaluate import DEFAULT_THRESHOLD, Evaluation, Evaluator, evaluate_all
from fedescc.server.evaluation.explanation import explain
from fedescc.server.evaluation.fairness import fairness_gaps
from fedescc.server.evaluation.fold_comparators import NETWORK, FoldComparators, fit_comparators
from fedescc.server.evaluation.opening import OPENING, Opening
from fedescc.server.evaluation.subgroups import ask_levels, show_levels
from fedescc.server.evaluation.told import Told
from fedescc.server.exchange import Roster
from fedescc.server.modes import Plan, fold_name
from fedescc.server.run_folder import MODEL, make_folder
from fedescc.server.shortcuts.shortcuts import shortcuts
from fedescc.server.statistics import Statistics, collect_statistics
from fedescc.server.strategies import ServerState, Weights
from fedescc.server.strategies.algorithm import algorithm_of
from fedescc.server.training.checkpoint import Checkpoints
from fedescc.server.training.pretraining import PretrainingRecord, pretrain
from fedescc.server.training.progress import RoundRecord, Trained
from fedescc.server.training.rounds import Rounds, ignore_record, require_fewest
from fedescc.server.training.start import Start, start_of, weights_digest

if TYPE_CHECKING:
    from torch import nn

OnRound = Callable[[RoundRecord], None]

_CURVE_EDGES = fine_logit_edges(count=101)


@dataclass
class FoldRun:
    """One fold: its own statistics, model, thresholds and test patients.

    Attributes:
        grid: reaches the sites.
        roster: names behind node ids, kept over folds.
        study: the study.
        federation: rounds, strategy, local training.
        plan: run mode, comparators, warm start.
        run: the run's id; with the fold, what sites keep things under.
        fold: None is the study's fixed split.
        folders: where the model is written; the first also takes what the rounds need to go on after a stop.
        on_round: told of each finished round.
        known_flow: site -> what it said of its cohort in an earlier fold.
        trained: whether the model is there; what fails afterwards concerns its evaluation.

    """

    grid: Grid
    roster: Roster
    study: Study
    federation: Federation
    plan: Plan
    run: str
    fold: Fold | None
    folders: tuple[Path, ...]
    on_round: OnRound
    known_flow: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    trained: bool = False

    def execute(self) -> dict[str, Any]:
        """Run the fold and return its results.

        The model is written before the evaluation too, so that a failing evaluation does not lose it.

        Raises:
            Refusal: too few sites took part in an exchange that needs a quorum.

        """
        clock = _Clock()
        statistics = self._statistics()
        clock.stop("statistics")
        model = build_model(self.study, len(statistics.encoding.columns), seed=self.federation.seed)
        start = self._start(model, statistics)
        clock.stop("pretraining")
        trained = self._train(start.weights, statistics)
        arrays = split_parameters(parameter_layout(model), trained.weights)
        self._save(arrays, statistics, trained, {})
        self.trained = True
        clock.stop("rounds")
        network = self._evaluator(trained.weights, statistics)
        comparators = self._comparators(network, statistics)
        clock.stop("federated_comparators")
        without = self._without(network, comparators, trained)
        clock.stop("contribution")
        judged, own = self._judge(network, comparators, without)
        clock.stop("evaluation")
        self._save(arrays, statistics, trained, {"threshold_logit": repr(own.threshold)})
        return {
            **self._results(statistics, start, trained, network, own),
            **judged,
            "shortcuts": None if self.plan.several else shortcuts(network),
            "timing": {"seconds": clock.seconds},
        }

    @property
    def task(self) -> dict[str, Any]:
        """What every request of this fold says: the run and the fold."""
        fold = {} if self.fold is None else {"fold": self.fold.model_dump(mode="json")}
        return {"run": self.run, **fold}

    def _full_task(self, statistics: Statistics) -> dict[str, Any]:
        settings = self.federation.model_dump(mode="json")
        return {**self.task, "federation": settings, "encoding": statistics.encoding.model_dump(mode="json")}

    def _statistics(self) -> Statistics:
        """What the sites say before training.

        They must be as many as the strategy needs, and have the patients that they had in earlier folds.
        """
        found = collect_statistics(self.grid, self.roster, self.study, self.federation, self.task)
        require_fewest(algorithm_of(self.federation.strategy), found.attendance, "statistics")
        for site, entry in found.flow.items():
            before = self.known_flow.get(site, entry)
            if any(entry[key] != before[key] for key in ("included", "excluded")):
                what = f"{site} has other patients than in the folds before"
                raise Refusal("patients-changed", what, "start a new run in another folder")
        return found

    def _start(self, model: "nn.Module", statistics: Statistics) -> Start:
        task = self._full_task(statistics)

        def pretraining(model: "nn.Module") -> tuple[Weights, list[PretrainingRecord]]:
            return pretrain(self.grid, self.roster, self.study, self.federation, task, model)

        return start_of(model, self.plan.warm_start, task, self.folders[0], pretraining)

    def _train(self, weights: Weights, statistics: Statistics) -> Trained:
        """All rounds, or those that a stop has left."""
        curve = {"edges": _CURVE_EDGES.tolist(), "threshold": DEFAULT_THRESHOLD}
        request = Request(self.study.sha256, {**self._full_task(statistics), **curve})
        checkpoints = Checkpoints(self.folders[0], request, {"start": weights_digest(weights)})

        def note(record: RoundRecord, state: ServerState) -> None:
            del state
            self.on_round(record)

        rounds = Rounds(
            self.grid, self.roster, self.federation, request, statistics.patients, checkpoints.save, self.folders[0]
        )
        return rounds.run(weights, note, checkpoints.load())

    def _evaluator(self, weights: Weights, statistics: Statistics) -> Evaluator:
        deadline, quorum = self.federation.deadline_seconds, self.federation.min_sites
        task = self._full_task(statistics)
        return Evaluator(self.grid, self.roster, self.study, weights, task, deadline, quorum)

    def _comparators(self, network: Evaluator, statistics: Statistics) -> FoldComparators:
        def encoding_with(features: Sequence[str]) -> Encoding:
            if not features:
                return statistics.encoding
            task = {**self.task, "features": list(features)}
            return collect_statistics(self.grid, self.roster, self.study, self.federation, task).encoding

        balanced = self.federation.training.class_weight == "balanced"
        names = self.plan.comparators_of(self.study)
        return fit_comparators(names, network, encoding_with, balanced=balanced)

    def _without(self, network: Evaluator, comparators: FoldComparators, trained: Trained) -> Without | None:
        """A model trained without each site in turn, where the run asks what every site gives."""
        if not self.plan.contribution:
            return None
        room = MAX_DECLARED - len(comparators.evaluators(network))
        sites = contributors(trained)
        return train_without(sites, partial(self._train_without, sites), network, room)

    def _train_without(self, sites: Sequence[str], fold: Loso) -> Evaluator:
        """The model of all ``sites`` but the one held out; who missed a part of its training is noted in it."""
        folder = self.folders[0] / fold.name
        make_folder(folder)
        other = replace(self, fold=fold, folders=(folder,), on_round=ignore_record, known_flow={})
        statistics = other._statistics()
        model = build_model(self.study, len(statistics.encoding.columns), seed=self.federation.seed)
        trained = other._train(other._start(model, statistics).weights, statistics)
        require_others(sites, fold, trained)
        return replace(self._evaluator(trained.weights, statistics), refused=missed(statistics.attendance, trained))

    def _judge(
        self, network: Evaluator, comparators: FoldComparators, without: Without | None
    ) -> tuple[dict[str, Any], Evaluation]:
        """Open the test set to every model at once; the part of the results that test patients are behind."""
        plan, opening = self.study.analysis, Opening(self.study.analysis.sha256, self.folders[0] / OPENING)
        planned = plan.planned(self.plan.comparators_of(self.study))
        evaluators = comparators.evaluators(network)
        found = evaluate_all(evaluators | ({} if without is None else without.evaluators), opening)
        compared = {name: found[name] for name in evaluators if name in found}
        own = found[NETWORK]
        told = ask_levels(network, own)
        given = None if without is None else contributions((NETWORK, network), without, found, opening.undeclared)
        return {
            "final": self._final(own, told)
            | {"comparisons": compare_models(evaluators, compared, planned, plan.compared_with)},
            "told": told.document(),
            "opening": opening.entry(),
            "comparators": self._explained(comparators, comparators.entries(compared, opening.undeclared)),
            "comparators_unavailable": comparators.unavailable,
            "comparator_models": comparators.models(),
            "contribution": given,
            "explanation": explain(network),
        }, own

    @staticmethod
    def _explained(comparators: FoldComparators, entries: dict[str, Any]) -> dict[str, Any]:
        """The comparators' entries, each with what its own columns contribute."""
        return {
            name: {**entry, "explanation": explain(comparators.fitted[name].evaluator)}
            for name, entry in entries.items()
        }

    def _results(
        self, statistics: Statistics, start: Start, trained: Trained, evaluator: Evaluator, evaluation: Evaluation
    ) -> dict[str, Any]:
        records = trained.progress.records
        kept_last = trained.kept.round == trained.progress.state.round
        last = trained.validation or (evaluation.validation if kept_last else {})
        after = [record.validation for record in records[1:]] + [last]
        refused = [statistics.attendance.refused, *(record.attendance.refused for record in records)]
        refused += [trained.refused, *evaluator.refused.values()]
        return {
            "fold": fold_name(self.fold),
            "held_out": self.fold.held_out if isinstance(self.fold, Loso) else None,
            "sites_lost": sorted({name for codes in refused for name in codes}),
            "refused_before_training": dict(sorted(statistics.attendance.refused.items())),
            "refused_in_evaluation": evaluator.refused,
            "flow": statistics.flow,
            "warm_start": start.warm_start,
            "pretraining": start.pretraining,
            "rounds": [round_entry(record, shares) for record, shares in zip(records, after, strict=True)],
            "kept_round": trained.kept.round,
            "selection": {"reason": trained.kept.reason, "validation_loss": trained.losses},
            "personalisation": self.federation.personalisation.model_dump(mode="json"),
        }

    def _final(self, evaluation: Evaluation, told: Told) -> dict[str, Any]:
        """The evaluation; of several folds, subgroups are shown over all of them together and in none."""
        subgroups = {} if self.plan.several else show_levels(told, evaluation.sites)
        more = {"subgroups": subgroups, "fairness": fairness_gaps(subgroups)}
        return final_entry(evaluation, self.study.analysis, self.federation.seed) | more

    def _save(self, arrays: dict[str, Weights], statistics: Statistics, trained: Trained, more: dict[str, str]) -> None:
        metadata = {
            "format": "fedescc-model-1",
            "version": installed_version(),
            "study": self.study.name,
            "study_sha256": self.study.sha256,
            "fold": fold_name(self.fold),
            "rounds": str(trained.progress.state.round),
            "kept_round": str(trained.kept.round),
            "encoding": statistics.encoding.model_dump_json(),
            "use": "research use only",
            **more,
        }
        for folder in self.folders:
            save_safetensors(folder / MODEL, arrays, metadata)


class _Clock:
    """Seconds between stops."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = self._last = time.perf_counter()

    def stop(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds |= {name: now - self._last, "total": now - self._start}
        self._last = now

"""A whole run from the coordinator's side: statistics, rounds, evaluation, explanation, results."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flwr.serverapp import Grid

from fedescc.common import wire
from fedescc.common.arrays import flatten_parameters, parameter_layout, save_safetensors, split_parameters
from fedescc.common.covariates import Encoding
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.model import build_model
from fedescc.common.roc import fine_logit_edges
from fedescc.common.study import Study
from fedescc.common.wire import Request, installed_version
from fedescc.server.evaluation import DEFAULT_THRESHOLD, Evaluation, Evaluator, evaluate
from fedescc.server.exchange import Roster
from fedescc.server.explanation import explain
from fedescc.server.results import final_entry, round_entry, write_json
from fedescc.server.rounds import RoundRecord, Rounds, ignore_record
from fedescc.server.statistics import Statistics, collect_statistics
from fedescc.server.strategies import ServerState, Weights

_CURVE_EDGES = fine_logit_edges(count=101)

LEAVES = {
    wire.STATISTICS: "before training: training patients; count, sum and sum of squares of each numeric covariate; "
    "patients included and excluded, by rule",
    wire.TRAIN: "each round: update of the model's weights, training patients, number of updates, loss; counts, losses "
    "and class histograms of the validation patients",
    wire.TRAINING_SCORES: "a fine histogram of training scores, both classes together, where the site's policy allows",
    wire.VALIDATION: "counts, losses and, where the policy allows, class histograms of the validation patients",
    wire.TEST: "the same of the test patients; the site's own AUC with interval and calibration",
    wire.RECALIBRATION: "losses, gradients and Hessians of two recalibration models on the test patients",
    wire.EXPLANATION: "patients and sums of Shapley values by player over the test patients",
}

OnRound = Callable[[RoundRecord], None]


@dataclass
class Run:
    """A federated run: its study, its settings and the grid that reaches the sites."""

    grid: Grid
    study: Study
    federation: Federation
    on_round: OnRound = ignore_record
    roster: Roster = field(default_factory=Roster)
    records: list[RoundRecord] = field(default_factory=list)

    def execute(self, out: Path) -> dict[str, Any]:
        """Run everything, write ``model.safetensors`` and ``results.json`` into ``out``, return the results.

        The model is written before the evaluation too, so that a failing evaluation does not lose it.

        Raises:
            Refusal: too few sites took part in an exchange that needs a quorum, or ``out`` cannot be written.

        """
        make_folder(out)
        clock = _Clock()
        statistics = collect_statistics(self.grid, self.roster, self.study, self.federation)
        encoding = statistics.encoding
        model = build_model(self.study, len(encoding.columns), seed=self.federation.seed)
        task = {
            "federation": self.federation.model_dump(mode="json"),
            "encoding": encoding.model_dump(mode="json"),
        }
        clock.stop("statistics")
        state = self._train(flatten_parameters(model), statistics.patients, task)
        arrays = split_parameters(parameter_layout(model), state.weights)
        _save_model(self, out, arrays, encoding, {})
        clock.stop("rounds")
        evaluator = Evaluator(
            self.grid,
            self.roster,
            self.study,
            state.weights,
            task,
            self.federation.deadline_seconds,
            self.federation.min_sites,
        )
        evaluation, explanation = evaluate(evaluator), explain(evaluator)
        clock.stop("evaluation")
        results = _results(self, statistics, evaluator, evaluation, explanation)
        results["timing"] = {"seconds": clock.seconds}
        _save_model(self, out, arrays, encoding, {"threshold_logit": repr(evaluation.threshold)})
        write_json(out / "results.json", results)
        return results

    def _train(self, weights: Weights, patients: dict[str, int], task: dict[str, Any]) -> ServerState:
        curve = {"edges": _CURVE_EDGES.tolist(), "threshold": DEFAULT_THRESHOLD}
        request = Request(self.study.sha256, {**task, **curve})

        def note(record: RoundRecord, state: ServerState) -> None:
            del state
            self.records.append(record)
            self.on_round(record)

        return Rounds(self.grid, self.roster, self.federation, request, patients).run(weights, note)


def make_folder(out: Path) -> None:
    """The folder for results, made when absent.

    Raises:
        Refusal: it cannot be made.

    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refusal(
            "unwritable-folder", f"cannot make {out}: {type(error).__name__}", "give another --out"
        ) from error


class _Clock:
    """Seconds between stops."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = self._last = time.perf_counter()

    def stop(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds |= {name: now - self._last, "total": now - self._start}
        self._last = now


def _results(
    run: Run, statistics: Statistics, evaluator: Evaluator, evaluation: Evaluation, explanation: dict[str, Any]
) -> dict[str, Any]:
    after = [record.validation for record in run.records[1:]] + [evaluation.validation]
    rounds = [round_entry(record, validation) for record, validation in zip(run.records, after, strict=True)]
    refused = [statistics.attendance.refused, *(record.attendance.refused for record in run.records)]
    refused += evaluator.refused.values()
    return {
        "study": run.study.name,
        "title": run.study.title,
        "registration": run.study.registration,
        "endpoint": run.study.endpoint.text,
        "study_sha256": run.study.sha256,
        "seed": run.federation.seed,
        "strategy": run.federation.strategy.name,
        "federation": run.federation.model_dump(mode="json"),
        "version": installed_version(),
        "sites_lost": sorted({name for codes in refused for name in codes}),
        "refused_before_training": dict(sorted(statistics.attendance.refused.items())),
        "refused_in_evaluation": evaluator.refused,
        "flow": statistics.flow,
        "rounds": rounds,
        "final": final_entry(evaluation),
        "comparators": {},
        "explanation": explanation,
        "privacy": privacy_entry(run.study),
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


def _save_model(run: Run, out: Path, arrays: dict[str, Weights], encoding: Encoding, more: dict[str, str]) -> None:
    metadata = {
        "format": "fedescc-model-1",
        "version": installed_version(),
        "study": run.study.name,
        "study_sha256": run.study.sha256,
        "rounds": str(len(run.records)),
        "encoding": encoding.model_dump_json(),
        "use": "research use only",
        **more,
    }
    save_safetensors(out / "model.safetensors", arrays, metadata)

"""A whole run from the coordinator's side: statistics, rounds, evaluation, explanation, results."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flwr.serverapp import Grid

from fedescc.common import wire
from fedescc.common.arrays import flatten_parameters, parameter_layout, save_safetensors, split_parameters
from fedescc.common.covariates import CovariateSums, Encoding
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.model import build_model
from fedescc.common.players import player_names
from fedescc.common.roc import fine_logit_edges
from fedescc.common.shapley import ShapleySums
from fedescc.common.study import NumericVariable, Study
from fedescc.common.wire import Reply, Request, Sums, installed_version
from fedescc.server.evaluation import DEFAULT_THRESHOLD, Evaluation, Evaluator, evaluate
from fedescc.server.exchange import Attendance, Roster, exchange
from fedescc.server.results import final_entry, round_entry, write_json
from fedescc.server.rounds import RoundRecord, ignore_record, require_quorum, run_rounds
from fedescc.server.strategies import ServerState

_CURVE_EDGES = fine_logit_edges(count=101)

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
        """Run everything, write ``results.json`` and ``model.safetensors`` into ``out``, return the results.

        Raises:
            Refusal: too few sites took part in an exchange that needs a quorum.

        """
        start = time.perf_counter()
        statistics = _collect_statistics(self)
        trained = time.perf_counter()
        task = {
            "federation": self.federation.model_dump(mode="json"),
            "encoding": statistics.encoding.model_dump(mode="json"),
        }
        state = _train(self, statistics.encoding, task)
        evaluated = time.perf_counter()
        evaluator = Evaluator(self.grid, self.roster, self.study, state.weights, task, self.federation.deadline_seconds)
        evaluation = evaluate(evaluator)
        explanation = _explain(evaluator)
        end = time.perf_counter()
        seconds = {
            "statistics": trained - start,
            "rounds": evaluated - trained,
            "evaluation": end - evaluated,
            "total": end - start,
        }
        results = _results(self, statistics, evaluation, explanation) | {"timing": {"seconds": seconds}}
        out.mkdir(parents=True, exist_ok=True)
        _save_model(self, out, state, statistics.encoding, evaluation)
        write_json(out / "results.json", results)
        return results


@dataclass
class Statistics:
    """What the sites said before training."""

    encoding: Encoding
    flow: dict[str, Any]
    attendance: Attendance


def _collect_statistics(run: Run) -> Statistics:
    replies: dict[str, Reply] = {}
    numeric = tuple(name for name, v in run.study.covariates.items() if isinstance(v, NumericVariable))
    total = CovariateSums(numeric, np.zeros((3, len(numeric)), np.int64))
    tables: dict[str, CovariateSums] = {}

    def accept(reply: Reply) -> None:
        tables[reply.site] = _covariate_sums(reply.sums, numeric)
        replies[reply.site] = reply

    request = Request(run.study.sha256)
    deadline = run.federation.deadline_seconds
    attendance = exchange(run.grid, run.roster, wire.STATISTICS, request, deadline_seconds=deadline, accept=accept)
    require_quorum(attendance, run.federation.min_sites, "statistics")
    for table in tables.values():
        total = total + table
    flow = {site: _flow_entry(run.study, replies[site]) for site in sorted(replies)}
    return Statistics(Encoding.from_sums(run.study, total), flow, attendance)


def _covariate_sums(sums: Sums, names: tuple[str, ...]) -> CovariateSums:
    try:
        rows = [sums["covariate_counts"], sums["covariate_totals"], sums["covariate_squares"]]
        table = np.asarray(rows, dtype=np.int64).reshape(3, len(names))
    except (KeyError, ValueError, OverflowError) as error:
        raise Refusal("malformed-message", "covariate sums are incomplete", "check the site") from error
    return CovariateSums(names, table)


def _flow_entry(study: Study, reply: Reply) -> dict[str, Any]:
    """Included and excluded patients, and by rule where no small cell hides it."""
    codes = [rule.code for rule in study.eligibility.inclusion + study.eligibility.exclusion]
    entry: dict[str, Any] = {
        "included": reply.sums.get("flow_included"),
        "excluded": reply.sums.get("flow_excluded"),
        "n_train": reply.sums.get("n_train"),
    }
    by_rule = reply.sums.get("flow_by_rule")
    if isinstance(by_rule, list) and len(by_rule) == len(codes) + 1:
        entry["by_rule"] = dict(zip([*codes, "other"], by_rule, strict=True))
    if hidden := {key: code for key, code in reply.reasons.items() if key.startswith("flow_")}:
        entry["suppressed"] = hidden
    return entry


def _train(run: Run, encoding: Encoding, task: dict[str, Any]) -> ServerState:
    weights = flatten_parameters(build_model(run.study, len(encoding.columns), seed=run.federation.seed))
    curve = {"edges": _CURVE_EDGES.tolist(), "threshold": DEFAULT_THRESHOLD}
    request = Request(run.study.sha256, {**task, **curve})

    def note(record: RoundRecord, state: ServerState) -> None:
        del state
        run.records.append(record)
        run.on_round(record)

    return run_rounds(run.grid, run.roster, run.federation, request, weights, note)


def _explain(evaluator: Evaluator) -> dict[str, Any]:
    """Mean |SHAP| by player, per site and n-weighted over sites."""
    names = player_names(evaluator.study)
    replies, attendance = evaluator.ask(wire.EXPLANATION)
    sums = {site: _shapley_sums(reply.sums) for site, reply in replies.items() if "n" in reply.sums}
    hidden = {site: reply.reasons.get("n", "not-released") for site, reply in replies.items() if site not in sums}
    hidden |= attendance.refused
    sites = {site: _players(names, part) for site, part in sums.items()}
    if not sums:
        return {"unit": "logit", "pooled": None, "sites": {}, "suppressed": hidden}
    parts = list(sums.values())
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    entry = {"unit": "logit", "pooled": _players(names, total), "sites": sites}
    return entry | ({"suppressed": hidden} if hidden else {})


def _shapley_sums(sums: Sums) -> ShapleySums:
    try:
        columns = [np.asarray(sums[key], dtype=np.float64) for key in ("absolute", "total", "squares")]
        return ShapleySums(np.asarray(sums["counts"], dtype=np.int64), *columns)
    except (KeyError, ValueError, TypeError) as error:
        raise Refusal("malformed-message", "Shapley sums are incomplete", "check the site") from error


def _players(names: tuple[str, ...], sums: ShapleySums) -> dict[str, dict[str, Any]]:
    rows = sums.players()
    return {
        name: {"n": row.n, "mean_abs": row.mean_absolute, "mean": row.mean, "sd": row.standard_deviation}
        for name, row in zip(names, rows, strict=True)
    }


def _results(run: Run, statistics: Statistics, evaluation: Evaluation, explanation: dict[str, Any]) -> dict[str, Any]:
    after = [record.validation for record in run.records[1:]] + [evaluation.validation]
    rounds = [round_entry(record, validation) for record, validation in zip(run.records, after, strict=True)]
    lost = sorted(
        {name for record in run.records for name in record.attendance.refused} | set(statistics.attendance.refused)
    )
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
        "sites_lost": lost,
        "refused_before_training": dict(sorted(statistics.attendance.refused.items())),
        "flow": statistics.flow,
        "rounds": rounds,
        "final": final_entry(evaluation),
        "comparators": {},
        "explanation": explanation,
        "privacy": _privacy(run.study),
    }


def _privacy(study: Study) -> dict[str, Any]:
    return {
        "differential_privacy": False,
        "epsilon": None,
        "secure_sum": False,
        "min_class_count": study.disclosure.min_class_count,
        "left_the_sites": [
            "model updates",
            "losses",
            "covariate counts, sums and squares",
            "counts of the cohort flow",
            "confusion counts, Brier and log-loss sums",
            "class histograms of scores, where the site's policy allows",
            "site AUC and calibration",
            "sums of Shapley values",
        ],
    }


def _save_model(run: Run, out: Path, state: ServerState, encoding: Encoding, evaluation: Evaluation) -> None:
    model = build_model(run.study, len(encoding.columns), seed=run.federation.seed)
    metadata = {
        "format": "fedescc-model-1",
        "version": installed_version(),
        "study": run.study.name,
        "study_sha256": run.study.sha256,
        "rounds": str(len(run.records)),
        "threshold": repr(evaluation.threshold),
        "encoding": encoding.model_dump_json(),
        "use": "research use only",
    }
    save_safetensors(out / "model.safetensors", split_parameters(parameter_layout(model), state.weights), metadata)

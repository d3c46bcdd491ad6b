"""Rounds of self-supervised pretraining before the first training round: FedAvg on the pretext task."""

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedescc.common.arrays import (
    flatten_parameters,
    join_parameters,
    load_parameters,
    parameter_layout,
    split_parameters,
)
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.study import Study
from fedescc.common.wire import PRETRAIN, Reply, Request
from fedescc.server.exchange import Attendance, Roster, exchange
from fedescc.server.replies import patients_and_loss
from fedescc.server.training.aggregate import Fold
from fedescc.server.training.rounds import require_quorum

if TYPE_CHECKING:
    from torch import nn

Weights = NDArray[np.float32]
_ENCODER = "encoder."


@dataclass(frozen=True)
class PretrainingRecord:
    """What happened in one round of pretraining; ``patients`` are the training patients of the accepted sites."""

    round: int
    attendance: Attendance
    loss: float
    patients: int
    seconds: float

    def entry(self) -> dict[str, Any]:
        """The round as results.json has it under ``pretraining``."""
        return {
            "round": self.round,
            "sites": self.attendance.accepted,
            "refused": dict(sorted(self.attendance.refused.items())),
            "patients": self.patients,
            "loss": self.loss,
            "seconds": self.seconds,
        }


def pretrain(
    grid: Grid, roster: Roster, study: Study, federation: Federation, task: dict[str, Any], model: "nn.Module"
) -> tuple[Weights, list[PretrainingRecord]]:
    """Weights of the model, (size,), with its encoder pretrained at the sites, and a record of each round.

    The pretext head is thrown away and everything but the encoder is the model's own; ``model`` stays as it is.
    Sums are exact, so that the order in which sites answer does not matter. With 0 rounds nothing is asked.

    Args:
        grid: Flower's grid.
        roster: names behind node ids.
        study: whose encoder it is.
        federation: ``pretraining`` says how, quorum and deadline are those of training.
        task: what every request of the run carries: ``federation``, ``encoding``, ``run`` and ``fold``.
        model: from `build_model`.

    Raises:
        Refusal: ``pretraining-without-images``, or a round had fewer accepted sites than ``min_sites``.

    """
    if not federation.pretraining.rounds:
        return flatten_parameters(model), []
    from fedescc.common.network.pretext import build_pretext

    pretext = build_pretext(study, federation.seed)
    pretext.encoder.load_state_dict(_encoder_state(model))
    weights, records, patients = flatten_parameters(pretext), [], dict[str, int]()
    for number in range(1, federation.pretraining.rounds + 1):
        request = Request(study.sha256, {**task, "round": number}, weights)
        record, mean_update = _one_round(grid, roster, federation, request, patients)
        weights = (weights.astype(np.float64) + mean_update).astype(np.float32)
        records.append(record)
    load_parameters(pretext, weights)
    return _with_encoder(model, pretext), records


def _one_round(
    grid: Grid, roster: Roster, federation: Federation, request: Request, patients: dict[str, int]
) -> tuple[PretrainingRecord, NDArray[np.float64]]:
    """One exchange; ``patients`` holds what each site said first and is filled in."""
    start, number = time.perf_counter(), request.task["round"]
    assert request.weights is not None
    fold = Fold(len(request.weights), max(1, len(list(grid.get_node_ids()))))
    losses: dict[str, float] = {}

    def accept(reply: Reply) -> None:
        n, loss = patients_and_loss(reply.sums)
        if patients.get(reply.site, n) != n:
            raise Refusal("patients-changed", "an update of another number of patients", "restart the run")
        if reply.delta is None:
            raise Refusal("malformed-message", "a pretraining reply carries no update", "check the site's version")
        fold.add(reply.site, reply.delta, n)
        patients[reply.site], losses[reply.site] = n, n * loss

    deadline = federation.deadline_seconds
    attendance = exchange(grid, roster, PRETRAIN, request, deadline_seconds=deadline, accept=accept)
    require_quorum(attendance, federation.min_sites, f"pretraining round {number}")
    loss = math.fsum(losses.values()) / fold.weight
    record = PretrainingRecord(number, attendance, loss, fold.weight, time.perf_counter() - start)
    return record, fold.combine()


def _encoder_state(model: "nn.Module") -> dict[str, Any]:
    state = model.state_dict()
    return {name.removeprefix(_ENCODER): value for name, value in state.items() if name.startswith(_ENCODER)}


def _with_encoder(model: "nn.Module", pretext: "nn.Module") -> Weights:
    """The model's flat weights with the encoder of another."""
    layout = parameter_layout(model)
    arrays = split_parameters(layout, flatten_parameters(model))
    trained = split_parameters(parameter_layout(pretext), flatten_parameters(pretext))
    arrays |= {name: value for name, value in trained.items() if name.startswith(_ENCODER)}
    return join_parameters(layout, arrays)

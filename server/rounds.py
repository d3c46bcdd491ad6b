"""The round loop: one exchange a round, folded on arrival, with deadline and quorum.

Flower's own ``Strategy.start`` has no quorum, deadline or reproducible order of summation, so the loop is ours,
on the grid's push and pull.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flwr.serverapp import Grid

from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.wire import TRAIN, Reply, Request, Sums
from fedescc.server.aggregate import Fold
from fedescc.server.exchange import Attendance, Roster, exchange
from fedescc.server.strategies import ServerState, Weights, server_step


@dataclass
class RoundRecord:
    """What happened in one round; ``validation`` belongs to the model the round started from."""

    round: int
    attendance: Attendance
    train_loss: float
    patients: int
    seconds: float
    validation: dict[str, Sums] = field(default_factory=dict)


OnRound = Callable[[RoundRecord, ServerState], None]


def ignore_record(record: RoundRecord) -> None:
    """Tell nobody."""


def run_rounds(
    grid: Grid, roster: Roster, federation: Federation, request: Request, weights: Weights, on_round: OnRound
) -> ServerState:
    """Train for ``federation.rounds`` rounds and return the last state.

    Args:
        grid: Flower's grid (SuperLink or in-process).
        roster: names behind node ids.
        federation: strategy, rounds, quorum and deadline.
        request: study hash and task that every training request carries.
        weights: initial flat float32 weights.
        on_round: called with each round's record and the new state.

    Raises:
        Refusal: a round had fewer accepted sites than ``min_sites``.

    """
    step = server_step(federation.strategy)
    state = ServerState(weights)
    for number in range(1, federation.rounds + 1):
        state, record = _run_round(grid, roster, federation, request, state, number, step)
        on_round(record, state)
    return state


def require_quorum(attendance: Attendance, min_sites: int, what: str) -> None:
    """Refuse an exchange in which too few sites took part.

    Raises:
        Refusal: naming how many answered and why the others did not.

    """
    accepted = len(attendance.accepted)
    if accepted < min_sites:
        reasons = (
            ", ".join(f"{name}: {code}" for name, code in sorted(attendance.refused.items())) or "no site registered"
        )
        raise Refusal(
            "no-quorum",
            f"{what}: {accepted} of {attendance.invited} invited sites took part, {min_sites} are needed ({reasons})",
            "mend the sites named, or lower min_sites in the federation file",
        )


def _run_round(
    grid: Grid,
    roster: Roster,
    federation: Federation,
    request: Request,
    state: ServerState,
    number: int,
    step: Callable[[ServerState, Any], ServerState],
) -> tuple[ServerState, RoundRecord]:
    start = time.perf_counter()
    replies: dict[str, Sums] = {}
    fold = Fold(size=len(state.weights), parties=max(1, len(list(grid.get_node_ids()))))

    def accept(reply: Reply) -> None:
        if reply.delta is None:
            raise Refusal("update-missing", "a training reply carries no update", "check the site's version")
        fold.add(reply.delta, _patients(reply.sums))
        replies[reply.site] = reply.sums

    task = {**request.task, "round": number}
    outgoing = Request(request.study_sha256, task, state.weights)
    deadline = federation.deadline_seconds
    attendance = exchange(grid, roster, TRAIN, outgoing, deadline_seconds=deadline, accept=accept)
    require_quorum(attendance, federation.min_sites, f"round {number}")
    loss = math.fsum(_patients(sums) * _loss(sums) for sums in replies.values()) / fold.weight
    validation = {site: _validation_part(replies[site]) for site in sorted(replies)}
    seconds = time.perf_counter() - start
    return step(state, fold.mean()), RoundRecord(number, attendance, loss, fold.weight, seconds, validation)


def _patients(sums: Sums) -> int:
    n = sums.get("n")
    if type(n) is not int:
        raise Refusal("malformed-message", "a training reply lacks its number of patients", "check the site")
    return n


def _loss(sums: Sums) -> float:
    loss = sums.get("loss")
    if not isinstance(loss, int | float) or not math.isfinite(loss):
        raise Refusal("malformed-message", "a training reply lacks its loss", "check the site")
    return float(loss)


def _validation_part(sums: Sums) -> Sums:
    prefix = "validation_"
    return {key.removeprefix(prefix): value for key, value in sums.items() if key.startswith(prefix)}

"""The round loop: one exchange a round, folded on arrival, with deadline and quorum.

Flower's own ``Strategy.start`` has no quorum, deadline or reproducible order of summation, so the loop is ours,
on the grid's push and pull.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.wire import TRAIN, Reply, Request
from fedescc.server.aggregate import Fold
from fedescc.server.exchange import Attendance, Roster, exchange
from fedescc.server.replies import SplitShare, patients_and_loss, split_share
from fedescc.server.strategies import ServerState, Weights, server_step


@dataclass
class RoundRecord:
    """What happened in one round; ``validation`` belongs to the model the round started from."""

    round: int
    attendance: Attendance
    train_loss: float
    patients: int
    seconds: float
    validation: dict[str, SplitShare] = field(default_factory=dict)


OnRound = Callable[[RoundRecord, ServerState], None]


def ignore_record(record: RoundRecord) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Rounds:
    """The setting of a run's rounds.

    Attributes:
        grid: Flower's grid (SuperLink or in-process).
        roster: names behind node ids.
        federation: strategy, rounds, quorum and deadline.
        request: study hash and task that every training request carries.
        patients: training patients a site declared before; another number in an update is refused.

    """

    grid: Grid
    roster: Roster
    federation: Federation
    request: Request
    patients: Mapping[str, int] = field(default_factory=dict)

    def run(self, weights: Weights, on_round: OnRound) -> ServerState:
        """Train for all rounds from flat float32 weights and return the last state.

        ``on_round`` is called with each round's record and the new state.

        Raises:
            Refusal: a round had fewer accepted sites than ``min_sites``.

        """
        step = server_step(self.federation.strategy)
        state = ServerState(weights)
        for number in range(1, self.federation.rounds + 1):
            record, mean_update = self._one_round(state, number)
            state = step(state, mean_update)
            on_round(record, state)
        return state

    def _one_round(self, state: ServerState, number: int) -> tuple[RoundRecord, NDArray[np.float64]]:
        start = time.perf_counter()
        fold = Fold(size=len(state.weights), parties=max(1, len(list(self.grid.get_node_ids()))))
        losses: dict[str, float] = {}
        validation: dict[str, SplitShare] = {}
        bins = len(self.request.task.get("edges", ())) + 1

        def accept(reply: Reply) -> None:
            n, loss = patients_and_loss(reply.sums)
            share = split_share(reply.sums, reply.reasons, bins, prefix="validation_")
            if self.patients.get(reply.site, n) != n:
                raise Refusal("patients-changed", "an update of another number of patients", "restart the run")
            if reply.delta is None:
                raise Refusal("malformed-message", "a training reply carries no update", "check the site's version")
            fold.add(reply.delta, n)
            losses[reply.site], validation[reply.site] = n * loss, share

        outgoing = Request(self.request.study_sha256, {**self.request.task, "round": number}, state.weights)
        deadline = self.federation.deadline_seconds
        attendance = exchange(self.grid, self.roster, TRAIN, outgoing, deadline_seconds=deadline, accept=accept)
        require_quorum(attendance, self.federation.min_sites, f"round {number}")
        loss = math.fsum(losses.values()) / fold.weight
        seconds = time.perf_counter() - start
        by_site = dict(sorted(validation.items()))
        return RoundRecord(number, attendance, loss, fold.weight, seconds, by_site), fold.mean()


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

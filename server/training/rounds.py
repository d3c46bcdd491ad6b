"""The round loop: one exchange a round, gathered on arrival, with deadline, quorum, selection and checkpoints.

Flower's own ``Strategy.start`` has no quorum, deadline, checkpoint or reproducible order of summation, so the loop is
ours, on the grid's push and pull.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flwr.serverapp import Grid

from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.wire import TRAIN, VALIDATION, Reply, Request
from fedescc.server.exchange import Attendance, Roster, exchange
from fedescc.server.replies import SplitShare, patients_and_loss, split_share
from fedescc.server.strategies.algorithm import Algorithm, algorithm_of
from fedescc.server.strategies.state import Gathered, ServerState, Weights
from fedescc.server.training.aggregate import Gather
from fedescc.server.training.progress import Progress, RoundRecord, Trained, new_run_id, validations
from fedescc.server.training.selection import asks_for_last, best_so_far, choose, should_stop

__all__ = [
    "OnRound",
    "RoundRecord",
    "Rounds",
    "Save",
    "ignore_record",
    "keep_nothing",
    "require_fewest",
    "require_quorum",
]

OnRound = Callable[[RoundRecord, ServerState], None]
Save = Callable[[Progress], None]


def ignore_record(record: RoundRecord) -> None:
    """Tell nobody."""


def keep_nothing(progress: Progress) -> None:
    """Store no checkpoint."""


@dataclass(frozen=True)
class Rounds:
    """The setting of a run's rounds.

    Attributes:
        grid: Flower's grid (SuperLink or in-process).
        roster: names behind node ids.
        federation: strategy, rounds, selection, quorum and deadline.
        request: study hash and task that every training request carries; a run id is made where ``task`` has none.
        patients: training patients a site declared before; another number in an update is refused.
        save: called with the progress after every round, before ``on_round``.
        folder: where robust strategies may put one temporary file; None for the system's own place.

    """

    grid: Grid
    roster: Roster
    federation: Federation
    request: Request
    patients: Mapping[str, int] = field(default_factory=dict)
    save: Save = keep_nothing
    folder: Path | None = None

    def run(self, weights: Weights, on_round: OnRound, resume: Progress | None = None) -> Trained:
        """Train from flat float32 weights, or go on from ``resume``, until the last round or the end of patience.

        ``on_round`` is called with the record and the new state of each round that is done here.

        Raises:
            Refusal: a round had fewer accepted sites than ``min_sites`` or the strategy need.

        """
        algorithm = algorithm_of(self.federation.strategy)
        run = str(self.request.task.get("run") or new_run_id())
        progress = resume or Progress(run, algorithm.init(weights))
        while not self._is_done(progress):
            progress = self._one_round(algorithm, progress)
            self.save(progress)
            on_round(progress.records[-1], progress.state)
        return self._choose(progress)

    def _is_done(self, progress: Progress) -> bool:
        patience_ends = should_stop(self.federation.selection, best_so_far(validations(progress.records)))
        return patience_ends or progress.state.round >= self.federation.rounds

    def _one_round(self, algorithm: Algorithm, progress: Progress) -> Progress:
        start = time.perf_counter()
        state = progress.state
        outgoing = algorithm.outgoing(state)
        parties = max(1, len(list(self.grid.get_node_ids())))
        with algorithm.gather(len(outgoing), parties, self.folder) as gather:
            answers, attendance = self._train(progress, outgoing, gather)
            require_fewest(algorithm, attendance, f"round {state.round + 1}")
            gathered = Gathered(gather.combine(), answers.participation(self.patients))
        after = algorithm.step(state, gathered)
        record = answers.record(after.round, attendance, time.perf_counter() - start)
        return self._remember(replace(progress, state=after, records=(*progress.records, record)), state.weights)

    def _train(self, progress: Progress, outgoing: Weights, gather: Gather) -> tuple["_Answers", Attendance]:
        answers, number = _Answers(), progress.state.round + 1

        def accept(reply: Reply) -> None:
            n, loss = patients_and_loss(reply.sums)
            share = self._share(reply, "validation_")
            if self.patients.get(reply.site, n) != n:
                raise Refusal("patients-changed", "an update of another number of patients", "restart the run")
            if reply.delta is None:
                raise Refusal("malformed-message", "a training reply carries no update", "check the site's version")
            gather.add(reply.site, reply.delta, n)
            answers.patients[reply.site], answers.losses[reply.site] = n, loss
            answers.validation[reply.site] = share

        request = self._request(progress, outgoing, round=number, counted=last_counted(progress.records))
        attendance = self._exchange(TRAIN, request, accept)
        require_quorum(attendance, self.federation.min_sites, f"round {number}")
        return answers, attendance

    def _remember(self, progress: Progress, before: Weights) -> Progress:
        """Hold on to the weights that the round started from where its validation shows them to be the best so far."""
        if self.federation.selection.keep == "last":
            return progress
        best = best_so_far(validations(progress.records))
        return replace(progress, best_weights=before) if best.round == progress.state.round - 1 else progress

    def _choose(self, progress: Progress) -> Trained:
        selection, last = self.federation.selection, progress.state
        if not asks_for_last(selection):
            return Trained(last.weights, choose(selection, [*validations(progress.records), {}]), progress)
        shares: dict[str, SplitShare] = {}

        def accept(reply: Reply) -> None:
            shares[reply.site] = self._share(reply, "")

        attendance = self._exchange(VALIDATION, self._request(progress, last.weights), accept)
        validation = dict(sorted(shares.items()))
        kept = choose(selection, [*validations(progress.records), validation])
        best = progress.best_weights
        weights = last.weights if best is None or kept.round == last.round else best
        return Trained(weights, kept, progress, validation, dict(sorted(attendance.refused.items())))

    def _request(self, progress: Progress, weights: Weights, **task: Any) -> Request:
        return Request(self.request.study_sha256, {**self.request.task, "run": progress.run, **task}, weights)

    def _exchange(self, message_type: str, request: Request, accept: Callable[[Reply], None]) -> Attendance:
        deadline = self.federation.deadline_seconds
        return exchange(self.grid, self.roster, message_type, request, deadline_seconds=deadline, accept=accept)

    def _share(self, reply: Reply, prefix: str) -> SplitShare:
        bins = len(self.request.task.get("edges", ())) + 1
        return split_share(reply.sums, reply.reasons, bins, prefix)


@dataclass
class _Answers:
    """What the accepted sites said beside their updates."""

    patients: dict[str, int] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    validation: dict[str, SplitShare] = field(default_factory=dict)

    def participation(self, declared: Mapping[str, int]) -> float:
        """Training patients of these sites over those of all sites that are known to train."""
        return sum(self.patients.values()) / sum({**declared, **self.patients}.values())

    def record(self, number: int, attendance: Attendance, seconds: float) -> RoundRecord:
        """The round as the run remembers it, with the patients' mean loss; sums in no order of arrival."""
        patients = sum(self.patients.values())
        loss = math.fsum(self.patients[site] * loss for site, loss in self.losses.items()) / patients
        return RoundRecord(number, attendance, loss, patients, seconds, dict(sorted(self.validation.items())))


def last_counted(records: Sequence[RoundRecord]) -> dict[str, int]:
    """The last round in which each site's update was taken; SCAFFOLD's control at a site must be of that round."""
    return {site: record.round for record in records for site in record.attendance.accepted}


def require_quorum(attendance: Attendance, min_sites: int, what: str) -> None:
    """Refuse an exchange in which too few sites took part.

    Raises:
        Refusal: naming how many answered and why the others did not.

    """
    if len(attendance.accepted) < min_sites:
        todo = "mend the sites named, or lower min_sites in the federation file"
        raise Refusal("no-quorum", _shortage(attendance, f"{min_sites} are needed", what), todo)


def require_fewest(algorithm: Algorithm, attendance: Attendance, what: str) -> None:
    """Refuse an exchange in which fewer sites took part than the strategy can work with.

    Raises:
        Refusal: ``too-few-sites-for-strategy``.

    """
    if len(attendance.accepted) < algorithm.fewest_sites:
        todo = "mend the sites named, lower the strategy's byzantine if it has one, or choose another strategy"
        shortage = _shortage(attendance, f"the strategy needs {algorithm.fewest_sites}", what)
        raise Refusal("too-few-sites-for-strategy", shortage, todo)


def _shortage(attendance: Attendance, needed: str, what: str) -> str:
    refused = [f"{name}: {code}" for name, code in sorted(attendance.refused.items())]
    reasons = ", ".join(refused) or ("no site registered" if attendance.invited == 0 else "no site was refused")
    took_part = f"{len(attendance.accepted)} of {attendance.invited} invited sites took part"
    return f"{what}: {took_part}, {needed} ({reasons})"

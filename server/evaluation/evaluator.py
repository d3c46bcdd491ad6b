"""Exchanges about one model: what is asked of every site, and who missed which question."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedescc.common.errors import Refusal
from fedescc.common.study import Study
from fedescc.common.wire import OF_TEST_PATIENTS, Reply, Request
from fedescc.server.exchange import Attendance, Roster, exchange

NO_QUORUM = "no-quorum"

T = TypeVar("T")


@dataclass
class Evaluator:
    """Drives exchanges about one fixed model, or one still to be fitted, and remembers who missed which."""

    grid: Grid
    roster: Roster
    study: Study
    weights: NDArray[np.float32] | None
    task: dict[str, Any]
    deadline_seconds: float
    min_sites: int
    refused: dict[str, dict[str, str]] = field(default_factory=dict)

    def request(self, **task: Any) -> Request:
        """A request about the model, with more of a task."""
        return Request(self.study.sha256, {**self.task, **task}, self.weights)

    def ask(self, message_type: str, read: Callable[[Reply], T], **task: Any) -> tuple[dict[str, T], Attendance]:
        """Replies as ``read`` makes them, by site in order of names, so that float sums have one order."""
        return self.send(message_type, self.request(**task), read)

    def send(self, message_type: str, request: Request, read: Callable[[Reply], T]) -> tuple[dict[str, T], Attendance]:
        """Like `ask`, for a request at hand. One about test patients names the plan that they were opened under."""
        found: dict[str, T] = {}

        def accept(reply: Reply) -> None:
            found[reply.site] = read(reply)

        if message_type in OF_TEST_PATIENTS:
            task = {**request.task, "plan": self.study.analysis.sha256}
            request = Request(request.study_sha256, task, request.weights)
        attendance = exchange(
            self.grid, self.roster, message_type, request, deadline_seconds=self.deadline_seconds, accept=accept
        )
        if attendance.refused:
            self.refused[message_type] = dict(sorted(attendance.refused.items()))
        return dict(sorted(found.items())), attendance


@contextmanager
def unless_no_quorum(needed: bool) -> Iterator[None]:
    """Pass over a missing quorum, unless the model is needed."""
    try:
        yield
    except Refusal as refusal:
        if needed or refusal.code != NO_QUORUM:
            raise

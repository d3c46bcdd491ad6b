"""Where a run's rounds stand, and what they end with."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from fedescc.server.exchange import Attendance
from fedescc.server.replies import SplitShare
from fedescc.server.strategies.state import ServerState, Weights
from fedescc.server.training.selection import Kept, pooled_log_loss


@dataclass
class RoundRecord:
    """What happened in one round; ``validation`` belongs to the model the round started from."""

    round: int
    attendance: Attendance
    train_loss: float
    patients: int
    seconds: float
    validation: dict[str, SplitShare] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """Everything that later rounds depend on, so that a stopped run can go on from it.

    Attributes:
        run: the run's random id, under which sites keep what outlives a message.
        state: after the last round done.
        records: of the rounds done.
        best_weights: of the best model that was validated so far; None where the best is not to be kept or not known.

    """

    run: str
    state: ServerState
    records: tuple[RoundRecord, ...] = ()
    best_weights: Weights | None = None


@dataclass(frozen=True)
class Trained:
    """What the rounds end with.

    Attributes:
        weights: of the model that is kept.
        kept: its round, and why.
        progress: after the last round.
        validation: shares of the last model; empty where it was not asked for.
        refused: sites that failed in that last validation, by code.

    """

    weights: Weights
    kept: Kept
    progress: Progress
    validation: dict[str, SplitShare] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def losses(self) -> list[float | None]:
        """Pooled validation log loss of models 0, 1, …; None where no site released it or nobody asked."""
        return [pooled_log_loss(shares) for shares in (*validations(self.progress.records), self.validation)]


def validations(records: Sequence[RoundRecord]) -> list[dict[str, SplitShare]]:
    """Validation shares of models 0, 1, …: a round brings that of the model it started from."""
    return [record.validation for record in records]


def new_run_id() -> str:
    """A random id for a run, 16 hex digits."""
    return secrets.token_hex(8)

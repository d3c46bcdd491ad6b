"""Which round's model is kept, and when training stops: by validation patients, never by test patients.

The criterion is the pooled log loss over validation patients. Two models are compared on the sites that released
their sums for both, because a hard hospital that misses one round would make that round's model look good.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fedescc.common.federation import Selection
from fedescc.server.replies import SplitShare

Shares = Mapping[str, SplitShare]
Reason = Literal["last-round", "best-validation", "no-validation-released"]


@dataclass(frozen=True)
class Best:
    """The best model so far.

    Attributes:
        round: the round that made it, 0 for the initial model; None while no site has released its sums.
        waited: comparable models since then, none of them better.

    """

    round: int | None = None
    waited: int = 0


@dataclass(frozen=True)
class Kept:
    """The model that is kept: of which round (0 for the initial one), and why."""

    round: int
    reason: Reason


def pooled_log_loss(shares: Shares, sites: Collection[str] | None = None) -> float | None:
    """Mean log loss of one model over the validation patients of ``sites``, or of all that released their sums."""
    sums = [share.sums for name, share in shares.items() if share.sums is not None and (sites is None or name in sites)]
    patients = sum(part.n for part in sums)
    return math.fsum(part.log_loss_sum for part in sums) / patients if patients else None


def best_so_far(models: Sequence[Shares]) -> Best:
    """The first of the best among models 0, 1, 2, … by their validation shares."""
    best = Best()
    for number, shares in enumerate(models):
        better = None if best.round is None else _is_better(shares, models[best.round])
        if better or (best.round is None and _released(shares)):
            best = Best(number)
        elif better is not None:
            best = Best(best.round, best.waited + 1)
    return best


def should_stop(selection: Selection, best: Best) -> bool:
    """Whether ``patience`` comparable models in a row were no better than the best."""
    return selection.patience is not None and best.waited >= selection.patience


def asks_for_last(selection: Selection) -> bool:
    """Whether the last model needs a validation of its own: no further round will bring it."""
    return selection.keep == "best"


def choose(selection: Selection, models: Sequence[Shares]) -> Kept:
    """The model to keep among models 0, 1, …, the last of which the last round made."""
    last = len(models) - 1
    if selection.keep == "last":
        return Kept(last, "last-round")
    best = best_so_far(models).round
    return Kept(last, "no-validation-released") if best is None else Kept(best, "best-validation")


def _is_better(shares: Shares, best: Shares) -> bool | None:
    """None where no site released its sums for both."""
    common = _released(shares) & _released(best)
    loss, bar = pooled_log_loss(shares, common), pooled_log_loss(best, common)
    return None if loss is None or bar is None else loss < bar


def _released(shares: Shares) -> set[str]:
    return {name for name, share in shares.items() if share.sums is not None and share.sums.n > 0}

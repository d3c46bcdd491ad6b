"""A strategy of the federation file as functions: what to send, how to gather, how to move."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fedescc.common.strategy import (
    FedAdagrad,
    FedAdam,
    FedAvgM,
    FedYogi,
    Krum,
    Median,
    MultiKrum,
    Scaffold,
    Strategy,
    TrimmedMean,
)
from fedescc.server.strategies import adaptive, averaging, robust, scaffold
from fedescc.server.strategies.state import Gathered, ServerState, Weights
from fedescc.server.training.aggregate import Fold, Gather
from fedescc.server.training.spill import Rule, Spill


def _weights(state: ServerState) -> Weights:
    return state.weights


@dataclass(frozen=True)
class Algorithm:
    """A strategy, in the manner of FedJAX: pure functions on a state.

    Attributes:
        init: the state that the first round starts from.
        step: the next state, given what a round's updates come to.
        outgoing: the flat vector that sites receive; the updates they return are as long.
        rule: what replaces the patient-weighted mean; None for the mean.
        fewest_sites: accepted sites without which the strategy makes no sense.

    """

    init: Callable[[Weights], ServerState] = averaging.plain_init
    step: Callable[[ServerState, Gathered], ServerState] = averaging.fedavg_step
    outgoing: Callable[[ServerState], Weights] = _weights
    rule: Rule | None = None
    fewest_sites: int = 1

    def gather(self, size: int, parties: int, folder: Path | None = None) -> Gather:
        """A place for one round's updates of ``size`` values by at most ``parties`` sites, a ``with`` block long."""
        return Fold(size, parties) if self.rule is None else Spill(size, parties, self.rule, folder)


def algorithm_of(strategy: Strategy) -> Algorithm:
    """The functions behind a strategy's settings."""
    match strategy:
        case FedAvgM():
            return Algorithm(averaging.fedavgm_init, partial(averaging.fedavgm_step, strategy))
        case FedAdagrad():
            return Algorithm(partial(adaptive.adaptive_init, strategy), partial(adaptive.fedadagrad_step, strategy))
        case FedYogi():
            return Algorithm(partial(adaptive.adaptive_init, strategy), partial(adaptive.fedyogi_step, strategy))
        case FedAdam():
            return Algorithm(partial(adaptive.adaptive_init, strategy), partial(adaptive.fedadam_step, strategy))
        case Scaffold():
            step = partial(scaffold.scaffold_step, strategy)
            return Algorithm(scaffold.scaffold_init, step, scaffold.scaffold_outgoing)
        case _:
            return _robust_or_mean(strategy)


def _robust_or_mean(strategy: Strategy) -> Algorithm:
    match strategy:
        case TrimmedMean():
            return Algorithm(rule=partial(robust.trimmed_mean, strategy), fewest_sites=robust.FEWEST)
        case Median():
            return Algorithm(rule=robust.median, fewest_sites=robust.FEWEST)
        case Krum():
            fewest = robust.krum_fewest(strategy.byzantine)
            return Algorithm(rule=partial(robust.krum, strategy), fewest_sites=fewest)
        case MultiKrum():
            fewest = robust.krum_fewest(strategy.byzantine)
            return Algorithm(rule=partial(robust.multi_krum, strategy), fewest_sites=fewest)
        case _:
            return Algorithm()

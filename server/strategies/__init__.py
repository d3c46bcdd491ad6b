"""How the global model moves, given the sites' mean update: pure functions with state.

FedAvg: McMahan et al., AISTATS 2017. FedProx: Li et al., MLSys 2020; its proximal term acts at the site
(`fedescc.client.learning.train`), the server's step is FedAvg's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedescc.common.strategy import Strategy

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class ServerState:
    """What a strategy carries from round to round."""

    weights: Weights
    round: int = 0


Step = Callable[[ServerState, NDArray[np.float64]], ServerState]


def server_step(strategy: Strategy) -> Step:
    """The server's step of a strategy, ``step(state, mean_update) -> state``."""
    steps: dict[str, Step] = {"fedavg": _add_mean_update, "fedprox": _add_mean_update}
    return steps[strategy.name]


def _add_mean_update(state: ServerState, mean_update: NDArray[np.float64]) -> ServerState:
    weights = (state.weights.astype(np.float64) + mean_update).astype(np.float32)
    return ServerState(weights, state.round + 1)

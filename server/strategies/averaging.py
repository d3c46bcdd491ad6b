"""The mean update, added as it is or with momentum."""

import numpy as np

from fedescc.common.strategy import FedAvgM
from fedescc.server.strategies.state import Floats, Gathered, ServerState, Weights, moved


def plain_init(weights: Weights) -> ServerState:
    """A state without memory."""
    return ServerState(weights)


def fedavg_step(state: ServerState, gathered: Gathered) -> ServerState:
    """Add the update: x ← x + Δ.

    FedAvg: McMahan et al., AISTATS 2017, algorithm 1. FedProx: Li et al., MLSys 2020; its proximal term acts at the
    site, the server's step is FedAvg's. The robust rules replace the mean and take the same step.
    """
    return moved(state, gathered.update)


def fedavgm_init(weights: Weights) -> ServerState:
    """Momentum starts at zero."""
    return ServerState(weights, {"m": _zeros(weights)})


def fedavgm_step(settings: FedAvgM, state: ServerState, gathered: Gathered) -> ServerState:
    """m ← β m + Δ; x ← x + η m (Hsu et al. 2019, arXiv:1909.06335, section 4, there with the sign of a gradient)."""
    m = settings.momentum * state.slots["m"] + gathered.update
    return moved(state, settings.server_learning_rate * m, m=m)


def _zeros(weights: Weights) -> Floats:
    return np.zeros(weights.shape, dtype=np.float64)

"""FedAdagrad, FedYogi and FedAdam: Reddi et al., ICLR 2021, algorithm 2, line by line.

    m ← β₁ m + (1 - β₁) Δ
    v ← v + Δ²                              (FedAdagrad)
    v ← v - (1 - β₂) Δ² sign(v - Δ²)        (FedYogi)
    v ← β₂ v + (1 - β₂) Δ²                  (FedAdam)
    x ← x + η m / (√v + τ)

The paper starts m at zero and v at no less than τ², here at τ², and corrects no bias. Flower 1.41 starts v at zero in
all three, so that every weight's first step is as long as it can be, however small its Δ; its FedAdam also multiplies
η by Adam's bias correction for one round more than were done. The tests undo exactly these two and find both equal.
"""

import numpy as np

from fedescc.common.strategy import FedAdagrad, FedAdam, FedYogi
from fedescc.server.strategies.state import Floats, Gathered, ServerState, Weights, moved

Adaptive = FedAdagrad | FedYogi | FedAdam


def adaptive_init(settings: Adaptive, weights: Weights) -> ServerState:
    """m = 0, v = τ²."""
    m = np.zeros(weights.shape, dtype=np.float64)
    return ServerState(weights, {"m": m, "v": np.full_like(m, settings.tau**2)})


def fedadagrad_step(settings: FedAdagrad, state: ServerState, gathered: Gathered) -> ServerState:
    """The step of Adagrad at the server."""
    return _step(settings, state, gathered, v=state.slots["v"] + gathered.update**2)


def fedyogi_step(settings: FedYogi, state: ServerState, gathered: Gathered) -> ServerState:
    """The step of Yogi at the server."""
    v, square = state.slots["v"], gathered.update**2
    return _step(settings, state, gathered, v=v - (1 - settings.beta_2) * square * np.sign(v - square))


def fedadam_step(settings: FedAdam, state: ServerState, gathered: Gathered) -> ServerState:
    """The step of Adam at the server."""
    v = settings.beta_2 * state.slots["v"] + (1 - settings.beta_2) * gathered.update**2
    return _step(settings, state, gathered, v=v)


def _step(settings: Adaptive, state: ServerState, gathered: Gathered, *, v: Floats) -> ServerState:
    m = settings.beta_1 * state.slots["m"] + (1 - settings.beta_1) * gathered.update
    return moved(state, settings.server_learning_rate * m / (np.sqrt(v) + settings.tau), m=m, v=v)

"""SCAFFOLD: control variates against client drift (Karimireddy et al., ICML 2020, algorithm 1, option II).

The server sends x and c. A site starts at y = x, takes K steps y ← y - η_l (g(y) - c_i + c), sets
c_i⁺ = c_i - c + (x - y) / (K η_l), keeps it, and returns y - x and c_i⁺ - c_i. The server then sets

    x ← x + η_g mean(y - x)
    c ← c + |S| / N · mean(c_i⁺ - c_i)

The paper weighs sites equally; here, as in FedAvg, both means are weighted by training patients, and so is |S| / N,
the share of the training sites that was accepted. Then c stays the patient-weighted mean of all c_i, which the
algorithm's proof rests on, also when sites miss rounds.
"""

import numpy as np

from fedescc.common.strategy import Scaffold
from fedescc.server.strategies.state import Gathered, ServerState, Weights, moved


def scaffold_init(weights: Weights) -> ServerState:
    """c = 0, as every site's own control."""
    return ServerState(weights, {"c": np.zeros(weights.shape, dtype=np.float64)})


def scaffold_outgoing(state: ServerState) -> Weights:
    """x, then c: (2 * size,) float32."""
    return np.concatenate([state.weights, state.slots["c"]], dtype=np.float32, casting="same_kind")


def scaffold_step(settings: Scaffold, state: ServerState, gathered: Gathered) -> ServerState:
    """Move x and c by a mean update of (2 * size,)."""
    of_x, of_c = np.split(gathered.update, 2)
    c = state.slots["c"] + gathered.participation * of_c
    return moved(state, settings.server_learning_rate * of_x, c=c)

"""What a strategy carries from round to round, and what a round gives it."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ServerState:
    """What a strategy carries from round to round: arrays only, so that a checkpoint can store them.

    Attributes:
        weights: the global model, flat, (size,) float32.
        slots: the strategy's own vectors by name, (size,) each, float32 or float64; momentum, for example.
        round: rounds done.

    """

    weights: Weights
    slots: dict[str, NDArray[np.floating]] = field(default_factory=dict)
    round: int = 0


@dataclass(frozen=True)
class Gathered:
    """What a round's updates come to.

    Attributes:
        update: their patient-weighted mean or what a robust rule puts in its place: (size,), or (2 * size,) where
            sites return two vectors.
        participation: training patients of the accepted sites over those of all training sites, in (0, 1].

    """

    update: Floats
    participation: float = 1.0


def moved(state: ServerState, by: Floats, **slots: NDArray[np.floating]) -> ServerState:
    """The next round's state: weights moved in double precision and rounded once, slots replaced."""
    weights = np.empty_like(state.weights)
    np.add(state.weights, by, out=weights, casting="same_kind")  # in double, as ``by`` is
    return ServerState(weights, {**state.slots, **slots}, state.round + 1)

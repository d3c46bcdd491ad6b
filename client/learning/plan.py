"""Which patients every update of a round sees, and in which pieces they pass the model.

Nothing is ever smaller than two patients: a batch of one 3-D sample misses the fast convolution kernels.
"""

import numpy as np
from numpy.typing import NDArray

from fedescc.common.federation import Training

SMALLEST = 2

Chosen = tuple[NDArray[np.intp], NDArray[np.float32]]
"""Places of patients, (b,), and how much each counts: 1, or 0 for a copy that only fills up."""


def batch_plan(patients: int, settings: Training, rng: np.random.Generator) -> list[Chosen]:
    """Patients of every update of a round.

    Each pass over the data is a new permutation cut into batches of nearly equal size, at least 2 and at most
    one and a half times the batch size.
    """
    if settings.local_updates is None:
        passes = (_one_pass(patients, settings.batch_size, rng) for _ in range(settings.local_epochs or 1))
        return [batch for each in passes for batch in each]
    plan: list[Chosen] = []
    while len(plan) < settings.local_updates:
        plan += _one_pass(patients, settings.batch_size, rng)
    return plan[: settings.local_updates]


def pad(index: NDArray[np.intp]) -> Chosen:
    """The patients given, each counting 1; where there is one or none (a Poisson draw), copies that count 0 join.

    An empty draw is filled with the patient at place 0.
    """
    lacking = max(0, SMALLEST - len(index))
    copies = np.repeat(index[:1], lacking) if len(index) else np.zeros(lacking, np.intp)
    counted = np.concatenate([np.ones(len(index), np.float32), np.zeros(lacking, np.float32)])
    return np.concatenate([index, copies]), counted


def pieces(patients: int, most: int | None) -> list[Chosen]:
    """A batch's places 0 .. patients - 1 in pieces of nearly equal size, at most ``most`` (all at once if None)."""
    count = 1 if most is None else -(-patients // most)
    return [pad(piece) for piece in np.array_split(np.arange(patients), count)]


def _one_pass(patients: int, size: int, rng: np.random.Generator) -> list[Chosen]:
    count = max(1, min(round(patients / size), patients // SMALLEST))
    return [pad(batch) for batch in np.array_split(rng.permutation(patients), count)]

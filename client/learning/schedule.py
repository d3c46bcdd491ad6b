"""Which piece of work a round is, and from that its random numbers and the learning rate of every update.

MONAI's and torch's schedulers count the steps of one optimiser. Here every round starts a new optimiser and every site
has another number of steps, so the clock is the share of all rounds that is done, and the schedule a function of it.
"""

import hashlib
import math
from dataclasses import dataclass

from fedescc.common.federation import Training


@dataclass(frozen=True)
class Turn:
    """Which piece of work a round is; decides the random numbers and the learning rates.

    Attributes:
        seed: the federation's seed.
        round: 1 .. rounds.
        rounds: planned number of rounds; the schedule spans all of them.
        site: the site's name (or the comparator's).

    """

    seed: int
    round: int
    rounds: int
    site: str

    @property
    def derived_seed(self) -> int:
        """Seed of everything random in this round at this site."""
        text = f"fedescc-train|{self.seed}|{self.round}|{self.site}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def rate(self, settings: Training, step: int, steps: int) -> float:
        """Learning rate of step 0 .. steps - 1 of this round."""
        return learning_rate(settings, (self.round - 1 + step / steps) / self.rounds, 1 / (steps * self.rounds))


def learning_rate(settings: Training, progress: float, step: float = 0.0) -> float:
    """The rate of one update.

    Over the first ``training.warmup`` of the run it rises on a line (Goyal et al. 2017, arXiv:1706.02677), then it is
    constant or falls by half a cosine to 0 (Loshchilov & Hutter, ICLR 2017).

    Args:
        settings: rate, schedule and warm-up.
        progress: share of the run done before this update, 0 .. 1.
        step: this update's own share. While the rate rises an update has the rate of its end, so that the first moves.

    """
    if progress < settings.warmup:
        return settings.learning_rate * min(1.0, (progress + step) / settings.warmup)
    if settings.schedule == "constant":
        return settings.learning_rate
    since = (progress - settings.warmup) / (1 - settings.warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * since))

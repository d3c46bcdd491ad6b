"""What training with differential privacy would cost: epsilon of DP-SGD's rounds by Opacus' accountants.

Sources: Gopi et al., NeurIPS 2021, for the PRV accountant that is reported; Mironov, CSF 2017, for Renyi DP, the check.
"""

import math
import warnings
from dataclasses import dataclass
from functools import cache

from fedescc.common.errors import Refusal
from fedescc.common.federation import Training

MOST_EPSILON = 100
_MOST_STEPS = 500_000


@dataclass(frozen=True)
class Cost:
    """Epsilon of a site's training for each of its patients.

    Attributes:
        sampling_rate: chance of a patient to be in a batch, under Poisson sampling.
        steps: updates over all rounds.
        epsilon: by the PRV accountant.
        epsilon_rdp: by the RDP accountant, an upper bound that is computed otherwise.

    """

    sampling_rate: float
    steps: int
    epsilon: float
    epsilon_rdp: float


def training_cost(patients: int, rounds: int, training: Training, noise_multiplier: float, delta: float) -> Cost:
    """Cost of the planned rounds at a site with so many training patients.

    Raises:
        Refusal: ``bad-budget``, or as `epsilon`.

    """
    if patients < 1:
        raise _bad(f"{patients} training patients")
    rate = min(1.0, training.batch_size / patients)
    # Under Poisson sampling a pass over the data is 1 / rate draws.
    a_round = training.local_updates or math.ceil(1 / rate) * (training.local_epochs or 1)
    steps = rounds * a_round
    return Cost(rate, steps, *epsilon(noise_multiplier, rate, steps, delta))


@cache
def epsilon(noise_multiplier: float, rate: float, steps: int, delta: float) -> tuple[float, float]:
    """Epsilon by PRV and by RDP of ``steps`` Poisson-sampled Gaussian steps.

    Raises:
        Refusal: ``bad-budget``: a number out of range, or noise too small for the accountants.

    """
    if not (0.1 <= noise_multiplier <= 1000 and 0 < delta <= 0.1 and 0 < rate <= 1 and 0 < steps <= _MOST_STEPS):
        raise _bad(f"noise multiplier {noise_multiplier:g}, delta {delta:g}, {steps} steps at rate {rate:.3g}")
    what = f"noise multiplier {noise_multiplier:g} over {steps} steps at delta {delta:g}"
    by_rdp = _epsilon_by("RDP", noise_multiplier, rate, steps, delta)
    # The PRV accountant's time and memory grow with epsilon.
    if not 0 < by_rdp <= MOST_EPSILON:
        raise _bad(f"{what} gives {by_rdp:.3g}, where {MOST_EPSILON} is taken for no privacy at all")
    by_prv = _epsilon_by("PRV", noise_multiplier, rate, steps, delta)
    if not 0 < by_prv < math.inf:
        raise _bad(what)
    return by_prv, by_rdp


def _epsilon_by(name: str, noise_multiplier: float, rate: float, steps: int, delta: float) -> float:
    """What one accountant says; NaN where it fails. Its warnings are of bounds that are not tight."""
    from opacus import accountants

    accountant = {"PRV": accountants.PRVAccountant, "RDP": accountants.RDPAccountant}[name]()
    accountant.history = [(noise_multiplier, rate, steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return float(accountant.get_epsilon(delta))
        except (ValueError, RuntimeError, ArithmeticError, MemoryError):
            return math.nan


def _bad(what: str) -> Refusal:
    return Refusal("bad-budget", f"no epsilon can be computed: {what}", "give more noise, or fewer rounds")

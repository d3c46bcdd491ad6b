"""Updates gathered as they arrive, in any order, each checked before it counts; see also ``spill.py``."""

from contextlib import AbstractContextManager
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from fedescc.common.errors import Refusal
from fedescc.common.statistics.fixedpoint import FixedSum

Floats = NDArray[np.float64]
Update = NDArray[np.float32]


class Gather(AbstractContextManager["Gather"], Protocol):
    """Takes one update a site and makes one of them; what it holds beside memory ends with its ``with`` block."""

    @property
    def weight(self) -> int:
        """Training patients of the sites accepted so far."""

    def add(self, site: str, delta: Update, weight: int) -> None:
        """Take one site's update; a refused one leaves what was gathered untouched."""

    def combine(self) -> Floats:
        """One update out of all, (size,); nothing may be added afterwards."""


class Fold(AbstractContextManager["Fold"]):
    """Running exact total of ``n·Δ``: two model sizes of memory, whatever the number of sites.

    Args:
        size: length of the flat update.
        parties: number of sites invited, which bounds the sum.

    """

    def __init__(self, size: int, parties: int) -> None:
        self._size = size
        self._sum = FixedSum(size, parties)

    @property
    def weight(self) -> int:
        """Training patients of the sites accepted so far."""
        return self._sum.weight

    def add(self, site: str, delta: Update, weight: int) -> None:
        """Fold one site's update; a refused update leaves the total untouched.

        Raises:
            Refusal: wrong length, weight below 1, not finite, or too large for the exact sum.

        """
        require_claim(site, delta, self._size, weight)
        self._sum.add(delta, weight)

    def combine(self) -> Floats:
        """Patient-weighted mean update: sum of n·Δ over sum of n (McMahan et al., AISTATS 2017, algorithm 1).

        Raises:
            Refusal: nothing was folded.

        """
        return self._sum.mean()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close: a fold is memory only."""


def require_claim(site: str, delta: Update, size: int, weight: int) -> None:
    """Refuse an update by its outside: what it claims to be.

    Raises:
        Refusal: wrong length, or weight below 1.

    """
    if delta.shape != (size,):
        raise Refusal("update-wrong-size", f"{site}: an update of shape {delta.shape}, not ({size},)", "check versions")
    if weight < 1:
        raise Refusal("update-without-patients", f"{site}: an update of {weight} patients", "check the site's intake")

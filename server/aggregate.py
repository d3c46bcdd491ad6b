"""FedAvg's weighted mean, folded as each update arrives: two model sizes of memory, whatever the number of sites."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedescc.common.errors import Refusal
from fedescc.common.fixedpoint import decode_fixed, encode_fixed


@dataclass
class Fold:
    """Running exact total of ``n·Δ`` over the sites accepted so far.

    Args:
        size: length of the flat weight vector.
        parties: number of sites invited, which bounds the sum.

    """

    size: int
    parties: int
    weight: int = 0

    def __post_init__(self) -> None:
        self._total = np.zeros(self.size, dtype=np.int64)

    def add(self, delta: NDArray[np.float32], weight: int) -> None:
        """Fold one site's update; a refused update leaves the total untouched.

        Raises:
            Refusal: wrong length, weight below 1, not finite, or too large for the exact sum.

        """
        if delta.shape != (self.size,):
            raise Refusal(
                "update-wrong-size",
                f"an update has shape {delta.shape}, not ({self.size},)",
                "check versions",
            )
        if weight < 1:
            raise Refusal("update-without-patients", f"an update claims {weight} patients", "check the site's intake")
        self._total += encode_fixed(delta, weight, self.parties)
        self.weight += weight

    def mean(self) -> NDArray[np.float64]:
        """Patient-weighted mean update: sum of n·Δ over sum of n (McMahan et al., AISTATS 2017, algorithm 1).

        Raises:
            Refusal: nothing was folded.

        """
        return decode_fixed(self._total, self.weight)

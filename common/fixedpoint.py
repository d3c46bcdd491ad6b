"""Exact sums of real vectors: fixed-point integers add to the same total in any order.

Floating-point addition is not associative, so a federated mean would depend on which hospital answered first.
Each site's ``n·Δ`` is rounded once to a multiple of 2^-32 and summed as 64-bit integers, the same arithmetic a
secure sum needs (Bonawitz et al., CCS 2017, section 4.2).
"""

import numpy as np
from numpy.typing import NDArray

from fedescc.common.errors import Refusal

FRACTION_BITS = 32
_SUM_LIMIT = 2.0**62  # one bit spare below the 2^63 of int64


def encode_fixed(values: NDArray[np.floating], weight: int, parties: int) -> NDArray[np.int64]:
    """``weight * values`` as int64 multiples of 2^-32, such that ``parties`` of them cannot overflow.

    Args:
        values: real vector of any shape.
        weight: non-negative integer weight, for example a site's number of training patients.
        parties: upper bound on how many encoded vectors will be added.

    Raises:
        Refusal: a value is not finite, or so large that the sum might not fit.

    """
    scaled = np.asarray(values, dtype=np.float64) * (float(weight) * 2.0**FRACTION_BITS)
    if not np.isfinite(scaled).all():
        raise Refusal("update-not-finite", "an update holds NaN or infinity", "lower the learning rate")
    if scaled.size and np.abs(scaled).max() > _SUM_LIMIT / parties:
        raise Refusal("update-too-large", "an update does not fit the exact sum", "lower the learning rate")
    return np.rint(scaled).astype(np.int64)


def decode_fixed(total: NDArray[np.int64], weight: int) -> NDArray[np.float64]:
    """The weighted mean out of a total of `encode_fixed` vectors and the sum of their weights.

    Raises:
        Refusal: the weights sum to zero.

    """
    if weight <= 0:
        raise Refusal(
            "no-training-patients", "the accepted sites hold no training patient", "check intake at the sites"
        )
    return total / (float(weight) * 2.0**FRACTION_BITS)

"""Exact sums of real vectors: fixed-point integers add to the same total in any order.

Floating-point addition is not associative, so a federated mean would depend on which hospital answered first.
Each site's ``n·Δ`` is rounded once to a multiple of 2^-32 and summed as 64-bit integers, the same arithmetic a
secure sum needs (Bonawitz et al., CCS 2017, section 4.2).
"""

import numpy as np
from numpy.typing import NDArray

from fedescc.common.errors import Refusal

FRACTION_BITS = 32
CHUNK = 2**15  # values worked on at a time: they and their copies stay in a core's cache

_SUM_LIMIT = 2.0**62  # one bit spare below the 2^63 of int64
# Adding 1.5 * 2^52 to a double below 2^51 leaves its nearest integer, halves to even, in the low bits: the bits of
# the sum, read as an integer, are those of the constant plus that integer. numpy's rint and cast take ten times longer.
_MAGIC = 1.5 * 2.0**52
_MAGIC_BITS = int(np.float64(_MAGIC).view(np.int64))
_MAGIC_LIMIT = 2.0**51


def encode_fixed(values: NDArray[np.floating], weight: int, parties: int) -> NDArray[np.int64]:
    """``weight * values`` as int64 multiples of 2^-32, such that ``parties`` of them cannot overflow.

    Args:
        values: real vector of any shape.
        weight: non-negative integer weight, for example a site's number of training patients.
        parties: upper bound on how many encoded vectors will be added.

    Raises:
        Refusal: a value is not finite, or so large that the sum might not fit.

    """
    require_summable(values, weight, parties)
    return np.rint(np.asarray(values, dtype=np.float64) * _scale(weight)).astype(np.int64)


def decode_fixed(total: NDArray[np.int64], weight: int) -> NDArray[np.float64]:
    """The weighted mean out of a total of `encode_fixed` vectors and the sum of their weights.

    Raises:
        Refusal: the weights sum to zero.

    """
    if weight <= 0:
        raise Refusal(
            "no-training-patients", "the accepted sites hold no training patient", "check intake at the sites"
        )
    return total / _scale(weight)


def require_summable(values: NDArray[np.floating], weight: int, parties: int) -> float:
    """The largest ``|weight * values|`` in multiples of 2^-32, if ``parties`` such vectors can be added.

    Raises:
        Refusal: ``update-not-finite`` or ``update-too-large``.

    """
    low, high = _range(values)
    if not np.isfinite(low) or not np.isfinite(high):
        raise Refusal("update-not-finite", "an update holds NaN or infinity", "lower the learning rate")
    peak = max(-low, high) * _scale(weight)
    if peak > _SUM_LIMIT / parties:
        raise Refusal("update-too-large", "an update does not fit the exact sum", "lower the learning rate")
    return peak


class FixedSum:
    """A running exact total of `encode_fixed` vectors, held in one int64 vector; equal to it to the bit, but fast.

    Args:
        size: length of the vectors.
        parties: how many vectors may be added.

    Attributes:
        weight: sum of the weights so far.

    """

    def __init__(self, size: int, parties: int) -> None:
        self.weight = 0
        self._parties = parties
        self._added = 0
        self._total = np.zeros(size, dtype=np.int64)
        self._buffer = np.empty(min(size, CHUNK), dtype=np.float64)

    def add(self, values: NDArray[np.float32], weight: int) -> None:
        """Add ``weight * values``, (size,); what is refused leaves the total untouched.

        Raises:
            Refusal: as `encode_fixed`, or ``too-many-updates`` beyond ``parties`` vectors.

        """
        if self._added == self._parties:
            raise Refusal("too-many-updates", f"more than {self._parties} updates came", "repeat the round")
        peak = require_summable(values, weight, self._parties)
        for start in range(0, len(self._total), CHUNK):
            part = slice(start, start + CHUNK)
            if peak < _MAGIC_LIMIT:
                self._total[part] += self._magic(values[part], _scale(weight))
            else:
                self._total[part] += encode_fixed(values[part], weight, self._parties) + _MAGIC_BITS
        self._added += 1
        self.weight += weight

    def mean(self) -> NDArray[np.float64]:
        """The weighted mean, (size,). It takes the total's memory, so the sum is empty afterwards.

        Raises:
            Refusal: the weights sum to zero.

        """
        total, weight = self._total, self.weight
        mean = total.view(np.float64)
        surplus = _wrapped(self._added * _MAGIC_BITS)
        for start in range(0, len(total), CHUNK):
            part = slice(start, start + CHUNK)
            mean[part] = decode_fixed(total[part] - surplus, weight)
        self._total, self.weight = np.zeros(0, dtype=np.int64), 0
        return mean

    def _magic(self, values: NDArray[np.float32], scale: float) -> NDArray[np.int64]:
        """Bits of ``_MAGIC`` plus the rounded product; the buffer is overwritten by the next call."""
        buffer = self._buffer[: len(values)]
        np.copyto(buffer, values)
        buffer *= scale
        buffer += _MAGIC
        return buffer.view(np.int64)


def _scale(weight: int) -> float:
    return float(weight) * 2.0**FRACTION_BITS


def _range(values: NDArray[np.floating]) -> tuple[float, float]:
    """Least and largest value; NaN if there is one. Read once from memory, chunk by chunk."""
    flat = np.ravel(values)
    parts = [flat[start : start + CHUNK] for start in range(0, len(flat), CHUNK)]
    # numpy's minimum of numbers keeps a NaN, Python's does not: so lists of chunk results go back to numpy.
    lows, highs = [part.min() for part in parts], [part.max() for part in parts]
    return (float(np.min(lows)), float(np.max(highs))) if parts else (0.0, 0.0)


def _wrapped(value: int) -> int:
    """The integer in the range of int64 that equals ``value`` modulo 2^64."""
    return (value + 2**63) % 2**64 - 2**63

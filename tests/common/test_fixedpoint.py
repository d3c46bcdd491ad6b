"""Exact sums: order never matters, the weighted mean is right to 2^-32, overflow and NaN are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedescc.common.errors import Refusal
from fedescc.common.fixedpoint import FRACTION_BITS, decode_fixed, encode_fixed

updates = arrays(np.float32, (5,), elements=st.floats(-1e3, 1e3, width=32))


@given(st.lists(st.tuples(updates, st.integers(1, 500)), min_size=1, max_size=6), st.randoms())
def test_the_total_is_the_same_in_any_order(parts, random):
    encoded = [encode_fixed(delta, n, len(parts)) for delta, n in parts]
    shuffled = encoded[:]
    random.shuffle(shuffled)
    assert np.array_equal(np.sum(encoded, axis=0), np.sum(shuffled, axis=0))


@given(st.lists(st.tuples(updates, st.integers(1, 500)), min_size=1, max_size=6))
def test_the_mean_equals_the_float64_mean_within_the_rounding_of_each_site(parts):
    weight = sum(n for _, n in parts)
    total = np.sum([encode_fixed(delta, n, len(parts)) for delta, n in parts], axis=0)
    expected = sum(n * delta.astype(np.float64) for delta, n in parts) / weight
    bound = len(parts) * 2.0 ** -(FRACTION_BITS + 1) / weight
    assert np.abs(decode_fixed(total, weight) - expected).max() <= bound + 1e-12


def test_float_summation_would_depend_on_the_order():
    values = [np.float32(1e8), np.float32(1.0), np.float32(-1e8)]
    assert (values[0] + values[1]) + values[2] != (values[0] + values[2]) + values[1]
    encoded = [encode_fixed(np.array([v]), 1, 3)[0] for v in values]
    assert encoded[0] + encoded[1] + encoded[2] == encoded[0] + encoded[2] + encoded[1] == 2**FRACTION_BITS


@pytest.mark.parametrize("parties", [1, 3, 50])
def test_what_is_accepted_cannot_overflow(parties):
    largest = 2.0**62 / parties / 2.0**FRACTION_BITS
    total = sum(int(v) for v in [encode_fixed(np.array([largest * 0.999]), 1, parties)[0]] * parties)
    assert total < 2**63
    with pytest.raises(Refusal, match="update-too-large"):
        encode_fixed(np.array([largest * 1.001]), 1, parties)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused(bad):
    with pytest.raises(Refusal, match="update-not-finite"):
        encode_fixed(np.array([0.0, bad], dtype=np.float32), 3, 2)


def test_no_patients_is_refused():
    with pytest.raises(Refusal, match="no-training-patients"):
        decode_fixed(np.zeros(2, np.int64), 0)

"""Exact sums: order never matters, the weighted mean is right to 2^-32, the fast path equals the plain one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedescc.common.errors import Refusal
from fedescc.common.statistics.fixedpoint import (
    CHUNK,
    FRACTION_BITS,
    FixedSum,
    decode_fixed,
    encode_fixed,
    require_summable,
)

updates = arrays(np.float32, (5,), elements=st.floats(-1e3, 1e3, width=32))
any_float = st.floats(-(2.0**28), 2.0**28, width=32)
any_updates = arrays(np.float32, (5,), elements=any_float)
UNIT = 2.0**-FRACTION_BITS


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


@pytest.mark.parametrize("place", [0, 1, CHUNK - 1, CHUNK, 2 * CHUNK + 6])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused_wherever_it_is(bad, place):
    values = np.zeros(2 * CHUNK + 7, np.float32)
    values[place] = bad
    with pytest.raises(Refusal, match="update-not-finite"):
        require_summable(values, 3, 2)
    with pytest.raises(Refusal, match="update-not-finite"):
        encode_fixed(values, 3, 2)


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_peak_is_the_largest_magnitude_in_units(sign):
    assert require_summable(np.array([0.5, sign * -2.0, 1.0], np.float32), 3, 1) == 6.0 / UNIT
    assert require_summable(np.zeros(0, np.float32), 3, 1) == 0.0


def test_no_patients_is_refused():
    with pytest.raises(Refusal, match="no-training-patients"):
        decode_fixed(np.zeros(2, np.int64), 0)
    with pytest.raises(Refusal, match="no-training-patients"):
        FixedSum(2, 1).mean()


def plain_mean(parts, parties):
    total = np.sum([encode_fixed(values, n, parties) for values, n in parts], axis=0)
    return decode_fixed(total, sum(n for _, n in parts))


@given(st.lists(st.tuples(any_updates, st.integers(1, 4)), min_size=1, max_size=4))
def test_the_fast_sum_equals_the_plain_one_to_the_bit(parts):
    """Values up to 2^28 with weights up to 4: below, at and far above the fast path's limit of 2^19."""
    fast = FixedSum(5, 1 if len(parts) == 1 else 4)
    kept = []
    for values, n in parts:
        try:
            encode_fixed(values, n, fast._parties)
        except Refusal as refusal:
            with pytest.raises(Refusal, match=refusal.code):
                fast.add(values, n)
        else:
            fast.add(values, n)
            kept.append((values, n))
    if kept:
        assert fast.mean().tobytes() == plain_mean(kept, fast._parties).tobytes()


@pytest.mark.parametrize("weight", [1, 3, 57, 10_000_000])
def test_halves_round_to_even_as_in_the_plain_sum(weight):
    """Multiples of half a unit over the weight: every second product is a tie."""
    values = (np.arange(-4000, 4001) * 2.0 ** -(FRACTION_BITS + 1)).astype(np.float32)
    fast = FixedSum(len(values), 2)
    fast.add(values, weight)
    assert fast.mean().tobytes() == plain_mean([(values, weight)], 2).tobytes()
    ties = FixedSum(4, 1)
    ties.add(np.array([0.5, 1.5, 2.5, -0.5], np.float32) * np.float32(UNIT), 1)
    assert (ties.mean() / UNIT).tolist() == [0.0, 2.0, 2.0, 0.0]


@pytest.mark.parametrize("edge", [2.0**19, 2.0**19 - 2.0**-5, 2.0**19 + 2.0**-4, 2.0**30 - 64])
def test_both_sides_of_the_fast_paths_limit_are_exact(edge):
    values = np.array([edge, -edge, 1.0, 2.0**-33, -(2.0**-40), 0.0], np.float32)
    fast = FixedSum(6, 1)
    fast.add(values, 1)
    exact = np.rint(values.astype(np.float64) / UNIT) * UNIT
    assert fast.mean().tobytes() == (exact + 0.0).tobytes()


def test_fast_and_plain_updates_mix_over_many_chunks():
    rng = np.random.default_rng(3)
    size = 2 * CHUNK + 11
    parts = [(rng.standard_normal(size, np.float32) * np.float32(scale), n) for scale, n in [(1, 9), (1e6, 3), (1, 70)]]
    assert np.abs(parts[1][0]).max() * 3 > 2**19
    fast = FixedSum(size, 3)
    for values, n in parts:
        fast.add(values, n)
    assert fast.weight == 82
    assert fast.mean().tobytes() == plain_mean(parts, 3).tobytes()


def test_a_thousand_updates_wrap_the_helping_constant_and_leave_no_trace():
    fast = FixedSum(2, 1000)
    for _ in range(1000):
        fast.add(np.array([0.25, -0.75], np.float32), 2)
    assert fast.mean().tolist() == [0.25, -0.75]


def test_the_mean_takes_the_totals_memory():
    fast = FixedSum(CHUNK + 3, 1)
    fast.add(np.ones(CHUNK + 3, np.float32), 1)
    total = fast._total
    assert np.shares_memory(fast.mean(), total)
    assert fast.weight == 0


def test_more_updates_than_invited_are_refused():
    fast = FixedSum(1, 2)
    for _ in range(2):
        fast.add(np.ones(1, np.float32), 1)
    with pytest.raises(Refusal, match="too-many-updates"):
        fast.add(np.ones(1, np.float32), 1)
    assert fast.mean().tolist() == [1.0]

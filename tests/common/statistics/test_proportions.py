"""Wilson's interval against statsmodels, a published example, and its defining equation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored_patients import code, known
from statsmodels.stats.proportion import proportion_confint

from fedescc.common.statistics.proportions import wilson_interval

Z95 = 1.959963984540054


@st.composite
def proportions(draw: st.DrawFn) -> tuple[int, int]:
    whole = draw(st.integers(1, 100_000))
    return draw(st.integers(0, whole)), whole


@given(proportions())
def test_interval_is_that_of_statsmodels(drawn: tuple[int, int]) -> None:
    part, whole = drawn
    assert known(wilson_interval(part, whole)) == pytest.approx(
        proportion_confint(part, whole, method="wilson"), abs=1e-14
    )


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_published_intervals(part: int, whole: int, low: float, high: float) -> None:
    """Newcombe, Stat. Med. 17 (1998) 857, table I, method 3."""
    assert known(wilson_interval(part, whole)) == pytest.approx((low, high), abs=5e-5)


@given(proportions())
def test_both_ends_are_where_the_score_test_just_rejects(drawn: tuple[int, int]) -> None:
    part, whole = drawn
    for end in known(wilson_interval(part, whole)):
        if 0 < end < 1:
            assert (part / whole - end) ** 2 == pytest.approx(Z95**2 * end * (1 - end) / whole, rel=1e-6)


@given(proportions())
def test_interval_holds_the_share_inside_zero_and_one_and_mirrors(drawn: tuple[int, int]) -> None:
    part, whole = drawn
    low, high = known(wilson_interval(part, whole))
    assert 0 <= low <= part / whole <= high <= 1
    assert (low == 0, high == 1) == (part == 0, part == whole)
    assert known(wilson_interval(whole - part, whole)) == pytest.approx((1 - high, 1 - low), abs=1e-14)


def test_coverage_is_near_95_percent_in_small_samples() -> None:
    """Exact coverage over the binomial distribution of 25 patients, averaged over shares of 5 to 95 %."""
    from scipy.stats import binom

    intervals = [known(wilson_interval(part, 25)) for part in range(26)]
    shares = np.linspace(0.05, 0.95, 181)
    covered = [
        sum(binom.pmf(part, 25, p) for part, (low, high) in enumerate(intervals) if low <= p <= high) for p in shares
    ]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.01)
    assert min(covered) > 0.88


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    assert wilson_interval(np.int64(3), np.int32(7)) == wilson_interval(3, 7)
    with pytest.raises(TypeError):
        wilson_interval(0.5, 1)  # type: ignore[arg-type]


def test_nobody_has_no_share() -> None:
    assert wilson_interval(0, 0).reason == "no-patients"


@pytest.mark.parametrize(("part", "whole"), [(-1, 3), (4, 3), (1, 0), (0, -1)])
def test_impossible_counts_are_refused(part: int, whole: int) -> None:
    assert code(lambda: wilson_interval(part, whole)) == "bad-proportion"

"""Tests of differences between sites from sums alone: equal to SciPy's and statsmodels' on the patients themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency
from statsmodels.stats.oneway import anova_oneway

from fedescc.server.shortcuts.differences import (
    Moments,
    adjusted,
    chi_square,
    standardised_difference,
    welch_anova,
)


def moments(values):
    return Moments(len(values), float(np.mean(values)), float(np.var(values)))


@pytest.mark.parametrize("sizes", [(20, 35), (10, 40, 25), (8, 9, 30, 50)])
def test_welchs_test_is_that_of_the_patients(sizes):
    rng = np.random.default_rng(sizes[0])
    groups = [rng.normal(place, 1 + place, size) for place, size in enumerate(sizes)]
    expected = anova_oneway(groups, use_var="unequal", welch_correction=True)
    found = welch_anova([moments(group) for group in groups]).value
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-9)
    assert found.df == pytest.approx(tuple(expected.df), rel=1e-9)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)


def test_welchs_test_needs_spread_and_two_groups():
    assert welch_anova([Moments(10, 1.0, 1.0)]).reason == "fewer-than-two-sites"
    assert welch_anova([Moments(10, 1.0, 1.0), Moments(1, 2.0, 0.0)]).reason == "fewer-than-two-sites"
    assert welch_anova([Moments(10, 1.0, 1.0), Moments(10, 2.0, 0.0)]).reason == "no-spread"


@given(st.lists(st.lists(st.integers(0, 40), min_size=3, max_size=3), min_size=2, max_size=5))
def test_chi_square_is_scipys_on_the_levels_and_sites_that_have_anybody(rows):
    table = np.array(rows)
    kept = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    found = chi_square(table)
    if len(kept) < 2 or kept.shape[1] < 2:
        assert found.value is None
        return
    expected = chi2_contingency(kept, correction=False)
    assert found.value.test.statistic == pytest.approx(expected.statistic, abs=1e-9)
    assert found.value.test.df == (expected.dof,)
    assert found.value.test.p == pytest.approx(expected.pvalue, abs=1e-12)
    assert found.value.sparse == (expected.expected_freq.min() < 5)
    assert 0 <= found.value.v <= 1 + 1e-12


def test_a_category_that_names_the_site_has_a_v_of_one_and_one_that_does_not_of_zero():
    assert chi_square(np.diag([30, 20, 10])).value.v == pytest.approx(1)
    assert chi_square(np.array([[10, 20], [5, 10]])).value.v == pytest.approx(0)
    assert chi_square(np.array([[10, 0], [5, 0]])).reason == "one-level"
    assert chi_square(np.zeros((0, 3), np.int64)).reason == "fewer-than-two-sites"


def test_standardised_difference_by_hand():
    assert standardised_difference(Moments(10, 3.0, 1.0), Moments(20, 1.0, 7.0)).value == pytest.approx(1.0)
    assert standardised_difference(Moments(10, 3.0, 0.0), Moments(20, 3.0, 0.0)).value == 0
    assert standardised_difference(Moments(10, 3.0, 0.0), Moments(20, 1.0, 0.0)).reason == "no-spread"


def test_adjusted_p_values_are_those_of_benjamini_and_hochbergs_own_example():
    """Their table of 15 p-values: at a rate of 0.05 the first four are rejected."""
    known = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240]
    known += [0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    found = adjusted({str(place): p for place, p in enumerate(known)})
    assert [name for name, p in found.items() if p <= 0.05] == ["0", "1", "2", "3"]
    assert found["3"] == pytest.approx(0.0095 * 15 / 4)
    assert adjusted({}) == {}

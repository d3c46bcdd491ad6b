"""DeLong from all pairs: by hand, and beside the federation's own, which shares no line with it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from fedescc.common.statistics.roc import auc, delong_variance, paired_delong
from fedescc.simulations.audit.pairs import delong_by_pairs, paired_difference, two_sided


def test_two_patients_a_class_by_hand():
    """Positives 3 and 1, negatives 2 and 1: 3 beats both, 1 loses once and ties once."""
    (area,), covariance = delong_by_pairs(np.array([1, 1, 0, 0]), np.array([3.0, 1.0, 2.0, 1.0]))
    assert area == (1 + 1 + 0 + 0.5) / 4
    # Placements of positives 1 and 1/4, of negatives 1/2 and 3/4: variances 9/32 and 1/32, each over 2 patients.
    assert covariance[0, 0] == pytest.approx(9 / 64 + 1 / 64)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(2, 30), st.booleans())
def test_it_equals_the_federations_own(seed, negatives, positives, ties):
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1], [negatives, positives])
    scores = [rng.normal(y) for _ in range(2)]
    if ties:
        scores = [np.round(score) for score in scores]
    areas, covariance = delong_by_pairs(y, *scores)
    for place, score in enumerate(scores):
        assert areas[place] == pytest.approx(auc(y, score).value, abs=1e-12)
        assert covariance[place, place] == pytest.approx(delong_variance(y, score).value, abs=1e-12)
    difference, error = paired_difference(y, *scores)
    known = paired_delong(y, *scores).value
    if known is not None:
        assert difference == pytest.approx(known.difference, abs=1e-12)
        assert error == pytest.approx(known.standard_error, abs=1e-9)
        assert two_sided(difference, error) == pytest.approx(known.p, abs=1e-9)


def test_p_of_196_standard_errors_is_five_percent():
    assert two_sided(-norm.ppf(0.975) * 0.02, 0.02) == pytest.approx(0.05)

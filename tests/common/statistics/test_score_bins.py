"""Bin edges: dense where scores can be, at quantiles of training scores, and accurate enough for the AUC."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scored_patients import Floats, Labels, code, known, patients

from fedescc.common.statistics.roc import (
    auc,
    delong_variance,
    histogram_auc,
    histogram_delong_variance,
    score_histogram,
)
from fedescc.common.statistics.score_bins import (
    bin_limits,
    checked_edges,
    fine_logit_edges,
    quantile_edges,
    whole_counts,
)


def fine_histogram(y: Labels, s: Floats) -> NDArray[np.int64]:
    fine = score_histogram(y, s, fine_logit_edges())
    return fine.negatives + fine.positives


# Training AUC .82 as tested; overconfident (logits x 12); and overfitted too, with training AUC .983, .9977, .9998.
@pytest.mark.parametrize(("train_gap", "scale"), [(1.3, 1.0), (1.3, 12.0), (3.0, 12.0), (4.0, 12.0)])
def test_fifty_bins_from_training_scores_are_enough(train_gap: float, scale: float) -> None:
    """Two hundred federations of 210 training and 300 test patients at AUC .82."""
    rng = np.random.default_rng(11)
    errors, se_errors = [], []
    for _ in range(200):
        edges = quantile_edges(fine_histogram(*patients(rng, 210, train_gap, scale)), fine_logit_edges())
        y, s = patients(rng, 300, 1.3, scale)
        histogram = score_histogram(y, s, edges)
        assert histogram.negatives.size <= 50
        errors.append(abs(known(histogram_auc(histogram)) - known(auc(y, s))))
        se_errors.append(math.sqrt(known(histogram_delong_variance(histogram)) / known(delong_variance(y, s))) - 1)
    assert np.mean(errors) <= (0.001 if train_gap < 4 else 0.0012)
    assert np.max(errors) <= 0.005
    assert np.max(np.abs(se_errors)) <= 0.02


def test_equal_width_probability_bins_fail_on_overconfident_scores() -> None:
    """Why quantiles of logits: with probabilities at 0 and 1, equal bins put everybody into two."""
    rng = np.random.default_rng(12)
    y, s = patients(rng, 300, 1.3, scale=12.0)
    probability = 0.5 * (1 + np.tanh(s / 2))
    equal = score_histogram(y, probability, np.arange(1, 50) / 50)
    quantile = score_histogram(y, s, quantile_edges(fine_histogram(y, s), fine_logit_edges()))
    exact = known(auc(y, s))
    assert abs(known(histogram_auc(equal)) - exact) > 0.01
    assert abs(known(histogram_auc(quantile)) - exact) < 0.003


def test_plain_quantiles_fail_where_training_classes_are_far_apart_and_spread_does_not() -> None:
    rng = np.random.default_rng(13)
    training = fine_histogram(*patients(rng, 210, gap=8.0, scale=3.0))
    y, s = patients(rng, 300, gap=1.3, scale=3.0)
    error = {}
    for spread in (0.0, 0.5):
        edges = quantile_edges(training, fine_logit_edges(), spread=spread)
        error[spread] = abs(known(histogram_auc(score_histogram(y, s, edges))) - known(auc(y, s)))
    assert error[0.0] > 0.05
    assert error[0.5] < 0.01


def test_plain_quantile_edges_are_the_quantiles() -> None:
    """One patient in each of 100 unit bins: quarters lie at 25, 50 and 75."""
    fine = np.arange(1.0, 100.0)
    assert quantile_edges(np.ones(100), fine, bins=4, spread=0.0).tolist() == [25.0, 50.0, 75.0]
    assert quantile_edges(np.ones(100), fine, bins=4).tolist() == [25.0, 50.0, 75.0]


@settings(max_examples=60)
@given(
    hnp.arrays(np.int64, 41, elements=st.integers(-3, 30)).filter(lambda counts: bool((counts > 0).any())),
    st.integers(2, 60),
    st.floats(0, 0.99),
)
def test_quantile_edges_are_increasing_fine_edges(counts: NDArray[np.int64], bins: int, spread: float) -> None:
    fine = np.linspace(-2, 2, 40)
    edges = quantile_edges(counts, fine, bins, spread)
    assert 1 <= edges.size <= bins - 1
    assert set(edges.tolist()) <= set(fine.tolist())
    assert (np.diff(edges) > 0).all()


def test_fine_edges_are_dense_near_zero_and_reach_a_thousand() -> None:
    edges = fine_logit_edges()
    assert edges.shape == (2001,)
    assert edges[[0, -1]] == pytest.approx([-1000, 1000])
    assert edges[1000] == pytest.approx(0, abs=1e-12)
    assert np.diff(edges).min() == pytest.approx(0.0076, abs=1e-4)
    assert (np.diff(edges)[1500:] / edges[1500:-1]).max() < 0.008


@settings(max_examples=30)
@given(hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(-50, 50), unique=True))
def test_limits_close_the_open_bins_by_their_neighbours_width(drawn: Floats) -> None:
    edges = np.sort(np.round(drawn, 3))
    edges = np.unique(edges)
    limits = bin_limits(edges)
    assert limits[1:-1].tolist() == edges.tolist()
    width = (1.0, 1.0) if edges.size == 1 else (edges[1] - edges[0], edges[-1] - edges[-2])
    assert (limits[1] - limits[0], limits[-1] - limits[-2]) == pytest.approx(width, abs=1e-9)


def test_malformed_edges_counts_and_binnings_are_refused() -> None:
    refused = {
        "bad-edges": [
            lambda: checked_edges([0.2, 0.2]),
            lambda: checked_edges([0.3, 0.2]),
            lambda: checked_edges([0.3, math.inf]),
            lambda: checked_edges([math.nan]),
            lambda: checked_edges([[0.1], [0.2]]),
            lambda: quantile_edges([1, 2, 3], [0.1, 0.1]),
        ],
        "bad-histogram": [
            lambda: quantile_edges([1, 2], [0.1, 0.2]),
            lambda: whole_counts([]),
            lambda: whole_counts([1.0]),
            lambda: whole_counts([-1]),
            lambda: whole_counts([[1]]),
            lambda: whole_counts([True]),
        ],
        "bad-binning": [
            lambda: quantile_edges([1, 2], [0.1], bins=1),
            lambda: quantile_edges([1, 2], [0.1], spread=1.0),
            lambda: quantile_edges([1, 2], [0.1], spread=-0.1),
        ],
        "empty-histogram": [lambda: quantile_edges([0, 0], [0.1]), lambda: quantile_edges([-3, 0], [0.1])],
    }
    for expected, attempts in refused.items():
        assert [code(attempt) for attempt in attempts] == [expected] * len(attempts)
    assert checked_edges([]).size == 0
    assert whole_counts(np.array([1, 2], np.uint8)).dtype == np.int64

"""Curves from histograms against scikit-learn on the same binned scores, and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored_patients import Floats, Labels, code, known, patients, tied_scores
from sklearn.calibration import calibration_curve as sklearn_calibration
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from fedescc.common.statistics.curves import average_precision, calibration_curve, partial_auc, precision_recall
from fedescc.common.statistics.roc import ClassHistogram, histogram_auc, probability, score_histogram
from fedescc.common.statistics.score_bins import bin_limits, fine_logit_edges, quantile_edges

EDGES = np.arange(-3, 5).astype(np.float64)
FINE = np.linspace(-3, 3, 41)
SHARES = st.floats(0.01, 1.0)


def binned(s: Floats, edges: Floats) -> Floats:
    """Scores as the histogram knows them: the number of their bin."""
    return np.searchsorted(edges, s, side="right").astype(np.float64)


def histogram(negatives: list[int], positives: list[int]) -> ClassHistogram:
    return ClassHistogram(np.array(negatives), np.array(positives))


@given(tied_scores(), SHARES)
def test_partial_auc_is_that_of_scikit_learn(sample: tuple[Labels, Floats], max_fpr: float) -> None:
    y, s = sample
    expected = roc_auc_score(y, binned(s, EDGES), max_fpr=max_fpr)
    assert known(partial_auc(score_histogram(y, s, EDGES), max_fpr)) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("max_fpr", [0.05, 0.1, 0.2, 0.5, 0.9])
def test_partial_auc_of_a_study_is_that_of_scikit_learn(max_fpr: float) -> None:
    y, s = patients(np.random.default_rng(1), 400, gap=1.3)
    expected = roc_auc_score(y, binned(s, FINE), max_fpr=max_fpr)
    assert known(partial_auc(score_histogram(y, s, FINE), max_fpr)) == pytest.approx(expected, abs=1e-12)


def test_partial_auc_up_to_everybody_is_the_auc() -> None:
    counts = histogram([5, 3, 1], [1, 2, 6])
    assert known(partial_auc(counts, 1.0)) == pytest.approx(known(histogram_auc(counts)), abs=1e-15)


@given(SHARES)
def test_partial_auc_is_one_if_perfect_and_half_if_by_chance(max_fpr: float) -> None:
    assert known(partial_auc(histogram([4, 3, 0], [0, 0, 5]), max_fpr)) == pytest.approx(1, abs=1e-12)
    assert known(partial_auc(histogram([4, 2, 6], [2, 1, 3]), max_fpr)) == pytest.approx(0.5, abs=1e-9)


@given(tied_scores())
def test_precision_and_recall_are_those_of_scikit_learn(sample: tuple[Labels, Floats]) -> None:
    """scikit-learn gives a point a distinct score; here is one at every edge, equal where a bin is empty."""
    y, s = sample
    found = known(precision_recall(score_histogram(y, s, EDGES), EDGES))
    precision, recall, at = precision_recall_curve(y, binned(s, EDGES))
    bins = np.append(binned(found.thresholds, EDGES), 0.0)
    same = np.searchsorted(at, bins, side="left")
    assert found.precision == pytest.approx(precision[same], abs=1e-15)
    assert found.recall == pytest.approx(recall[same], abs=1e-15)
    assert set(at) <= {*bins, 0.0}


@given(tied_scores())
def test_recall_rises_to_everybody_as_the_threshold_falls(sample: tuple[Labels, Floats]) -> None:
    y, s = sample
    found = known(precision_recall(score_histogram(y, s, EDGES), EDGES))
    assert (np.diff(found.recall) >= 0).all()
    assert (np.diff(found.thresholds) < 0).all()
    assert found.recall[-1] == 1
    assert found.precision[-1] == found.prevalence == y.mean()
    assert found.thresholds.size == found.recall.size - 1
    assert ((found.precision >= 0) & (found.precision <= 1)).all()


def test_precision_has_no_point_where_nobody_is_called() -> None:
    found = known(precision_recall(histogram([6, 1, 0, 0], [2, 3, 0, 0]), [-1.0, 0.0, 1.0]))
    assert found.thresholds.tolist() == [-1.0]
    assert found.precision.tolist() == [0.75, 5 / 12]
    assert found.recall.tolist() == [0.6, 1.0]


@given(tied_scores())
def test_average_precision_is_that_of_scikit_learn(sample: tuple[Labels, Floats]) -> None:
    y, s = sample
    expected = average_precision_score(y, binned(s, EDGES))
    assert known(average_precision(score_histogram(y, s, EDGES))) == pytest.approx(expected, abs=1e-12)


def test_fifty_bins_read_average_precision_a_little_low() -> None:
    """What the docstring says of 300 patients at AUC .82."""
    rng, errors = np.random.default_rng(5), []
    for _ in range(100):
        y, s = patients(rng, 300, gap=1.3)
        fine = score_histogram(*patients(rng, 210, gap=1.3), fine_logit_edges())
        edges = quantile_edges(fine.negatives + fine.positives, fine_logit_edges())
        errors.append(known(average_precision(score_histogram(y, s, edges))) - float(average_precision_score(y, s)))
    assert np.mean(errors) == pytest.approx(-0.008, abs=0.001)
    assert -0.022 < np.min(errors) < np.max(errors) < 0.01


def predicted_in_bins(s: Floats, edges: Floats) -> Floats:
    """Every patient's probability as the curve takes it: the middle of the bin's."""
    limits = probability(bin_limits(edges))
    return ((limits[1:] + limits[:-1]) / 2)[binned(s, edges).astype(int)]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("groups", [1, 4, 10])
def test_calibration_is_that_of_scikit_learn(seed: int, groups: int) -> None:
    y, s = patients(np.random.default_rng(seed), 300 + seed, gap=1.3)
    found = known(calibration_curve(score_histogram(y, s, FINE), FINE, groups))
    observed, predicted = sklearn_calibration(y, predicted_in_bins(s, FINE), n_bins=groups, strategy="quantile")
    assert found.observed == pytest.approx(observed, abs=1e-12)
    assert found.predicted == pytest.approx(predicted, abs=1e-12)


@given(tied_scores(), st.integers(1, 12))
def test_calibration_groups_share_out_whole_bins(sample: tuple[Labels, Floats], groups: int) -> None:
    """Group of a patient by definition: how many quantiles of all patients' probabilities lie below it."""
    y, s = sample
    found = known(calibration_curve(score_histogram(y, s, EDGES), EDGES, groups))
    chance = predicted_in_bins(s, EDGES)
    ranked = np.sort(chance)
    below = [ranked[k * (y.size - 1) // groups] for k in range(1, groups)]
    group = np.array([sum(quantile < value for quantile in below) for value in chance])
    kept = [np.flatnonzero(group == g) for g in np.unique(group)]
    assert found.n.tolist() == [rows.size for rows in kept]
    assert found.n.sum() == y.size
    assert found.observed == pytest.approx([y[rows].mean() for rows in kept], abs=1e-12)
    assert found.predicted == pytest.approx([chance[rows].mean() for rows in kept], abs=1e-12)
    assert (np.diff(found.predicted) > 0).all()


@given(tied_scores())
def test_calibration_intervals_are_wilsons(sample: tuple[Labels, Floats]) -> None:
    y, s = sample
    found = known(calibration_curve(score_histogram(y, s, EDGES), EDGES, 4))
    for n, observed, low, high in zip(found.n, found.observed, found.low, found.high, strict=True):
        expected = proportion_confint(round(observed * n), n, method="wilson")
        assert (low, high) == pytest.approx(expected, abs=1e-12)


def test_calibration_of_a_calibrated_model_lies_on_the_diagonal() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(-1, 1.5, 40_000)
    y = rng.random(logits.size) < probability(logits)
    edges = np.quantile(logits[:5000], np.arange(1, 50) / 50)
    counts = score_histogram(y, logits, edges)
    found = known(calibration_curve(counts, edges))
    assert found.n.size == 10
    assert np.abs(found.predicted - found.observed).max() < 0.02
    assert np.abs(found.n - 4000).max() <= (counts.negatives + counts.positives).max()


def test_predicted_probability_is_known_to_half_a_bin() -> None:
    y, s = patients(np.random.default_rng(6), 500, gap=1.3)
    inside = (s > EDGES[0]) & (s < EDGES[-1])
    found = known(calibration_curve(score_histogram(y[inside], s[inside], EDGES), EDGES, 1))
    widest = np.diff(probability(EDGES)).max()
    assert abs(found.predicted[0] - probability(s[inside]).mean()) <= widest / 2


def test_one_edge_makes_two_groups() -> None:
    found = known(calibration_curve(histogram([6, 2], [2, 6]), [0.0], 2))
    middle = [(0.5 + 1 / (1 + math.e)) / 2, (0.5 + math.e / (1 + math.e)) / 2]
    assert found.predicted == pytest.approx(middle, abs=1e-15)
    assert found.observed.tolist() == [0.25, 0.75]


def test_one_class_has_calibration_but_no_other_curve() -> None:
    only = histogram([3, 2], [0, 0])
    assert partial_auc(only, 0.2).reason == "one-class"
    assert precision_recall(only, [0.0]).reason == "one-class"
    assert average_precision(only).reason == "one-class"
    assert known(calibration_curve(only, [0.0], 2)).observed.tolist() == [0.0, 0.0]


def test_nobody_has_no_curve() -> None:
    empty = histogram([0, 0], [0, 0])
    reasons = {
        partial_auc(empty, 0.2).reason,
        precision_recall(empty, [0.0]).reason,
        average_precision(empty).reason,
        calibration_curve(empty, [0.0]).reason,
    }
    assert reasons == {"no-patients"}
    assert calibration_curve(histogram([3], [4]), []).reason == "no-edges"


@given(tied_scores(at_least=4), st.integers(1, 7))
def test_curves_do_not_tell_how_patients_are_divided(sample: tuple[Labels, Floats], cut: int) -> None:
    y, s = sample
    whole = score_histogram(y, s, EDGES)
    parts = score_histogram(y[cut:], s[cut:], EDGES) + score_histogram(y[:cut], s[:cut], EDGES)
    assert partial_auc(parts, 0.3) == partial_auc(whole, 0.3)
    assert average_precision(parts) == average_precision(whole)
    assert known(calibration_curve(parts, EDGES)).predicted.tolist() == (
        known(calibration_curve(whole, EDGES)).predicted.tolist()
    )


@pytest.mark.parametrize("bad", [0.0, -0.5, 1.5, math.nan])
def test_impossible_false_positive_rates_are_refused(bad: float) -> None:
    assert code(lambda: partial_auc(histogram([1], [1]), bad)) == "bad-max-fpr"


def test_wrong_edges_and_groups_are_refused() -> None:
    counts = histogram([1, 2], [3, 4])
    assert code(lambda: precision_recall(counts, [0.0, 1.0])) == "bad-histogram"
    assert code(lambda: calibration_curve(counts, [0.0, 1.0])) == "bad-histogram"
    assert code(lambda: calibration_curve(counts, [math.inf])) == "bad-edges"
    assert code(lambda: calibration_curve(counts, [0.0], 0)) == "bad-groups"

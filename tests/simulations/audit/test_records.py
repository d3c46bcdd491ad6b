"""METRICS: right ones pass every figure, and each that is changed is found by name."""

import numpy as np
import pytest
from audited import EDGES, THRESHOLD, failed, published
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fedescc.common.statistics.roc import histogram_auc, histogram_delong_variance, score_histogram
from fedescc.simulations.audit.bins import Locked
from fedescc.simulations.audit.calibration import audit_calibration
from fedescc.simulations.audit.classification import audit_classification
from fedescc.simulations.audit.discrimination import audit_auc, audit_binned_auc, bin_bounds, standard_error
from fedescc.simulations.audit.figures import Ledger
from fedescc.simulations.audit.pairs import delong_by_pairs
from fedescc.simulations.audit.scores import Scored

CHANGED = (
    "n", "n_pos", "accuracy", "sensitivity", "specificity", "ppv", "npv", "brier", "auc",
    "calibration_intercept", "calibration_slope",
)  # fmt: skip


def audited(record, scored):
    ledger = Ledger()
    audit_auc(ledger, "m", record, scored)
    audit_classification(ledger, "m", record, scored, THRESHOLD)
    audit_calibration(ledger, "m", record, scored)
    return ledger


def test_a_right_record_passes_every_figure(scored):
    ledger = audited(published(scored), scored)
    assert failed(ledger) == []
    assert len(ledger.figures) == len(CHANGED) + 2 + 5 * 2  # the AUC's interval, and Wilson's of five shares
    assert ledger.skipped == {}


@pytest.mark.parametrize("key", CHANGED)
def test_a_changed_figure_is_found(key, scored):
    record = published(scored)
    ledger = audited(record | {key: record[key] + 2e-6 * max(1.0, abs(record[key]))}, scored)
    assert failed(ledger) == [f"m / {key}"]


@pytest.mark.parametrize("end", [0, 1])
def test_a_changed_interval_is_found(end, scored):
    record = published(scored)
    record["auc_ci95"][end] += 2e-6
    record["ci95"]["ppv"][end] += 2e-6
    side = ("low", "high")[end]
    assert failed(audited(record, scored)) == [f"m / auc interval, {side}", f"m / ppv interval, {side}"]


def test_a_null_is_passed_over_by_name(scored):
    record = published(scored) | {"auc": None, "auc_ci95": None, "calibration_slope": None}
    ledger = audited(record, scored)
    assert failed(ledger) == []
    assert set(ledger.skipped) == {"m / auc", "m / calibration_slope"}


def test_figures_of_one_class_that_have_none_are_found(scored):
    """Published although the pooled patients give none."""
    alone = Scored(np.ones(200, np.int8), scored.logit)
    assert {"m / auc", "m / specificity"} <= set(failed(audited(published(scored), alone)))


def test_a_separated_sample_has_no_slope(scored):
    apart = Scored((scored.logit > 0).astype(np.int8), scored.logit)
    record = published(apart)
    assert record["calibration_slope"] is None
    assert failed(audited(record, apart)) == []


def test_pooled_figures_are_those_of_bins_and_near_exact_scores(scored, locked):
    ledger = Ledger()
    audit_binned_auc(ledger, "m", published(scored, binned=True), scored, locked)
    assert failed(ledger) == []
    assert [figure.name for figure in ledger.figures[-2:]] == ["m / auc", "m / auc standard error"]
    assert all(figure.tolerance > 1e-4 for figure in ledger.figures[-2:])
    exact = Ledger()
    audit_binned_auc(exact, "m", published(scored), scored, locked)
    assert "m / auc" in failed(exact)


def test_other_bins_are_found(scored):
    ledger = Ledger()
    audit_binned_auc(ledger, "m", published(scored, binned=True), scored, Locked(EDGES[::2], THRESHOLD))
    assert "m / auc" in failed(ledger)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(2, 40), st.integers(2, 40))
def test_binning_moves_no_figure_beyond_its_bound(seed, edges, negatives, positives):
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1], [negatives, positives])
    score = rng.normal(rng.uniform(0, 3) * y)
    cuts = np.sort(rng.normal(size=edges))
    of_auc, of_error = bin_bounds(y, np.digitize(score, cuts).astype(float))
    histogram = score_histogram(y, score, cuts)
    _, covariance = delong_by_pairs(y, score)
    assert abs(histogram_auc(histogram).value - roc_auc_score(y, score)) <= of_auc + 1e-12
    moved = np.sqrt(histogram_delong_variance(histogram).value) - np.sqrt(covariance[0, 0])
    assert abs(moved) <= of_error + 1e-12


def test_one_bin_can_hide_everything():
    """All pairs tied: the AUC is 1/2 whatever it was, and the bound says so."""
    assert bin_bounds(np.array([0, 0, 1, 1]), np.zeros(4))[0] == 0.5


def test_an_interval_tells_its_standard_error(scored):
    record = published(scored)
    _, covariance = delong_by_pairs(scored.y, scored.logit)
    assert standard_error(record["auc"], record["auc_ci95"]) == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-9)

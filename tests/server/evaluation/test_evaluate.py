"""Pooling at the server: hostile or broken replies are refused, totals are sums, reasons are kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedescc.common.errors import Refusal
from fedescc.common.statistics.metrics import METRIC_KEYS, suppressed_record
from fedescc.common.statistics.recalibration import recalibration_terms
from fedescc.common.sums import add_up
from fedescc.common.wire import Reply
from fedescc.server.evaluation.evaluate import pooled_auc
from fedescc.server.replies import (
    SplitShare,
    fine_histogram,
    patients_and_loss,
    recalibration_share,
    split_share,
)
from fedescc.server.results import read_results, write_json

SUMS = {"n": 5, "n_pos": 2, "tp": 1, "fp": 1, "tn": 2, "fn": 1, "brier_sum": 1.0, "log_loss_sum": 2.0}
HISTOGRAM = {"negatives": [2, 1], "positives": [0, 2]}


def reply(**sums):
    return Reply("site-a", "study", sums)


def test_histograms_add_and_give_the_hand_computed_auc():
    one, two = (
        split_share(SUMS | HISTOGRAM, {}, 2),
        split_share(SUMS | {"negatives": [1, 2], "positives": [1, 1]}, {}, 2),
    )
    total = add_up([one.histogram, two.histogram])
    assert total.negatives.tolist() == [3, 3]
    assert total.positives.tolist() == [1, 3]
    # the low positive ties with 3 of 6; the 3 high ones beat 3 and tie with 3
    assert pooled_auc([one, two])[0].value == pytest.approx((1.5 + 3 * (3 + 1.5)) / (4 * 6))


def test_no_share_is_a_reason_and_one_kept_histogram_too():
    area, interval = pooled_auc([])
    assert (area.value, area.reason) == (None, "no-site-released-it")
    assert interval.value is None
    kept = split_share(SUMS, {}, 2)
    assert pooled_auc([split_share(SUMS | HISTOGRAM, {}, 2), kept])[0].reason == "histogram-not-released"
    assert pooled_auc([SplitShare(None, None)])[0].reason == "no-site-released-it"


@pytest.mark.parametrize("missing", ["negatives", "positives"])
def test_half_a_histogram_is_none(missing):
    half = {key: value for key, value in HISTOGRAM.items() if key != missing}
    assert split_share(SUMS | half, {}, 2).histogram is None


@pytest.mark.parametrize("missing", list(SUMS))
def test_incomplete_sums_are_none(missing):
    share = split_share({key: value for key, value in SUMS.items() if key != missing}, {"n": "few"}, 2)
    assert share.sums is None
    assert share.reasons == {"n": "few"}


@pytest.mark.parametrize("change", [{"tp": 2}, {"n": 4}, {"fn": -1}, {"brier_sum": 9.0}, {"log_loss_sum": -1.0}])
def test_contradicting_sums_are_refused(change):
    with pytest.raises(Refusal, match="inconsistent-sums"):
        split_share(SUMS | change, {}, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"negatives": [3]},
        {"negatives": [1, 1, 1]},
        {"negatives": 3},
        {"negatives": [2, 2]},
        {"positives": [2, 1], "negatives": [1, 1]},
    ],
)
def test_a_histogram_of_other_bins_or_patients_is_refused(change):
    with pytest.raises(Refusal, match="malformed-message"):
        split_share(SUMS | HISTOGRAM | change, {}, 2)


def test_a_prefix_picks_its_own_keys():
    sums = {f"validation_{key}": value for key, value in (SUMS | HISTOGRAM).items()} | {"n": 99, "loss": 1.0}
    share = split_share(sums, {"validation_auc": "one-class", "loss": "x"}, 2, prefix="validation_")
    assert share.sums.n == 5
    assert share.histogram.positives.tolist() == [0, 2]
    assert share.reasons == {"auc": "one-class"}


def test_site_estimates_come_with_reasons():
    share = split_share(SUMS | {"auc": 0.75}, {"calibration_slope": "separated"}, 2)
    assert share.estimate("auc").value == 0.75
    assert share.estimate("calibration_slope").reason == "separated"
    assert share.estimate("calibration_intercept").reason == "not-released"


@pytest.mark.parametrize("change", [{"auc": 0.95}, {"auc": 0.2}, {"auc_low": 0.95}, {"auc_low": 0.95, "auc": None}])
def test_an_auc_outside_its_interval_is_refused(change):
    interval = {"auc": 0.75, "auc_low": 0.6, "auc_high": 0.9}
    assert split_share(SUMS | interval, {}, 2).estimates == interval
    sums = {key: value for key, value in (SUMS | interval | change).items() if value is not None}
    with pytest.raises(Refusal, match="malformed-message"):
        split_share(sums, {}, 2)


@pytest.mark.parametrize("counts", [[1, 2], [1, 2, 3, 4], 3, []])
def test_fine_histograms_have_the_bins_asked_for(counts):
    with pytest.raises(Refusal, match="malformed-message"):
        fine_histogram(reply(counts=counts), 3)
    assert fine_histogram(reply(), 3) is None
    assert fine_histogram(reply(counts=[1, 0, 2]), 3).tolist() == [1, 0, 2]


TERMS = {
    "n": 9,
    "n_pos": 4,
    "large_loss": [1.0],
    "large_gradient": [0.5],
    "large_hessian": [2.0],
    "slope_loss": [1.0],
    "slope_gradient": [0.5, 0.1],
    "slope_hessian": [2.0, 0.3, 0.3, 1.0],
}


def test_recalibration_terms_take_shape():
    terms = recalibration_share(reply(**TERMS))
    assert terms["slope"].hessian.tolist() == [[2.0, 0.3], [0.3, 1.0]]
    assert terms["large"].gradient.tolist() == [0.5]
    assert recalibration_share(reply()) is None


@pytest.mark.parametrize("key", [key for key in TERMS if key != "n"])
def test_incomplete_terms_are_refused(key):
    with pytest.raises(Refusal, match="malformed-message"):
        recalibration_share(reply(**{name: value for name, value in TERMS.items() if name != key}))
    if isinstance(TERMS[key], list):
        with pytest.raises(Refusal, match="malformed-message"):
            recalibration_share(reply(**TERMS | {key: [*TERMS[key], 0.0]}))


@pytest.mark.parametrize(
    "change",
    [
        {"n_pos": 10},
        {"large_loss": [-1.0]},
        {"large_hessian": [-2.0]},
        {"slope_hessian": [2.0, 0.3, 0.4, 1.0]},
        {"slope_hessian": [2.0, 3.0, 3.0, 1.0]},
        {"slope_hessian": [1.0, 0.5, 2.0, 1.0]},  # singular, though it does not look it
    ],
)
def test_terms_that_no_patients_have_are_refused(change):
    with pytest.raises(Refusal, match="malformed-message"):
        recalibration_share(reply(**TERMS | change))


@given(st.integers(1, 40), st.floats(1e-6, 60), st.integers(0, 99))
def test_terms_of_patients_are_taken_however_confident_their_model(n, scale, seed):
    rng = np.random.default_rng(seed)
    y, logit = rng.integers(0, 2, n), scale * rng.standard_normal(n)
    large, slope = recalibration_terms(y, logit, (0.1,)), recalibration_terms(y, logit, (0.0, 1.0))
    sums = {"n": n, "n_pos": int(y.sum())}
    for name, terms in (("large", large), ("slope", slope)):
        sums |= {f"{name}_loss": [terms.log_loss], f"{name}_gradient": terms.gradient.tolist()}
        sums |= {f"{name}_hessian": terms.hessian.ravel().tolist()}
    assert recalibration_share(reply(**sums)) is not None


@pytest.mark.parametrize("sums", [{"n": 3}, {"loss": 1.0}, {}])
def test_a_training_reply_has_patients_and_loss(sums):
    with pytest.raises(Refusal, match="malformed-message"):
        patients_and_loss(sums)


def test_a_suppressed_record_has_every_key_and_reason():
    record = suppressed_record("few", 0.4)
    assert set(record) == {*METRIC_KEYS, "ci95", "suppressed"}
    assert record["threshold"] == 0.4
    assert set(record["suppressed"].values()) == {"few"}
    assert set(record["suppressed"]) == set(METRIC_KEYS) - {"threshold"}


def test_results_are_written_whole_and_never_with_nan(tmp_path):
    write_json(tmp_path / "results.json", {"study": "s"})
    assert read_results(tmp_path) == {"study": "s"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "results.json", {"auc": float("nan")})
    assert read_results(tmp_path) == {"study": "s"}


@pytest.mark.parametrize("content", [None, "", "{", "[1]"])
def test_unreadable_results_are_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(Refusal, match="no-results"):
        read_results(tmp_path)

"""One site of four answers badly: the others go on, the site is named with a code, the run ends with results."""

import dataclasses
import math

import numpy as np
import pytest
from flwr.app import Array, Message

from fedescc.client import app
from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.wire import pack_reply
from fedescc.server.report.page import write_report

BAD = "site-b"


def tamper(monkeypatch, message_type, change):
    """Let one site's egress be replaced by an attacker's: any reply it likes."""
    honest = app.release

    def release(reply, message, request, minimum):
        if reply.site != BAD or message.metadata.message_type != message_type:
            return honest(reply, message, request, minimum)
        return change(reply, message)

    monkeypatch.setattr(app, "release", release)


def with_sums(**changes):
    def change(reply, message):
        sums = {key: value for key, value in (reply.sums | changes).items() if value is not None}
        return Message(pack_reply(dataclasses.replace(reply, sums=sums)), reply_to=message)

    return change


CHANGES = [
    (wire.STATISTICS, {"covariate_counts": [1]}),
    (wire.STATISTICS, {"covariate_totals": [2**60, 2**60]}),
    (wire.STATISTICS, {"flow_included": math.nan}),
    (wire.TRAIN, {"loss": None}),
    (wire.TRAIN, {"loss": math.nan}),
    (wire.TRAIN, {"n": 2**62}),
    (wire.TRAIN, {"n": 40}),
    (wire.TRAIN, {"validation_tp": 9999}),
    (wire.TRAINING_SCORES, {"counts": [1, 2]}),
    (wire.TRAINING_SCORES, {"counts": 7}),
    (wire.VALIDATION, {"negatives": [1]}),
    (wire.TEST, {"tp": 0, "fn": 0}),
    (wire.TEST, {"auc": math.nan}),
    (wire.TEST, {"auc": 7.3}),
    (wire.TEST, {"auc": 0.9, "auc_low": 0.2, "auc_high": 0.4}),
    (wire.RECALIBRATION, {"n": 10**6}),
    (wire.RECALIBRATION, {"slope_hessian": [1.0, 0.5, 2.0, 1.0]}),
    (wire.RECALIBRATION, {"slope_gradient": None}),
    (wire.RECALIBRATION, {"slope_gradient": [1.0]}),
    (wire.EXPLANATION, {"counts": [20]}),
    (wire.EXPLANATION, {"total": [math.nan] * 3}),
    (wire.EXPLANATION, {"patient_name": 1}),
]


@pytest.mark.parametrize(("message_type", "changes"), CHANGES)
def test_a_bad_reply_counts_against_its_site_alone(toy, monkeypatch, message_type, changes):
    tamper(monkeypatch, message_type, with_sums(**changes))
    results = toy.run(rounds=2)
    assert len(results["sites_lost"]) == 1
    assert results["rounds"][0]["accepted"] == (3 if message_type == wire.TRAIN else 4)
    assert results["final"]["sites"]["site-a"]["auc"] is not None
    assert (toy.out / "model.safetensors").exists()


def test_an_interval_that_ends_at_one_does_not_stop_the_folds(toy, monkeypatch):
    tamper(monkeypatch, wire.TEST, with_sums(auc_high=1.0))
    results = toy.run(rounds=1, plan={"mode": "kfold", "folds": 2})
    sites = results["final"]["sites"]
    assert sites[BAD]["auc_ci95"] is None
    assert sites["site-a"]["auc_ci95"] is not None


def test_a_site_that_recalibrates_with_other_patients_costs_calibration_not_the_run(toy, monkeypatch):
    tamper(monkeypatch, wire.RECALIBRATION, with_sums(n=10**6))
    results = toy.run(rounds=1)
    assert results["refused_in_evaluation"][wire.RECALIBRATION] == {BAD: "patients-changed"}
    pooled = results["final"]["pooled"]
    assert (pooled["calibration_slope"], pooled["suppressed"]["calibration_slope"]) == (None, "contributors-changed")


def test_where_nobody_validates_the_last_model_its_round_shows_no_other_models_figures(toy, monkeypatch):
    """The best model, an earlier one, is validated afterwards, when its threshold is locked."""
    honest, seen = app.release, []

    def release(reply, message, request, minimum):
        if message.metadata.message_type == wire.VALIDATION:
            seen.append(reply.site)
            if len(seen) <= len(toy.cohorts):
                raise Refusal("no-power", "x", "y")
        return honest(reply, message, request, minimum)

    monkeypatch.setattr(app, "release", release)
    results = toy.run(rounds=2, selection={"keep": "best"})
    assert results["kept_round"] < 2
    assert results["rounds"][-1]["validation"]["loss"] is None
    assert results["rounds"][0]["validation"]["loss"] is not None
    assert results["selection"]["validation_loss"][-1] is None


def test_a_strategy_that_cannot_work_is_refused_before_anybody_trains(toy, monkeypatch):
    tamper(monkeypatch, wire.TRAIN, None)
    trained = []
    toy.records = trained
    with pytest.raises(Refusal, match=r"statistics: 4 of 4 .* the strategy needs 5 .*too-few-sites-for-strategy"):
        toy.run(rounds=1, strategy={"name": "krum"})
    assert trained == []


def broken_array(data):
    def change(reply, message):
        records = pack_reply(reply)
        records.array_records["delta"]["flat"] = Array("float32", (3,), "numpy.ndarray", data)
        return Message(records, reply_to=message)

    return change


def header(shape):
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape},), }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04\x95",
        header(2**45),
        header(3) + b"\0" * 8,
        header(12) + b"\0" * 48,
        b"\x93NUMPY\x02\x00",
        b"\0" * 64,
    ],
)
def test_a_hostile_array_cannot_stop_the_server(toy, monkeypatch, data):
    tamper(monkeypatch, wire.TRAIN, broken_array(data))
    results = toy.run(rounds=1)
    assert results["rounds"][0]["refused"] == {BAD: "malformed-message"}


@pytest.mark.parametrize("text", ["[" * 9000, '{"auc": ' + '{"a": ' * 1500 + "1" + "}" * 1501, "x" * 20_000])
def test_hostile_reasons_cannot_stop_the_server(toy, monkeypatch, text):
    def change(reply, message):
        records = pack_reply(reply)
        records.config_records["site"]["reasons"] = text
        return Message(records, reply_to=message)

    tamper(monkeypatch, wire.TRAIN, change)
    assert toy.run(rounds=1)["rounds"][0]["refused"] == {BAD: "malformed-message"}


def first_value(value):
    return lambda reply: {"delta": np.append(np.float32(value), reply.delta[1:])}


@pytest.mark.parametrize(
    ("strategy", "fields", "code"),
    [
        ("fedavg", first_value(np.nan), "update-not-finite"),
        ("fedavg", first_value(-np.inf), "update-not-finite"),
        ("fedadam", first_value(3e38), "update-too-large"),
        ("median", first_value(np.nan), "update-not-finite"),
        ("fedavg", lambda reply: {"delta": reply.delta[1:]}, "malformed-message"),
        ("fedavg", lambda reply: {"study_sha256": "f" * 64}, "study-mismatch"),
        ("fedavg", lambda reply: {"sums": reply.sums | {"n": 0}}, "patients-changed"),
    ],
)
def test_a_bad_update_costs_its_site_and_the_report_says_which_and_why(toy, monkeypatch, strategy, fields, code):
    def change(reply, message):
        return Message(pack_reply(dataclasses.replace(reply, **fields(reply))), reply_to=message)

    tamper(monkeypatch, wire.TRAIN, change)
    results = toy.run(rounds=1, strategy={"name": strategy})
    assert results["rounds"][0]["refused"] == {BAD: code}
    assert results["rounds"][0]["accepted"] == 3
    assert results["sites_lost"] == [BAD]
    page = toy.out / "report.html"
    write_report(results, page)
    assert f"{BAD} ({code})" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("phase", [wire.VALIDATION, wire.TEST])
def test_without_quorum_in_evaluation_the_run_is_refused_but_the_model_kept(toy, monkeypatch, phase):
    honest = app.release

    def release(reply, message, request, minimum):
        if message.metadata.message_type == phase:
            raise Refusal("no-power", "x", "y")
        return honest(reply, message, request, minimum)

    monkeypatch.setattr(app, "release", release)
    with pytest.raises(Refusal, match="no-quorum"):
        toy.run(rounds=1)
    assert (toy.out / "model.safetensors").exists()
    assert not (toy.out / "results.json").exists()


def test_the_report_says_what_every_message_type_lets_out():
    from fedescc.common.schema import ALLOWED
    from fedescc.server.federate import LEAVES

    assert set(LEAVES) == set(ALLOWED)

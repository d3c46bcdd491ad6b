"""Pretraining over hospitals: the loss falls, only the encoder changes, order and single bad sites do not matter."""

import dataclasses
import json

import numpy as np
import pytest
from flwr.app import Message
from scan_sites import scan_cohort, scan_site, scan_study

from fedescc.client import app as client_app
from fedescc.client.answers.pretraining import pretrain as answer
from fedescc.client.app import make_client_app
from fedescc.common.arrays import flatten_parameters, parameter_layout, split_parameters
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.network.model import build_model
from fedescc.common.network.pretext import build_pretext
from fedescc.common.study import read_study
from fedescc.common.tabular.covariates import Encoding
from fedescc.common.wire import Request, pack_reply
from fedescc.server.exchange import Roster
from fedescc.server.training.pretraining import pretrain
from fedescc.simulations.engines.local_grid import LocalGrid, run_in_process

PATIENTS = {"a": 12, "b": 6, "c": 6}
BAD = "b"


def settings(rounds, **more):
    planned = {"rounds": rounds, "learning_rate": 1e-2, "local_epochs": 1}
    return Federation.model_validate({"pretraining": planned, "training": {"batch_size": 4}, **more})


def carried(federation):
    """The task of every request."""
    encoding = Encoding(covariates=()).model_dump(mode="json")
    return {"federation": federation.model_dump(mode="json"), "encoding": encoding}


def cohorts():
    return {name: scan_cohort(number, size) for number, (name, size) in enumerate(PATIENTS.items())}


def run(rounds, shuffle=None, sites=None, study=None, model=None, **more):
    """Weights and records of a pretraining over the three sites."""
    study, federation = study or scan_study(), settings(rounds, **more)
    known = {name: scan_site(name, study, cohort) for name, cohort in (sites or cohorts()).items()}
    model = model or build_model(study, 2, 1)
    grid = LocalGrid(
        make_client_app(lambda context: known[str(context.node_config["site"])]),
        [{"site": name} for name in known],
        {},
        shuffle,
    )
    result = []

    def serve(grid, context):
        result.append(pretrain(grid, Roster(), study, federation, carried(federation), model))

    run_in_process(serve, grid, {})
    return result[0]


def tampered(monkeypatch, change):
    """Let one site's egress be an attacker's."""
    honest = client_app.release

    def release(reply, message, request, minimum):
        sent = change(reply) if reply.site == BAD else reply
        return Message(pack_reply(sent), reply_to=message) if sent is not reply else honest(reply, message, request, 3)

    monkeypatch.setattr(client_app, "release", release)


def test_the_loss_falls_over_the_rounds():
    _, records = run(6)
    losses = [record.loss for record in records]
    assert [record.round for record in records] == [1, 2, 3, 4, 5, 6]
    assert losses[-1] < 0.75 * losses[0]
    assert all(record.attendance.accepted == ["a", "b", "c"] for record in records)
    assert records[0].patients == 6 + 3 + 3


def test_only_the_encoder_changes_and_the_model_given_does_not():
    model = build_model(scan_study(), 2, 1)
    before = flatten_parameters(model)
    weights, _ = run(1, model=model)
    assert np.array_equal(flatten_parameters(model), before)
    layout = parameter_layout(model)
    old, new = split_parameters(layout, before), split_parameters(layout, weights)
    assert weights.dtype == np.float32
    for name in old:
        assert np.array_equal(old[name], new[name]) is not name.startswith("encoder."), name


def test_it_starts_from_the_models_own_encoder(monkeypatch):
    model, first = build_model(scan_study(), 2, 5), []
    pack = client_app.unpack_request

    def watch(records):
        request = pack(records)
        first.append(request.weights)
        return request

    monkeypatch.setattr(client_app, "unpack_request", watch)
    run(1, model=model)
    arrays = split_parameters(parameter_layout(build_pretext(scan_study(), 0)), first[0])
    own = split_parameters(parameter_layout(model), flatten_parameters(model))
    assert all(np.array_equal(arrays[name], own[name]) for name in own if name.startswith("encoder."))


def test_one_round_is_the_patient_weighted_mean_of_the_sites_updates():
    study, federation = scan_study(), settings(1)
    model = build_model(study, 2, 1)
    pretext = build_pretext(study, federation.seed)
    pretext.encoder.load_state_dict(model.encoder.state_dict())
    start, total = flatten_parameters(pretext), 0
    for name, cohort in cohorts().items():
        request = Request(study.sha256, {**carried(federation), "round": 1}, start)
        reply = answer(scan_site(name, study, cohort), request)
        total = total + reply.sums["n"] * reply.delta.astype(np.float64)
    expected = split_parameters(parameter_layout(pretext), (start + total / 12).astype(np.float32))
    found = split_parameters(parameter_layout(model), run(1)[0])
    for name in expected:
        if name.startswith("encoder."):
            assert np.allclose(found[name], expected[name], atol=1e-7), name


def test_the_order_of_answers_does_not_matter():
    in_order, shuffled = run(2), run(2, shuffle=1)
    assert np.array_equal(in_order[0], shuffled[0])
    assert [record.loss for record in in_order[1]] == [record.loss for record in shuffled[1]]


def test_labels_and_test_patients_are_never_touched():
    poisoned = {}
    for name, cohort in cohorts().items():
        images, test = cohort.images.copy(), cohort.rows("test")
        images[test] = np.nan
        nan = np.full(len(cohort), np.nan)
        poisoned[name] = dataclasses.replace(cohort, images=images, labels=nan, numeric={"age": nan})
    weights, _ = run(2, sites=poisoned)
    assert np.isfinite(weights).all()
    assert np.array_equal(weights, run(2)[0])


def test_a_site_with_too_few_patients_stays_out():
    few = cohorts()
    few[BAD] = dataclasses.replace(few[BAD], split=np.resize(["train", "test", "test"], 6))
    weights, records = run(1, sites=few)
    assert records[0].attendance.refused == {"unnamed-101": "too-few-training-patients"}
    assert records[0].patients == 9
    del few[BAD]
    assert np.array_equal(weights, run(1, sites=few)[0])


def test_too_few_sites_are_refused():
    few = {"a": cohorts()["a"]}
    with pytest.raises(Refusal, match="pretraining round 1: 1 of 1 invited sites took part, 2 are needed"):
        run(1, sites=few)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"delta": None}, "malformed-message"),
        ({"delta": np.zeros(3, np.float32)}, "malformed-message"),
        ({"delta": "nan"}, "update-not-finite"),
        ({"delta": "huge"}, "update-too-large"),
        ({"sums": {"n": 3}}, "malformed-message"),
        ({"sums": {"n": 3, "loss": 1.0, "patient": 1}}, "malformed-message"),
        ({"sums": {"n": 0, "loss": 1.0}}, "update-without-patients"),
        ({"study_sha256": "0" * 64}, "study-mismatch"),
    ],
)
def test_a_bad_reply_costs_its_own_site_only(monkeypatch, changes, code):
    good = cohorts()
    del good[BAD]
    expected, _ = run(1, sites=good)
    values = {"nan": np.nan, "huge": 1e30}

    def change(reply):
        made = dict(changes)
        if isinstance(made.get("delta"), str):
            made["delta"] = np.full_like(reply.delta, values[made["delta"]])
        return dataclasses.replace(reply, **made)

    tampered(monkeypatch, change)
    weights, records = run(1)
    assert records[0].attendance.accepted == ["a", "c"]
    assert list(records[0].attendance.refused.values()) == [code]
    assert np.array_equal(weights, expected)


def test_a_site_whose_patients_change_between_rounds_is_refused(monkeypatch):
    claims = iter([3, 60])
    tampered(monkeypatch, lambda reply: dataclasses.replace(reply, sums={**reply.sums, "n": next(claims)}))
    _, records = run(2)
    assert [record.attendance.refused for record in records] == [{}, {BAD: "patients-changed"}]
    assert [record.patients for record in records] == [12, 9]


def test_no_rounds_ask_nothing():
    model = build_model(scan_study(), 2, 1)
    weights, records = pretrain(None, Roster(), scan_study(), settings(0), {}, model)
    assert np.array_equal(weights, flatten_parameters(model))
    assert records == []


def test_a_study_without_images_is_refused():
    study = read_study("heart-disease")
    with pytest.raises(Refusal, match="pretraining-without-images"):
        pretrain(None, Roster(), study, settings(1), {}, build_model(study, 2, 1))


def test_the_record_is_json_for_the_results():
    _, records = run(1)
    entry = json.loads(json.dumps(records[0].entry(), allow_nan=False))
    assert set(entry) == {"round", "sites", "refused", "patients", "loss", "seconds"}
    assert entry["sites"] == ["a", "b", "c"]
    assert entry["patients"] == 12


def test_an_encoder_with_a_rim_is_pretrained_too():
    study = scan_study(model={**scan_study().model.model_dump(), "rim_mm": 6.0})
    weights, records = run(1, study=study)
    assert len(weights) == len(flatten_parameters(build_model(study, 2, 1))) > len(run(0)[0])
    assert len(records[0].attendance.accepted) == 3

"""What a site answers to a round of pretraining, and what keeps it from answering."""

import dataclasses

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp
from scan_sites import scan_cohort, scan_site, scan_study

from fedescc.client.answers.dispatch import answer
from fedescc.client.egress import release
from fedescc.common import wire
from fedescc.common.arrays import flatten_parameters
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.network.pretext import build_pretext
from fedescc.common.tabular.covariates import Encoding
from fedescc.common.wire import Reply, Request
from fedescc.simulations.engines.local_grid import LocalGrid, run_in_process

ROUNDS = 3


@pytest.fixture
def site():
    return scan_site("a", scan_study(), scan_cohort(1, 12))


def request(site, number=1, rounds=ROUNDS, weights=None):
    federation = Federation.model_validate({"pretraining": {"rounds": rounds, "local_epochs": 1}})
    encoding = Encoding(covariates=()).model_dump(mode="json")
    task = {"federation": federation.model_dump(mode="json"), "encoding": encoding, "round": number}
    return Request(
        site.study.sha256, task, flatten_parameters(build_pretext(scan_study(), 0)) if weights is None else weights
    )


def with_rows(site, train, validation):
    split = np.full(len(site.cohort), "test", dtype="<U10")
    split[:train] = "train"
    split[train : train + validation] = "validation"
    site.cohort = dataclasses.replace(site.cohort, split=split)
    return site


def test_the_reply_is_an_update_with_training_patients_and_loss(site):
    asked = request(site)
    reply = answer(site, wire.PRETRAIN, asked)
    assert set(reply.sums) == {"n", "loss"}
    assert reply.sums["n"] == 6
    assert reply.sums["loss"] > 0
    assert reply.delta.shape == asked.weights.shape
    assert np.abs(reply.delta).max() > 0
    assert not reply.reasons


def test_it_passes_egress_and_nothing_but_its_keys_does(site):
    run_in_process(lambda grid, context: None, LocalGrid(ClientApp(), [], {}), {})  # a message needs a run
    asked = request(site)
    sent, reply = Message(RecordDict(), 100, wire.PRETRAIN), answer(site, wire.PRETRAIN, asked)
    assert release(reply, sent, asked, 3).has_content()
    for change in ({"sums": {**reply.sums, "n_pos": 5}}, {"sums": {"n": 2, "loss": 1.0}}, {"delta": None}):
        with pytest.raises(Refusal, match="egress-denied"):
            release(dataclasses.replace(reply, **change), sent, asked, 3)
    with pytest.raises(Refusal, match="egress-denied-delta"):
        release(Reply("a", site.study.sha256, {}, delta=reply.delta), Message(RecordDict(), 100, wire.TEST), asked, 3)


def test_a_few_validation_patients_are_not_told_by_the_count(site):
    assert answer(with_rows(site, 6, 1), wire.PRETRAIN, request(site)).sums["n"] == 6


@pytest.mark.parametrize(("train", "validation", "answers"), [(2, 10, False), (3, 0, True), (3, 2, True)])
def test_an_update_of_too_few_patients_stays(site, train, validation, answers):
    with_rows(site, train, validation)
    if answers:
        assert answer(site, wire.PRETRAIN, request(site)).sums["n"] == train
    else:
        with pytest.raises(Refusal, match="too-few-training-patients"):
            answer(site, wire.PRETRAIN, request(site))


def test_patients_without_a_scan_do_not_count_towards_the_minimum(site):
    with_rows(site, 6, 0)
    images = site.cohort.images.copy()
    images[2:] = 0
    site.cohort = dataclasses.replace(site.cohort, images=images)
    with pytest.raises(Refusal, match="too-few-training-patients"):
        answer(site, wire.PRETRAIN, request(site))


def test_the_same_request_gets_the_same_bits(site):
    first, second = (answer(site, wire.PRETRAIN, request(site)) for _ in range(2))
    assert np.array_equal(first.delta, second.delta)
    assert first.sums == second.sums


def test_labels_and_test_patients_do_not_matter(site):
    site.policy = site.policy.model_copy(update={"small_changes": "plain"})
    first = answer(site, wire.PRETRAIN, request(site))
    images, test = site.cohort.images.copy(), site.cohort.rows("test")
    images[test] = np.nan
    site.cohort = dataclasses.replace(site.cohort, images=images, labels=np.full(len(site.cohort), np.nan))
    assert np.array_equal(answer(site, wire.PRETRAIN, request(site)).delta, first.delta)


@pytest.mark.parametrize("number", [0, ROUNDS + 1, -1, 1.0, True, "1", None])
def test_a_round_that_is_not_planned_is_refused(site, number):
    with pytest.raises(Refusal, match="malformed-message"):
        answer(site, wire.PRETRAIN, request(site, number))


def test_weights_of_another_model_are_refused(site):
    weights = request(site).weights
    for bad in (weights[:-1], np.full_like(weights, np.nan)):
        with pytest.raises(Refusal, match="wrong-parameters"):
            answer(site, wire.PRETRAIN, request(site, weights=bad))


def test_a_study_without_images_is_refused(toy):
    site = scan_site("site-a", toy.study, toy.cohorts["site-a"])
    with pytest.raises(Refusal, match="pretraining-without-images"):
        answer(site, wire.PRETRAIN, request(site))

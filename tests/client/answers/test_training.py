"""A training request at a site: what leaves, what stays, and what the same request gets a second time."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from fedescc.client.answers.dispatch import answer
from fedescc.client.local_site import LocalSite
from fedescc.common import wire
from fedescc.common.arrays import flatten_parameters
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.network.model import build_model
from fedescc.common.schema import check_reply
from fedescc.common.statistics.metrics import evaluation_sums
from fedescc.common.statistics.roc import probability
from fedescc.common.tabular.covariates import Encoding, column_sums
from fedescc.common.wire import Reply, Request

SGD = {"optimizer": "sgd", "learning_rate": 0.05, "weight_decay": 0}


@pytest.fixture
def site(toy: Any) -> LocalSite:
    return LocalSite("site-a", toy.study, toy.policy("site-a"), toy.cohorts["site-a"])


def request_of(site: LocalSite, number: Any = 1, shift: float = 0.0, **federation: Any) -> Request:
    """A training request with the initial weights of the site's model, moved by ``shift``."""
    rows = site.cohort.rows("train")
    encoding = Encoding.from_sums(site.study, column_sums(site.study, site.cohort.numeric, rows))
    settings = Federation.model_validate({"training": SGD, **federation})
    weights = flatten_parameters(build_model(site.study, len(encoding.columns), 0)) + np.float32(shift)
    task = {
        "run": "ab" * 8, "round": number, "federation": settings.model_dump(mode="json"),
        "encoding": encoding.model_dump(mode="json"), "edges": [-1.0, 0.0, 1.0], "threshold": 0.0,
    }  # fmt: skip
    if settings.strategy.name == "scaffold":
        weights = np.concatenate([weights, np.full_like(weights, 0.01)])
    return Request(site.study.sha256, task, weights)


def train(site: LocalSite, request: Request) -> Reply:
    reply = answer(site, wire.TRAIN, request)
    check_reply(wire.TRAIN, reply)
    return reply


def evaluation_of(request: Request, weights: np.ndarray) -> Request:
    task = {key: value for key, value in request.task.items() if key != "round"}
    return dataclasses.replace(request, task=task, weights=weights)


@pytest.mark.parametrize("kind", ["none", "ditto"])
@pytest.mark.parametrize("strategy", ["fedavg", "fedprox", "scaffold"])
def test_the_same_request_gets_the_same_reply(site: LocalSite, strategy: str, kind: str) -> None:
    settings: dict[str, Any] = {"strategy": {"name": strategy}, "personalisation": {"kind": kind}}
    for number in (1, 2, 3):
        request = request_of(site, number, 0.1 * number, **settings)
        first, again = train(site, request), train(site, request)
        assert first.delta is not None
        assert np.array_equal(first.delta, again.delta)
        assert (first.sums, first.reasons) == (again.sums, again.reasons)
        assert request.weights is not None
        assert first.delta.shape == request.weights.shape
        assert first.delta.dtype == np.float32


def test_a_site_that_keeps_its_state_in_a_folder_goes_on_after_a_restart(toy: Any, tmp_path: Any) -> None:
    def opened() -> LocalSite:
        return LocalSite("site-a", toy.study, toy.policy("site-a"), toy.cohorts["site-a"], folder=tmp_path)

    settings: dict[str, Any] = {"strategy": {"name": "scaffold"}, "personalisation": {"kind": "ditto"}}
    one = opened()
    without_restart = [train(one, request_of(one, number, **settings)).delta for number in (1, 2)]
    again = opened()
    other_run = request_of(again, 2, **settings)
    assert np.array_equal(train(again, other_run).delta, without_restart[1])
    other_run.task["run"] = "cd" * 8
    assert not np.array_equal(train(again, other_run).delta, without_restart[1])


def test_scaffold_without_a_control_behind_the_weights_is_refused(site: LocalSite) -> None:
    request = request_of(site, strategy={"name": "scaffold"})
    assert request.weights is not None
    for part in (request.weights[:-1], request.weights[: len(request.weights) // 2 - 1]):
        with pytest.raises(Refusal, match="wrong-parameters"):
            train(site, dataclasses.replace(request, weights=part))


def test_validation_and_test_look_at_the_sites_own_model(site: LocalSite) -> None:
    settings: dict[str, Any] = {"personalisation": {"kind": "ditto", "attraction": 0.01}}
    request = request_of(site, 1, **settings)
    assert request.weights is not None
    train(site, request)
    model, _, _ = site.prepared(evaluation_of(request, request.weights + 0.5), "test")
    own = flatten_parameters(model)
    assert not np.allclose(own, request.weights + 0.5)
    plain = request_of(site, 1)
    by_hand = site.logits(dataclasses.replace(plain, weights=own), "validation")
    labels = site.cohort.labels[site.cohort.rows("validation")]
    expected = evaluation_sums(labels, probability(by_hand), 0.0, score=by_hand)
    second = train(site, dataclasses.replace(request_of(site, 2, **settings), weights=request.weights + 0.5))
    assert second.sums["validation_log_loss_sum"] == pytest.approx(expected.log_loss_sum)
    tested = site.logits(evaluation_of(request, request.weights + 0.5), "test")
    assert tested == pytest.approx(site.logits(dataclasses.replace(plain, weights=own), "test"))


def test_training_does_not_start_from_dittos_own_model(site: LocalSite) -> None:
    plain, ditto = ({"personalisation": {"kind": kind}} for kind in ("none", "ditto"))
    for number in (1, 2):
        with_own = train(site, request_of(site, number, 0.1, **ditto))
        assert np.array_equal(with_own.delta, train(site, request_of(site, number, 0.1, **plain)).delta)


@pytest.mark.parametrize("kind", ["local_head", "local_norm"])
def test_a_linear_model_has_nothing_that_could_stay(site: LocalSite, kind: str) -> None:
    with pytest.raises(Refusal, match="nothing-personal"):
        train(site, request_of(site, personalisation={"kind": kind}))


@pytest.mark.parametrize("number", [None, 0, -1, 13, 1.0, "1", True])
def test_a_round_that_is_none_is_refused(site: LocalSite, number: Any) -> None:
    with pytest.raises(Refusal, match="malformed-message"):
        train(site, request_of(site, number))


def test_without_a_run_id_only_what_needs_no_state_is_answered(site: LocalSite) -> None:
    for settings in ({}, {"strategy": {"name": "scaffold"}}, {"personalisation": {"kind": "ditto"}}):
        request = request_of(site, **settings)
        del request.task["run"]
        if not settings:
            train(site, request)
            continue
        with pytest.raises(Refusal, match="malformed-message"):
            train(site, request)


def test_folds_have_a_state_each(site: LocalSite) -> None:
    settings: dict[str, Any] = {"strategy": {"name": "scaffold"}}
    held_out = [None, {"mode": "loso", "held_out": "site-b"}, {"mode": "loso", "held_out": "site-c"}]
    deltas = []
    for fold in held_out:
        for number in (1, 2):
            request = request_of(site, number, **settings)
            request.task["fold"] = fold
            reply = train(site, request)
        deltas.append(reply.delta)
    assert np.array_equal(deltas[1], deltas[2])

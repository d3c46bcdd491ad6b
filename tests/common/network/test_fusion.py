"""Several models in one request, the logit out of theirs, and what makes two requests speak of one model."""

import dataclasses

import numpy as np
import pytest

from fedescc.common.errors import Refusal
from fedescc.common.identity import fold_key, inputs_digest, look_digest, model_digest, received_weights
from fedescc.common.network.fusion import MAX_FUSED, fused_logits, join_models, split_models
from fedescc.common.wire import Request

ONE = Request("study", {"run": "r", "encoding": {"a": 1}, "edges": [0.0], "threshold": 0.1}, np.ones(3, np.float32))
TWO = Request("study", {"run": "r", "encoding": {"b": 1}, "model": "linear"}, np.full(2, 2, np.float32))


def changed(request, **task):
    return dataclasses.replace(request, task=request.task | task)


def test_models_come_out_of_a_joined_request_as_they_went_in():
    joined = join_models([ONE, TWO])
    assert joined.weights.tolist() == [1, 1, 1, 2, 2]
    assert joined.task["run"] == "r"
    assert "encoding" not in joined.task
    parts = split_models(changed(joined, fusion=[0.0, 1.0, 1.0]))
    assert [part.weights.tolist() for part in parts] == [[1, 1, 1], [2, 2]]
    assert [model_digest(part) for part in parts] == [model_digest(ONE), model_digest(TWO)]


@pytest.mark.parametrize(
    "models",
    [
        [],
        [{"size": 5}] * (MAX_FUSED + 1),
        [{"size": 3}],
        [{"size": 6}, {"size": -1}],
        [{"size": 2.5}, {"size": 2.5}],
        [{}],
        [None],
        None,
        "ab",
        {"size": 5},
    ],
)
def test_models_that_do_not_fit_their_weights_are_refused(models):
    with pytest.raises(Refusal, match="malformed-message"):
        split_models(changed(join_models([ONE, TWO]), models=models))


def test_a_model_inside_a_fusion_cannot_be_a_fusion():
    inner = {"size": 5, "models": [{"size": 5}], "encoding": {}}
    (part,) = split_models(changed(join_models([ONE, TWO]), models=[inner]))
    assert "models" not in part.task


def test_the_fused_logit_is_the_weighted_sum():
    assert fused_logits(np.array([[1.0, 2.0], [3.0, 4.0]]), [0.5, 2.0, -1.0]).tolist() == [0.5, 2.5]


@pytest.mark.parametrize("fusion", [None, [1.0, 1.0], [1.0, 1.0, float("nan")], [0.0, "1", 2.0], {"a": 1}])
def test_a_fusion_without_its_numbers_is_refused(fusion):
    with pytest.raises(Refusal, match="malformed-message"):
        fused_logits(np.zeros((2, 2)), fusion)


@pytest.mark.parametrize(
    ("task", "same"),
    [
        ({"edges": [1.0]}, True),
        ({"model": None, "fold": None}, True),
        ({"encoding": {"a": 2}}, False),
        ({"model": "linear"}, False),
        ({"run": "s"}, False),
        ({"fold": {"mode": "temporal"}}, False),
        ({"fusion": [0.0]}, False),
        ({"models": [{"size": 3}]}, False),
        ({"round": 3}, False),
        ({"federation": {"personalisation": {"kind": "ditto"}}}, False),
    ],
)
def test_a_model_is_its_weights_its_inputs_its_run_and_its_fold(task, same):
    assert (model_digest(changed(ONE, **task)) == model_digest(ONE)) is same


def test_a_change_of_one_weight_is_another_model():
    other = dataclasses.replace(ONE, weights=np.nextafter(ONE.weights, np.float32(2)))
    assert model_digest(other) != model_digest(ONE)
    assert inputs_digest(other) == inputs_digest(ONE)


@pytest.mark.parametrize("change", [{"edges": [0.5]}, {"threshold": 0.2}, {"run": "s"}])
def test_a_look_is_a_model_with_threshold_and_bins(change):
    assert look_digest(changed(ONE, **change)) != look_digest(ONE)
    assert look_digest(changed(ONE, declared=["x"])) == look_digest(ONE)


def test_a_request_without_weights_has_no_model():
    with pytest.raises(Refusal, match="malformed-message"):
        received_weights(Request("study"))


@pytest.mark.parametrize("index", ["0", 0.0, False])
def test_another_spelling_of_a_fold_is_no_fold(index):
    with pytest.raises(Refusal) as refusal:
        fold_key(changed(ONE, fold={"mode": "kfold", "index": index, "of": 3}))
    assert refusal.value.code == "unknown-fold"


def test_run_and_fold_make_the_key():
    keys = {fold_key(changed(ONE, **t)) for t in ({}, {"run": "s"}, {"fold": {"mode": "kfold", "index": 1, "of": 3}})}
    assert len(keys) == 3

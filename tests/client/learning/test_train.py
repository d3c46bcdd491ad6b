"""A round of local training: exact arithmetic where it has a closed form, and the same bits every time."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import nn

from fedescc.client.learning.dataset import SiteTensors
from fedescc.client.learning.losses import patient_losses, patient_weights
from fedescc.client.learning.predict import predict_logits
from fedescc.client.learning.train import TrainResult, batch_plan, learning_rate, train_round
from fedescc.common.arrays import flatten_parameters, load_parameters
from fedescc.common.errors import Refusal
from fedescc.common.federation import Training
from fedescc.common.model import build_model
from fedescc.common.study import Study

MakeTensors = Callable[..., SiteTensors]
N_CLINICAL = 5


def train(
    model: nn.Module, tensors: SiteTensors, mu: float = 0.0, turn: int = 1, rounds: int = 4, **settings: Any
) -> TrainResult:
    passes = {} if "local_updates" in settings else {"local_epochs": 1}
    chosen = Training.model_validate({"batch_size": 4, **passes, **settings})
    return train_round(model, tensors, chosen, seed=3, round=turn, rounds=rounds, site="a", mu=mu)


def model_of(study: Study, seed: int = 0) -> nn.Module:
    return build_model(study, N_CLINICAL, seed)


def test_delta_is_what_changed(imaging_study: Study, make_tensors: MakeTensors) -> None:
    model = model_of(imaging_study)
    before = flatten_parameters(model)
    result = train(model, make_tensors(imaging_study, 6))
    assert np.array_equal(result.delta, flatten_parameters(model) - before)
    assert (result.n, result.updates) == (6, 2)
    assert np.abs(result.delta).max() > 0


def test_one_full_batch_sgd_step_is_the_gradient(clinical_study: Study, make_tensors: MakeTensors) -> None:
    tensors = make_tensors(clinical_study, 6)
    model = model_of(clinical_study)
    result = train(
        model, tensors, optimizer="sgd", learning_rate=0.5, schedule="constant", weight_decay=0,
        batch_size=6, class_weight="none", gradient_clip=None,
    )  # fmt: skip
    x, y = tensors.clinical.numpy(), tensors.labels.numpy()
    residual = (0.5 - y) / 6  # the model starts at 0
    expected = -0.5 * np.concatenate([[residual.sum()], residual @ x])  # bias before weight
    assert result.delta == pytest.approx(expected, abs=1e-6)
    assert result.loss == pytest.approx(np.log(2), abs=1e-6)


def test_long_training_reaches_scikit_learns_logistic_regression(
    clinical_study: Study, make_tensors: MakeTensors
) -> None:
    tensors = make_tensors(clinical_study, 40, 2)
    model = model_of(clinical_study)
    train(
        model, tensors, rounds=1, optimizer="adamw", learning_rate=0.1, weight_decay=0, batch_size=40,
        local_updates=1000, class_weight="balanced", gradient_clip=None,
    )  # fmt: skip
    x, y = tensors.clinical.numpy(), tensors.labels.numpy()
    peer = LogisticRegression(C=np.inf, class_weight="balanced", tol=1e-8, max_iter=5000).fit(x, y)
    assert predict_logits(model, tensors) == pytest.approx(peer.decision_function(x), abs=1e-3)


def test_same_arguments_give_the_same_bits_whatever_ran_before(imaging_study: Study, make_tensors: MakeTensors) -> None:
    tensors = make_tensors(imaging_study, 7)
    first = train(model_of(imaging_study), tensors)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002 - the global state is what must not matter
    torch.rand(5)
    train(model_of(imaging_study, 5), tensors, turn=2)
    again = train(model_of(imaging_study), tensors)
    assert np.array_equal(first.delta, again.delta)
    assert first.loss == again.loss


def test_seed_round_and_site_each_change_the_result(imaging_study: Study, make_tensors: MakeTensors) -> None:
    tensors = make_tensors(imaging_study, 6)
    settings = Training(batch_size=4, schedule="constant")
    deltas = {
        train_round(
            model_of(imaging_study), tensors, settings, seed=seed, round=turn, rounds=9, site=site
        ).delta.tobytes()
        for seed, turn, site in ((0, 1, "a"), (1, 1, "a"), (0, 2, "a"), (0, 1, "b"))
    }
    assert len(deltas) == 4


def test_global_random_state_is_untouched(imaging_study: Study, make_tensors: MakeTensors) -> None:
    tensors = make_tensors(imaging_study, 4)
    before = torch.get_rng_state()
    train(model_of(imaging_study), tensors)
    assert torch.equal(torch.get_rng_state(), before)


def test_proximal_term_follows_its_closed_form(clinical_study: Study, make_tensors: MakeTensors) -> None:
    tensors = make_tensors(clinical_study, 6)
    plain = {
        "optimizer": "sgd", "learning_rate": 0.1, "schedule": "constant", "weight_decay": 0, "batch_size": 6,
        "class_weight": "none", "gradient_clip": None,
    }  # fmt: skip
    one = train(model_of(clinical_study), tensors, local_updates=1, **plain).delta
    near, far = (train(model_of(clinical_study), tensors, mu, local_updates=2, **plain).delta for mu in (2.0, 0.0))
    # At the second step the anchor's gradient is mu times the first step's change.
    assert near == pytest.approx(far - 0.1 * 2.0 * one, abs=1e-6)


def test_gradient_clip_bounds_a_step(clinical_study: Study, make_tensors: MakeTensors) -> None:
    result = train(
        model_of(clinical_study), make_tensors(clinical_study, 6), optimizer="sgd", learning_rate=1.0,
        schedule="constant", weight_decay=0, batch_size=6, gradient_clip=0.01,
    )  # fmt: skip
    assert np.linalg.norm(result.delta) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_site_with_one_class_trains(imaging_study: Study, make_tensors: MakeTensors, label: float) -> None:
    tensors = make_tensors(imaging_study, 4)
    one_class = replace(tensors, labels=torch.full((4,), label))
    result = train(model_of(imaging_study), one_class)
    assert np.isfinite(result.delta).all()


def test_a_lone_patient_counts_once(imaging_study: Study, make_tensors: MakeTensors) -> None:
    tensors = make_tensors(imaging_study, 1)
    model = model_of(imaging_study).eval()
    result = train(model, tensors, augmentation={"flips": False, "shift_voxels": 0, "intensity": 0})
    assert (result.n, result.updates) == (1, 1)
    (index, weights), *rest = batch_plan(1, Training(local_epochs=1), np.random.default_rng(0))
    assert (index.tolist(), weights.tolist(), rest) == ([0, 0], [1, 0], [])


def test_no_patient_is_refused(imaging_study: Study, make_tensors: MakeTensors) -> None:
    with pytest.raises(Refusal) as refusal:
        train(model_of(imaging_study), make_tensors(imaging_study, 0))
    assert refusal.value.code == "no-training-patients"


def test_divergence_is_refused(clinical_study: Study, make_tensors: MakeTensors) -> None:
    model = model_of(clinical_study)
    load_parameters(model, np.full(flatten_parameters(model).size, 3e38, np.float32))
    with pytest.raises(Refusal, match="round 1") as refusal:
        train(model, make_tensors(clinical_study, 6), gradient_clip=None)
    assert refusal.value.code == "training-diverged"


def test_the_images_signal_is_learned(imaging_study: Study, make_tensors: MakeTensors) -> None:
    model = model_of(imaging_study)
    tensors = make_tensors(imaging_study, 24)
    settings = {"rounds": 6, "learning_rate": 0.01, "local_epochs": 2}
    losses = [train(model, tensors, turn=turn, **settings).loss for turn in range(1, 7)]
    assert losses[-1] < losses[0]
    unseen = make_tensors(imaging_study, 30, 1)
    assert roc_auc_score(unseen.labels, predict_logits(model, unseen)) > 0.9


@given(st.integers(2, 60), st.integers(2, 20), st.integers(1, 3))
def test_every_pass_uses_every_patient_once_in_batches_of_two_or_more(n: int, size: int, epochs: int) -> None:
    plan = batch_plan(n, Training(batch_size=size, local_epochs=epochs), np.random.default_rng(0))
    lengths = [len(index) for index, _ in plan]
    assert min(lengths) >= 2
    assert max(lengths) <= max(3, 1.5 * size + 1)
    seen = np.concatenate([index for index, _ in plan])
    assert np.bincount(seen, minlength=n).tolist() == [epochs] * n
    assert all((weights == 1).all() for _, weights in plan)


@given(st.integers(1, 40), st.integers(1, 30))
def test_local_updates_is_an_exact_number_of_batches(n: int, updates: int) -> None:
    settings = Training.model_validate({"local_updates": updates, "batch_size": 8})
    assert len(batch_plan(n, settings, np.random.default_rng(0))) == updates


def test_cosine_falls_from_the_full_rate_to_zero_across_rounds() -> None:
    settings = Training(learning_rate=0.2, schedule="cosine")
    assert [learning_rate(settings, p) for p in (0, 0.5, 1)] == pytest.approx([0.2, 0.1, 0], abs=1e-12)
    assert learning_rate(Training(learning_rate=0.2, schedule="constant"), 0.7) == 0.2


def test_balanced_weights_give_both_classes_half() -> None:
    labels = torch.tensor([1.0, 0, 0, 0])
    weights = patient_weights(labels, Training(class_weight="balanced"))
    assert weights.tolist() == pytest.approx([2, 2 / 3, 2 / 3, 2 / 3])
    assert patient_weights(labels, Training(class_weight="none")).tolist() == [1] * 4
    assert patient_weights(labels[1:], Training()).tolist() == [1] * 3


def test_focal_loss_follows_its_definition() -> None:
    logits, labels = torch.tensor([-1.5, 0.3, 2.0]), torch.tensor([1.0, 0, 1])
    p = torch.where(labels > 0, torch.sigmoid(logits), 1 - torch.sigmoid(logits))
    assert torch.allclose(patient_losses(logits, labels, "focal"), -((1 - p) ** 2) * p.log(), atol=1e-6)
    assert torch.allclose(patient_losses(logits, labels, "cross_entropy"), -p.log(), atol=1e-6)

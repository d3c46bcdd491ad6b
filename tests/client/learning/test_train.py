"""A round of local training: exact arithmetic where it has a closed form, and the same bits every time."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.utils.class_weight import compute_sample_weight
from torch import nn

from fedescc.client.learning.dataset import SiteTensors
from fedescc.client.learning.losses import patient_losses, patient_weights
from fedescc.client.learning.precision import Precision
from fedescc.client.learning.predict import predict_logits
from fedescc.client.learning.pull import Pull
from fedescc.client.learning.schedule import Turn
from fedescc.client.learning.train import TrainResult, train_round
from fedescc.common.arrays import flatten_parameters, load_parameters
from fedescc.common.errors import Refusal
from fedescc.common.federation import Training
from fedescc.common.network.model import build_model
from fedescc.common.study import Study

MakeTensors = Callable[..., SiteTensors]
N_CLINICAL = 5
OFF = {"flips": False, "shift_voxels": 0, "intensity": 0}


def train(
    model: nn.Module, tensors: SiteTensors, mu: float = 0.0, turn: int = 1, rounds: int = 4, **settings: Any
) -> TrainResult:
    passes = {} if "local_updates" in settings else {"local_epochs": 1}
    chosen = Training.model_validate({"batch_size": 4, **passes, **settings})
    return train_round(model, tensors, chosen, Turn(3, turn, rounds, "a"), pull=Pull(mu))


def model_of(study: Study, seed: int = 0) -> nn.Module:
    return build_model(study, N_CLINICAL, seed)


def without_dropout(study: Study) -> Study:
    return study.model_copy(update={"model": study.model.model_copy(update={"dropout": 0.0})})


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
        train_round(model_of(imaging_study), tensors, settings, Turn(seed, turn, 9, site)).delta.tobytes()
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
    result = train(model, tensors, augmentation=OFF)
    assert (result.n, result.updates) == (1, 1)
    doubled = train(model_of(imaging_study).eval(), make_tensors(imaging_study, 1), micro_batch=2, augmentation=OFF)
    assert np.array_equal(doubled.delta, result.delta)


def test_no_patient_is_refused(imaging_study: Study, make_tensors: MakeTensors) -> None:
    with pytest.raises(Refusal) as refusal:
        train(model_of(imaging_study), make_tensors(imaging_study, 0))
    assert refusal.value.code == "no-training-patients"


@pytest.mark.parametrize("most", [2, 3, 5])
def test_gradients_gathered_in_pieces_give_the_whole_batchs_update(
    imaging_study: Study, make_tensors: MakeTensors, most: int
) -> None:
    study = without_dropout(imaging_study)
    settings = {"optimizer": "sgd", "batch_size": 14, "local_updates": 2, "gradient_clip": 0.5}
    tensors = make_tensors(study, 7)
    whole, pieces = (train(model_of(study), tensors, 0.5, micro_batch=size, **settings) for size in (None, most))
    assert pieces.delta == pytest.approx(whole.delta, abs=2e-6)
    assert pieces.loss == pytest.approx(whole.loss, rel=1e-5)
    assert np.abs(whole.delta).max() > 1e-4
    assert pieces.updates == whole.updates == 2


@pytest.mark.parametrize("most", [2, 3])
def test_no_pass_of_the_model_holds_more_patients_than_a_piece(
    imaging_study: Study, make_tensors: MakeTensors, most: int
) -> None:
    model, seen = model_of(imaging_study), []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    train(model, make_tensors(imaging_study, 9), micro_batch=most, batch_size=10)
    assert max(seen) <= most
    assert min(seen) >= 2
    assert sum(seen) >= 9


def test_affine_changes_go_through_training_and_repeat(imaging_study: Study, make_tensors: MakeTensors) -> None:
    tensors = make_tensors(imaging_study, 6)
    turned = {"augmentation": {**OFF, "affine": {"probability": 1.0}}}
    still, first, again = (
        train(model_of(imaging_study), tensors, **kind) for kind in ({"augmentation": OFF}, turned, turned)
    )
    assert np.array_equal(first.delta, again.delta)
    assert not np.array_equal(first.delta, still.delta)


def test_the_rates_of_the_steps_are_summed(clinical_study: Study, make_tensors: MakeTensors) -> None:
    settings = {"learning_rate": 0.1, "schedule": "constant", "warmup": 0.5, "local_updates": 4, "optimizer": "sgd"}
    result = train(model_of(clinical_study), make_tensors(clinical_study, 6), rounds=2, **settings)
    assert result.rates == pytest.approx(0.1 * (0.25 + 0.5 + 0.75 + 1))


def test_a_step_that_loss_scaling_left_out_has_no_rate(
    clinical_study: Study, make_tensors: MakeTensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Precision, "step", lambda *_: False)
    result = train(model_of(clinical_study), make_tensors(clinical_study, 6), local_updates=3)
    assert (result.rates, result.updates) == (0, 3)


def test_a_constant_pull_acts_before_the_clip(clinical_study: Study, make_tensors: MakeTensors) -> None:
    settings = Training.model_validate({
        "optimizer": "sgd", "learning_rate": 1.0, "schedule": "constant", "weight_decay": 0, "batch_size": 6,
        "gradient_clip": 0.01, "local_epochs": 1,
    })  # fmt: skip
    model = model_of(clinical_study)
    pull = Pull(constant=np.full(flatten_parameters(model).size, 100, np.float32))
    result = train_round(model, make_tensors(clinical_study, 6), settings, Turn(0, 1, 1, "a"), pull=pull)
    assert np.linalg.norm(result.delta) == pytest.approx(0.01, rel=1e-3)
    assert result.delta == pytest.approx(np.full(6, -0.01 / 6**0.5), abs=1e-4)


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


def test_a_parameter_that_is_not_finite_at_the_end_is_refused(clinical_study: Study, make_tensors: MakeTensors) -> None:
    model = model_of(clinical_study)
    pull = Pull(constant=np.full(flatten_parameters(model).size, 3e38, np.float32))
    settings = Training(optimizer="sgd", learning_rate=10.0, schedule="constant", gradient_clip=None, local_epochs=1)
    with pytest.raises(Refusal, match="a parameter is not finite") as refusal:
        train_round(model, make_tensors(clinical_study, 6), settings, Turn(0, 1, 1, "a"), pull=pull)
    assert refusal.value.code == "training-diverged"


@pytest.mark.parametrize("positives", [1, 7, 50, 99])
def test_balanced_weights_are_scikit_learns(positives: int) -> None:
    labels = torch.tensor([1.0] * positives + [0.0] * (100 - positives))
    weights = patient_weights(labels, Training(class_weight="balanced"))
    assert weights.numpy() == pytest.approx(compute_sample_weight("balanced", labels.numpy()), rel=1e-6)
    assert float(weights.mean()) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("labels", [torch.zeros(0), torch.zeros(3), torch.ones(3)])
def test_without_both_classes_every_patient_weighs_one(labels: torch.Tensor) -> None:
    assert patient_weights(labels, Training(class_weight="balanced")).tolist() == [1] * len(labels)


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

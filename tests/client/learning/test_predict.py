"""Scores do not depend on how patients are batched, nor on anything but the model and the patient."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedescc.client.learning.dataset import SiteTensors
from fedescc.client.learning.predict import predict_logits
from fedescc.common.network.model import build_model
from fedescc.common.study import Study

MakeTensors = Callable[..., SiteTensors]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_batch_size_changes_nothing(imaging_study: Study, make_tensors: MakeTensors, size: int) -> None:
    model, tensors = build_model(imaging_study, 5, 0), make_tensors(imaging_study, 7)
    together = predict_logits(model, tensors, 32)
    assert together.dtype == np.float64
    assert np.ptp(together) > 1e-3
    assert predict_logits(model, tensors, size) == pytest.approx(together, abs=1e-5)


def test_scores_repeat_and_leave_the_random_state_alone(imaging_study: Study, make_tensors: MakeTensors) -> None:
    model, tensors = build_model(imaging_study, 5, 0), make_tensors(imaging_study, 4)
    state = torch.get_rng_state()
    first = predict_logits(model.train(), tensors)
    assert np.array_equal(first, predict_logits(model, tensors))
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training


def test_logistic_regression_by_hand(clinical_study: Study, make_tensors: MakeTensors) -> None:
    model, tensors = build_model(clinical_study, 5, 0), make_tensors(clinical_study, 6)
    weights = np.array([0.5, -1, 2, 0, 1], np.float32)
    with torch.no_grad():
        model.linear.weight.copy_(torch.from_numpy(weights)[None])
        model.linear.bias.fill_(0.25)
    assert predict_logits(model, tensors) == pytest.approx(tensors.clinical.numpy() @ weights + 0.25, abs=1e-6)


def test_nobody_gives_no_scores(imaging_study: Study, make_tensors: MakeTensors) -> None:
    nobody = replace(make_tensors(imaging_study, 1), rows=np.zeros(0, np.intp))
    assert predict_logits(build_model(imaging_study, 5, 0), nobody).shape == (0,)

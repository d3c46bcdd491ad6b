"""Loss scaling tells a step that was left out from one that was taken; off a GPU nothing is changed."""

import torch

from fedescc.client.learning.precision import Precision


def one_step(precision: Precision, factor: float) -> tuple[float, bool]:
    weight = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.5)
    precision.backward((factor * weight).sum())
    precision.unscale(optimizer)
    taken = precision.step(optimizer)
    return float(weight.detach()), taken


def test_a_cpu_works_in_full_precision_whatever_is_wanted() -> None:
    precision = Precision(torch.device("cpu"), wanted=True)
    with precision.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    assert one_step(precision, 1.0) == (0.5, True)


def test_scaled_gradients_are_brought_back_before_the_step() -> None:
    precision = Precision(torch.device("cpu"), wanted=True)
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    assert one_step(precision, 1.0) == (0.5, True)


def test_a_step_whose_scaled_gradients_overflow_is_left_out_and_said_to_be() -> None:
    precision = Precision(torch.device("cpu"), wanted=True)
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**100)
    assert one_step(precision, 1e30) == (1.0, False)

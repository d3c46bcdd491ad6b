"""The pull is added to gradients exactly, in the order of the flat parameters."""

import numpy as np
import pytest
from torch import nn

from fedescc.client.learning.pull import Pull, bind
from fedescc.common.arrays import flatten_parameters, load_parameters
from fedescc.common.errors import Refusal


class Gradients:
    """A small model whose gradients are all 1, after its parameters moved away from where training starts."""

    def __init__(self, pull: Pull) -> None:
        self.model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
        self.size = len(flatten_parameters(self.model))
        load_parameters(self.model, np.zeros(self.size, np.float32))
        add = bind(pull, self.model)
        load_parameters(self.model, np.arange(self.size, dtype=np.float32))
        for parameter in self.model.parameters():
            parameter.grad = parameter.new_ones(parameter.shape)
        add()

    @property
    def flat(self) -> np.ndarray:
        parts = [
            value.grad.numpy().ravel() for _, value in sorted(self.model.named_parameters()) if value.grad is not None
        ]
        return np.concatenate(parts)


def test_no_pull_adds_nothing() -> None:
    assert (Gradients(Pull()).flat == 1).all()


def test_without_an_anchor_the_spring_holds_to_where_training_starts() -> None:
    found = Gradients(Pull(0.5))
    assert found.flat == pytest.approx(1 + 0.5 * np.arange(found.size))


def test_spring_and_constant_add_up() -> None:
    anchor, constant = np.full(15, 2, np.float32), np.linspace(-1, 1, 15, dtype=np.float32)
    found = Gradients(Pull(0.5, anchor, constant))
    assert found.flat == pytest.approx(1 + 0.5 * (np.arange(15) - 2) + constant)


def test_a_parameter_without_gradient_is_left_alone() -> None:
    model = nn.Linear(2, 1)
    bind(Pull(1.0, constant=np.ones(3, np.float32)), model)()
    assert model.weight.grad is None


@pytest.mark.parametrize("constant", [np.zeros(2, np.float32), np.array([0, np.nan, 0], np.float32)])
def test_a_pull_of_another_size_or_without_a_value_is_refused(constant: np.ndarray) -> None:
    with pytest.raises(Refusal, match="wrong-parameters"):
        bind(Pull(constant=constant), nn.Linear(2, 1))

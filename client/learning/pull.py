"""What draws the parameters besides the data: a term of the gradient that is known without a pass of the model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fedescc.common.arrays import FlatParameters, flatten_parameters, parameter_layout, split_parameters


@dataclass(frozen=True, eq=False)
class Pull:
    """Joins the gradient of the data: ``mu`` · (w - anchor) + constant.

    The first is the gradient of mu/2 · ||w - anchor||²: FedProx's proximal term (Li et al., MLSys 2020), or Ditto's
    attraction (Li et al., ICML 2021). The second is SCAFFOLD's c - c_i (Karimireddy et al., ICML 2020).

    Attributes:
        mu: weight of the quadratic term.
        anchor: (size,) in the order of `flatten_parameters`; None for the parameters that training starts from.
        constant: (size,) or None.

    """

    mu: float = 0.0
    anchor: FlatParameters | None = None
    constant: FlatParameters | None = None


def bind(pull: Pull, model: nn.Module) -> Callable[[], None]:
    """A function that adds the pull to the gradients which ``model`` then holds; the anchor is fixed now."""
    parameters = dict(model.named_parameters())
    terms: list[Callable[[], None]] = []
    if pull.mu:
        anchor = flatten_parameters(model) if pull.anchor is None else pull.anchor
        terms += [_spring(parameters[name], there, pull.mu) for name, there in _tensors(model, anchor).items()]
    if pull.constant is not None:
        terms += [_push(parameters[name], force) for name, force in _tensors(model, pull.constant).items()]

    def add() -> None:
        with torch.no_grad():
            for term in terms:
                term()

    return add


def _spring(parameter: Tensor, anchor: Tensor, mu: float) -> Callable[[], None]:
    return lambda: _add(parameter, parameter.detach() - anchor, mu)


def _push(parameter: Tensor, force: Tensor) -> Callable[[], None]:
    return lambda: _add(parameter, force, 1.0)


def _add(parameter: Tensor, term: Tensor, weight: float) -> None:
    if parameter.grad is not None:  # a parameter that is not trained has none
        parameter.grad.add_(term, alpha=weight)


def _tensors(model: nn.Module, flat: FlatParameters) -> dict[str, Any]:
    device = next(model.parameters()).device
    arrays = split_parameters(parameter_layout(model), flat)
    return {name: torch.from_numpy(array.copy()).to(device) for name, array in arrays.items()}

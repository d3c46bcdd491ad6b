"""A model that has learned nothing: what an explanation must not look like (Adebayo et al., NeurIPS 2018)."""

import copy

import numpy as np
import torch

from fedescc.common.network.model import LinearModel, PairedCNN

AnyModel = PairedCNN | LinearModel


def randomised(model: AnyModel, seed: int) -> AnyModel:
    """A copy whose every parameter tensor has its values in another order: the same sizes, no meaning."""
    changed = copy.deepcopy(model)
    rng = np.random.default_rng([seed, 2018])
    with torch.no_grad():
        for parameter in changed.parameters():
            order = torch.from_numpy(rng.permutation(parameter.numel())).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return changed

"""Pooling of an encoder's maps over a region: on this task it is worth more than the choice of the encoder."""

import torch
from torch import Tensor

# Outside the region every voxel still weighs this much: negligible beside the region's own, and an empty region is
# pooled over the whole volume instead of dividing by 0.
FLOOR = 1e-4


def average(maps: Tensor, region: Tensor) -> Tensor:
    """Mean of every map, (s, c, z, y, x), weighted by the region, (s, 1, z, y, x): (s, c)."""
    weights = region.flatten(1)
    sums = torch.einsum("bcv,bv->bc", maps.flatten(2), weights)
    return sums / weights.sum(dim=1, keepdim=True)


def mean_and_sd(maps: Tensor, region: Tensor) -> Tensor:
    """Weighted mean, then SD, of every map: (s, 2 c)."""
    mean = average(maps, region)
    variance = (average(maps.square(), region) - mean.square()).clamp_min(0)
    return torch.cat([mean, (variance + 1e-4).sqrt()], dim=1)

"""Pooling over a region: hand-computed means and SDs."""

import pytest
import torch

from fedescc.common.network.pooling import FLOOR, average, mean_and_sd


def test_mean_and_sd_are_those_of_the_regions_voxels() -> None:
    maps = torch.arange(8.0).reshape(1, 1, 2, 2, 2).repeat(1, 2, 1, 1, 1)
    maps[:, 1] *= 10
    region = torch.zeros(1, 1, 2, 2, 2)
    region[0, 0, 0, 0] = torch.tensor([1.0, 1.0])  # values 0 and 1
    region[0, 0, 1, 1, 1] = 2  # value 7, twice
    assert average(maps, region).tolist() == [[3.75, 37.5]]
    # variance of 0, 1, 7, 7: 99/4 - 3.75² = 10.6875
    assert mean_and_sd(maps, region)[0].tolist() == pytest.approx([3.75, 37.5, 10.6876**0.5, 1068.7501**0.5])


def test_an_empty_region_on_the_floor_is_pooled_over_everything() -> None:
    maps = torch.rand(3, 4, 5, 6, 7)
    region = torch.zeros(3, 1, 5, 6, 7) + FLOOR
    assert torch.allclose(average(maps, region), maps.mean(dim=(2, 3, 4)), atol=1e-5)


def test_a_constant_map_has_an_sd_with_a_gradient() -> None:
    maps = torch.ones(1, 1, 2, 2, 2, requires_grad=True)
    mean_and_sd(maps, torch.ones(1, 1, 2, 2, 2)).sum().backward()
    assert maps.grad is not None
    assert torch.isfinite(maps.grad).all()

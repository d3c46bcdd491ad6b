"""The rim is the Euclidean neighbourhood of the ROI, whatever the grid, and works sample by sample."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from fedescc.common.network.rim import rim_of


def random_rois(seed: int, size: tuple[int, ...], voxels: int) -> Tensor:
    rng = np.random.default_rng(seed)
    rois = np.zeros((2, *size), np.float32)
    for roi in rois:
        roi.flat[rng.choice(roi.size, voxels, replace=False)] = 1
    return torch.from_numpy(rois)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 10_000),
    st.tuples(*[st.sampled_from([0.7, 1.0, 1.5, 2.0, 3.1])] * 3),
    st.sampled_from([0.5, 2.1, 3.0, 4.9, 6.0, 25.0]),
    st.integers(1, 6),
)
def test_it_is_what_an_exact_distance_transform_says(
    seed: int, spacing: tuple[float, ...], width: float, voxels: int
) -> None:
    rois = random_rois(seed, (7, 11, 9), voxels)
    rim = rim_of(rois, spacing, width)
    for roi, found in zip(rois.numpy(), rim.numpy(), strict=True):
        distance = distance_transform_edt(roi == 0, sampling=spacing)
        outside = roi == 0
        assert not found[~outside].any()
        assert found[outside & (distance <= width * (1 + 1e-6))].all()
        assert not found[distance > width * (1 + 1e-4)].any()


def test_a_voxel_exactly_as_far_as_the_width_belongs_to_it() -> None:
    roi = torch.zeros(1, 9, 9, 9)
    roi[0, 4, 4, 4] = 1
    rim = rim_of(roi, (0.7, 0.7, 0.7), 2.1)[0]
    assert rim[4, 4, 1] == 1  # three steps of 0.7 are more than 2.1 in binary
    assert rim[4, 4, 0] == 0
    assert rim[6, 6, 5] == 1  # 0.7 * sqrt(4 + 4 + 1)
    assert rim[7, 5, 4] == 0  # 0.7 * sqrt(9 + 1)
    assert rim[4, 4, 4] == 0


@pytest.mark.parametrize("value", [0.0, 1.0], ids=["empty", "everywhere"])
def test_no_roi_and_nothing_else_have_no_rim(value: float) -> None:
    assert rim_of(torch.full((2, 6, 7, 8), value), (1, 1, 1), 3).sum() == 0


def test_one_empty_roi_does_not_borrow_another_ones_rim() -> None:
    rois = torch.zeros(2, 6, 6, 6)
    rois[0, 3, 3, 3] = 1
    assert rim_of(rois, (1, 1, 1), 2).sum(dim=(1, 2, 3)).tolist() == [32, 0]  # of 33 points within 2 steps, all but one


def test_a_rim_wider_than_the_grid_is_everything_outside_the_roi() -> None:
    roi = torch.zeros(1, 5, 6, 7)
    roi[0, 0, 0, 0] = 1
    assert rim_of(roi, (1, 1, 1), 30).sum() == 5 * 6 * 7 - 1


def test_an_interpolated_voxel_is_inside_from_one_half_on() -> None:
    roi = torch.zeros(1, 5, 5, 5)
    roi[0, 2, 2, 1:4] = torch.tensor([0.49, 0.5, 0.2])
    rim = rim_of(roi, (1, 1, 1), 1)
    assert rim[0, 2, 2].tolist() == [0, 1, 0, 1, 0]
    assert rim.sum() == 6


def test_samples_are_mapped_like_a_batch() -> None:
    rois = random_rois(3, (6, 8, 7), 4)
    mapped = torch.func.vmap(lambda roi: rim_of(roi[None], (1, 2, 1.5), 3)[0])(rois)
    assert torch.equal(mapped, rim_of(rois, (1, 2, 1.5), 3))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_the_rim_has_the_rois_type(kind: torch.dtype) -> None:
    rim = rim_of(random_rois(1, (5, 5, 5), 2).to(kind), (1, 1, 1), 2)
    assert rim.dtype == kind
    assert set(rim.unique().tolist()) == {0.0, 1.0}

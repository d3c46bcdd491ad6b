"""Regions part a scan without rest, and each has its fill."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from fedescc.client.explanation.regions import BASELINE_HU, regions_of
from fedescc.common.imaging import Grid

GRID = Grid(size_zyx=(24, 24, 24), spacing_zyx_mm=(3.0, 2.0, 2.0), window_hu=(-160, 340))
FIXED = (BASELINE_HU + 160) / 500


def scans(*corners: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.from_numpy(np.random.default_rng(0).random((len(corners), 24, 24, 24), np.float32))
    rois = torch.zeros_like(images)
    for roi, (z, y, x) in zip(rois, corners, strict=True):
        roi[z : z + 4, y : y + 5, x : x + 3] = 1
    return images, rois


@pytest.mark.parametrize("corners", [((10, 8, 9),), ((0, 0, 0), (20, 19, 21)), ((5, 7, 9), (7, 9, 5))])
def test_regions_are_a_partition_by_distance(corners: tuple[tuple[int, int, int], ...]) -> None:
    images, rois = scans(*corners)
    found = regions_of(images, rois, GRID, 6.0, "fixed")
    assert torch.equal(found.masks.sum(dim=0), torch.ones_like(images)[:, *found.box])
    for scan, roi in enumerate(rois.numpy()):
        near = distance_transform_edt(roi == 0, sampling=GRID.spacing_zyx_mm) <= 6.0
        assert np.array_equal(found.masks[0, scan].numpy() > 0, roi[found.box] > 0)
        assert np.array_equal(found.masks[1, scan].numpy() > 0, (near & (roi == 0))[found.box])
        outside = near.copy()
        outside[found.box] = False
        assert not outside.any()


def test_the_box_holds_whole_cells_and_no_more_than_needed() -> None:
    images, rois = scans((10, 8, 9))
    found = regions_of(images, rois, GRID, 6.0, "fixed")
    assert found.box == (slice(8, 16), slice(4, 16), slice(6, 16))


def test_a_scan_without_roi_is_all_rest() -> None:
    images, rois = scans((10, 8, 9))
    found = regions_of(images, torch.zeros_like(rois), GRID, 6.0, "local")
    assert not found.masks[:2].any()
    assert found.fills.flatten().tolist() == pytest.approx([FIXED] * 3)


def test_the_fixed_fill_is_one_hu_everywhere() -> None:
    images, rois = scans((5, 7, 9), (7, 9, 5))
    assert regions_of(images, rois, GRID, 6.0, "fixed").fills.numpy() == pytest.approx(np.full((3, 2), FIXED))


def test_the_local_fill_is_the_mean_of_the_tissue_around() -> None:
    images, rois = scans((10, 9, 9), (4, 6, 8))
    found = regions_of(images, rois, GRID, 6.0, "local")
    for scan, (image, roi) in enumerate(zip(images.numpy(), rois.numpy(), strict=True)):
        away = distance_transform_edt(roi == 0, sampling=GRID.spacing_zyx_mm)
        rim = (away > 0) & (away <= 6.0)
        beyond = (distance_transform_edt(~(rim | (roi > 0)), sampling=GRID.spacing_zyx_mm) <= 6.0) & ~rim & (roi == 0)
        expected = [image[rim].mean(), image[beyond].mean(), image[rim].mean()]
        assert found.fills[:, scan].tolist() == pytest.approx(expected, abs=1e-5)

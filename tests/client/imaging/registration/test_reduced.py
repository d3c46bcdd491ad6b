"""What registration reads: block means of some slices, at the right place."""

import numpy as np
import pytest

from fedescc.client.imaging.itk import simple_itk
from fedescc.client.imaging.registration.reduced import image_of, read_reduced, resampled
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.client.imaging.volumes.volume import HuArray, MemoryVolume

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
FLIPPED = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
HU = np.random.default_rng(3).integers(-900, 250, (13, 17, 22)).astype(np.int16)


class Counting:
    """A volume that notes which slices are read."""

    def __init__(self, volume: MemoryVolume) -> None:
        self.volume, self.geometry, self.read = volume, volume.geometry, []

    def slices(self, lo: int, hi: int) -> HuArray:
        self.read.append((lo, hi))
        return self.volume.slices(lo, hi)


def volume(spacing: tuple[float, ...] = (1.25, 1.0, 0.7), direction: tuple[float, ...] = IDENTITY) -> MemoryVolume:
    return MemoryVolume(HU, Geometry(HU.shape, spacing, (7.0, -30.0, 250.0), direction))


def test_pixels_are_averaged_and_slices_skipped() -> None:
    counting = Counting(volume())
    image = read_reduced(counting, 4.0)
    assert counting.read == [(0, 1), (3, 4), (6, 7), (9, 10), (12, 13)]
    values = simple_itk().GetArrayFromImage(image)
    assert values.shape == (5, 4, 3)
    np.testing.assert_allclose(values[1, 2, 1], HU[3, 8:12, 6:12].mean(), rtol=1e-6)
    assert image.GetSpacing() == pytest.approx((6 * 0.7, 4.0, 3.75))


@pytest.mark.parametrize("direction", [IDENTITY, FLIPPED])
@pytest.mark.parametrize("box", [None, (np.array([2, 3, 4]), np.array([12, 16, 20]))])
def test_voxels_lie_where_their_pixels_middle_does(direction: tuple[float, ...], box) -> None:
    """HU that grow linearly along every axis have the block's mean exactly at its middle."""
    grid = volume(direction=direction).geometry
    z, y, x = np.meshgrid(*(np.arange(n) for n in HU.shape), indexing="ij")
    hu = (12 * z + 9 * y - 7 * x).astype(np.int16)
    image = read_reduced(MemoryVolume(hu, grid), 2.0, box)
    values = simple_itk().GetArrayFromImage(image)
    for index in np.ndindex(values.shape):
        i, j, k = grid.physical_to_index(image.TransformIndexToPhysicalPoint([int(n) for n in index[::-1]]))
        assert values[index] == pytest.approx(12 * k + 9 * j - 7 * i, abs=1e-3)


def test_no_axis_becomes_finer_and_a_thin_box_is_read() -> None:
    assert read_reduced(volume((5.0, 3.0, 3.0)), 2.0).GetSize() == (22, 17, 13)
    one = read_reduced(volume(), 8.0, (np.array([4, 4, 4]), np.array([5, 6, 7])))
    assert one.GetSize() == (1, 1, 1)
    assert simple_itk().GetArrayFromImage(one)[0, 0, 0] == pytest.approx(HU[4, 4:6, 4:7].mean())


def test_hu_are_cut_before_they_are_averaged() -> None:
    hu = np.full(HU.shape, -100, np.int16)
    hu[0, 0, 0], hu[0, 0, 1] = 3000, -3024
    image = read_reduced(MemoryVolume(hu, volume((2.0, 1.0, 1.0)).geometry), 2.0)
    assert simple_itk().GetArrayFromImage(image)[0, 0, 0] == pytest.approx((300 - 1000 - 100 - 100) / 4)


def test_resampled_is_nan_outside_and_linear_inside() -> None:
    grid = volume((2.0, 1.0, 1.0)).geometry
    image = image_of(HU.astype(np.float32), grid.spacing_zyx_mm, np.asarray(grid.origin_xyz_mm), grid)
    step = simple_itk().TranslationTransform(3, (0.5, 0.0, 0.0))
    values = resampled(image, image, step)
    np.testing.assert_allclose(values[:, :, :-1], (HU[:, :, :-1].astype(float) + HU[:, :, 1:]) / 2, atol=1e-3)
    far = resampled(image, image, simple_itk().TranslationTransform(3, (0.0, 3.0, 0.0)))
    assert np.isnan(far[:, -2:]).all()
    assert np.isfinite(far[:, :-3]).all()

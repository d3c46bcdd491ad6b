"""Coarse blocks of a scan: the numbers in them, and the regions found on them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantom_scans import AXIAL, volume

from fedescc.client.imaging.quality.tissue import sample_scan
from fedescc.client.imaging.volumes.geometry import Geometry


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(7, 40), st.integers(7, 40), st.sampled_from([0.5, 0.7, 1.0, 1.5, 4.0]))
def test_blocks_are_means_and_extremes_of_their_pixels(seed: int, height: int, width: int, pixel: float) -> None:
    hu = np.random.default_rng(seed).integers(-1024, 3072, (2, height, width))
    sample = sample_scan(volume(hu, (5.0, pixel, pixel)))
    b = sample.block
    assert b == max(1, round(3.0 / pixel))
    assert sample.spacing_zyx_mm == (5.0, pixel * b, pixel * b)
    rows, columns = height // b, width // b
    assert sample.hu.shape == (2, rows, columns)
    cut = hu[:, : rows * b, : columns * b].reshape(2, rows, b, columns, b)
    np.testing.assert_allclose(sample.hu, cut.mean(axis=(2, 4)), atol=0.01)
    np.testing.assert_allclose(sample.square, (cut.astype(float) ** 2).mean(axis=(2, 4)), rtol=1e-5, atol=1)
    np.testing.assert_array_equal(sample.darkest, cut.min(axis=(2, 4)))
    np.testing.assert_array_equal(sample.brightest, cut.max(axis=(2, 4)))


@pytest.mark.parametrize(
    ("slices", "spacing", "chosen"),
    [
        (4, 5.0, (0, 1, 2, 3)),
        (11, 1.0, (0, 5, 10)),
        (10, 1.0, (2, 7)),
        (3, 8.0, (0, 1, 2)),
        (1, 1.0, (0,)),
        (4, 1.25, (1,)),
    ],
)
def test_slices_are_about_5_mm_apart_and_centred(slices: int, spacing: float, chosen: tuple[int, ...]) -> None:
    hu = np.zeros((slices, 8, 8))
    hu += np.arange(slices)[:, None, None]
    sample = sample_scan(volume(hu, (spacing, 3.0, 3.0)))
    assert sample.slices == chosen
    np.testing.assert_array_equal(sample.hu[:, 0, 0], chosen)


def test_long_scans_are_read_more_sparsely() -> None:
    sample = sample_scan(volume(np.zeros((1000, 4, 4)), (2.0, 3.0, 3.0)))
    assert len(sample.slices) <= 80
    assert np.ptp(np.diff(sample.slices)) == 0
    assert sample.spacing_zyx_mm[0] == 2.0 * (sample.slices[1] - sample.slices[0])


def test_only_single_slices_are_read() -> None:
    class Watched:
        geometry = Geometry((40, 8, 8), (1.0, 3.0, 3.0), (0.0, 0.0, 0.0), AXIAL)
        read: list[int] = []

        def slices(self, lo: int, hi: int) -> np.ndarray:
            assert hi == lo + 1
            self.read.append(lo)
            return np.zeros((1, 8, 8), np.int16)

    assert sample_scan(Watched()).slices == tuple(Watched.read)
    assert len(Watched.read) == 8


def test_local_statistics_are_those_of_9_mm() -> None:
    hu = np.random.default_rng(0).normal(50, 20, (1, 30, 30)).round()
    sample = sample_scan(volume(hu, (5.0, 1.5, 1.5)))
    pixels = hu[0, 8:14, 10:16]  # blocks 4 to 6 and 5 to 7 of 2 x 2 pixels
    blocks = pixels.reshape(3, 2, 3, 2).mean(axis=(1, 3))
    assert sample.smooth[0, 5, 6] == pytest.approx(pixels.mean(), abs=0.01)
    assert sample.pixel_sd[0, 5, 6] == pytest.approx(pixels.std(), abs=0.05)
    assert sample.texture[0, 5, 6] == pytest.approx(blocks.std(), abs=0.05)
    assert sample.block_cm3 == pytest.approx(0.5 * 0.3 * 0.3)


def chest() -> np.ndarray:
    """A body with two lungs, air around it and gas in a gut, in blocks of 3 mm."""
    hu = np.full((3, 40, 60), -1000.0)
    hu[:, 5:35, 5:55] = 40
    hu[:, 10:30, 10:22] = hu[:, 10:30, 38:50] = -850
    hu[:, 31:34, 28:32] = -1000
    return hu


def test_lung_is_neither_air_nor_gas() -> None:
    sample = sample_scan(volume(chest()))
    assert sample.outside[:, :5].all()
    assert not sample.outside[:, 12, 15].any()
    assert sample.lung[:, 12:28, 12:20].all()
    assert not sample.lung[:, 31:34].any()
    assert not (sample.lung & sample.outside).any()
    assert sample.lung.sum() <= 3 * 2 * 20 * 12


def test_between_the_lungs_is_the_mediastinum_alone() -> None:
    sample = sample_scan(volume(chest()))
    assert sample.between_lungs[:, 12:28, 23:37].all()
    assert not sample.between_lungs[:, :9].any()
    assert not sample.between_lungs[:, :, 51:].any()
    assert not sample.between_lungs[:, 31:].any()


def test_a_lung_that_the_image_cuts_does_not_count() -> None:
    cut = chest()[:, :, 14:]
    sample = sample_scan(volume(cut))
    assert not sample.lung[:, :, :8].any()
    assert not sample.between_lungs.any()


def test_padding_is_one_value_darker_than_air() -> None:
    rng = np.random.default_rng(1)
    hu = chest() + rng.normal(0, 10, (3, 40, 60))
    y, x = np.ogrid[-1:1:40j, -1:1:60j]
    beyond = np.broadcast_to(y * y + x * x > 1, hu.shape)
    for value in (-2000, -3024, -1024):
        padded = np.where(beyond, value, hu)
        np.testing.assert_array_equal(sample_scan(volume(padded)).unscanned, beyond)


def test_constant_air_inside_the_circle_was_scanned() -> None:
    hu = chest()
    sample = sample_scan(volume(np.where(hu < -900, -1000, hu)))
    y, x = np.ogrid[-1:1:40j, -1:1:60j]
    assert not (sample.unscanned & (y * y + x * x <= 1)).any()
    assert not sample.unscanned[:, 20, 30].any()


def test_noise_of_padding_value_is_no_padding() -> None:
    hu = np.random.default_rng(2).normal(-2000, 20, (1, 40, 40))
    assert not sample_scan(volume(hu, (5.0, 1.0, 1.0))).unscanned.any()

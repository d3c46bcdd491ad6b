"""The noise that was put in is the noise that is measured."""

import numpy as np
import pytest
from phantom_scans import case_with, volume, volume_of, with_hu

from fedescc.client.imaging.quality.noise import measure_noise
from fedescc.client.imaging.quality.tissue import sample_scan


@pytest.mark.parametrize("sd", [5.0, 12.0, 25.0, 60.0, 120.0])
@pytest.mark.parametrize("pixel", [0.7, 1.5])
def test_white_noise_in_uniform_tissue(sd: float, pixel: float) -> None:
    hu = np.random.default_rng(0).normal(50, sd, (4, 200, 200)).round()
    sample = sample_scan(volume(hu, (5.0, pixel, pixel)))
    assert measure_noise(sample) == pytest.approx(sd, rel=0.06, abs=1)


@pytest.mark.parametrize("site", range(5))
def test_noise_of_phantoms(site: int) -> None:
    case = case_with(3, site, 0, noise_hu=15.0)
    assert measure_noise(sample_scan(volume_of(case.pre))) == pytest.approx(15, abs=7)


def test_added_noise_adds_in_squares() -> None:
    scan = volume_of(case_with(3, 0, 0, noise_hu=10.0).pre)
    noisy = with_hu(scan, scan.hu + np.random.default_rng(1).normal(0, 50, scan.hu.shape))
    assert measure_noise(sample_scan(noisy)) == pytest.approx(np.hypot(10, 50), rel=0.12)


def test_edges_do_not_count() -> None:
    """Vessels of 200 HU in fat on half of the picture leave the noise of the other half."""
    rng = np.random.default_rng(2)
    hu = np.full((4, 200, 200), 50.0)
    hu[:, :, :100] = np.where((np.arange(200)[:, None] // 8 + np.arange(100) // 8) % 2, 200, -100)
    sample = sample_scan(volume((hu + rng.normal(0, 10, hu.shape)).round(), (5.0, 1.0, 1.0)))
    assert measure_noise(sample) == pytest.approx(10, abs=1.5)


@pytest.mark.parametrize("hu", [-1000, -850, 400])
def test_without_soft_tissue_there_is_no_figure(hu: int) -> None:
    assert measure_noise(sample_scan(volume(np.full((4, 60, 60), hu)))) is None

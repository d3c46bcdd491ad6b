"""Wrong rescales are found; real and phantom scans, small fields of view and lean patients are left alone."""

import numpy as np
import pytest
from phantom_scans import part_of, volume, volume_of, with_hu

from fedescc.client.imaging.quality.hu_scale import HuScale, measure_scale
from fedescc.client.imaging.quality.tissue import sample_scan
from fedescc.client.imaging.volumes.volume import MemoryVolume
from fedescc.simulations.patients.phantom import phantom_case


@pytest.fixture(scope="module", params=range(5), ids="abcde")
def scan(request: pytest.FixtureRequest) -> MemoryVolume:
    return volume_of(phantom_case(1, request.param, 0).pre)


def scale_of(scan: MemoryVolume) -> HuScale:
    return measure_scale(sample_scan(scan))


def test_peaks_lie_where_the_phantom_has_them(scan: MemoryVolume) -> None:
    found = scale_of(scan)
    assert found.faults == ()
    assert found.air_hu == pytest.approx(-1000, abs=20)
    assert found.fat_hu == pytest.approx(-98, abs=30)
    assert found.soft_hu == pytest.approx(45, abs=25)


@pytest.mark.parametrize(
    ("slope", "intercept"),
    [(1, 1000), (1, 1024), (1, -1000), (1, -1024), (2, 0), (0.5, 0), (1.5, 0), (-1, 0), (1, 100), (1, -100), (0.9, 0),
     (1.1, 0), (1 / 16, 64), (0, 0), (0, -1000)],
)  # fmt: skip
def test_wrong_rescales_are_found(scan: MemoryVolume, slope: float, intercept: float) -> None:
    assert scale_of(with_hu(scan, scan.hu * slope + intercept)).faults


@pytest.mark.parametrize(("slope", "intercept"), [(1, 20), (1, -20), (1.02, 0), (0.98, 0), (1, -24), (1, 24)])
def test_calibration_errors_are_none(scan: MemoryVolume, slope: float, intercept: float) -> None:
    assert scale_of(with_hu(scan, scan.hu * slope + intercept)).faults == ()


def test_each_fault_has_its_cause(scan: MemoryVolume) -> None:
    causes = {
        "tissue_too_dense": scan.hu + 1000.0,
        "darker_than_air": scan.hu - 1000.0,
        "air_shifted": scan.hu + 100.0,
        "nothing_dark": np.maximum(scan.hu, 0),
        "no_soft_tissue": np.where((scan.hu > -300) & (scan.hu < 400), -700, scan.hu),
    }
    for fault, hu in causes.items():
        assert fault in scale_of(with_hu(scan, hu)).faults


def test_doubled_fat_is_too_dark() -> None:
    """A field of view inside a well-fed body, without air or lung: only the fat tells."""
    rng = np.random.default_rng(0)
    hu = np.full((4, 100, 100), 50.0)
    hu[:, :, :60] = -100
    hu = (hu + rng.normal(0, 8, hu.shape)).round()
    assert scale_of(volume(hu)).faults == ()
    assert scale_of(volume(2 * hu)).faults == ("tissue_too_dark",)


def test_a_field_of_view_without_outside_air_is_left_alone(scan: MemoryVolume) -> None:
    _, height, width = scan.hu.shape
    middle = np.ascontiguousarray(scan.hu[:, height // 4 : -height // 4, width // 4 : -width // 4])
    found = scale_of(volume(middle, scan.geometry.spacing_zyx_mm))
    assert found.faults == ()


def test_a_patient_without_fat_is_left_alone(scan: MemoryVolume) -> None:
    lean = np.where((scan.hu > -170) & (scan.hu < 0), 40, scan.hu)
    found = scale_of(with_hu(scan, lean + np.random.default_rng(0).normal(0, 8, lean.shape)))
    assert found.faults == ()


@pytest.mark.parametrize("sd", [30, 60, 100])
def test_noise_is_another_matter(scan: MemoryVolume, sd: int) -> None:
    noisy = scan.hu + np.random.default_rng(0).normal(0, sd, scan.hu.shape)
    assert scale_of(with_hu(scan, noisy)).faults == ()


@pytest.mark.parametrize("padding", [-1024, -2000, -2048, -3024])
def test_padding_is_no_air(scan: MemoryVolume, padding: int) -> None:
    _, height, width = scan.hu.shape
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    padded = np.where(y * y + x * x > 1, padding, scan.hu)
    found = scale_of(with_hu(scan, padded))
    assert found.faults == ()
    assert found.air_hu is None or abs(found.air_hu + 1000) < 25


def test_few_slices_are_enough(scan: MemoryVolume) -> None:
    some = part_of(scan, z=slice(10, 14))
    assert scale_of(some).faults == ()
    assert scale_of(with_hu(some, some.hu + 1024.0)).faults


@pytest.mark.parametrize("value", [0, -1000, 3071])
def test_a_picture_of_nothing_is_implausible(value: int) -> None:
    assert scale_of(volume(np.full((4, 60, 60), value))).faults

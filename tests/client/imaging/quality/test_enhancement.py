"""Contrast medium is seen in the image: on phantoms with and without, and on what may pass for blood."""

import numpy as np
import pytest
from phantom_scans import case_with, part_of, volume_of, with_hu

from fedescc.client.imaging.quality.enhancement import enhancement_of, measure_enhancement
from fedescc.client.imaging.quality.tissue import sample_scan
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.client.imaging.volumes.volume import MemoryVolume
from fedescc.simulations.patients.phantom import phantom_case

PLAIN = 40.0


@pytest.fixture(scope="module")
def plain() -> MemoryVolume:
    return volume_of(case_with(7, 0, 0, aorta_hu=PLAIN).pre)


@pytest.fixture(scope="module")
def enhanced() -> MemoryVolume:
    return volume_of(case_with(7, 0, 0, aorta_hu=180.0).pre)


@pytest.mark.parametrize("site", range(5))
def test_every_enhanced_phantom_is_seen(site: int) -> None:
    case = phantom_case(4, site, 3)
    for scan in (case.pre, case.post):
        found = measure_enhancement(volume_of(scan))
        assert found.verdict == "enhanced"
        assert found.blood_hu is not None
        assert 100 < found.blood_hu < 330


@pytest.mark.parametrize("site", range(5))
def test_every_plain_phantom_is_seen(site: int) -> None:
    found = measure_enhancement(volume_of(case_with(4, site, 3, aorta_hu=PLAIN).pre))
    assert found.verdict == "plain"
    assert found.blood_hu == pytest.approx(PLAIN, abs=20)  # offset of the scanner, tumour and muscle among blood


@pytest.mark.slow
@pytest.mark.parametrize(("aorta_hu", "verdict"), [(PLAIN, "plain"), (None, "enhanced")])
def test_sensitivity_and_specificity_on_60_phantoms(aorta_hu: float | None, verdict: str) -> None:
    contrast = {} if aorta_hu is None else {"aorta_hu": aorta_hu}
    scans = [
        scan
        for site in range(5)
        for index in range(6)
        for case in [case_with(11, site, index, **contrast)]
        for scan in (case.pre, case.post)
    ]
    assert len(scans) == 60
    assert [measure_enhancement(volume_of(scan)).verdict for scan in scans] == [verdict] * 60


@pytest.mark.parametrize("aorta_hu", [110.0, 180.0, 350.0])
def test_blood_is_measured_as_drawn(aorta_hu: float) -> None:
    found = measure_enhancement(volume_of(case_with(2, 0, 1, aorta_hu=aorta_hu, offset_hu=0.0).pre))
    assert found.verdict == "enhanced"
    assert found.blood_hu == pytest.approx(aorta_hu, abs=12)


def test_faint_blood_is_not_called_plain() -> None:
    """Late or weak contrast medium: 100 HU in the aorta, 85 in the heart."""
    for index in range(3):
        assert measure_enhancement(volume_of(case_with(2, 1, index, aorta_hu=100.0).pre)).verdict == "enhanced"


@pytest.mark.parametrize("noise", [3.0, 30.0])
def test_usual_noise_changes_no_verdict(noise: float) -> None:
    for aorta_hu, verdict in ((PLAIN, "plain"), (180.0, "enhanced")):
        case = case_with(7, 3, 1, aorta_hu=aorta_hu, noise_hu=noise)
        assert measure_enhancement(volume_of(case.pre)).verdict == verdict


@pytest.mark.parametrize("aorta_hu", [PLAIN, 180.0])
def test_heavy_noise_hides_either(aorta_hu: float) -> None:
    case = case_with(7, 3, 1, aorta_hu=aorta_hu, noise_hu=90.0)
    assert measure_enhancement(volume_of(case.pre)) == ("unknown", None)


@pytest.mark.parametrize("step", [2, 4, 5])
def test_thick_slices_change_no_verdict(plain: MemoryVolume, enhanced: MemoryVolume, step: int) -> None:
    assert measure_enhancement(part_of(plain, step=step)).verdict == "plain"
    assert measure_enhancement(part_of(enhanced, step=step)).verdict == "enhanced"


def test_a_few_centimetres_are_enough_and_a_few_slices_not(plain: MemoryVolume, enhanced: MemoryVolume) -> None:
    some, few = slice(10, 30), slice(20, 27)
    assert measure_enhancement(part_of(plain, z=some)).verdict == "plain"
    assert measure_enhancement(part_of(enhanced, z=some)).verdict == "enhanced"
    assert measure_enhancement(part_of(plain, z=few)).verdict == "unknown"
    assert measure_enhancement(part_of(enhanced, z=few)).verdict == "unknown"


def test_verdict_does_not_depend_on_how_the_patient_lies(plain: MemoryVolume, enhanced: MemoryVolume) -> None:
    for volume, verdict in ((plain, "plain"), (enhanced, "enhanced")):
        usual = measure_enhancement(volume)
        for turned in (volume.hu[:, ::-1], volume.hu[:, :, ::-1], volume.hu[::-1], volume.hu[:, ::-1, ::-1]):
            found = measure_enhancement(MemoryVolume(np.ascontiguousarray(turned), volume.geometry))
            assert found.verdict == usual.verdict == verdict
            assert found.blood_hu == pytest.approx(usual.blood_hu, abs=5)


def ball(volume: MemoryVolume, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
    """An ellipsoid, in mm from the volume's middle."""
    axes = [
        ((np.arange(n) - (n - 1) / 2) * step - c) / r
        for n, step, c, r in zip(volume.hu.shape, volume.geometry.spacing_zyx_mm, centre, radii, strict=True)
    ]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return z * z + y * y + x * x < 1


@pytest.mark.parametrize(
    ("centre", "radii", "hu"),
    [
        ((-35, 0, 30), (14, 22, 22), 300),  # contrast medium in a stomach below the dome
        ((40, -20, 0), (9, 10, 12), 110),  # a goitre at the inlet
        ((0, -14, 0), (10, 9, 9), 250),  # a barium swallow
        ((-40, -10, -40), (8, 25, 25), 100),  # the top of a liver after amiodarone
    ],
)
def test_other_bright_things_do_not_make_a_plain_scan_enhanced(plain: MemoryVolume, centre, radii, hu: int) -> None:
    noise = np.random.default_rng(0).normal(0, 8, plain.hu.shape)
    changed = np.where(ball(plain, centre, radii), hu + noise, plain.hu)
    assert measure_enhancement(with_hu(plain, changed)).verdict != "enhanced"


def test_a_scan_without_lungs_is_never_called_plain(plain: MemoryVolume) -> None:
    sample = sample_scan(plain)
    solid = np.where((plain.hu < -500) & (np.arange(plain.hu.shape[1])[:, None] > 8), 45, plain.hu)
    assert sample.lung.any()
    assert measure_enhancement(with_hu(plain, solid)).verdict == "unknown"


def test_lung_on_one_side_only_is_not_called_plain(plain: MemoryVolume) -> None:
    """After pneumonectomy, or behind an effusion, it is not clear what lies between the lungs."""
    middle = plain.hu.shape[2] // 2
    filled = plain.hu.copy()
    filled[:, :, middle:][filled[:, :, middle:] < -500] = 30
    assert measure_enhancement(with_hu(plain, filled)).verdict == "unknown"


def test_spine_is_not_taken_for_blood(plain: MemoryVolume) -> None:
    assert (sample_scan(plain).smooth[sample_scan(plain).between_lungs] > 150).sum() > 20, "there is a spine"
    assert measure_enhancement(plain).verdict == "plain"


@pytest.mark.parametrize("value", [-1000, 0, 40, 200, 3000])
def test_uniform_pictures_tell_nothing(value: int) -> None:
    grid = Geometry((12, 64, 64), (5.0, 3.0, 3.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    assert measure_enhancement(MemoryVolume(np.full(grid.shape_zyx, value, np.int16), grid)) == ("unknown", None)


def test_the_sample_gives_the_same_verdict(enhanced: MemoryVolume) -> None:
    assert enhancement_of(sample_scan(enhanced)) == measure_enhancement(enhanced)

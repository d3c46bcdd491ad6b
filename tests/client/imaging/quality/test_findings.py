"""Findings: good scans have none, and each fault gets its own code and no other that excludes."""

from dataclasses import replace

import numpy as np
import pytest
from phantom_scans import case_with, part_of, row, volume_of, with_hu

from fedescc.client.imaging.quality.findings import ScanQuality, check_pair, check_scan
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.client.imaging.volumes.volume import MemoryVolume
from fedescc.common.errors import Refusal
from fedescc.common.imaging import Quality
from fedescc.simulations.patients.phantom import phantom_case

LIMITS = Quality()
REFUSED = set(LIMITS.refuse)
SITES = [pytest.param(site, id="abcde"[site]) for site in range(5)]


@pytest.fixture(scope="module", params=SITES)
def scan(request: pytest.FixtureRequest) -> tuple[MemoryVolume, np.ndarray]:
    pre = phantom_case(1, request.param, 0).pre
    return volume_of(pre), pre.roi


def codes(volume: MemoryVolume, roi: np.ndarray | None, *rows, limits: Quality = LIMITS) -> set[str]:
    return set(check_scan(volume, rows, roi, limits).codes)


@pytest.mark.parametrize("site", SITES)
def test_phantoms_have_no_finding_that_excludes(site: int) -> None:
    for index in range(2):
        case = phantom_case(2, site, index)
        for one in (case.pre, case.post):
            assert not codes(volume_of(one), one.roi) & REFUSED


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_no_scan_of_the_simulated_cohort_is_excluded(seed: int) -> None:
    """90 scans over the three seeds."""
    for site in range(5):
        for index in range(3):
            case = phantom_case(seed, site, index)
            pre, post = (check_scan(volume_of(s), (), s.roi, LIMITS) for s in (case.pre, case.post))
            days = (case.post.study_date - case.pre.study_date).days
            assert not (set(pre.codes) | set(post.codes)) & REFUSED
            assert set(pre.codes) | set(post.codes) <= {"body_truncated"}, "the small matrix cuts a large body"
            assert check_pair(pre, post, (), (), days, LIMITS) == ()


def test_values_for_the_quality_page(scan: tuple[MemoryVolume, np.ndarray]) -> None:
    volume, roi = scan
    found = check_scan(volume, (), roi, LIMITS)
    assert found.slice_mm == volume.geometry.spacing_zyx_mm[0]
    assert found.roi_margin_mm is not None
    assert found.roi_margin_mm >= LIMITS.roi_margin_mm
    assert found.air_hu == pytest.approx(-1000, abs=20)
    assert found.noise_hu is not None
    assert 5 < found.noise_hu < LIMITS.max_noise_hu
    assert (found.enhancement, found.metal_mm) == ("enhanced", None)
    assert found.blood_hu is not None
    assert found.blood_hu > LIMITS.min_enhancement_hu


@pytest.mark.parametrize(("slope", "shift"), [(1, 1000), (1, -1024), (2, 0), (0.5, 0)])
def test_wrong_rescale_is_one_finding(scan, slope: float, shift: float) -> None:
    volume, roi = scan
    assert codes(with_hu(volume, volume.hu * slope + shift), roi) == {"hu_implausible"}


def test_without_hu_nothing_is_said_of_contrast_or_noise(scan) -> None:
    volume, roi = scan
    found = check_scan(with_hu(volume, volume.hu + 1000.0), (), roi, LIMITS)
    assert (found.noise_hu, found.enhancement, found.blood_hu) == (None, "unknown", None)


def test_metal_beside_the_roi(scan) -> None:
    volume, roi = scan
    z, y, x = (int(v) for v in np.argwhere(roi).mean(axis=0))
    hu = volume.hu.copy()
    hu[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2] = 3071
    assert codes(with_hu(volume, hu), roi) - {"body_truncated"} == {"metal_near_roi"}
    assert "metal_near_roi" not in codes(with_hu(volume, hu), None), "without an ROI nothing is near it"


def test_metal_far_from_the_roi_is_none(scan) -> None:
    volume, roi = scan
    hu = volume.hu.copy()
    hu[::2, 1:3, 1:3] = 3071
    assert "metal_near_roi" not in codes(with_hu(volume, hu), roi)


@pytest.mark.parametrize("side", ["first_slices", "last_slices"])
def test_scan_that_ends_at_the_roi(scan, side: str) -> None:
    volume, roi = scan
    where = np.flatnonzero(roi.any(axis=(1, 2)))
    kept = slice(where[0], None) if side == "first_slices" else slice(None, where[-1] + 1)
    assert codes(part_of(volume, z=kept), roi[kept]) & REFUSED == {"roi_near_border"}


def test_field_of_view_that_ends_at_the_roi(scan) -> None:
    volume, roi = scan
    first = int(np.flatnonzero(roi.any(axis=(0, 2)))[0])
    found = codes(part_of(volume, y=slice(first, None)), roi[:, first:])
    assert {"roi_near_border", "body_truncated"} <= found
    assert found & REFUSED == {"roi_near_border"}


def test_reconstructed_circle_that_ends_at_the_roi(scan) -> None:
    volume, roi = scan
    centre = np.argwhere(roi.any(axis=0)).mean(axis=0)
    y, x = np.ogrid[: roi.shape[1], : roi.shape[2]]
    distance = np.hypot(y - centre[0], x - centre[1])
    hu = volume.hu.copy()
    hu[:, distance > distance[roi.any(axis=0)].max() + 1] = -2048
    assert codes(with_hu(volume, hu), roi) & REFUSED == {"roi_near_border"}


def test_margin_is_the_studys() -> None:
    pre = phantom_case(1, 0, 0).pre
    volume = volume_of(pre)
    room = check_scan(volume, (), pre.roi, LIMITS).roi_margin_mm
    assert room is not None
    for limit, near in ((room, False), (room + 0.1, True)):
        assert ("roi_near_border" in codes(volume, pre.roi, limits=Quality(roi_margin_mm=limit))) == near


def test_thick_slices(scan) -> None:
    volume, roi = scan
    step = int(6.5 / volume.geometry.spacing_zyx_mm[0]) + 1
    assert codes(part_of(volume, step=step), roi[::step]) & REFUSED == {"thick_slices"}


def test_thickness_counts_as_well_as_distance() -> None:
    pre = phantom_case(1, 0, 0).pre
    volume = volume_of(pre)
    for thickness, thick in ((None, False), (1.0, False), (5.5, False), (5.6, True), (8.0, True)):
        found = check_scan(volume, [row(slice_thickness_mm=thickness)], pre.roi, LIMITS)
        assert ("thick_slices" in found.codes) == thick
        assert found.slice_mm == max(2.0, thickness or 0.0)


@pytest.mark.parametrize(("sd", "noisy"), [(20, False), (55, True), (90, True)])
def test_noise(scan, sd: int, noisy: bool) -> None:
    volume, roi = scan
    found = codes(with_hu(volume, volume.hu + np.random.default_rng(0).normal(0, sd, volume.hu.shape)), roi)
    assert ("noisy" in found) == noisy
    assert not found & REFUSED


@pytest.mark.parametrize("site", SITES)
def test_no_contrast_medium(site: int) -> None:
    pre = case_with(1, site, 0, aorta_hu=40.0).pre
    assert codes(volume_of(pre), pre.roi) & REFUSED == {"not_enhanced"}


def test_faint_contrast_is_judged_by_the_studys_limit() -> None:
    pre = case_with(1, 0, 0, aorta_hu=120.0).pre
    assert codes(volume_of(pre), pre.roi) == set()
    assert codes(volume_of(pre), pre.roi, limits=Quality(min_enhancement_hu=150)) == {"not_enhanced"}


def test_unknown_contrast_is_only_noted() -> None:
    pre = phantom_case(1, 0, 0).pre
    found = codes(part_of(volume_of(pre), z=slice(20, 26)), None)
    assert found == {"enhancement_unknown"}
    assert not found & REFUSED


def test_lossy_compression_by_flag_and_by_syntax() -> None:
    pre = phantom_case(1, 0, 0).pre
    assert codes(volume_of(pre), pre.roi, row(lossy=True)) == {"lossy_compression"}
    assert codes(volume_of(pre), pre.roi, row(transfer_syntax="1.2.840.10008.1.2.4.91")) == {"lossy_compression"}
    assert codes(volume_of(pre), pre.roi, row(transfer_syntax="1.2.840.10008.1.2.4.90")) == set()


@pytest.mark.parametrize(("angle", "tilted"), [(0.0, False), (1e-4, False), (0.5, True), (-15.0, True)])
def test_corrected_tilt_shows_in_the_direction(angle: float, tilted: bool) -> None:
    pre = phantom_case(1, 0, 0).pre
    volume = volume_of(pre)
    sine, cosine = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    sheared = replace(volume.geometry, direction=(1.0, 0.0, 0.0, 0.0, 1.0, float(sine), 0.0, 0.0, float(cosine)))
    assert codes(MemoryVolume(volume.hu, sheared), pre.roi) == ({"tilt_corrected"} if tilted else set())


def test_roi_of_another_grid_is_refused(scan) -> None:
    volume, roi = scan
    with pytest.raises(Refusal) as refused:
        check_scan(volume, (), roi[1:], LIMITS)
    assert refused.value.code == "shape_mismatch"


def test_a_tiny_picture_is_no_crash() -> None:
    grid = Geometry((2, 4, 4), (5.0, 0.5, 0.5), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    found = check_scan(MemoryVolume(np.full(grid.shape_zyx, 40, np.int16), grid), (), None, LIMITS)
    assert not set(found.codes) & REFUSED


GOOD = ScanQuality((), 2.0, 20.0, -1000.0, -100.0, 50.0, 12.0, None, 0.0, "enhanced", 180.0)
SOFT, SHARP = [row(kernel="B30f", manufacturer="SIEMENS")], [row(kernel="LUNG", manufacturer="GE MEDICAL SYSTEMS")]


@pytest.mark.parametrize(
    ("days", "unusual"), [(None, False), (13, True), (14, False), (365, False), (366, True), (-5, True), (0, True)]
)
def test_interval(days: int | None, unusual: bool) -> None:
    found = check_pair(GOOD, GOOD, SOFT, SOFT, days, LIMITS)
    assert found == (("interval_unusual",) if unusual else ())


@pytest.mark.parametrize(
    ("pre", "post", "differs"),
    [(SOFT, SHARP, True), (SHARP, SOFT, True), (SOFT, SOFT, False), (SHARP, SHARP, False), (SOFT, (), False),
     ([row(kernel="?")], SHARP, False)],
)  # fmt: skip
def test_kernels(pre, post, differs: bool) -> None:
    assert check_pair(GOOD, GOOD, pre, post, 90, LIMITS) == (("kernel_differs",) if differs else ())


@pytest.mark.parametrize(
    ("verdict", "blood", "differs"),
    [("enhanced", 330.0, False), ("enhanced", 331.0, True), ("plain", 60.0, True), ("unknown", None, False),
     ("enhanced", 29.0, True)],
)  # fmt: skip
def test_contrast_of_both(verdict, blood: float | None, differs: bool) -> None:
    other = replace(GOOD, enhancement=verdict, blood_hu=blood)
    for pair in ((GOOD, other), (other, GOOD)):
        assert check_pair(*pair, SOFT, SOFT, 90, LIMITS) == (("enhancement_differs",) if differs else ())

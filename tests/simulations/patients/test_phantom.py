"""The rendered CT: what a radiologist could check on it."""

from dataclasses import replace

import numpy as np
import pytest

from fedescc.simulations.patients.anatomy import Anatomy, Visit, draw_anatomy, draw_visits
from fedescc.simulations.patients.outcome import IMAGE_LATENTS
from fedescc.simulations.patients.phantom import AXIAL, PhantomCase, Scan, phantom_case
from fedescc.simulations.patients.render import Grid, Pose, render
from fedescc.simulations.patients.scanners import Scanner, scanner

QUIET: Scanner = replace(scanner(0), noise_hu=0.0, kernel_mm=0.3, phase_sd_hu=0.0)
GRID = Grid((46, 128, 128), (2.0, 1.6, 1.6), (-101.6, -115.6, -45.0))
POSE = Pose(np.zeros(3), np.zeros(3), np.zeros(3))


@pytest.fixture(scope="module", params=range(5), ids="abcde")
def case(request: pytest.FixtureRequest) -> PhantomCase:
    return phantom_case(3, request.param, 2)


def body() -> tuple[Anatomy, Visit]:
    rng = np.random.default_rng(5)
    anatomy = replace(draw_anatomy(rng, 0.0), curve=0.0, nodes=np.zeros((0, 4)), upper=True)
    before, _ = draw_visits(rng, anatomy, dict.fromkeys(IMAGE_LATENTS, 0.0))
    return anatomy, replace(before, stranding_hu=0.0, texture_hu=0.0)


def drawn(visit: Visit | None = None, pose: Pose = POSE, grid: Grid = GRID, protocol: Scanner = QUIET):
    anatomy, before = body()
    return render(anatomy, visit or before, before, protocol, grid, pose, np.random.default_rng(0))


def after(**response: float) -> Visit:
    anatomy, _ = body()
    latents = dict.fromkeys(IMAGE_LATENTS, 0.0) | response
    _, visit = draw_visits(np.random.default_rng(1), anatomy, latents)
    return visit


def scans(case: PhantomCase) -> tuple[Scan, Scan]:
    return case.pre, case.post


def test_volumes_have_the_scanners_grid_and_type(case: PhantomCase) -> None:
    protocol = scanner(case.site)
    for scan in scans(case):
        assert scan.hu.dtype == np.int16
        assert scan.roi.dtype == np.bool_
        assert scan.hu.shape == scan.roi.shape == (protocol.slices, protocol.matrix, protocol.matrix)
        assert scan.grid.spacing_zyx_mm == (protocol.slice_mm, protocol.pixel_mm, protocol.pixel_mm)
        assert scan.direction == AXIAL
        assert protocol.slices * protocol.slice_mm >= 90


def test_corner_is_exact_in_binary_and_decimal(case: PhantomCase) -> None:
    for scan in scans(case):
        assert all((2 * v).is_integer() for v in scan.grid.origin_xyz_mm)


def test_the_two_scans_lie_differently(case: PhantomCase) -> None:
    assert case.pre.grid.origin_xyz_mm != case.post.grid.origin_xyz_mm
    assert case.pre.study_date < case.post.study_date


def test_model_grid_fits_into_the_scan(case: PhantomCase) -> None:
    """72 mm around the ROI's centre, the grid of escc-pcr, never leaves the volume."""
    for scan in scans(case):
        centre = np.argwhere(scan.roi).mean(axis=0)
        room = np.minimum(centre + 0.5, np.array(scan.roi.shape) - centre - 0.5)
        assert (room * scan.grid.spacing_zyx_mm >= 36).all()


def test_roi_is_the_same_before_and_after_up_to_registration(case: PhantomCase) -> None:
    before, after_ = case.pre.roi.sum(), case.post.roi.sum()
    assert before > 400
    assert abs(after_ / before - 1) < 0.08


def test_roi_does_not_reach_the_border(case: PhantomCase) -> None:
    for scan in scans(case):
        for axis in range(3):
            faces = np.take(scan.roi, [0, -1], axis=axis)
            assert not faces.any()


def test_hu_of_air_lung_and_bone(case: PhantomCase) -> None:
    for scan in scans(case):
        assert np.median(scan.hu[:, :4, :4]) < -980
        assert ((scan.hu > -900) & (scan.hu < -780)).mean() > 0.08
        assert (scan.hu > 300).mean() > 0.003
        assert scan.hu.min() >= -1024
        assert scan.hu.max() <= 3071


def test_patients_are_reproducible_and_distinct() -> None:
    one, same, other = phantom_case(3, 1, 0), phantom_case(3, 1, 0), phantom_case(3, 1, 1)
    np.testing.assert_array_equal(one.post.hu, same.post.hu)
    np.testing.assert_array_equal(one.post.roi, same.post.roi)
    assert not np.array_equal(one.pre.hu, other.pre.hu)


def test_test_patients_share_the_scanner_not_the_person() -> None:
    trained, held_out = phantom_case(3, 0, 0), phantom_case(3, 100, 0)
    assert trained.pre.grid.spacing_zyx_mm == held_out.pre.grid.spacing_zyx_mm
    assert not np.array_equal(trained.pre.hu, held_out.pre.hu)
    assert (trained.patient_id, held_out.patient_id) == ("SYN-a-0000", "SYN-test-a-0000")


def test_aorta_shows_the_contrast_phase() -> None:
    anatomy, _ = body()
    hu, _ = drawn()
    z, y, x = GRID.axes()
    row, column = np.abs(y - anatomy.aorta[0]).argmin(), np.abs(x - anatomy.aorta[1]).argmin()
    inside = hu[:, row - 1 : row + 2, column - 1 : column + 2]
    assert abs(np.median(inside) - QUIET.aorta_hu) < 12
    assert x[column] > 0, "the descending aorta lies on the patient's left, +x in LPS"
    assert y[row] > 0, "and behind the esophagus, +y in LPS"
    assert len(z) == 46


def test_tumour_enhances_with_the_aorta() -> None:
    faint, bright = (drawn(protocol=replace(QUIET, aorta_hu=hu)) for hu in (120.0, 280.0))
    roi = faint[1] & (faint[0] > -20)
    assert (bright[0][roi].mean() - faint[0][roi].mean()) > 25


def test_roi_ignores_the_visit() -> None:
    """Rule "tumour bed": a shrunken tumour does not change the ROI, so its volume cannot tell the outcome."""
    _, before = drawn()
    _, shrunk = drawn(after(shrinkage=2.0))
    np.testing.assert_array_equal(before, shrunk)


def test_registration_error_moves_the_roi() -> None:
    _, still = drawn()
    _, moved = drawn(pose=replace(POSE, roi_error_zyx_mm=np.array([4.0, 0.0, 0.0])))
    shift = np.argwhere(moved).mean(axis=0) - np.argwhere(still).mean(axis=0)
    np.testing.assert_allclose(shift * GRID.spacing_zyx_mm, [4, 0, 0], atol=0.4)


@pytest.mark.parametrize(
    ("latent", "measure", "grows"),
    [
        ("shrinkage", lambda v: (v > -20).mean(), False),
        ("wall", lambda v: (v > -20).mean(), True),
        ("enhancement", lambda v: np.percentile(v, 80), True),
        ("texture", lambda v: v[v > -60].std(), True),
    ],
)
def test_every_latent_shows_in_the_bed(latent: str, measure, grows: bool) -> None:
    values = []
    for level in (-1.5, 0.0, 1.5):
        hu, roi = drawn(after(**{latent: level}))
        values.append(measure(hu[roi].astype(float)))
    assert (np.diff(values) > 0).all() if grows else (np.diff(values) < 0).all()


def test_noise_in_the_image_has_the_scanners_sd() -> None:
    """Measured in the air beside the body; the calibration offset moves the mean only."""
    for noise in (8.0, 20.0):
        hu, _ = drawn(protocol=replace(scanner(0), noise_hu=noise, offset_hu=100.0))
        assert hu[:, 2:14, 2:14].std() == pytest.approx(noise, rel=0.3)


def test_same_body_on_two_grids() -> None:
    """The picture depends on millimetres, not on voxels."""
    fine = Grid((92, 200, 200), (1.0, 1.0, 1.0), (-100.0, -114.0, -45.5))
    (coarse_hu, coarse_roi), (fine_hu, fine_roi) = drawn(), drawn(grid=fine)
    volumes = coarse_roi.sum() * 2.0 * 1.6**2, fine_roi.sum() * 1.0
    assert volumes[0] == pytest.approx(volumes[1], rel=0.02)
    assert coarse_hu[coarse_roi].mean() == pytest.approx(fine_hu[fine_roi].mean(), abs=5)


def test_axes_are_voxel_centres() -> None:
    z, y, x = Grid((3, 2, 2), (2.5, 1.5, 1.0), (10.0, 20.0, 30.0)).axes()
    assert z.tolist() == [30.0, 32.5, 35.0]
    assert y.tolist() == [20.0, 21.5]
    assert x.tolist() == [10.0, 11.0]

"""Named measures of one scan, on tissue of known size, attenuation and texture."""

import math

import numpy as np
import pytest
from bed_scans import GRID, Scene, ball_scene
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter

from fedescc.client.features.measures import measure_scan
from fedescc.common.imaging import Grid
from fedescc.common.tabular.features import NAMED_MEASURES

FLAT = Grid(size_zyx=(24, 44, 44), spacing_zyx_mm=(2.5, 1.2, 1.2), window_hu=(-160, 340))
WIDE = Grid(size_zyx=(40, 40, 40), spacing_zyx_mm=(1.5, 1.5, 1.5), window_hu=(-1000, 1000))


def measured(scene: Scene) -> dict[str, float]:
    return measure_scan(scene.image, scene.roi, scene.grid)


@pytest.mark.parametrize("grid", [GRID, FLAT, WIDE], ids=["cubic", "flat", "wide-window"])
@pytest.mark.parametrize("radius", [8.0, 12.0])
def test_a_ball_has_its_size(grid: Grid, radius: float) -> None:
    found = measured(ball_scene(radius, bed=15, grid=grid))
    assert found["tumour_volume"] == pytest.approx(4 / 3 * math.pi * radius**3 / 1000, rel=0.04)
    assert found["tumour_area_max"] == pytest.approx(math.pi * radius**2 / 100, rel=0.06)
    assert found["bed_tissue_share"] == pytest.approx((radius / 15) ** 3, rel=0.06)
    # Mean depths: R/4 of a ball, R/3 of the disc in its middle.
    assert found["wall_thickness_mean"] == pytest.approx(radius, rel=0.1)
    assert found["wall_thickness_max"] == pytest.approx(4 / 3 * radius, rel=0.12)


@pytest.mark.parametrize("voxels", [4, 6, 8])
def test_a_plate_is_as_thick_as_it_is(voxels: int) -> None:
    scene = Scene()
    _, y, _ = scene.axes
    scene.roi[1:-1, 1:-1, 1:-1] = 1
    scene.hu[np.broadcast_to(abs(y) < voxels * 0.75, scene.hu.shape)] = 60
    found = measured(scene)
    # Its rim, where the bed ends, is counted as surface too.
    assert found["wall_thickness_mean"] == pytest.approx(voxels * 1.5, rel=0.15)
    assert found["wall_thickness_max"] == pytest.approx(voxels * 1.5, rel=0.08)


def test_a_tubes_wall_is_as_thick_as_it_is() -> None:
    scene = Scene()
    scene.roi[scene.rod(20, (0, 0))] = 1
    scene.hu[scene.rod(18, (0, 0))] = 60
    scene.hu[scene.rod(9, (0, 0))] = -900
    assert measured(scene)["wall_thickness_max"] == pytest.approx(9, abs=1)


def test_the_beds_own_size_does_not_count_as_tissue() -> None:
    small, large = (measured(ball_scene(8, bed=bed)) for bed in (12, 18))
    for name in ("tumour_volume", "tumour_area_max", "wall_thickness_max", "tumour_hu", "tumour_heterogeneity"):
        assert small[name] == large[name]


def test_attenuation_is_that_of_the_core() -> None:
    found = measured(ball_scene(10, tumour_hu=85))
    assert found["tumour_hu"] == pytest.approx(85, abs=0.5)
    assert found["tumour_heterogeneity"] == pytest.approx(0, abs=0.5)
    assert found["tumour_heterogeneity_coarse"] < 10


def test_a_few_voxels_of_metal_or_air_change_no_median() -> None:
    scene = ball_scene(10)
    scene.hu[19:21, 20, 20] = 3000
    scene.hu[22, 20, 20] = -1000
    assert measured(scene)["tumour_hu"] == pytest.approx(60, abs=0.5)


def test_enhancement_is_measured_against_the_blood() -> None:
    scene = ball_scene(8, bed=10, tumour_hu=90)
    scene.hu[scene.rod(9, (-18, 0))] = 240
    assert measured(scene)["tumour_enhancement"] == pytest.approx((90 - 40) / (240 - 40), abs=0.02)


def test_without_contrast_medium_there_is_no_enhancement() -> None:
    scene = ball_scene(8, bed=10)
    scene.hu[scene.rod(9, (-18, 0))] = 45
    assert math.isnan(measured(scene)["tumour_enhancement"])


def test_white_noise_is_seen_in_the_fine_measure_and_averaged_out_of_the_coarse() -> None:
    """A Gaussian of SD s voxels leaves (2 s sqrt(pi))^(-3/2) of white noise: 0.097 at 2 mm on 1.5 mm voxels."""
    scene = ball_scene(18, bed=21)
    scene.hu += 20 * np.random.default_rng(1).standard_normal(scene.hu.shape)
    found = measured(scene)
    left = (2 * (2 / 1.5) * math.sqrt(math.pi)) ** -1.5
    assert found["tumour_heterogeneity"] == pytest.approx(20, rel=0.05)
    assert found["tumour_heterogeneity_coarse"] == pytest.approx(20 * left, abs=1)


@pytest.mark.parametrize("sd", [15.0, 30.0])
def test_texture_is_measured_in_hu(sd: float) -> None:
    field = gaussian_filter(np.random.default_rng(2).standard_normal((40, 40, 40)), 2.5, mode="wrap")
    scene = ball_scene(18, bed=21, tumour_hu=80)
    scene.hu[scene.ball(18)] += sd * field[scene.ball(18)] / field.std()
    assert measured(scene)["tumour_heterogeneity"] == pytest.approx(sd, rel=0.2)
    assert measured(scene)["tumour_heterogeneity_coarse"] == pytest.approx(sd * 0.8, rel=0.25)


def test_fluid_within_counts_as_hypodensity_and_not_as_texture() -> None:
    plain, fluid = ball_scene(12, tumour_hu=90), ball_scene(12, tumour_hu=90)
    fluid.hu[fluid.ball(5)] = 10
    assert measured(fluid)["tumour_hypodensity"] > measured(plain)["tumour_hypodensity"] + 5
    assert measured(fluid)["tumour_heterogeneity"] == pytest.approx(0, abs=0.5)


def test_the_edge_is_sharp_where_tissue_meets_fat_at_the_beds_border() -> None:
    there, gone = measured(ball_scene(15, bed=15)), measured(ball_scene(8, bed=15))
    assert there["edge_sharpness"] > 30  # HU/mm: 160 HU within some 4 mm, averaged over border voxels
    assert gone["edge_sharpness"] < 1


def test_stranding_is_the_spread_of_the_fat_around() -> None:
    scene = ball_scene(10, bed=12)
    assert measured(scene)["fat_stranding"] == pytest.approx(0, abs=1)
    z, y, x = scene.axes
    shell = (z**2 + y**2 + x**2 > 14**2) & (z**2 + y**2 + x**2 < 22**2)
    streaks = 40 * np.sign(np.sin(x / 3)) * np.ones(scene.hu.shape)
    scene.hu[shell] += streaks[shell]
    assert 15 < measured(scene)["fat_stranding"] < 40


def test_without_fat_around_stranding_is_unknown() -> None:
    scene = ball_scene(10)
    scene.hu[:] = 50
    assert math.isnan(measured(scene)["fat_stranding"])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flipped_scan_measures_the_same(axis: int) -> None:
    scene = busy_scene()
    flipped = measure_scan(np.flip(scene.image, axis), np.flip(scene.roi, axis), GRID)
    assert_allclose(list(flipped.values()), list(measured(scene).values()), rtol=1e-4)


@pytest.mark.parametrize("shift", [(2, 0, 0), (0, -4, 2), (-2, 2, -4)])
def test_a_shifted_scan_measures_the_same(shift: tuple[int, int, int]) -> None:
    scene = busy_scene()
    scene.hu[:, :, :5] = scene.hu[:, :, -5:] = -100
    scene.hu[:5] = scene.hu[-5:] = scene.hu[:, :5] = scene.hu[:, -5:] = -100
    shifted = measure_scan(np.roll(scene.image, shift, (0, 1, 2)), np.roll(scene.roi, shift, (0, 1, 2)), GRID)
    assert_allclose(list(shifted.values()), list(measured(scene).values()), rtol=1e-4)


def busy_scene() -> Scene:
    scene = ball_scene(9, bed=12, tumour_hu=80)
    scene.hu[scene.rod(7.6, (-18, 3))] = 230
    scene.hu += 12 * np.random.default_rng(3).standard_normal(scene.hu.shape)
    scene.hu[scene.ball(3, (2, 4, -3))] = 5
    return scene


UNUSABLE = {
    "missing": (np.zeros((40, 40, 40)), None),
    "not-a-number": (np.full((40, 40, 40), np.nan), None),
    "infinite": (np.full((40, 40, 40), np.inf), None),
    "no-roi": (np.full((40, 40, 40), 0.4), np.zeros((40, 40, 40), np.uint8)),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_of_an_unusable_scan_nothing_is_known(what: str) -> None:
    image, roi = UNUSABLE[what]
    found = measure_scan(image.astype(np.float16), ball_scene(8).roi if roi is None else roi, GRID)
    assert set(found) == set(NAMED_MEASURES)
    assert all(math.isnan(value) for value in found.values())


def test_a_bed_without_soft_tissue_is_empty_and_not_unknown() -> None:
    scene = ball_scene(0)
    scene.hu[:] = -100
    found = measured(scene)
    for name in ("tumour_volume", "tumour_area_max", "bed_tissue_share", "wall_thickness_max", "wall_thickness_mean"):
        assert found[name] == 0, name
    for name in ("tumour_hu", "tumour_enhancement", "tumour_heterogeneity", "tumour_hypodensity"):
        assert math.isnan(found[name]), name


def test_a_constant_scan_has_no_texture_and_no_edge() -> None:
    scene = ball_scene(8)
    scene.hu[:] = 90
    found = measured(scene)
    assert found["bed_tissue_share"] == 1
    assert found["edge_sharpness"] == pytest.approx(0, abs=1e-3)
    assert found["tumour_heterogeneity"] == 0
    assert math.isnan(found["tumour_enhancement"])


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(*[st.integers(8, 14)] * 3),
    spacing=st.tuples(*[st.sampled_from([0.7, 1.5, 5.0, 10.0])] * 3),
    window=st.sampled_from([(-160.0, 340.0), (-1000.0, 1000.0), (0.0, 80.0), (-1000.0, -500.0)]),
    marked=st.sampled_from([0.001, 0.05, 0.5, 1.0]),
    levels=st.sampled_from([1, 2, 7, 500]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_scan_gives_finite_values_in_range_or_nothing(size, spacing, window, marked, levels, seed) -> None:
    rng = np.random.default_rng(seed)
    grid = Grid(size_zyx=size, spacing_zyx_mm=spacing, window_hu=window)
    image = (rng.integers(0, levels, size) / levels).astype(np.float16)
    found = measure_scan(image, (rng.random(size) < marked).astype(np.uint8), grid)
    for name, value in found.items():
        low, high = NAMED_MEASURES[name].range
        assert math.isnan(value) or name == "tumour_hu" or low <= value <= high, name

"""The pool of blood that enhancement is measured against: found among what looks like it, or not at all."""

import math

import numpy as np
import pytest
from bed_scans import GRID, Scene, ball_scene

from fedescc.client.features.blood import blood_hu


def found(scene: Scene) -> float:
    low, high = scene.grid.window_hu
    return blood_hu(np.clip(scene.hu, low, high).astype(np.float32), scene.roi.astype(bool), scene.grid)


def with_aorta(hu: float = 210) -> Scene:
    scene = ball_scene(8, bed=10)
    scene.hu[scene.rod(9, (-18, 0))] = hu
    return scene


@pytest.mark.parametrize("hu", [110, 210, 300])
def test_the_aorta_is_found(hu: float) -> None:
    assert found(with_aorta(hu)) == pytest.approx(hu, abs=1)


def test_noise_moves_its_median_little() -> None:
    scene = with_aorta()
    scene.hu += 20 * np.random.default_rng(1).standard_normal(scene.hu.shape)
    assert found(scene) == pytest.approx(210, abs=4)


def test_of_two_pools_the_brighter_counts() -> None:
    scene = with_aorta()
    scene.hu[scene.rod(9, (18, 12))] = 170
    assert found(scene) == pytest.approx(210, abs=1)


def test_marrow_in_its_shell_of_bone_is_no_blood() -> None:
    scene = ball_scene(8, bed=10)
    scene.hu[scene.rod(14, (-18, 0))] = 500
    scene.hu[scene.rod(10, (-18, 0))] = 220
    assert math.isnan(found(scene))


def test_an_enhancing_tumour_is_no_blood() -> None:
    scene = ball_scene(9, bed=10, tumour_hu=200)
    assert math.isnan(found(scene))


@pytest.mark.parametrize("hu", [50, 80])
def test_plain_blood_is_not_enhanced(hu: float) -> None:
    assert math.isnan(found(with_aorta(hu)))


def test_what_reaches_the_windows_end_may_be_anything_brighter() -> None:
    scene = with_aorta(900)
    assert scene.image.max() == 1
    assert math.isnan(found(scene))


def test_a_speck_is_no_pool() -> None:
    scene = ball_scene(8, bed=10)
    scene.hu[scene.ball(4, (0, -18, 0))] = 210
    assert math.isnan(found(scene))


def test_a_grid_that_no_whole_blocks_fill_is_measured_too() -> None:
    grid = GRID.model_copy(update={"size_zyx": (41, 39, 43)})
    scene = Scene(grid)
    scene.hu[scene.rod(9, (-16, 0))] = 210
    assert found(scene) == pytest.approx(210, abs=1)

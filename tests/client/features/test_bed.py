"""The tumour bed cut out of the grid: what surrounds it does not matter, nor does the study's window."""

import numpy as np
import pytest
from bed_scans import GRID, ball_scene
from numpy.testing import assert_allclose, assert_array_equal

from fedescc.client.features.bed import Bed, cut_bed, distance_mm
from fedescc.client.features.measures import windowed_hu
from fedescc.common.imaging import Grid


def cut(scene) -> Bed:
    return cut_bed(windowed_hu(scene.image, scene.grid), scene.roi.astype(bool), scene.grid)


def test_the_box_holds_the_bed_and_nine_millimetres_around() -> None:
    scene = ball_scene(8, bed=10.4)  # the bed is 14 voxels wide: 21 mm, and 6 more voxels on either side
    assert cut(scene).roi.shape == (26, 26, 26)
    assert cut(scene).roi.sum() == scene.roi.sum()


def test_a_bed_at_the_grids_border_is_cut_there() -> None:
    scene = ball_scene(0)
    scene.roi[:] = 0
    scene.roi[0, 0, 0] = scene.roi[0, 0, 1] = 1
    bed = cut(scene)
    assert bed.roi.shape == (7, 7, 8)
    assert bed.roi.sum() == 2
    assert not bed.tissue.any()


def test_distance_is_to_the_nearest_voxel_outside_and_the_border_is_outside() -> None:
    assert_allclose(distance_mm(np.ones((1, 1, 4), bool), (2.0, 2.0, 1.5)), [[[1.5, 2, 2, 1.5]]])
    inside = np.ones((5, 5, 5), bool)
    assert distance_mm(inside, (1.0, 1.0, 1.0))[2, 2].tolist() == [1, 2, 3, 2, 1]
    inside[2, 2, 2] = False
    assert distance_mm(inside, (1.0, 1.0, 1.0))[2, 2].tolist() == [1, 1, 0, 1, 1]


def test_only_soft_tissue_in_the_bed_has_depth() -> None:
    bed = cut(ball_scene(8))
    assert_array_equal(bed.depth_mm > 0, bed.roi & (bed.fine > -30))
    assert (bed.depth_mm[bed.core] > 1.6).all()
    assert (bed.depth_mm[bed.deep] > 2.9).all()
    assert 0 < bed.deep.sum() < bed.core.sum() < bed.tissue.sum()


def test_a_thin_rest_is_its_own_core() -> None:
    scene = ball_scene(0, bed=10)
    scene.hu[20] = 200
    bed = cut(scene)
    assert_array_equal(bed.core, bed.depth_mm > 0)
    assert_array_equal(bed.deep, bed.core)
    assert bed.core.any()


def test_smoothing_keeps_what_is_even_and_weakens_noise() -> None:
    scene = ball_scene(18, bed=18)
    assert cut(scene).coarse[tuple(n // 2 for n in cut(scene).roi.shape)] == pytest.approx(60, abs=0.1)
    scene.hu += 20 * np.random.default_rng(0).standard_normal(scene.hu.shape)
    bed = cut(scene)
    spread = [float(image[bed.depth_mm > 8].std()) for image in (bed.hu, bed.fine, bed.coarse)]
    assert spread[0] > 3 * spread[1] > 6 * spread[2]


@pytest.mark.parametrize("window", [(-1000, 1000), (-200, 400)])
def test_a_wider_window_shows_the_same_bed(window: tuple[float, float]) -> None:
    """Air and bone around it are clipped, so that smoothing spreads them no farther."""
    wide = GRID.model_copy(update={"window_hu": window})
    beds = []
    for grid in (GRID, wide):
        scene = ball_scene(8, bed=10, grid=grid)
        scene.hu[scene.ball(6, (0, 0, 17))] = -1000
        scene.hu[scene.ball(6, (0, 0, -17))] = 1500
        beds.append(cut(scene))
    assert_array_equal(beds[0].tissue, beds[1].tissue)
    assert_array_equal(beds[0].core, beds[1].core)
    assert_allclose(beds[0].coarse, beds[1].coarse, atol=1)  # float16 keeps 2000 HU to half a HU


def test_a_window_above_fat_takes_all_it_shows_for_tissue() -> None:
    grid = Grid(size_zyx=(40, 40, 40), spacing_zyx_mm=(1.5, 1.5, 1.5), window_hu=(0, 200))
    bed = cut(ball_scene(8, grid=grid))
    assert bed.tissue.sum() == ball_scene(8).ball(8).sum()

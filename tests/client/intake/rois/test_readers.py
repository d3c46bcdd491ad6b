"""Agreement of two readers, against shapes worked out by hand and other programs."""

from dataclasses import asdict, replace
from itertools import product

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import DiceMetric, SurfaceDistanceMetric, compute_hausdorff_distance

from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.client.intake.rois.readers import Agreement, compare_readers, readers_table
from fedescc.common.errors import Refusal

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
GRID = Geometry((8, 12, 14), (2.5, 0.8, 0.7), (-10.0, -20.0, 30.0), IDENTITY)
SHEARED = replace(GRID, direction=(1, 0, 0, 0, 1, 0.28, 0, 0, 0.96))


def box(z: slice, y: slice, x: slice) -> np.ndarray:
    mask = np.zeros(GRID.shape_zyx, bool)
    mask[z, y, x] = True
    return mask


ONE = box(slice(2, 5), slice(3, 7), slice(4, 9))


def test_the_same_mask_agrees_wholly() -> None:
    found = compare_readers(ONE, ONE, GRID)
    volume = 3 * 4 * 5 * 2.5 * 0.8 * 0.7 / 1000
    assert asdict(found) == pytest.approx(
        asdict(Agreement(1.0, 1.0, volume, volume, 1.0, 0.0, 0.0, 0.0, 0.0)), abs=1e-12
    )


def test_a_box_moved_by_two_voxels() -> None:
    """60 voxels each, 36 shared; the far sides lie 2 voxels of 0.7 mm apart."""
    found = compare_readers(ONE, np.roll(ONE, 2, axis=2), GRID)
    assert found.dice == pytest.approx(36 / 60)
    assert found.jaccard == pytest.approx(36 / 84)
    assert found.volume_ratio == 1
    assert found.hausdorff_mm == pytest.approx(1.4)
    assert found.centre_distance_mm == pytest.approx(1.4)


def test_two_single_voxels() -> None:
    one, other = box(slice(0, 1), slice(0, 1), slice(0, 1)), box(slice(3, 4), slice(5, 6), slice(10, 11))
    distance = float(np.linalg.norm([3 * 2.5, 5 * 0.8, 10 * 0.7]))
    found = compare_readers(one, other, GRID)
    assert (found.dice, found.jaccard) == (0, 0)
    for value in (found.surface_mean_mm, found.hausdorff95_mm, found.hausdorff_mm, found.centre_distance_mm):
        assert value == pytest.approx(distance)


def test_a_reader_who_draws_more() -> None:
    larger = box(slice(1, 6), slice(2, 8), slice(3, 10))
    found = compare_readers(ONE, larger, GRID)
    assert found.volume_ratio == pytest.approx(60 / 210)
    assert found.volume_other_cm3 == pytest.approx(210 * 1.4 / 1000)
    # A corner of the larger box lies one voxel from the smaller one's along each axis.
    assert found.hausdorff_mm == pytest.approx(float(np.linalg.norm([2.5, 0.8, 0.7])))
    assert found.centre_distance_mm == pytest.approx(0, abs=1e-12)


def surface(mask: np.ndarray) -> list[tuple[int, ...]]:
    """Voxels with a face neighbour outside, written out."""
    padded = np.pad(mask, 1)
    steps = [(a, b) for a in range(3) for b in (-1, 1)]
    return [v for v in map(tuple, np.argwhere(mask)) if not all(padded[_next(v, *s)] for s in steps)]


def _next(voxel: tuple[int, ...], axis: int, step: int) -> tuple[int, ...]:
    return tuple(v + 1 + (step if k == axis else 0) for k, v in enumerate(voxel))


@pytest.mark.parametrize("grid", [GRID, SHEARED])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_distances_are_those_of_every_pair_of_surface_points(grid: Geometry, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = (rng.random(GRID.shape_zyx) < 0.06 for _ in range(2))
    points = [np.array([grid.index_to_physical(v[::-1]) for v in surface(mask)]) for mask in (one, other)]
    every = np.linalg.norm(points[0][:, None] - points[1][None], axis=2)
    there, back = every.min(axis=1), every.min(axis=0)
    found = compare_readers(one, other, grid)
    assert found.surface_mean_mm == pytest.approx(np.concatenate([there, back]).mean())
    assert found.hausdorff_mm == pytest.approx(max(there.max(), back.max()))
    assert found.hausdorff95_mm == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
    voxel = 2.5 * 0.8 * 0.7 * (0.96 if grid is SHEARED else 1)
    assert found.volume_one_cm3 == pytest.approx(one.sum() * voxel / 1000)


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping ellipsoids, one of which touches the border of the image."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices(GRID.shape_zyx)
    pair = []
    for shift in (0.0, 1.0):
        centre = (2.5 + shift, 5 + rng.random(), 6 + rng.random())
        pair.append(((z - centre[0]) / 3) ** 2 + ((y - centre[1]) / 4) ** 2 + ((x - centre[2]) / 4.5) ** 2 < 1)
    return pair[0], pair[1]


@pytest.mark.parametrize("seed", range(4))
def test_monai_measures_the_same(seed: int) -> None:
    one, other = blobs(seed)
    a, b = (torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (one, other))
    found = compare_readers(one, other, GRID)
    assert found.dice == pytest.approx(float(DiceMetric()(a, b)[0, 0]), rel=1e-6)
    spacing = list(GRID.spacing_zyx_mm)
    mean = SurfaceDistanceMetric(include_background=True, symmetric=True)(a, b, spacing=spacing)
    assert found.surface_mean_mm == pytest.approx(float(mean[0, 0]), rel=1e-5)
    for percentile, value in ((95, found.hausdorff95_mm), (None, found.hausdorff_mm)):
        theirs = compute_hausdorff_distance(a, b, include_background=True, percentile=percentile, spacing=spacing)
        assert value == pytest.approx(float(theirs[0, 0]), rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_simpleitk_measures_the_same_overlap_and_hausdorff_distance_of_volumes(seed: int) -> None:
    one, other = blobs(seed)
    images = []
    for mask in (one, other):
        image = sitk.GetImageFromArray(mask.astype(np.uint8))
        image.SetSpacing(GRID.spacing_zyx_mm[::-1])
        images.append(image)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*images)
    found = compare_readers(one, other, GRID)
    assert found.dice == pytest.approx(overlap.GetDiceCoefficient())
    assert found.jaccard == pytest.approx(overlap.GetJaccardCoefficient())
    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(*images)
    # ITK measures to the volume, whose nearest point from outside lies on the surface.
    assert found.hausdorff_mm == pytest.approx(hausdorff.GetHausdorffDistance(), rel=1e-5)


@pytest.mark.parametrize("axes", list(product((1, -1), repeat=3)))
def test_nothing_depends_on_the_way_the_grid_runs(axes: tuple[int, int, int]) -> None:
    one, other = blobs(1)
    flipped = tuple(slice(None, None, step) for step in axes)
    found, turned = compare_readers(one, other, GRID), compare_readers(one[flipped], other[flipped], GRID)
    assert asdict(turned) == pytest.approx(asdict(found))


def test_the_two_readers_are_interchangeable_but_for_the_volumes() -> None:
    one, other = blobs(2)
    there, back = compare_readers(one, other, GRID), compare_readers(other, one, GRID)
    assert back.volume_ratio == pytest.approx(1 / there.volume_ratio)
    volumes = {"volume_one_cm3": 0.0, "volume_other_cm3": 0.0, "volume_ratio": 1.0}
    assert asdict(replace(back, **volumes)) == pytest.approx(asdict(replace(there, **volumes)))


def test_empty_and_foreign_masks_are_refused() -> None:
    for pair in ((ONE, ~ONE & ONE), (~ONE & ONE, ONE)):
        with pytest.raises(Refusal, match="empty_roi"):
            compare_readers(*pair, GRID)
    with pytest.raises(Refusal, match="shape_mismatch"):
        compare_readers(ONE, ONE[1:], GRID)


def pair(one: float, other: float, dice: float = 0.8) -> Agreement:
    return Agreement(dice, 0.7, one, other, one / other, 1.0, 2.0, 3.0, 0.5)


def test_the_table_by_hand() -> None:
    """Volumes 10 and 8, 20 and 22, 30 and 30 cm3: differences 2, -2, 0, of mean 0 and SD 2."""
    rows = {row.measure: row for row in readers_table([pair(10, 8, 0.9), pair(20, 22, 0.7), pair(30, 30, 0.8)])}
    dice = rows["dice"]
    assert (dice.n, dice.least, dice.largest, dice.lower) == (3, 0.7, 0.9, None)
    assert (dice.mean, dice.sd) == (pytest.approx(0.8), pytest.approx(0.1))
    difference = rows["volume_difference_cm3"]
    assert (difference.mean, difference.sd) == (pytest.approx(0), pytest.approx(2))
    assert (difference.lower, difference.upper) == (pytest.approx(-3.92), pytest.approx(3.92))
    logs = np.log([10 / 8, 20 / 22, 1])
    ratio = rows["volume_ratio"]
    assert ratio.mean == pytest.approx(np.exp(logs.mean()))
    reach = 1.96 * logs.std(ddof=1)
    assert (ratio.lower, ratio.upper) == pytest.approx(tuple(np.exp([logs.mean() - reach, logs.mean() + reach])))
    assert (ratio.least, ratio.largest) == (pytest.approx(20 / 22), pytest.approx(1.25))
    assert list(rows)[:3] == ["dice", "jaccard", "surface_mean_mm"]


def test_limits_of_the_ratio_do_not_depend_on_who_is_first() -> None:
    pairs = [pair(10, 8), pair(20, 22), pair(30, 31)]
    there = readers_table(pairs)[-1]
    back = readers_table([pair(one.volume_other_cm3, one.volume_one_cm3) for one in pairs])[-1]
    assert (there.lower, there.upper) == (pytest.approx(1 / back.upper), pytest.approx(1 / back.lower))


def test_one_pair_has_no_spread_and_none_no_table() -> None:
    for row in readers_table([pair(10, 8)]):
        assert (row.n, row.sd, row.lower, row.upper) == (1, None, None, None)
    with pytest.raises(Refusal, match="no-second-reader"):
        readers_table([])

"""Rigid motions and the masks they carry, recomputed point by point and by SimpleITK."""

import pickle

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fedescc.client.imaging.registration.rigid import (
    Rigid,
    bounding_box,
    box_corners,
    clipped_box,
    move_mask,
    share_inside,
)
from fedescc.client.imaging.volumes.geometry import Geometry

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
FLIPPED = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
SHEARED = (1.0, 0.0, 0.0, 0.0, 1.0, 0.25, 0.0, 0.0, float(np.sqrt(1 - 0.25**2)))
SOURCE = Geometry((20, 24, 22), (2.5, 1.0, 1.2), (-10.0, 5.0, 100.0), IDENTITY)
angles = st.floats(-3, 3)
lengths = st.floats(-500, 500)


def motion(turn: tuple[float, ...] = (0.1, -0.2, 0.15), move: tuple[float, ...] = (200.0, -80.0, 33.0)) -> Rigid:
    return Rigid.of(Rotation.from_euler("xyz", turn).as_matrix(), move)


def block() -> np.ndarray:
    mask = np.zeros(SOURCE.shape_zyx, bool)
    mask[6:14, 8:17, 7:15] = True
    mask[10, 8:12, 7:9] = False
    return mask


def landing(moved: Rigid, spacing: tuple[float, ...], direction: tuple[float, ...] = IDENTITY) -> Geometry:
    """A grid of 60 mm around the place to which the block moves."""
    shape = tuple(int(60 / s) for s in spacing)
    grid = Geometry(shape, spacing, (0.0, 0.0, 0.0), direction)
    middle = grid.index_to_physical((np.asarray(shape[::-1]) - 1) / 2)
    corner = moved.apply(box_corners(block(), SOURCE).mean(axis=0)) - middle
    return Geometry(shape, spacing, tuple(float(v) for v in corner), direction)


@given(st.tuples(angles, angles, angles), st.tuples(lengths, lengths, lengths))
def test_a_motion_keeps_distances_and_its_inverse_undoes_it(turn: tuple[float, ...], move: tuple[float, ...]) -> None:
    points = np.random.default_rng(0).uniform(-400, 400, (5, 3))
    there = motion(turn, move)
    moved = there.apply(points)
    gaps = [np.linalg.norm(p[:, None] - p[None], axis=-1) for p in (points, moved)]
    np.testing.assert_allclose(gaps[0], gaps[1], atol=1e-9)
    np.testing.assert_allclose(there.inverse().apply(moved), points, atol=1e-9)


def test_apply_turns_first_and_moves_then() -> None:
    quarter = Rigid.of([[0, -1, 0], [1, 0, 0], [0, 0, 1]], (10.0, 20.0, 30.0))
    np.testing.assert_array_equal(quarter.apply([1.0, 2.0, 3.0]), [8.0, 21.0, 33.0])
    assert quarter.angle_deg == pytest.approx(90)
    assert Rigid.of(np.eye(3), (1, 2, 3)).angle_deg == 0


def test_a_motion_travels_between_processes() -> None:
    assert pickle.loads(pickle.dumps(motion())) == motion()


@pytest.mark.parametrize("direction", [IDENTITY, FLIPPED, SHEARED])
def test_a_mask_moves_as_simpleitk_moves_it(direction: tuple[float, ...]) -> None:
    there = motion()
    target = landing(there, (3.0, 0.9, 1.1), direction)
    source = sitk.GetImageFromArray(block().astype(np.uint8))
    source.SetSpacing(SOURCE.spacing_zyx_mm[::-1])
    source.SetOrigin(SOURCE.origin_xyz_mm)
    grid = sitk.Image(target.shape_zyx[::-1], sitk.sitkUInt8)
    grid.SetSpacing(target.spacing_zyx_mm[::-1])
    grid.SetOrigin(target.origin_xyz_mm)
    grid.SetDirection(direction)
    back = there.inverse()
    transform = sitk.AffineTransform(back.rotation, back.translation_mm)
    expected = sitk.GetArrayFromImage(sitk.Resample(source, grid, transform, sitk.sitkNearestNeighbor, 0)) > 0
    moved = move_mask(there, block(), SOURCE, target)
    assert moved.sum() > 500
    np.testing.assert_array_equal(moved, expected)


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.floats(-0.3, 0.3)] * 3), st.tuples(lengths, lengths, lengths))
def test_a_moved_mask_keeps_its_volume_and_place(turn: tuple[float, ...], move: tuple[float, ...]) -> None:
    there = motion(turn, move)
    target = landing(there, (0.5, 0.4, 0.4))
    moved = move_mask(there, block(), SOURCE, target)
    before, after = block().sum() * 2.5 * 1.0 * 1.2, moved.sum() * 0.5 * 0.4 * 0.4
    # Parallel to the axes, 20 x 9 x 9.6 mm may gain or lose one layer of voxels along each.
    assert after == pytest.approx(before, rel=1.025 * 1.045 * 1.042 - 1)
    centre = there.apply(SOURCE.index_to_physical(np.argwhere(block()).mean(axis=0)[::-1]))
    found = target.index_to_physical(np.argwhere(moved).mean(axis=0)[::-1])
    assert np.linalg.norm(centre - found) < np.linalg.norm([0.25, 0.2, 0.2])
    assert share_inside(there, block(), SOURCE, target) == 1


def test_what_lies_beyond_the_target_is_lost_and_counted() -> None:
    stay = Rigid.of(np.eye(3), (0, 0, 0))
    upper = Geometry((10, 24, 22), SOURCE.spacing_zyx_mm, (-10.0, 5.0, 125.0), IDENTITY)
    moved = move_mask(stay, block(), SOURCE, upper)
    np.testing.assert_array_equal(moved, block()[10:])
    assert share_inside(stay, block(), SOURCE, upper) == pytest.approx(block()[10:].sum() / block().sum())
    away = Rigid.of(np.eye(3), (0, 0, 500))
    assert not move_mask(away, block(), SOURCE, upper).any()
    assert share_inside(away, block(), SOURCE, upper) == 0


def test_an_empty_mask_stays_empty() -> None:
    nothing = np.zeros_like(block())
    assert not move_mask(motion(), nothing, SOURCE, SOURCE).any()
    assert share_inside(motion(), nothing, SOURCE, SOURCE) == 0


def test_boxes() -> None:
    lo, hi = bounding_box(block())
    assert (lo.tolist(), hi.tolist()) == ([6, 8, 7], [14, 17, 15])
    corners = box_corners(block(), SOURCE)
    np.testing.assert_allclose(corners.min(axis=0), [-10 + 6.5 * 1.2, 5 + 7.5, 100 + 5.5 * 2.5])
    np.testing.assert_allclose(corners.max(axis=0), [-10 + 14.5 * 1.2, 5 + 16.5, 100 + 13.5 * 2.5])
    lo, hi = clipped_box(np.array([[2.2, 3.0, 4.9], [5.0, 8.1, 30.0]]), SOURCE, 5.0)
    assert (lo.tolist(), hi.tolist()) == ([2, 0, 0], [20, 15, 11])
    lo, hi = clipped_box(np.array([[2.0, 3.0, 50.0]]), SOURCE)
    assert lo[0] == hi[0] == 20

"""Margins around the ROI, cut bodies and metal, on scans small enough to count by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantom_scans import volume

from fedescc.client.imaging.quality.coverage import Box, cut_edge_mm, margin_mm, metal_mm, roi_box
from fedescc.client.imaging.quality.tissue import sample_scan
from fedescc.common.errors import Refusal

SPACING = (5.0, 2.0, 2.0)
SHAPE = (12, 60, 60)


def scan(hu: int = 50) -> np.ndarray:
    return (np.random.default_rng(0).normal(hu, 10, SHAPE)).round()


def roi(z: tuple[int, int] = (5, 6), y: tuple[int, int] = (28, 32), x: tuple[int, int] = (28, 32)) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[z[0] : z[1] + 1, y[0] : y[1] + 1, x[0] : x[1] + 1] = True
    return mask


def margin(hu: np.ndarray, mask: np.ndarray) -> float:
    ct = volume(hu, SPACING)
    return margin_mm(ct, mask, roi_box(mask, ct.geometry))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 59), st.integers(0, 59)), min_size=1, max_size=5))
def test_box_holds_every_voxel(points: list[tuple[int, int, int]]) -> None:
    mask = np.zeros(SHAPE, bool)
    mask[tuple(np.transpose(points))] = True
    box = roi_box(mask, volume(np.zeros(SHAPE)).geometry)
    assert box == (tuple(np.min(points, axis=0)), tuple(np.max(points, axis=0)))


def test_roi_of_another_grid_and_empty_roi_are_refused() -> None:
    geometry = volume(np.zeros(SHAPE)).geometry
    with pytest.raises(Refusal, match="2") as refused:
        roi_box(np.ones((2, 2, 2), bool), geometry)
    assert refused.value.code == "shape_mismatch"
    with pytest.raises(Refusal) as refused:
        roi_box(np.zeros(SHAPE, bool), geometry)
    assert refused.value.code == "empty_roi"


@pytest.mark.parametrize(
    ("mask", "room"),
    [
        (roi(), 25.0),  # five slices below
        (roi(z=(1, 9)), 5.0),
        (roi(z=(3, 11)), 0.0),
        (roi(z=(0, 0)), 0.0),
        (roi(y=(2, 8)), 4.0),
        (roi(x=(50, 58)), 2.0),
        (roi(x=(50, 59)), 0.0),
    ],
)
def test_margin_to_the_border_of_the_volume(mask: np.ndarray, room: float) -> None:
    assert margin(scan(), mask) == pytest.approx(room)


@pytest.mark.parametrize("padding", [-2000, -3024])
@pytest.mark.parametrize(("first", "room"), [(33, 0.0), (34, 2.0), (36, 6.0), (44, 22.0)])
def test_padding_was_not_scanned(padding: int, first: int, room: float) -> None:
    hu = scan()
    hu[:, :, first:] = padding
    assert margin(hu, roi()) == pytest.approx(room)


def test_padding_farther_away_is_not_looked_for() -> None:
    hu = scan()
    hu[:, :, 58:] = -2000
    assert margin(hu, roi()) == pytest.approx(25.0)


def test_air_valued_padding_counts_beyond_the_circle_only() -> None:
    hu = scan(-1000)
    y, x = np.ogrid[-1:1:60j, -1:1:60j]
    beyond = y * y + x * x > 1
    hu[:, beyond] = -1024
    corner = roi(y=(9, 11), x=(9, 11))
    pixels = np.argwhere(beyond)
    nearest = min(np.linalg.norm(pixels - p, axis=1).min() for p in np.argwhere(corner[5])) * 2.0
    assert margin(hu, corner) == pytest.approx(nearest - 2.0)
    hu[:, 40:] = -1024  # air clipped to the same value within the circle was scanned
    assert margin(hu, roi(y=(28, 38))) == pytest.approx(25.0)


def test_dark_values_inside_the_body_are_no_padding() -> None:
    hu = scan()
    hu[:, 40, 40] = -2000
    assert margin(hu, roi(y=(28, 39), x=(38, 41))) == pytest.approx(25.0)


def trunk(left: int = 16) -> np.ndarray:
    """A body 60 mm deep in air, with a thin couch below that reaches the border."""
    hu = np.full(SHAPE, -1000.0)
    hu[:, 14:44, left:44] = 40
    hu[:, 52:53, :] = 200
    return hu


def test_a_body_within_the_field_is_not_cut() -> None:
    assert cut_edge_mm(sample_scan(volume(trunk(), SPACING)), None, 5.0) == 0.0


def test_the_length_of_the_cut_is_that_of_the_body_at_the_border() -> None:
    assert cut_edge_mm(sample_scan(volume(trunk(left=0), SPACING)), None, 5.0) == pytest.approx(60.0, abs=4)


def test_a_body_cut_by_the_reconstructed_circle() -> None:
    y, x = np.ogrid[-1:1:60j, -1:1:60j]
    hu = np.where(y * y + x * x > 0.2, -3024, trunk())
    assert cut_edge_mm(sample_scan(volume(hu, SPACING)), None, 5.0) > 50


def test_a_body_beyond_the_circle_of_a_square_field_is_not_cut() -> None:
    """Air of one value, as after clipping or anonymising, is no sign of a round field when tissue lies out there."""
    hu = np.full(SHAPE, -1024.0)
    hu[:, 4:56, 4:56] = 40
    assert cut_edge_mm(sample_scan(volume(hu, SPACING)), None, 5.0) == 0.0
    assert margin(hu, roi(y=(8, 11), x=(8, 11))) == pytest.approx(16.0)


def test_only_slices_near_the_roi_count() -> None:
    hu = trunk()
    hu[9:] = trunk(left=0)[9:]
    sample = sample_scan(volume(hu, SPACING))
    near = roi_box(roi(z=(8, 9)), volume(hu, SPACING).geometry)
    far = roi_box(roi(z=(1, 2)), volume(hu, SPACING).geometry)
    assert cut_edge_mm(sample, near, 5.0) > 50
    assert cut_edge_mm(sample, far, 5.0) == 0.0


def test_an_arm_beside_the_trunk_does_not_count() -> None:
    hu = trunk(left=20)
    hu[:, 20:40, :12] = 40
    assert cut_edge_mm(sample_scan(volume(hu, SPACING)), None, 5.0) == 0.0


def test_air_alone_is_no_body() -> None:
    assert cut_edge_mm(sample_scan(volume(np.full(SHAPE, -1000), SPACING)), None, 5.0) == 0.0


BOX = Box((5, 28, 28), (6, 32, 32))


@pytest.mark.parametrize(
    ("place", "distance"),
    [((5, 30, 30), 0.0), ((6, 30, 42), 20.0), ((9, 30, 30), 15.0), ((5, 2, 30), 52.0), ((9, 40, 30), np.hypot(15, 16))],
)
def test_distance_to_metal(place: tuple[int, int, int], distance: float) -> None:
    hu = scan()
    hu[place] = 3071
    ct = volume(hu, SPACING)
    assert metal_mm(sample_scan(ct), BOX, ct.geometry) == pytest.approx(distance, abs=1.0)


@pytest.mark.parametrize("value", [400, 1500, 2400])
def test_bone_and_calcification_are_no_metal(value: int) -> None:
    hu = scan()
    hu[5, 28:31, 28:31] = value
    ct = volume(hu, SPACING)
    assert metal_mm(sample_scan(ct), BOX, ct.geometry) is None

"""Copies, holes, islands and overlaps among the outlines of one plane."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedescc.client.imaging.masks.planar import TOUCH_MM, Outline, _depth, distinct_outlines
from fedescc.common.errors import Refusal

SIDE = np.arange(60) * 0.5  # pixel centres, mm
POINTS = np.stack(np.meshgrid(SIDE, SIDE), axis=-1)


def outline(polygon: Any, *, xor: bool = False) -> Outline:
    polygon = np.asarray(polygon, dtype=float)
    return Outline(polygon, _depth(POINTS.reshape(-1, 2), polygon).reshape(POINTS.shape[:2]) > 0, xor)


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=float)


def count(*polygons: Any) -> int:
    return len(distinct_outlines([outline(one) for one in polygons]))


def circle(radius: float, vertices: int, turn: float = 0.0) -> np.ndarray:
    angle = turn + 2 * np.pi * np.arange(vertices) / vertices
    return 15.2 + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


BOX = box(5.2, 5.2, 15.2, 15.2)
# An arm up on either side of a notch from above.
CUP = [(4.2, 4.2), (20.2, 4.2), (20.2, 20.2), (16.2, 20.2), (16.2, 8.2), (8.2, 8.2), (8.2, 20.2), (4.2, 20.2)]
# Runs in to its hole and back along the same line.
KEYHOLE = [*BOX, BOX[0], *box(7.2, 7.2, 13.2, 13.2), (7.2, 7.2), BOX[0]]


@pytest.mark.parametrize(
    "copy",
    [
        BOX[::-1],
        np.roll(BOX, 3, axis=0),
        np.vstack([BOX, BOX[:1]]),
        np.repeat(BOX, 3, axis=0),
        BOX + 0.06,
        [*BOX[:2], (15.2, 9.0), (15.2, 9.1), *BOX[2:]],
    ],
    ids=["reversed", "other start", "closed", "vertices repeated", "rounded", "more vertices"],
)
def test_a_copy_is_dropped_however_it_is_written(copy: Any) -> None:
    assert count(BOX, copy) == 1
    assert count(copy, BOX, BOX, copy) == 1


def test_a_round_contour_sampled_anew_is_a_copy() -> None:
    assert count(circle(8, 200), circle(8, 90, 0.01)) == 1


@pytest.mark.parametrize(
    "other",
    [
        box(7.2, 7.2, 13.2, 13.2),  # hole
        box(5.2, 5.2, 13.2, 13.2),  # hole that shares two edges
        box(5.2, 7.2, 13.2, 13.2) - (0.05, 0.0),  # hole that seems to reach out by a rounding
        box(2.2, 2.2, 25.2, 25.2),  # around it
        box(5.5, 5.5, 14.9, 12.9),  # hole that leaves a wall of 0.3 mm on three sides and of 2.3 mm on one
        box(17.2, 5.2, 20.2, 15.2),  # beside it
        box(15.2, 5.2, 20.2, 15.2),  # beside it on a shared edge
        box(15.2, 15.2, 20.2, 20.2),  # touches at a corner
        box(15.1, 5.2, 20.2, 15.2),  # overlaps by less than a pixel, with no pixel in common
    ],
)
def test_holes_and_islands_stay(other: np.ndarray) -> None:
    assert count(BOX, other) == count(other, BOX) == 2
    assert count(BOX, other, BOX[::-1], other[::-1]) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (BOX, box(10.2, 5.2, 20.2, 15.2)),
        (BOX, box(10.2, 10.2, 20.2, 20.2)),
        (BOX, box(3.2, 9.2, 20.2, 11.2)),  # a cross: no vertex of either lies in the other
        (BOX, box(14.4, 9.2, 17.2, 11.2)),  # one pixel deep
        (BOX, BOX + 0.4),  # drawn twice
        (CUP, box(5.2, 14.2, 19.2, 16.2)),  # over the notch: its corners in the arms, none of the cup's in it
        (KEYHOLE, box(9.2, 9.2, 17.2, 11.2)),  # from the hole through the wall
    ],
)
def test_outlines_that_overlap_in_part_are_refused(one: Any, other: Any) -> None:
    for pair in ((one, other), (other, one)):
        with pytest.raises(Refusal, match="contours_overlap"):
            count(*pair)
        assert len(distinct_outlines([outline(each, xor=True) for each in pair])) == 2
        with pytest.raises(Refusal, match="contours_overlap"):
            distinct_outlines([outline(pair[0], xor=True), outline(pair[1])])


@pytest.mark.parametrize(
    "near",
    [
        circle(12, 200)[::20],  # 0.6 mm inside midway between its vertices
        circle(12, 200)[::10],
        circle(12, 5),  # 2.3 mm inside, its vertices on the outline
        circle(11.7, 200),
        circle(11.05, 200),
        circle(12.5, 40),
    ],
    ids=["10 vertices", "20 vertices", "5 vertices", "shrunk by 0.3 mm", "shrunk by 0.95 mm", "grown"],
)
def test_a_near_copy_is_no_hole(near: np.ndarray) -> None:
    for pair in ((circle(12, 200), near), (near, circle(12, 200))):
        for xor in (False, True):
            with pytest.raises(Refusal, match="nearly one") as caught:
                distinct_outlines([outline(one, xor=xor) for one in pair])
            assert caught.value.code == "contours_overlap"


def test_the_wall_around_a_lumen_is_wider_somewhere() -> None:
    assert count(circle(8, 200), circle(6.9, 200)) == 2
    assert count(circle(8, 200), circle(7, 200) + np.array([0.95, 0.0])) == 2  # 0.05 mm on one side, 1.95 on the other
    assert count(circle(12, 200), circle(9, 8)) == 2


def test_a_keyhole_may_hold_an_island_and_be_sent_twice() -> None:
    assert count(KEYHOLE, box(9.2, 9.2, 11.2, 11.2), KEYHOLE) == 2
    assert count(CUP, box(9.2, 9.2, 15.2, 18.2)) == 2


def test_an_outline_without_area_is_no_obstacle() -> None:
    assert count(BOX, [(8.0, 8.0)] * 3, [(4.0, 9.0), (20.0, 9.0), (12.0, 9.0)]) == 3


@given(
    st.lists(st.tuples(st.floats(2, 27), st.floats(2, 27)), min_size=3, max_size=12),
    st.integers(0, 11),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_any_polygon_is_its_own_copy(points: list[tuple[float, float]], start: int, turned: bool, seed: int) -> None:
    """Also where it crosses itself."""
    jitter = np.random.default_rng(seed).uniform(-0.5, 0.5, (len(points), 2)) * TOUCH_MM
    copy = np.roll(np.asarray(points) + jitter, start, axis=0)
    one, other = outline(points), outline(copy[::-1] if turned else copy)
    if (one.pixels & other.pixels).any():
        assert distinct_outlines([one, other]) == [one]


def test_depth_of_points_in_a_box() -> None:
    points = np.array([(10.2, 10.2), (6.2, 10.2), (5.2, 9.0), (3.2, 10.2), (18.2, 19.2), (10.2, 16.2)])
    np.testing.assert_allclose(_depth(points, BOX), [5, 1, 0, -2, -5, -1], atol=1e-12)


@given(st.lists(st.tuples(st.integers(2, 27), st.integers(2, 27)), min_size=3, max_size=9), st.floats(-0.3, 0.3))
@settings(max_examples=60, deadline=None)
def test_inside_is_the_crossing_number_also_level_with_vertices(vertices: list[tuple[int, int]], shift: float) -> None:
    polygon = np.array(vertices) + shift
    points = polygon - np.array([1.3, 0.0])
    depth = _depth(points, polygon)
    for (x, y), found in zip(points, depth, strict=True):
        ends = zip(polygon, np.roll(polygon, -1, axis=0), strict=True)
        crossings = [x0 + (y - y0) * (x1 - x0) / (y1 - y0) - x for (x0, y0), (x1, y1) in ends if (y0 > y) != (y1 > y)]
        if abs(found) > 1e-6:
            assert (found > 0) == (sum(c > 0 for c in crossings) % 2 == 1)


def test_many_vertices_are_compared_piece_by_piece() -> None:
    """1000 by 1000 edges are more than are compared at once."""
    assert count(circle(9, 1000), circle(9, 1000, 0.001), circle(7, 1000)) == 2

"""Contours on the CT grid, voxel for voxel."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedescc.client.imaging.headers.index import MaskFile
from fedescc.client.imaging.masks.contours import Drawn, Mask, drawn, rasterise
from fedescc.client.imaging.masks.regions import place, read_regions
from fedescc.client.imaging.masks.structures import Roi, read_structures
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.common.errors import Refusal

Factory = Callable[..., Path]
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
GRID = Geometry((3, 20, 24), (2.5, 0.8, 0.7), (-10.0, -20.0, 30.0), IDENTITY)
SQUARE = [(4.5, 3.5), (9.5, 3.5), (9.5, 8.5), (4.5, 8.5)]  # pixels 5-9 by 4-8


def contour(points_xy: Any, plane: float, grid: Geometry = GRID) -> np.ndarray:
    return grid.index_to_physical([(x, y, plane) for x, y in points_xy])


def roi(*contours: np.ndarray, frame: str = "") -> Roi:
    return Roi("GTV", frame, contours)


def read_roi(path: Path, name: str) -> Mask:
    """The one ROI of this name in a structure set."""
    found = read_structures(path)
    if name in found.faults:
        raise Refusal(found.faults[name], name, "")
    (one,) = [one for one in found.rois if one.name == name]
    return rasterise(one, GRID)


def inside(points_xy: np.ndarray, x: float, y: float) -> bool:
    """Crossing number, written out (Franklin, PNPOLY)."""
    odd = False
    for (x0, y0), (x1, y1) in zip(points_xy, np.roll(points_xy, -1, axis=0), strict=True):
        if (y0 > y) != (y1 > y) and x > x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            odd = not odd
    return odd


def test_square_between_voxel_centres() -> None:
    mask = rasterise(roi(contour(SQUARE, 1)), GRID)
    expected = np.zeros(GRID.shape_zyx, bool)
    expected[1, 4:9, 5:10] = True
    np.testing.assert_array_equal(mask, expected)
    assert mask.dtype == np.bool_


def test_square_on_voxel_centres_takes_the_left_and_lower_edge() -> None:
    corners = [(5, 4), (9, 4), (9, 8), (5, 8)]
    mask = rasterise(roi(contour(corners, 1)), GRID)
    assert (mask[1, 4:8, 5:9]).all()
    assert mask.sum() == 16


def test_contours_that_share_an_edge_share_no_voxel() -> None:
    left = rasterise(roi(contour([(3, 3), (8, 3), (8, 9), (3, 9)], 0)), GRID)
    right = rasterise(roi(contour([(8, 3), (12, 3), (12, 9), (8, 9)], 0)), GRID)
    whole = rasterise(roi(contour([(3, 3), (12, 3), (12, 9), (3, 9)], 0)), GRID)
    assert not (left & right).any()
    np.testing.assert_array_equal(left | right, whole)


def test_a_contour_within_a_contour_is_a_hole() -> None:
    hole = [(6.5, 5.5), (7.5, 5.5), (7.5, 6.5), (6.5, 6.5)]
    mask = rasterise(roi(contour(SQUARE, 1), contour(hole, 1)), GRID)
    assert mask.sum() == 24
    assert not mask[1, 6, 7]


def test_direction_of_drawing_and_start_do_not_matter() -> None:
    points = np.add(SQUARE, [[0, 0], [3, 1], [1, 5], [-2, 2]])
    masks = [rasterise(roi(contour(p, 2)), GRID) for p in (points, points[::-1], np.roll(points, 2, axis=0))]
    assert masks[0].any()
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], masks[2])


@given(st.lists(st.tuples(st.floats(0, 23), st.floats(0, 19)), min_size=3, max_size=9))
@settings(max_examples=60, deadline=None)
def test_any_polygon_equals_the_crossing_number_of_each_centre(points: list[tuple[float, float]]) -> None:
    points = [(round(x, 3) + 0.00037, round(y, 3) + 0.00041) for x, y in points]
    expected = np.array([[inside(np.asarray(points), x, y) for x in range(24)] for y in range(20)])
    if not expected.any():
        with pytest.raises(Refusal, match="empty_roi"):
            rasterise(roi(contour(points, 0)), GRID)
        return
    np.testing.assert_array_equal(rasterise(roi(contour(points, 0)), GRID)[0], expected)


def test_flipped_and_turned_grids_follow_the_patient() -> None:
    flipped = Geometry(GRID.shape_zyx, GRID.spacing_zyx_mm, (5.0, 1.0, 40.0), (0, 1, 0, 1, 0, 0, 0, 0, -1))
    mask = rasterise(roi(contour(SQUARE, 2, flipped)), flipped)
    assert mask[2, 4:9, 5:10].all()
    assert mask.sum() == 25


@pytest.mark.parametrize(
    ("contours", "code"),
    [
        ([], "empty_roi"),
        ([contour(SQUARE[:2], 1)], "empty_roi"),
        ([contour([(4.1, 4.1), (4.4, 4.1), (4.4, 4.4)], 1)], "empty_roi"),
        ([contour(SQUARE, 1.3)], "contour_off_slice"),
        ([contour(SQUARE, 1), contour(SQUARE, 1.5)], "contour_off_slice"),
        ([np.add(contour(SQUARE, 1), [[0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, -1]])], "contour_off_slice"),
        ([contour(SQUARE, 1), contour(SQUARE, 3)], "roi_truncated"),
        ([contour(SQUARE, -1)], "roi_truncated"),
        ([contour(np.subtract(SQUARE, [8, 0]), 1)], "roi_truncated"),
        ([contour(np.add(SQUARE, [0, 14]), 1)], "roi_truncated"),
    ],
)
def test_contours_that_do_not_lie_on_the_ct_are_refused(contours: list[np.ndarray], code: str) -> None:
    with pytest.raises(Refusal) as caught:
        rasterise(roi(*contours), GRID)
    assert caught.value.code == code


def test_contour_around_the_whole_image_is_no_truncation() -> None:
    border = [(-0.5, -0.5), (23.5, -0.5), (23.5, 19.5), (-0.5, 19.5)]
    assert rasterise(roi(contour(border, 0)), GRID)[0].all()


def test_frame_of_reference_is_compared_where_both_are_known() -> None:
    drawn = roi(contour(SQUARE, 1), frame="1.2")
    assert rasterise(drawn, GRID, frame_of_reference_uid="1.2").sum() == 25
    assert rasterise(drawn, GRID).sum() == 25
    with pytest.raises(Refusal, match="wrong_frame_of_reference"):
        rasterise(drawn, GRID, frame_of_reference_uid="1.3")


def test_every_roi_is_listed_by_its_name(tmp_path: Path, rtstruct: Factory) -> None:
    rois = {"GTV-1": [contour(SQUARE, 1)], "GTV-1 old": [contour(SQUARE, 0)], "Heart": []}
    path = rtstruct(tmp_path / "rs", rois, series_uid="1.7")
    found = read_structures(path)
    assert [one.name for one in found.rois] == list(rois)
    assert found.series_uids == {"1.7"}
    assert [read_roi(path, name).any(axis=(1, 2)).argmax() for name in ("GTV-1", "GTV-1 old")] == [1, 0]
    with pytest.raises(Refusal, match="empty_roi"):
        read_roi(path, "Heart")


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"ContourGeometricType": "POINT"}, "unsupported_contour_type"),
        ({"ContourGeometricType": "OPEN_PLANAR"}, "unsupported_contour_type"),
        ({"NumberOfContourPoints": 5}, "malformed_contour"),
        ({"ContourData": [1.0, 2.0, 3.0, 4.0]}, "malformed_contour"),
    ],
)
def test_unusable_contours_are_refused_and_spare_other_rois(
    tmp_path: Path, rtstruct: Factory, tags: dict[str, Any], code: str
) -> None:
    rois = {"bad": [contour(SQUARE, 0), (contour(SQUARE, 1), tags)], "good": [contour(SQUARE, 1)]}
    path = rtstruct(tmp_path / "rs", rois)
    assert read_roi(path, "good").sum() == 25
    assert read_structures(path).faults == {"bad": code}
    with pytest.raises(Refusal) as caught:
        read_roi(path, "bad")
    assert caught.value.code == code


def test_structure_set_cut_short_never_gives_a_smaller_mask(tmp_path: Path, rtstruct: Factory) -> None:
    contours = [contour(SQUARE, plane) for plane in range(3)]
    path = rtstruct(tmp_path / "rs", {"GTV": contours, "Heart": contours[:1]})
    assert read_roi(path, "GTV").sum() == 75
    whole = path.read_bytes()
    for keep in range(0, len(whole), 3):
        path.write_bytes(whole[:keep])
        with pytest.raises(Refusal):
            read_roi(path, "GTV")


def test_a_keyhole_is_a_hole() -> None:
    """One contour that runs in to its hole and back along the same line."""
    hole = [(6.5, 5.5), (7.5, 5.5), (7.5, 6.5), (6.5, 6.5)]
    keyhole = [*SQUARE, SQUARE[0], *hole, hole[0], SQUARE[0]]
    apart = rasterise(roi(contour(SQUARE, 1), contour(hole, 1)), GRID)
    np.testing.assert_array_equal(rasterise(roi(contour(keyhole, 1)), GRID), apart)
    assert apart.sum() == 24


def test_contours_beside_each_other_and_an_island_in_a_hole() -> None:
    outer = [(2.5, 2.5), (11.5, 2.5), (11.5, 11.5), (2.5, 11.5)]
    hole = [(4.5, 4.5), (9.5, 4.5), (9.5, 9.5), (4.5, 9.5)]
    island = [(6.5, 6.5), (7.5, 6.5), (7.5, 7.5), (6.5, 7.5)]
    beside = np.add(SQUARE, [10, 0])
    mask = rasterise(roi(*(contour(one, 1) for one in (outer, hole, island, beside))), GRID)
    assert mask.sum() == 81 - 25 + 1 + 25
    assert mask[1, 7, 7]
    assert not mask[1, 7, 5]


def test_the_same_contour_twice_is_nothing() -> None:
    with pytest.raises(Refusal, match="empty_roi"):
        rasterise(roi(contour(SQUARE, 1), contour(SQUARE, 1)), GRID)


def test_contours_of_a_tilted_ct() -> None:
    """Slices move along y from one to the next; the contour lies on its slice as on any."""
    tilted = Geometry(GRID.shape_zyx, GRID.spacing_zyx_mm, GRID.origin_xyz_mm, (1, 0, 0, 0, 1, 0.28, 0, 0, 0.96))
    mask = rasterise(roi(*(contour(SQUARE, plane, tilted) for plane in range(3))), tilted)
    assert mask[:, 4:9, 5:10].all()
    assert mask.sum() == 75


@pytest.mark.parametrize(
    ("planes", "warnings"),
    [((1,), ()), ((0, 1, 2), ()), ((0, 2), ("roi_skips_slices",)), ((0, 1, 4), ("roi_skips_slices",))],
)
def test_skipped_slices_warn(planes: tuple[int, ...], warnings: tuple[str, ...]) -> None:
    mask = np.zeros((5, 3, 3), bool)
    mask[list(planes), 1, 1] = True
    assert drawn(mask).warnings == warnings
    assert drawn(mask, ("before",)).warnings == ("before", *warnings)


def test_an_roi_drawn_on_every_second_slice_warns(tmp_path: Path, rtstruct: Factory) -> None:
    path = rtstruct(tmp_path / "rs", {"GTV": [contour(SQUARE, 0), contour(SQUARE, 2)]})
    (one,) = read_regions(MaskFile(str(tmp_path), path.name, "rtstruct")).rois
    found = place(one, GRID, frame_of_reference_uid="1.2.3.5")
    assert isinstance(found, Drawn)
    assert found.warnings == ("roi_skips_slices",)
    assert found.voxels.sum() == 50
    with pytest.raises(Refusal, match="wrong_frame_of_reference"):
        place(one, GRID, frame_of_reference_uid="9.9")


def test_a_structure_set_that_vanished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="mask_unreadable"):
        read_regions(MaskFile(str(tmp_path), "gone", "rtstruct"))


def test_nothing_that_identifies_is_shown(tmp_path: Path, rtstruct: Factory) -> None:
    path = rtstruct(tmp_path / "rs", {"GTV Smith": [contour(SQUARE, 1)], "Smith 2": [(SQUARE, {"ContourData": [1.0]})]})
    shown = repr(read_structures(path))
    assert "Smith" not in shown
    assert "1.2.3.5" not in shown

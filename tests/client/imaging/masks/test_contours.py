"""Contours on the CT grid, voxel for voxel."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from fedescc.client.imaging.headers.index import MaskFile
from fedescc.client.imaging.masks.contours import Drawn, Mask, drawn, rasterise
from fedescc.client.imaging.masks.regions import place, read_regions
from fedescc.client.imaging.masks.structures import Contour, Roi, read_structures
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.common.errors import Refusal

Factory = Callable[..., Path]
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
GRID = Geometry((3, 20, 24), (2.5, 0.8, 0.7), (-10.0, -20.0, 30.0), IDENTITY)
SQUARE = [(4.5, 3.5), (9.5, 3.5), (9.5, 8.5), (4.5, 8.5)]  # pixels 5-9 by 4-8


def contour(points_xy: Any, plane: float, grid: Geometry = GRID) -> np.ndarray:
    return grid.index_to_physical([(x, y, plane) for x, y in points_xy])


def roi(*contours: np.ndarray, frame: str = "") -> Roi:
    return Roi("GTV", frame, tuple(Contour(points) for points in contours))


def read_roi(path: Path, name: str) -> Mask:
    """The one ROI of this name in a structure set."""
    found = read_structures(path)
    if name in found.faults:
        raise Refusal(found.faults[name], name, "")
    (one,) = [one for one in found.rois if one.name == name]
    return rasterise(one, GRID)


def outlines(plane: np.ndarray) -> list[list[tuple[float, float]]]:
    """Closed contours along the borders of a mask's pixels, walked edge by edge with the mask on the left."""
    ways: dict[tuple[float, float], list[tuple[float, float]]] = {}
    for y, x in np.argwhere(plane).tolist():
        corners = [(x - 0.5, y - 0.5), (x + 0.5, y - 0.5), (x + 0.5, y + 0.5), (x - 0.5, y + 0.5)]
        neighbours = [(y - 1, x), (y, x + 1), (y + 1, x), (y, x - 1)]
        for k, (row, column) in enumerate(neighbours):
            within = 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]
            if not (within and plane[row, column]):
                ways.setdefault(corners[k], []).append(corners[(k + 1) % 4])
    found = []
    while ways:
        start = at = next(iter(ways))
        walk = []
        while not walk or at != start:
            walk.append(at)
            at = ways[at].pop()
            if not ways[walk[-1]]:
                del ways[walk[-1]]
        found.append(walk)
    return found


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


@pytest.mark.parametrize(
    "again",
    [
        np.array(SQUARE),
        np.array(SQUARE[::-1]),
        np.roll(SQUARE, 1, axis=0),
        np.array([*SQUARE, SQUARE[0]]),
        np.add(SQUARE, 0.001),
        np.round(np.multiply(SQUARE, 0.7), 1) / 0.7,
    ],
    ids=["same", "reversed", "other start", "closed", "shifted by a micron", "rounded to 0.1 mm"],
)
def test_a_contour_that_is_there_twice_counts_once(again: np.ndarray) -> None:
    once = rasterise(roi(contour(SQUARE, 1)), GRID)
    for pair in ((SQUARE, again), (SQUARE, again, again)):
        np.testing.assert_array_equal(rasterise(roi(*(contour(one, 1) for one in pair)), GRID), once)


def test_a_copy_leaves_holes_and_other_slices_alone() -> None:
    """An export that repeats its last contours."""
    hole = [(6.5, 5.5), (7.5, 5.5), (7.5, 6.5), (6.5, 6.5)]
    whole = [contour(SQUARE, 0), contour(SQUARE, 1), contour(hole, 1)]
    mask = rasterise(roi(*whole), GRID)
    assert mask.sum() == 25 + 24
    np.testing.assert_array_equal(rasterise(roi(*whole, whole[2]), GRID), mask)
    np.testing.assert_array_equal(rasterise(roi(*whole, *whole[::-1]), GRID), mask)


def test_contours_that_overlap_in_part_are_refused_unless_the_file_says_exclusive_or() -> None:
    beside = np.add(SQUARE, [3, 0])
    with pytest.raises(Refusal, match="contours_overlap"):
        rasterise(roi(contour(SQUARE, 1), contour(beside, 1)), GRID)
    assert rasterise(roi(contour(SQUARE, 1), contour(beside, 2)), GRID).sum() == 50
    either = Roi("GTV", "", tuple(Contour(contour(one, 1), xor=True) for one in (SQUARE, beside)))
    assert rasterise(either, GRID).sum() == 50 - 2 * 10
    mixed = Roi("GTV", "", (either.contours[0], Contour(contour(beside, 1))))
    with pytest.raises(Refusal, match="contours_overlap"):
        rasterise(mixed, GRID)


@given(st.lists(st.lists(st.booleans(), min_size=12, max_size=12), min_size=10, max_size=10))
@settings(max_examples=40, deadline=None)
def test_outlines_of_any_mask_give_it_back(rows: list[list[bool]]) -> None:
    """Contours along pixel borders, which touch at corners and nest; also with every contour twice."""
    plane = np.array(rows)
    if not plane.any():
        return
    drawn = [contour(one, 1) for one in outlines(plane)]
    expected = np.zeros(GRID.shape_zyx, bool)
    expected[1, :10, :12] = plane
    np.testing.assert_array_equal(rasterise(roi(*drawn), GRID), expected)
    np.testing.assert_array_equal(rasterise(roi(*drawn, *drawn), GRID), expected)


SLICES = {"1.0": 0, "1.1": 1, "1.2": 2}


@pytest.mark.parametrize("named", [{"1.1"}, {"9.9"}, {"9.9", "1.1"}, {"1.0", "1.1"}, set()])
def test_a_contour_lies_on_the_slice_that_it_names(named: set[str]) -> None:
    one = Roi("GTV", "", (Contour(contour(SQUARE, 1), sop_uids=frozenset(named)),))
    assert rasterise(one, GRID, slices=SLICES).any(axis=(1, 2)).tolist() == [False, True, False]


def test_a_contour_that_names_another_slice_is_refused() -> None:
    shifted = Roi("GTV", "", (Contour(contour(SQUARE, 1), sop_uids=frozenset({"1.2"})),))
    with pytest.raises(Refusal, match="contour_off_slice"):
        rasterise(shifted, GRID, slices=SLICES)
    assert rasterise(shifted, GRID).sum() == 25


@pytest.mark.parametrize("gap", [0.4, 0.625, 0.7, 1.25])
def test_contours_on_slices_whose_positions_are_rounded(gap: float) -> None:
    """What a CT may be off its grid by, the contours on it may be off by, and their own rounding."""
    thin = Geometry((60, 20, 24), (gap, 0.8, 0.7), GRID.origin_xyz_mm, IDENTITY)
    for off in (-0.1004, 0.1004):
        drawn = [np.add(contour(SQUARE, plane, thin), [0, 0, off]) for plane in range(60)]
        mask = rasterise(roi(*drawn[1:-1]), thin)
        assert mask.sum(axis=(1, 2)).tolist() == [0, *[25] * 58, 0]
    with pytest.raises(Refusal, match="contour_off_slice"):
        rasterise(roi(np.add(contour(SQUARE, 7, thin), [0, 0, 0.5 * gap])), thin)


def test_slices_closer_than_rounding_are_told_apart_or_refused() -> None:
    thin = Geometry((60, 20, 24), (0.2, 0.8, 0.7), GRID.origin_xyz_mm, IDENTITY)
    with pytest.raises(Refusal, match="contour_off_slice"):
        rasterise(roi(np.add(contour(SQUARE, 7, thin), [0, 0, 0.09])), thin)


@pytest.mark.parametrize("split", [0, 2, 3])
def test_two_lists_of_contours_for_one_roi_are_refused(tmp_path: Path, rtstruct: Factory, split: int) -> None:
    """Two halves or two versions: the file does not say. An empty list is none."""
    path = rtstruct(tmp_path / "rs", {"GTV": [contour(SQUARE, plane) for plane in range(3)], "Heart": []})
    data = dcmread(path)
    whole = list(data.ROIContourSequence[0].ContourSequence)
    for item, part in zip(data.ROIContourSequence, (whole[:split], whole[split:]), strict=True):
        item.ReferencedROINumber, item.ContourSequence = 1, part
    data.save_as(path)
    if split in {0, 3}:
        assert read_roi(path, "GTV").sum() == 75
    else:
        assert read_structures(path).faults == {"GTV": "malformed_contour"}


def test_two_rois_of_one_number_are_refused(tmp_path: Path, rtstruct: Factory) -> None:
    path = rtstruct(tmp_path / "rs", {"GTV": [contour(SQUARE, 1)], "Heart": [contour(SQUARE, 2)], "Lung": []})
    data = dcmread(path)
    data.StructureSetROISequence[1].ROINumber = 1
    data.save_as(path)
    found = read_structures(path)
    assert found.faults == {"GTV": "malformed_contour", "Heart": "malformed_contour"}
    assert [one.name for one in found.rois] == ["Lung"]


def test_what_contours_say_of_themselves(tmp_path: Path, rtstruct: Factory) -> None:
    xor = (contour(SQUARE, 1), {"ContourGeometricType": "CLOSEDPLANAR_XOR"})
    path = rtstruct(tmp_path / "rs", {"GTV": [xor, contour(SQUARE, 2)]}, sop_uid="1.8")
    data = dcmread(path)
    data.PatientID = "PAT-1"
    data.ROIContourSequence[0].ContourSequence[1].ContourImageSequence[0].ReferencedSOPInstanceUID = ""
    data.save_as(path)
    found = read_structures(path)
    (one,) = found.rois
    assert [(c.xor, c.sop_uids) for c in one.contours] == [(True, {"1.8"}), (False, frozenset())]
    assert (found.sop_uids, found.patient_id) == ({"1.8"}, "PAT-1")
    assert "PAT-1" not in repr(found)


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


@pytest.mark.parametrize("kind", ["POINT", "OPEN_PLANAR", "OPEN_NONPLANAR", "CLOSED_PLANAR", "CLOSEDPLANAR_XOR"])
@pytest.mark.parametrize("points", [1, 2])
def test_stray_marks_beside_a_closed_contour_enclose_nothing(
    tmp_path: Path, rtstruct: Factory, kind: str, points: int
) -> None:
    mark = (contour(SQUARE[:points], 1), {"ContourGeometricType": kind})
    path = rtstruct(tmp_path / "rs", {"GTV": [mark, contour(SQUARE, 1), mark]})
    (found,) = read_structures(path).rois
    assert len(found.contours) == 1
    assert read_roi(path, "GTV").sum() == 25


@pytest.mark.parametrize("closed", [[], [SQUARE[:2]], [[(4.5, 3.5), (6.5, 4.5), (8.5, 5.5)]]])
@pytest.mark.parametrize("points", [1, 2])
def test_marks_without_a_contour_that_encloses_an_area_are_refused(
    tmp_path: Path, rtstruct: Factory, closed: list[Any], points: int
) -> None:
    mark = (contour(SQUARE[:points], 1), {"ContourGeometricType": "OPEN_PLANAR"})
    path = rtstruct(tmp_path / "rs", {"GTV": [mark, *(contour(one, 1) for one in closed)]})
    assert read_structures(path).faults == {"GTV": "unsupported_contour_type"}


def test_an_open_line_of_three_points_is_refused(tmp_path: Path, rtstruct: Factory) -> None:
    line = (contour(SQUARE[:3], 1), {"ContourGeometricType": "OPEN_PLANAR"})
    path = rtstruct(tmp_path / "rs", {"GTV": [contour(SQUARE, 1), line]})
    assert read_structures(path).faults == {"GTV": "unsupported_contour_type"}

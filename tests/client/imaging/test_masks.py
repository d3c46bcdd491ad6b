"""ROIs on the CT grid, voxel for voxel."""

import gzip
import struct
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from fedescc.client.imaging.geometry import Geometry
from fedescc.client.imaging.labelmap import _nifti_size, select_label
from fedescc.client.imaging.masks import rasterise, read_nifti_mask, read_rtstruct
from fedescc.client.imaging.structures import Roi, read_structures
from fedescc.common.errors import Refusal

Factory = Callable[..., Path]
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
GRID = Geometry((3, 20, 24), (2.5, 0.8, 0.7), (-10.0, -20.0, 30.0), IDENTITY)
SQUARE = [(4.5, 3.5), (9.5, 3.5), (9.5, 8.5), (4.5, 8.5)]  # pixels 5-9 by 4-8


def contour(points_xy: Any, plane: float, grid: Geometry = GRID) -> np.ndarray:
    return grid.index_to_physical([(x, y, plane) for x, y in points_xy])


def roi(*contours: np.ndarray, frame: str = "") -> Roi:
    return Roi("GTV", frame, contours)


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


def test_roi_is_found_by_a_pattern_of_its_whole_name(tmp_path: Path, rtstruct: Factory) -> None:
    rois = {"GTV-1": [contour(SQUARE, 1)], "GTV-1 old": [contour(SQUARE, 0)], "Heart": []}
    path = rtstruct(tmp_path / "rs", rois)
    assert read_rtstruct(path, GRID, "gtv-[0-9]").sum() == 25
    for pattern, code in (("GTV.*", "roi_ambiguous"), ("tumou?r", "roi_not_found"), ("heart", "empty_roi")):
        with pytest.raises(Refusal) as caught:
            read_rtstruct(path, GRID, pattern)
        assert caught.value.code == code


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
    assert read_rtstruct(path, GRID, "good").sum() == 25
    assert read_structures(path).faults == {"bad": code}
    with pytest.raises(Refusal) as caught:
        read_rtstruct(path, GRID, "bad")
    assert caught.value.code == code


def test_structure_set_cut_short_never_gives_a_smaller_mask(tmp_path: Path, rtstruct: Factory) -> None:
    contours = [contour(SQUARE, plane) for plane in range(3)]
    path = rtstruct(tmp_path / "rs", {"GTV": contours, "Heart": contours[:1]})
    assert read_rtstruct(path, GRID, "GTV").sum() == 75
    whole = path.read_bytes()
    for keep in range(0, len(whole), 3):
        path.write_bytes(whole[:keep])
        with pytest.raises(Refusal):
            read_rtstruct(path, GRID, "GTV")


def blob() -> np.ndarray:
    mask = np.zeros(GRID.shape_zyx, np.uint8)
    mask[0, 2:5, 3:4] = mask[1, 3:9, 5:11] = 1
    return mask


def save(path: Path, image: sitk.Image) -> Path:
    sitk.WriteImage(image, str(path))
    return path


def as_image(values: np.ndarray, grid: Geometry = GRID) -> sitk.Image:
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(grid.spacing_zyx_mm[::-1])
    image.SetOrigin(grid.origin_xyz_mm)
    image.SetDirection(grid.direction)
    return image


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_on_the_same_grid(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"mask{suffix}", as_image(blob() * 7))
    mask = read_nifti_mask(path, GRID)
    np.testing.assert_array_equal(mask, blob() == 1)
    assert mask.flags.c_contiguous


@pytest.mark.parametrize("order", list(permutations((0, 1, 2))))
@pytest.mark.parametrize("flips", list(product((False, True), repeat=3)))
def test_nifti_with_axes_flipped_or_permuted_is_the_same_mask(
    tmp_path: Path, order: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    image = sitk.Flip(sitk.PermuteAxes(as_image(blob()), order), flips, flipAboutOrigin=False)
    assert image.GetDirection() != GRID.direction or (order, flips) == ((0, 1, 2), (False,) * 3)
    np.testing.assert_array_equal(read_nifti_mask(save(tmp_path / "mask.nii", image), GRID), blob() == 1)


def test_nifti_of_a_turned_ct(tmp_path: Path) -> None:
    turned = Geometry(GRID.shape_zyx, GRID.spacing_zyx_mm, (5.0, 1.0, 40.0), (0, -1, 0, 1, 0, 0, 0, 0, 1))
    path = save(tmp_path / "mask.nii", as_image(blob(), turned))
    np.testing.assert_array_equal(read_nifti_mask(path, turned), blob() == 1)
    with pytest.raises(Refusal, match="other_geometry"):
        read_nifti_mask(path, GRID)


@pytest.mark.parametrize(
    "grid",
    [
        Geometry(GRID.shape_zyx, GRID.spacing_zyx_mm, (-10.1, -20.0, 30.0), IDENTITY),
        Geometry(GRID.shape_zyx, GRID.spacing_zyx_mm, (-10.7, -20.0, 30.0), IDENTITY),
        Geometry(GRID.shape_zyx, (2.5, 0.8, 0.71), GRID.origin_xyz_mm, IDENTITY),
        Geometry((3, 20, 25), GRID.spacing_zyx_mm, GRID.origin_xyz_mm, IDENTITY),
        Geometry((6, 20, 24), (1.25, 0.8, 0.7), GRID.origin_xyz_mm, IDENTITY),
        Geometry(GRID.shape_zyx, GRID.spacing_zyx_mm, GRID.origin_xyz_mm, (1, 0, 0, 0, -1, 0, 0, 0, 1)),
        Geometry(GRID.shape_zyx, GRID.spacing_zyx_mm, GRID.origin_xyz_mm, (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1)),
    ],
)
def test_nifti_on_another_grid_is_refused(tmp_path: Path, grid: Geometry) -> None:
    values = np.ones(grid.shape_zyx, np.uint8)
    with pytest.raises(Refusal) as caught:
        read_nifti_mask(save(tmp_path / "mask.nii", as_image(values, grid)), GRID)
    assert caught.value.code == "other_geometry"


def test_nifti_of_several_labels_needs_one_named(tmp_path: Path) -> None:
    labels = blob() * 2
    labels[2, 0, 0] = 5
    path = save(tmp_path / "mask.nii", as_image(labels))
    np.testing.assert_array_equal(read_nifti_mask(path, GRID, label=2), blob() == 1)
    for label, code in ((None, "several_labels"), (3, "empty_roi")):
        with pytest.raises(Refusal) as caught:
            read_nifti_mask(path, GRID, label=label)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("values", "code"),
    [(blob() * 0, "empty_roi"), (blob() * 0.5, "mask_not_integer"), (blob() * np.nan, "mask_not_integer")],
)
def test_label_map_without_a_mask_is_refused(values: np.ndarray, code: str) -> None:
    with pytest.raises(Refusal) as caught:
        select_label(values, "mask.nii", None)
    assert caught.value.code == code


def test_unreadable_and_four_dimensional_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mask.nii.gz").write_bytes(b"not a mask")
    with pytest.raises(Refusal, match="mask_unreadable"):
        read_nifti_mask(tmp_path / "mask.nii.gz", GRID)
    series = sitk.JoinSeries([as_image(blob()), as_image(blob())])
    with pytest.raises(Refusal, match="mask_not_3d"):
        read_nifti_mask(save(tmp_path / "series.nii", series), GRID)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("keep", [0, 0.2, 0.5, 0.9, 0.999])
def test_a_truncated_label_map_is_refused(tmp_path: Path, suffix: str, keep: float) -> None:
    """ITK would fill what is missing with 0 and say nothing."""
    rng = np.random.default_rng(1)
    path = save(tmp_path / f"mask{suffix}", as_image(rng.integers(0, 2, GRID.shape_zyx).astype(np.uint8)))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(Refusal, match="mask_truncated"):
        read_nifti_mask(path, GRID)


def test_one_byte_less_is_less(tmp_path: Path) -> None:
    path = save(tmp_path / "mask.nii", as_image(blob()))
    content = path.read_bytes()
    assert _nifti_size(content) == len(content) == 352 + 3 * 20 * 24
    path.write_bytes(content[:-1])
    with pytest.raises(Refusal, match="mask_truncated"):
        read_nifti_mask(path, GRID)
    path.with_suffix(".nii.gz").write_bytes(gzip.compress(content[:-1]))
    with pytest.raises(Refusal, match="mask_truncated"):
        read_nifti_mask(path.with_suffix(".nii.gz"), GRID)


@pytest.mark.parametrize("at", [-1, -5, 0.5])
def test_a_damaged_gzip_stream_is_refused(tmp_path: Path, at: float) -> None:
    """Its length (-1), its checksum (-5) or its contents."""
    path = save(tmp_path / "mask.nii.gz", as_image(np.random.default_rng(1).integers(0, 2, GRID.shape_zyx)))
    content = bytearray(path.read_bytes())
    content[int(at) if at < 0 else int(len(content) * at)] ^= 0x40
    path.write_bytes(content)
    with pytest.raises(Refusal, match="mask_truncated"):
        read_nifti_mask(path, GRID)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_size_that_a_nifti_header_states(order: str) -> None:
    one = bytearray(352)
    struct.pack_into(f"{order}i", one, 0, 348)
    struct.pack_into(f"{order}8h", one, 40, 3, 5, 6, 7, 1, 1, 1, 1)
    struct.pack_into(f"{order}h", one, 72, 16)
    struct.pack_into(f"{order}f", one, 108, 352.0)
    assert _nifti_size(bytes(one)) == 352 + 5 * 6 * 7 * 2
    two = bytearray(540)
    struct.pack_into(f"{order}i", two, 0, 540)
    struct.pack_into(f"{order}h", two, 14, 64)
    struct.pack_into(f"{order}8q", two, 16, 4, 5, 6, 7, 2, 1, 1, 1)
    struct.pack_into(f"{order}q", two, 168, 544)
    assert _nifti_size(bytes(two)) == 544 + 5 * 6 * 7 * 2 * 8
    assert _nifti_size(b"no header") == _nifti_size(b"") == 0


def test_itk_says_nothing_that_names_a_path(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "Smith.nii", as_image(blob()))
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 284, 0.5)  # srow_x[1]: a sheared affine
    path.write_bytes(content)
    read_nifti_mask(path, GRID)
    assert capfd.readouterr() == ("", "")

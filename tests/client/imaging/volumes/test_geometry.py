"""Grids from positions and orientations."""

from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fedescc.client.imaging.volumes.geometry import (
    POSITION_REFUSE_MM,
    TILT_REFUSE_DEG,
    Geometry,
    Stack,
    Tilt,
    stack_geometry,
)
from fedescc.common.errors import Refusal

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def stack(positions: object, orientation: tuple[float, ...] = AXIAL, tilt: Tilt = "refuse") -> Stack:
    positions = np.asarray(positions, dtype=float)
    n = len(positions)
    return stack_geometry(positions, [orientation] * n, [(0.8, 0.7)] * n, [5] * n, [6] * n, tilt=tilt)


def line(n: int, gap: float = 2.0, start: tuple[float, ...] = (-10.0, -20.0, 30.0)) -> np.ndarray:
    return np.asarray(start) + np.arange(n)[:, None] * [0.0, 0.0, gap]


def code_of(positions: object, orientation: tuple[float, ...] = AXIAL, tilt: Tilt = "refuse") -> str:
    with pytest.raises(Refusal) as caught:
        stack(positions, orientation, tilt)
    return caught.value.code


def test_axial_stack_has_row_spacing_before_column_spacing() -> None:
    geometry, order, warnings = stack(line(4))
    assert geometry.shape_zyx == (4, 5, 6)
    assert geometry.spacing_zyx_mm == (2.0, 0.8, 0.7)
    assert geometry.origin_xyz_mm == (-10.0, -20.0, 30.0)
    assert geometry.direction == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert order == (0, 1, 2, 3)
    assert warnings == ()


def test_order_sorts_along_the_normal() -> None:
    geometry, order, _ = stack(line(4)[[2, 0, 3, 1]])
    assert order == (1, 3, 0, 2)
    assert geometry.origin_xyz_mm[2] == 30.0


def test_flipped_rows_turn_the_normal_downwards() -> None:
    geometry, order, _ = stack(line(3), (1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    assert order == (2, 1, 0)
    assert geometry.origin_xyz_mm == (-10.0, -20.0, 34.0)
    assert geometry.direction == (1, 0, 0, 0, -1, 0, 0, 0, -1)


def test_prone_patient_keeps_the_normal_upwards() -> None:
    geometry, order, _ = stack(line(3), (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    assert order == (0, 1, 2)
    assert geometry.direction == (-1, 0, 0, 0, -1, 0, 0, 0, 1)


@given(
    st.tuples(*[st.floats(-50, 50)] * 3),
    st.sampled_from([AXIAL, (0.0, 1.0, 0.0, -1.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)]),
)
def test_index_and_physical_agree_with_simpleitk(index: tuple[float, ...], orientation: tuple[float, ...]) -> None:
    geometry = stack(line(4), orientation).geometry
    image = sitk.Image(geometry.shape_zyx[::-1], sitk.sitkInt16)
    image.SetSpacing(geometry.spacing_zyx_mm[::-1])
    image.SetOrigin(geometry.origin_xyz_mm)
    image.SetDirection(geometry.direction)
    point = geometry.index_to_physical(index)
    assert point == pytest.approx(image.TransformContinuousIndexToPhysicalPoint(index), abs=1e-9)
    assert geometry.physical_to_index(point) == pytest.approx(index, abs=1e-9)


def test_index_transform_works_on_arrays_of_points() -> None:
    geometry = Geometry((4, 5, 6), (2.0, 0.8, 0.7), (1.0, 2.0, 3.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    points = geometry.index_to_physical([[0, 0, 0], [1, 2, 3]])
    np.testing.assert_allclose(points, [[1, 2, 3], [1.7, 3.6, 9.0]])


@pytest.mark.parametrize(
    ("positions", "code"),
    [
        (line(1), "too_few_slices"),
        (line(5)[[0, 1, 3, 4]], "missing_slices"),
        (line(6)[[0, 1, 2, 5]], "missing_slices"),
        (line(4)[[0, 1, 1, 2]], "duplicate_slices"),
        (np.add(line(4), [[0, 0, 0], [0, 0, 0.5], [0, 0, 0], [0, 0, 0]]), "non_uniform_gap"),
        (line(4) * [1, 1, np.nan], "non_finite_geometry"),
        (line(4) * [1, 1, np.inf], "non_finite_geometry"),
        (line(4) + np.arange(4)[:, None] * [0, 0.1, 0], "gantry_tilt"),
        (line(9)[::2][[0, 1, 2, 4]], "missing_slices"),
        (np.concatenate([line(4), line(4, start=(-10, -20, 30.005))]), "duplicate_slices"),
        (np.concatenate([line(4), line(4, start=(-10, -20, 30.6))]), "non_uniform_gap"),
        (np.concatenate([line(4, gap=5.0), line(8, gap=2.0, start=(-10, -20, 47))]), "non_uniform_gap"),
        (np.concatenate([line(8), line(4, gap=5.0, start=(-10, -20, 49))]), "non_uniform_gap"),
        (line(6) + np.arange(6)[:, None] % 2 * [0, 3, 0], "non_uniform_shear"),
        (line(6) + np.arange(6)[:, None] ** 2 * [0, 0.1, 0], "non_uniform_shear"),
    ],
)
def test_irregular_positions_are_refused(positions: np.ndarray, code: str) -> None:
    assert code_of(positions) == code


def test_gantry_tilt_is_seen_though_the_image_normal_follows_it() -> None:
    tilt = np.radians(14)
    assert code_of(line(4), (1.0, 0.0, 0.0, 0.0, np.cos(tilt), -np.sin(tilt))) == "gantry_tilt"


def test_sheared_positions_are_refused_though_the_orientation_is_axial() -> None:
    sheared = line(10) + np.arange(10)[:, None] * [0, np.tan(np.radians(1)) * 2.0, 0]
    assert code_of(sheared) == "gantry_tilt"


def test_oblique_stack_without_shear_is_accepted_up_to_five_degrees() -> None:
    def tilted(degrees: float) -> tuple[np.ndarray, tuple[float, ...]]:
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        normal = np.cross((1, 0, 0), (0, c, s))
        return np.arange(4)[:, None] * 2.0 * normal, (1.0, 0.0, 0.0, 0.0, c, s)

    assert stack(*tilted(4)).warnings == ("oblique",)
    assert stack(*tilted(4)).geometry.spacing_zyx_mm[0] == pytest.approx(2.0)
    assert code_of(*tilted(6)) == "non_axial"


def test_sagittal_and_coronal_are_refused() -> None:
    assert code_of(np.arange(4)[:, None] * [1.0, 0, 0], (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)) == "non_axial"
    assert code_of(np.arange(4)[:, None] * [0, 1.0, 0], (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)) == "non_axial"


def test_rounded_positions_are_accepted_with_a_warning() -> None:
    positions = line(9, gap=0.625).round(1)
    geometry, _, warnings = stack(positions)
    assert warnings == ("positions_rounded",)
    assert geometry.spacing_zyx_mm[0] == pytest.approx(0.625)
    noise = np.array([0, 0, 1.5 * POSITION_REFUSE_MM])
    assert code_of(positions + np.eye(9)[:, [4]] * noise) == "non_uniform_gap"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"rows": [5, 5, 4]}, "differing_matrix_size"),
        ({"columns": [6, 7, 6]}, "differing_matrix_size"),
        ({"spacings": [(0.8, 0.7), (0.8, 0.7), (0.8, 0.71)]}, "differing_pixel_spacing"),
        ({"spacings": [(0.0, 0.7)] * 3}, "invalid_pixel_spacing"),
        ({"orientations": [AXIAL, AXIAL, (1.0, 0.01, 0.0, 0.0, 1.0, 0.0)]}, "differing_orientation"),
        ({"orientations": [(1.0, 0.0, 0.0, 0.2, 1.0, 0.0)] * 3}, "invalid_orientation"),
        ({"orientations": [(2.0, 0.0, 0.0, 0.0, 1.0, 0.0)] * 3}, "invalid_orientation"),
    ],
)
def test_slices_that_differ_are_refused(change: dict[str, object], code: str) -> None:
    good = {
        "positions": line(3),
        "orientations": [AXIAL] * 3,
        "spacings": [(0.8, 0.7)] * 3,
        "rows": [5] * 3,
        "columns": [6] * 3,
    }
    with pytest.raises(Refusal) as caught:
        stack_geometry(**(good | change))
    assert caught.value.code == code


@given(st.permutations(range(7)))
def test_grid_does_not_depend_on_the_order_of_slices(permutation: list[int]) -> None:
    geometry, order, _ = stack(line(7)[permutation])
    assert geometry == stack(line(7)).geometry
    assert [permutation[i] for i in order] == list(range(7))


def gantry(degrees: float, azimuth: float = 0.0) -> tuple[float, ...]:
    """Orientation of slices that lean by an angle towards a direction in the axial plane; azimuth 0 is about x."""
    rotation = Rotation.from_rotvec(np.radians(degrees) * np.array([np.cos(azimuth), np.sin(azimuth), 0.0]))
    return tuple(rotation.apply([[1, 0, 0], [0, 1, 0]]).ravel())


angles = st.floats(1.5, TILT_REFUSE_DEG - 0.1)


@given(angles, st.floats(0, 2 * np.pi), st.booleans())
def test_tilt_of_any_direction_and_sign_is_measured_from_positions(
    degrees: float, azimuth: float, reverse: bool
) -> None:
    positions, orientation = line(8)[:: -1 if reverse else 1], gantry(degrees, azimuth)
    assert code_of(positions, orientation) == "gantry_tilt"
    geometry, order, warnings = stack(positions, orientation, "correct")
    assert geometry.tilt_deg == pytest.approx(degrees, abs=1e-9)
    assert warnings == ("tilt_corrected",)
    assert geometry.spacing_zyx_mm[0] == pytest.approx(2.0)
    assert geometry.direction[2::3] == pytest.approx((0.0, 0.0, 1.0))
    for k, i in enumerate(order):
        assert geometry.index_to_physical([0, 0, k]) == pytest.approx(positions[i], abs=1e-9)


@given(st.floats(1.5, 29.5), st.floats(0, 2 * np.pi))
def test_shear_of_axial_slices_is_a_tilt_too(degrees: float, azimuth: float) -> None:
    sideways = 2.0 * np.tan(np.radians(degrees)) * np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    positions = line(8) + np.arange(8)[:, None] * sideways
    geometry = stack(positions, tilt="correct").geometry
    assert geometry.tilt_deg == pytest.approx(degrees)
    assert geometry.spacing_zyx_mm[0] == pytest.approx(2.0 / np.cos(np.radians(degrees)))
    assert geometry.index_to_physical([0, 0, 7]) == pytest.approx(positions[7])


@pytest.mark.parametrize(
    ("positions", "degrees", "code"),
    [
        (line(8), TILT_REFUSE_DEG + 0.5, "excessive_tilt"),
        (line(8)[[0, 1, 2, 4, 5, 6, 7]], 14, "missing_slices"),
        (line(8)[[0, 1, 1, 2]], 14, "duplicate_slices"),
        (line(8) + np.eye(8)[:, [4]] * [0.5, 0, 0], 14, "non_uniform_shear"),
        (np.add(line(4, start=(0, 0, 0)), [[0, 0, 0], [0, 0, 0.5], [0, 0, 0], [0, 0, 0]]), 14, "non_uniform_gap"),
    ],
)
def test_only_a_uniform_moderate_tilt_is_corrected(positions: np.ndarray, degrees: float, code: str) -> None:
    assert code_of(positions, gantry(degrees), "correct") == code


def test_correcting_leaves_an_untilted_stack_as_it_is() -> None:
    assert stack(line(5), tilt="correct") == stack(line(5))
    assert stack(line(5)).geometry.tilt_deg == 0


def test_a_tilted_stack_that_is_not_axial_is_refused() -> None:
    rotation = Rotation.from_euler("x", 90, degrees=True)
    positions = rotation.apply(line(5))
    orientation = tuple(rotation.apply(np.reshape(gantry(14), (2, 3))).ravel())
    assert code_of(positions, orientation, "correct") == "non_axial"


@given(
    st.floats(0, 2 * np.pi),
    st.tuples(st.floats(-4.9, 4.9), st.floats(0, 2 * np.pi)),
    st.booleans(),
    st.permutations(range(6)),
    st.tuples(st.floats(0.3, 2), st.floats(0.3, 2), st.floats(0.5, 6)),
    st.tuples(*[st.floats(-500, 500)] * 3),
)
def test_every_voxel_lies_where_the_standard_puts_it(
    turn: float,
    lean: tuple[float, float],
    flipped: bool,
    permutation: list[int],
    spacing: tuple[float, float, float],
    origin: tuple[float, ...],
) -> None:
    """PS3.3 C.7.6.2.1.1 for head or feet first, supine, prone, decubitus, and anything between."""
    in_plane = Rotation.from_euler("z", turn).apply([[1, 0, 0], [0, -1 if flipped else 1, 0]])
    tilt = Rotation.from_rotvec(np.radians(lean[0]) * np.array([np.cos(lean[1]), np.sin(lean[1]), 0]))
    row, column = tilt.apply(in_plane)
    dy, dx, dz = spacing
    positions = (np.asarray(origin) + np.arange(6)[:, None] * dz * np.cross(row, column))[permutation]
    n = len(positions)
    geometry, order, _ = stack_geometry(positions, [(*row, *column)] * n, [(dy, dx)] * n, [512] * n, [400] * n)
    for k, i in enumerate(order):
        for c, r in ((0, 0), (399, 0), (0, 511), (399, 511), (200, 17)):
            standard = positions[i] + row * dx * c + column * dy * r
            np.testing.assert_allclose(geometry.index_to_physical([c, r, k]), standard, rtol=0, atol=1e-6)
            np.testing.assert_allclose(geometry.physical_to_index(standard), [c, r, k], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "orientation", "direction"),
    [
        ("HFS", (1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1)),
        ("HFP", (-1, 0, 0, 0, -1, 0), (-1, 0, 0, 0, -1, 0, 0, 0, 1)),
        ("FFS", (-1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, 1, 0, 0, 0, -1)),
        ("FFP", (1, 0, 0, 0, -1, 0), (1, 0, 0, 0, -1, 0, 0, 0, -1)),
        ("HFDR", (0, 1, 0, -1, 0, 0), (0, -1, 0, 1, 0, 0, 0, 0, 1)),
        ("HFDL", (0, -1, 0, 1, 0, 0), (0, 1, 0, -1, 0, 0, 0, 0, 1)),
    ],
)
def test_patient_positions_give_right_handed_grids(
    name: str, orientation: tuple[float, ...], direction: tuple[float, ...]
) -> None:
    """Orientation of slices reconstructed as scanned, for the patient positions of PS3.3 C.7.3.1.1.2."""
    geometry = stack(line(4), tuple(map(float, orientation))).geometry
    assert geometry.direction == direction, name
    assert np.linalg.det(np.reshape(geometry.direction, (3, 3))) == pytest.approx(1.0)


def anatomy(point_xyz_mm: np.ndarray) -> np.ndarray:
    """A smooth function of patient coordinates."""
    x, y, z = np.moveaxis(point_xyz_mm, -1, 0)
    return 100 * np.sin(x / 9) + 80 * np.cos(y / 11) + 60 * np.sin(z / 13 + 0.3) + 0.05 * x * z


@pytest.mark.parametrize(("degrees", "azimuth"), [(14.0, 0.0), (-22.0, 0.0), (9.0, 2.0), (29.0, np.pi / 2)])
def test_tilted_slices_of_a_known_function_give_it_back_at_its_place(degrees: float, azimuth: float) -> None:
    """Slices sampled by the standard's formula; resampled by SimpleITK onto an upright grid."""
    n, rows, columns, dy, dx = 40, 70, 60, 0.8, 0.7
    row, column = np.reshape(gantry(degrees, azimuth), (2, 3))
    positions = line(n, gap=1.0)
    r, c = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    sampled = np.stack([anatomy(p + r[..., None] * dy * column + c[..., None] * dx * row) for p in positions])
    geometry = stack_geometry(
        positions, [(*row, *column)] * n, [(dy, dx)] * n, [rows] * n, [columns] * n, tilt="correct"
    ).geometry
    upright = sitk.Image([12, 12, 12], sitk.sitkFloat64)
    upright.SetSpacing([1.1, 0.9, 0.7])
    upright.SetOrigin(np.asarray(geometry.index_to_physical([columns / 2, rows / 2, n / 2])) - 5)
    expected = anatomy(physical_grid(upright))
    resampled = sitk.GetArrayFromImage(
        sitk.Resample(image_of(sampled, geometry), upright, sitk.Transform(), sitk.sitkBSpline)
    )
    np.testing.assert_allclose(resampled, expected, atol=0.05)
    ignoring = Geometry(
        geometry.shape_zyx, geometry.spacing_zyx_mm, geometry.origin_xyz_mm, (1, 0, 0, 0, 1, 0, 0, 0, 1)
    )
    wrong = sitk.GetArrayFromImage(sitk.Resample(image_of(sampled, ignoring), upright))
    assert np.abs(wrong - expected).max() > 10


def image_of(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing_zyx_mm[::-1])
    image.SetOrigin(geometry.origin_xyz_mm)
    image.SetDirection(geometry.direction)
    return image


def physical_grid(image: sitk.Image) -> np.ndarray:
    """Patient coordinates (z, y, x, xyz) of an image's voxels, from SimpleITK itself."""
    size = image.GetSize()
    return np.array(
        [
            [[image.TransformIndexToPhysicalPoint((i, j, k)) for i in range(size[0])] for j in range(size[1])]
            for k in range(size[2])
        ]
    )


@given(st.permutations(range(5)))
def test_a_drifting_orientation_gives_one_grid_in_any_order_and_a_warning(permutation: list[int]) -> None:
    angles_rad = np.array([-8e-5, -4e-5, 0, 4e-5, 8e-5])[permutation]
    orientations = [(np.cos(a), np.sin(a), 0.0, -np.sin(a), np.cos(a), 0.0) for a in angles_rad]
    geometry, _, warnings = stack_geometry(line(5)[permutation], orientations, [(1, 1)] * 5, [4] * 5, [4] * 5)
    assert geometry.direction == pytest.approx((1, 0, 0, 0, 1, 0, 0, 0, 1), abs=1e-7)
    assert warnings == ("orientation_varies",)


@given(st.permutations(range(3)))
def test_a_drift_that_moves_a_corner_by_a_tenth_of_a_millimetre_is_refused_in_any_order(permutation: list[int]) -> None:
    """Over a field of 0.5 m; half of it is a warning."""
    for angle, code in ((2.1e-4, "differing_orientation"), (1.0e-4, None)):
        angles_rad = np.array([0, angle / 2, angle])[permutation]
        orientations = [(np.cos(a), np.sin(a), 0.0, -np.sin(a), np.cos(a), 0.0) for a in angles_rad]
        assert refused(line(3)[permutation], orientations) == code


@pytest.mark.parametrize("spacing", [(800.0, 700.0), (8e-4, 7e-4), (0.8, 11.0), (0.04, 0.8), (-0.8, 0.7), (0.0, 0.7)])
def test_pixels_in_another_unit_are_refused(spacing: tuple[float, float]) -> None:
    assert refused(line(3), spacing=spacing) == "invalid_pixel_spacing"


@pytest.mark.parametrize(
    ("gap", "code"), [(0.04, "invalid_slice_gap"), (0.05, None), (50, None), (51, "invalid_slice_gap")]
)
def test_gaps_in_another_unit_are_refused(gap: float, code: str | None) -> None:
    assert refused(line(3, gap)) == code


def refused(
    positions: np.ndarray, orientations: Any = ((1, 0, 0, 0, 1, 0),) * 3, spacing: tuple[float, float] = (1, 1)
) -> str | None:
    try:
        stack_geometry(positions, orientations, [spacing] * 3, [4] * 3, [4] * 3)
    except Refusal as refusal:
        return refusal.code
    return None

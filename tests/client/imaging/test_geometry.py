"""Grids from positions and orientations."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from fedescc.client.imaging.geometry import POSITION_REFUSE_MM, Geometry, Stack, stack_geometry
from fedescc.common.errors import Refusal

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def stack(positions: object, orientation: tuple[float, ...] = AXIAL, rows: int = 5, columns: int = 6) -> Stack:
    positions = np.asarray(positions, dtype=float)
    n = len(positions)
    return stack_geometry(positions, [orientation] * n, [(0.8, 0.7)] * n, [rows] * n, [columns] * n)


def line(n: int, gap: float = 2.0, start: tuple[float, ...] = (-10.0, -20.0, 30.0)) -> np.ndarray:
    return np.asarray(start) + np.arange(n)[:, None] * [0.0, 0.0, gap]


def code_of(positions: object, orientation: tuple[float, ...] = AXIAL) -> str:
    with pytest.raises(Refusal) as caught:
        stack(positions, orientation)
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

"""Volumes that lack slices although they are even."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phantom_scans import row

from fedescc.client.imaging.headers.header import CT_IMAGE, DicomRow
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.client.imaging.volumes.wholeness import (
    are_halves,
    is_cut,
    share_numbers,
    thickness_warnings,
    wholeness_warnings,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
BASE = row(
    modality="CT",
    sop_class=CT_IMAGE,
    has_pixels=True,
    samples_per_pixel=1,
    photometric="MONOCHROME2",
    bits_allocated=16,
    bits_stored=16,
    high_bit=15,
    frames=1,
    rows=4,
    columns=5,
    slope=1.0,
    intercept=0.0,
    orientation=AXIAL,
    pixel_spacing=(1.0, 1.0),
)


def stack(places: list[float], **values: Any) -> list[DicomRow]:
    return [BASE._replace(**({"position": (3.0, 4.0, float(z))} | values)) for z in places]


def grid(lean: float = 0.0) -> Geometry:
    """Four slices at z = 0, 2, 4, 6."""
    third = np.array([0.0, lean, 1.0]) / np.hypot(lean, 1)
    direction = tuple(float(v) for v in np.stack([[1, 0, 0], [0, 1, 0], third], axis=1).ravel())
    return Geometry((4, 4, 5), (2.0 * float(np.hypot(lean, 1)), 1.0, 1.0), (3.0, 4.0, 0.0), direction)


def cut(others: list[DicomRow], geometry: Geometry | None = None) -> bool:
    return is_cut(stack([0, 2, 4, 6], slice_thickness_mm=2.0), geometry or grid(), others)


@pytest.mark.parametrize(
    ("places", "continues"),
    [
        ([8, 10], True),
        ([8], True),
        ([-2, -4, -6], True),
        ([8.1], True),
        ([8.5, 10.5], False),
        ([10, 12], True),
        ([14, 16], True),
        ([16, 18], False),
        ([-8, -10], True),
        ([-10, -12], False),
        ([11, 13], False),
        ([0, 2, 4, 6, 8], False),
        ([1, 3, 5, 7], False),
        ([-2, 8], False),
        ([100], False),
        ([float("nan")], False),
    ],
)
def test_slices_that_go_on_where_a_volume_ends(places: list[float], continues: bool) -> None:
    assert cut(stack(places)) == continues


@pytest.mark.parametrize(
    ("others", "continues"),
    [
        ({"slice_thickness_mm": 2.0}, True),
        ({"slice_thickness_mm": 10.0}, False),
        ({"orientation": (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)}, False),
        ({"position": (30.0, 4.0, 8.0)}, False),
        ({"pixel_spacing": (0.9, 0.9)}, True),
        ({"kernel": "B70f", "frame_of_reference_uid": "1.9"}, True),
    ],
)
def test_what_must_agree_for_slices_to_go_on(others: dict[str, Any], continues: bool) -> None:
    assert cut(stack([8], **others)) == continues


@given(st.floats(-0.5, 0.5), st.booleans())
def test_a_tilted_volume_goes_on_along_its_own_line(lean: float, below: bool) -> None:
    z = -2.0 if below else 8.0
    assert cut([BASE._replace(position=(3.0, 4.0 + lean * z, z))], grid(lean))
    assert cut([BASE._replace(position=(3.0, 4.0, z))], grid(lean)) == (abs(lean * z) <= 0.2 * np.hypot(lean, 1))


@pytest.mark.parametrize("name", ["position", "orientation", "pixel_spacing"])
def test_images_of_the_kind_whose_place_is_not_stated(name: str) -> None:
    lacking: dict[str, Any] = {name: None}
    others = stack([8], **lacking)
    assert cut(others)
    assert cut([others[0]._replace(rows=8)]) == (name == "pixel_spacing"), "that one has a place"
    screenshot = {"position": None, "orientation": None, "pixel_spacing": None, "slope": None}
    assert not cut([BASE._replace(**screenshot)]), "a page of doses"
    assert not cut([BASE._replace(**(screenshot | {"sop_class": "1.2.840.10008.5.1.4.1.1.7"}))])


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ({"images_in_acquisition": 3}, []),
        ({"images_in_acquisition": 4}, ["fewer_images_than_stated"]),
        ({"images_in_series": 3}, []),
        ({"images_in_series": 4}, ["fewer_images_than_stated"]),
        ({"images_in_series": 4, "frame": 1}, []),
        ({"images_in_acquisition": 2}, []),
    ],
)
def test_images_are_counted(values: dict[str, Any], codes: list[str]) -> None:
    assert list(wholeness_warnings(stack([0, 2, 4], **values))) == codes


def test_images_are_counted_by_acquisition() -> None:
    rows = [*stack([0, 2], acquisition_number=1, images_in_acquisition=2), *stack([4], acquisition_number=2)]
    assert wholeness_warnings(rows) == ()
    rows[2] = rows[2]._replace(images_in_acquisition=2)
    assert wholeness_warnings(rows) == ("fewer_images_than_stated",)


@pytest.mark.parametrize(("first", "late"), [(0, False), (1, False), (2, True), (6, True)])
def test_numbers_that_start_late(first: int, late: bool) -> None:
    rows = [one._replace(instance_number=first + k) for k, one in enumerate(stack([0, 2, 4]))]
    assert wholeness_warnings(rows) == (("instance_numbers_start_late",) if late else ())
    assert wholeness_warnings([*rows, BASE._replace(instance_number=1)]) == ()


def numbered(places: list[float], numbers: list[int | None], **values: Any) -> list[DicomRow]:
    return [one._replace(instance_number=n) for one, n in zip(stack(places, **values), numbers, strict=True)]


NONE: list[int | None] = [None] * 4


@pytest.mark.parametrize(
    ("first", "second", "values", "halves"),
    [
        ([1, 3, 5, 7], [2, 4, 6, 8], {}, True),
        ([1, 3, 5, 7], [2, 4, 6, 8], {"slice_thickness_mm": 5.0}, True),
        (NONE, NONE, {}, True),
        ([1, 1, 1, 1], [1, 1, 1, 1], {}, True),
        ([1, 2, 3, 4], NONE, {}, True),
        ([1, 2, 3, 4], [1, 2, 3, 4], {}, False),
        ([1, 2, 3, 4], [1, 2, 3, 4], {"slice_thickness_mm": 2.0}, False),
        ([1, 2, 3, 4], [5, 6, 7, 8], {"slice_thickness_mm": 1.0}, True),
        (NONE, NONE, {"slice_thickness_mm": 2.0}, False),
        (NONE, NONE, {"slice_thickness_mm": 1.0}, True),
    ],
)
def test_every_other_slice_parted_by_a_tag(
    first: list[int | None], second: list[int | None], values: dict[str, Any], halves: bool
) -> None:
    one, other = numbered([0, 2, 4, 6], first, **values), numbered([1, 3, 5, 7], second, kernel="B31f", **values)
    assert are_halves(one, other) == are_halves(other, one[::-1]) == halves


@pytest.mark.parametrize("places", [[0, 2, 4, 6], [8, 10, 12, 14], [0.4, 2.4, 4.4, 6.4]])
def test_whole_scans_are_no_halves(places: list[float]) -> None:
    assert not are_halves(stack([0, 2, 4, 6]), stack(places))


def test_halves_lie_on_one_line_and_are_parallel() -> None:
    one, other = stack([0, 2, 4, 6]), stack([1, 3, 5, 7])
    assert not are_halves(one, [BASE._replace(position=(9.0, 4.0, z)) for z in (1.0, 3.0, 5.0, 7.0)])
    assert not are_halves(one, [half._replace(orientation=(0.0, 1.0, 0.0, -1.0, 0.0, 0.0)) for half in other])


def test_a_half_that_lacks_a_slice_is_one_still() -> None:
    places = [float(z) for z in range(1, 24, 2) if z != 11]
    assert are_halves(stack([float(z) for z in range(0, 24, 2)]), stack(places))


def test_numbers_that_two_scans_share() -> None:
    one = numbered([0, 2], [1, 2])
    assert share_numbers(one, numbered([4, 6], [2, 3]))
    assert not share_numbers(one, numbered([4, 6], [3, 4]))
    assert not share_numbers(stack([0]), stack([2]))


@pytest.mark.parametrize(
    ("thickness", "varies"),
    [((1.0, 1.5), False), ((1.0, 1.6), True), ((1.0, 5.0), True), ((None, 5.0), False), ((0.0, 5.0), False)],
)
def test_thickness_that_varies(thickness: tuple[float | None, float], varies: bool) -> None:
    rows = [stack([k], slice_thickness_mm=value)[0] for k, value in enumerate(thickness)]
    assert thickness_warnings(rows) == (("thickness_varies",) if varies else ())
    assert thickness_warnings(stack([0, 1], slice_thickness_mm=None)) == ()

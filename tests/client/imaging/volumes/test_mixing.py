"""Even stacks that are not of one scan."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phantom_scans import row

from fedescc.client.imaging.headers.header import DicomRow
from fedescc.client.imaging.volumes.mixing import apart, halves_of_one, mixing_reasons, mixing_warnings

PLACED: dict[str, Any] = {"orientation": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)}


def stack(places: list[float], **values: Any) -> list[DicomRow]:
    """Slices in these places; a list gives each its own value."""
    return [
        row(
            position=(0.0, 0.0, float(z)),
            **PLACED,
            **{name: value[k] if isinstance(value, list) else value for name, value in values.items()},
        )
        for k, z in enumerate(places)
    ]


EIGHT = [float(z) for z in range(8)]


@pytest.mark.parametrize(
    ("field", "one", "other"),
    [
        ("kvp", 80.0, 140.0),
        ("temporal_position", 1, 2),
        ("acquisition_date", "20240101", "20240401"),
    ],
)
def test_scans_that_abut_are_refused(field: str, one: Any, other: Any) -> None:
    assert mixing_reasons(stack(EIGHT, **{field: [one] * 4 + [other] * 4})) == ("mixed_volume",)


@pytest.mark.parametrize(
    ("field", "one", "other"),
    [
        ("contrast_agent", "", "IOHEXOL"),
        ("contrast_agent", "None", "IOHEXOL"),
        ("manufacturer", "GE", "SIEMENS"),
        ("accession_number", "1", "2"),
        ("series_description", "arterial", "venous"),
    ],
)
def test_what_is_also_edited_by_hand_needs_a_second_sign(field: str, one: Any, other: Any) -> None:
    """An injector starts late, a system renames some images: one scan. A new acquisition at that slice: two."""
    tags = {field: [one] * 4 + [other] * 4}
    alone = stack(EIGHT, **tags)
    assert (mixing_reasons(alone), "scan_tags_vary" in mixing_warnings(alone)) == ((), True)
    signs: list[dict[str, Any]] = [
        {"acquisition_number": [1] * 4 + [2] * 4},
        {"acquisition_time": ["101500"] * 4 + ["101700"] * 4},
        {"instance_number": [1, 2, 3, 4] * 2},
    ]
    for sign in signs:
        assert mixing_reasons(stack(EIGHT, **tags, **sign)) == ("mixed_volume",), sign
    elsewhere = {"acquisition_number": [1] * 6 + [2] * 2}
    by_rotation = {"acquisition_number": list(range(8))}
    counted_on = {"instance_number": list(range(8))}
    for none in (elsewhere, by_rotation, counted_on):
        assert mixing_reasons(stack(EIGHT, **tags, **none)) == (), none


def test_a_scan_past_midnight_without_times_is_one_where_its_images_count_on() -> None:
    dates = ["20240101"] * 3 + ["2024.01.02"] * 5
    assert mixing_reasons(stack(EIGHT, acquisition_date=dates, instance_number=list(range(8)))) == ()
    assert mixing_reasons(stack(EIGHT, acquisition_date=dates)) == ("mixed_volume",)
    late = [day.replace("2024.01.02", "20240103") for day in dates]
    assert mixing_reasons(stack(EIGHT, acquisition_date=late, instance_number=list(range(8)))) == ("mixed_volume",)


@pytest.mark.parametrize("count", [12, 19, 25, 32, 39, 40])
def test_numbers_in_the_order_of_file_names_are_one_stack(count: int) -> None:
    """IM1, IM10, IM11, IM2: renumbered by a copy."""
    names = sorted(range(1, count + 1), key=str)
    numbers = [names.index(k) + 1 for k in range(1, count + 1)]
    places = [2.0 * k for k in range(count)]
    thick: dict[str, Any] = {"slice_thickness_mm": 5.0}
    for order in (numbers, numbers[::-1]):
        assert mixing_reasons(stack(places, instance_number=order, **thick)) == ()


def test_slices_side_by_side_are_no_two_scans_whatever_their_numbers() -> None:
    """Images that arrived over two lines; two scans between each other's slices overlap, unless they had gaps."""
    numbers = [1, 5, 2, 6, 3, 7, 4, 8]
    for thickness, reasons in ((1.0, ()), (2.0, ("ambiguous_interleave",)), (None, ("ambiguous_interleave",))):
        rows = stack(EIGHT, instance_number=numbers, slice_thickness_mm=thickness)
        assert mixing_reasons(rows) == reasons, thickness


@pytest.mark.parametrize(
    ("field", "one", "other"),
    [
        ("contrast_agent", "IOHEXOL", "Iohexol 350"),
        ("kvp", 120.0, 120.4),
        ("kvp", 120.0, None),
        ("manufacturer", "Siemens", "SIEMENS"),
        ("manufacturer", "Siemens", ""),
        ("accession_number", "", "2"),
        ("acquisition_date", "", "20240401"),
        ("acquisition_number", 1, 2),
        ("slice_thickness_mm", 1.0, 1.01),
    ],
)
def test_what_is_spelled_otherwise_or_not_stated_is_no_difference(field: str, one: Any, other: Any) -> None:
    assert mixing_reasons(stack(EIGHT, **{field: [one] * 4 + [other] * 4})) == ()


def test_a_time_point_for_each_slice_is_a_counter() -> None:
    assert mixing_reasons(stack(EIGHT, temporal_position=list(range(8)))) == ()


@pytest.mark.parametrize(
    ("dates", "times", "refused"),
    [
        (("20240131", "20240201"), ("235958", "000003"), False),
        (("20231231", "20240101"), ("235958", "000003"), False),
        (("20240131", "20240201"), ("100000", "100003"), True),
        (("20240131", "20240202"), ("235958", "000003"), True),
        (("20240131", "20240201"), ("235958", ""), True),
        (("20240131", "2024"), ("235958", "000003"), True),
        (("20240131", "20240131"), ("000003", "235958"), False),
    ],
)
def test_a_scan_may_go_on_past_midnight(dates: tuple[str, str], times: tuple[str, str], refused: bool) -> None:
    halves = {"acquisition_date": dates, "acquisition_time": times}
    rows = stack(EIGHT, **{name: [one] * 4 + [other] * 4 for name, (one, other) in halves.items()})
    assert bool(mixing_reasons(rows)) == refused


@pytest.mark.parametrize(
    ("numbers", "interleave"),
    [
        ([1, 1, 2, 2, 3, 3, 4, 4], True),
        ([1, 4, 2, 3, 3, 2, 4, 1], True),
        ([1, 11, 2, 12, 3, 13, 4, 14], True),
        ([14, 4, 13, 3, 12, 2, 11, 1], True),
        ([1, 2, 3, 4, 1, 2, 3, 4], False),
        ([4, 3, 2, 1, 4, 3, 2, 1], False),
        ([1, 2, 1, 2, 1, 2, 1, 2], False),
        ([1, 2, 3, 4, 4, 5, 6, 7], False),
        ([1, 2, 3, 4, 5, 6, 7, 8], False),
        ([8, 7, 6, 5, 4, 3, 2, 1], False),
        ([1, 2, 3, 4, 14, 13, 12, 11], False),
        ([3, 1, 2, 4, 5, 7, 6, 8], False),
        ([1] * 8, False),
        ([1, 1, 2, 2, 3, 3, 4, None], False),
    ],
)
def test_numbers_that_count_two_stacks(numbers: list[int | None], interleave: bool) -> None:
    rows = stack(EIGHT, instance_number=numbers)
    assert mixing_reasons(rows) == (("ambiguous_interleave",) if interleave else ())


@given(st.integers(3, 9), st.integers(3, 9), st.booleans())
def test_two_scans_one_after_another_never_interleave(one: int, other: int, descending: bool) -> None:
    numbers = [*range(1, one + 1), *range(1, other + 1)][:: -1 if descending else 1]
    rows = stack([float(z) for z in range(one + other)], instance_number=numbers)
    assert mixing_reasons(rows) == ()
    assert "instance_numbers_repeat" in mixing_warnings(rows)


def test_stacks_of_a_multi_frame_object_are_numbered_each() -> None:
    rows = stack(EIGHT, instance_number=[1, 2, 3, 4] * 2, stack_id=["1"] * 4 + ["2"] * 4)
    assert mixing_warnings(rows) == ("several_acquisitions",)


@pytest.mark.parametrize(
    ("field", "values", "warned"),
    [
        ("acquisition_number", [1] * 4 + [2] * 4, True),
        ("acquisition_number", [1] * 8, False),
        ("acquisition_number", [1, 1, 2, 2, 3, 3, 4, 4], False),
        ("acquisition_time", ["100000"] * 4 + ["100100"] * 4, True),
        ("acquisition_time", ["100000"] * 4 + ["100010"] * 4, False),
        ("acquisition_time", ["100000"] * 4 + [""] * 4, False),
    ],
)
def test_a_few_runs_are_scans_of_their_own(field: str, values: list[Any], warned: bool) -> None:
    assert mixing_warnings(stack(EIGHT, **{field: values})) == (("several_acquisitions",) if warned else ())


EVEN, ODD = [0, 2, 4, 6], [1, 3, 5, 7]


@pytest.mark.parametrize(
    ("one", "other", "halves"),
    [
        ({"instance_number": [1, 3, 5, 7]}, {"instance_number": [2, 4, 6, 8]}, True),
        ({"instance_number": [8, 6, 4, 2]}, {"instance_number": [7, 5, 3, 1]}, True),
        ({"instance_number": [1, 2, 3, 4]}, {"instance_number": [1, 2, 3, 4]}, False),
        ({"instance_number": [1, 2, 3, 4]}, {"instance_number": [5, 6, 7, 8]}, False),
        ({"slice_thickness_mm": 1.0}, {"slice_thickness_mm": 1.0}, True),
        ({"slice_thickness_mm": 2.0}, {"slice_thickness_mm": 2.0}, False),
        ({"slice_thickness_mm": 0.5}, {"slice_thickness_mm": 0.5}, False),
        ({}, {}, False),
    ],
)
def test_halves_of_one_stack(one: dict[str, Any], other: dict[str, Any], halves: bool) -> None:
    parts = [stack([0, 2, 4, 6], **one), stack([1, 3, 5, 7], **other)]
    assert halves_of_one(parts) == halves
    assert halves_of_one([stack([50, 60]), *parts]) == halves


def test_scans_in_one_place_or_one_after_another_are_no_halves() -> None:
    one = stack([0, 2, 4], instance_number=[1, 3, 5])
    assert not halves_of_one([one, stack([0, 2, 4], instance_number=[2, 4, 6])])
    assert not halves_of_one([one, stack([6, 8, 10], instance_number=[7, 8, 9])])
    assert not halves_of_one([one, stack([1, 3, 5], instance_number=[2, 4, 6])[:1]])


@pytest.mark.parametrize(
    ("distance", "separate"),
    [(12.0, True), (5.0, True), (3.1, True), (10.0, True), (8.0, False), (4.0, False), (6.0, False), (4.1, False)],
)
def test_two_scans_with_a_gap_between_them(distance: float, separate: bool) -> None:
    """A distance of two, three or four gaps may as well be lost slices."""
    places = [0.0, 2, 4, *(4 + distance + z for z in (0, 2, 4))]
    rows = stack(places, acquisition_number=[1] * 3 + [2] * 3)
    assert apart(rows) == apart(rows[::-1]) == separate


@pytest.mark.parametrize(
    "values",
    [
        {"acquisition_number": [1] * 6},
        {"acquisition_number": [1, 1, 2, 2, 2, 2]},
        {"acquisition_number": [1, 1, 1, 2, 2, 3]},
        {"position": None},
    ],
)
def test_a_gap_that_no_tag_explains_is_missing_slices(values: dict[str, Any]) -> None:
    rows = stack([0, 2, 4, 16, 18, 20])
    lacking = [
        one._replace(**{name: value[k] if value else None for name, value in values.items()})
        for k, one in enumerate(rows)
    ]
    assert not apart(lacking)


def test_a_scan_with_a_lost_slice_of_its_own_is_not_only_apart() -> None:
    assert not apart(stack([0, 2, 6, 18, 20, 22], acquisition_number=[1] * 3 + [2] * 3))

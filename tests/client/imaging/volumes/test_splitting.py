"""Volumes under one series UID, from rows alone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedescc.client.imaging.headers.header import DicomRow
from fedescc.client.imaging.volumes.splitting import (
    alike_in,
    frames_vary,
    is_bolus_tracking,
    series_in,
    volumes_in,
)

BASE = DicomRow(**dict.fromkeys(DicomRow._fields, ""))._replace(  # type: ignore[arg-type]
    root="/x",
    frame=0,
    modality="CT",
    image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
    orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    pixel_spacing=(0.8, 0.7),
    acquisition_number=1,
    temporal_position=None,
    slice_thickness_mm=2.0,
    kvp=None,
    rows=4,
    columns=5,
    samples_per_pixel=1,
    has_pixels=True,
)


def stack(places: list[float], **changes: Any) -> list[DicomRow]:
    label = "-".join(f"{value}" for value in changes.values()).replace("/", "")
    return [
        BASE._replace(name=f"{label}{k:03}", position=(0.0, 0.0, float(z)), **changes) for k, z in enumerate(places)
    ]


def split(rows: list[DicomRow]) -> list[list[float]]:
    """Places of each volume's slices."""
    parts = [volume for part in alike_in(rows) for volume in volumes_in(part)]
    assert sorted(map(id, (row for part in parts for row in part))) == sorted(map(id, rows))
    return sorted(sorted(row.position[2] for row in part if row.position) for part in parts)


def test_acquisitions_one_after_another_stay_together() -> None:
    """Step-and-shoot scans number each rotation; a slice lost where they meet must still show as a gap."""
    rows = [row for n in range(4) for row in stack([4 * n, 4 * n + 2], acquisition_number=n)]
    assert split(rows) == [[0, 2, 4, 6, 8, 10, 12, 14]]
    assert split([row for row in rows if row.position and row.position[2] != 8]) == [[0, 2, 4, 6, 10, 12, 14]]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("acquisition_number", (1, 2)),
        ("temporal_position", (1, 2)),
        ("image_type", (("ORIGINAL", "PRIMARY", "AXIAL", "A"), ("ORIGINAL", "PRIMARY", "AXIAL", "B"))),
        ("kernel", ("B30f", "B70f")),
        ("study_date", ("20240101", "20240401")),
        ("acquisition_date", ("20240101", "20240401")),
        ("series_number", (2, 3)),
        ("series_description", ("arterial", "venous")),
        ("contrast_agent", ("", "IOHEXOL")),
        ("kvp", (80.0, 140.0)),
        ("manufacturer", ("GE", "SIEMENS")),
        ("accession_number", ("1", "2")),
        ("stack_id", ("1", "2")),
        ("phase_percent", (30.0, 70.0)),
        ("acquisition_time", ("101010", "101110")),
        ("slice_thickness_mm", (2.0, 3.0)),
    ],
)
@pytest.mark.parametrize("offset", [0.0, 0.005, 1.0, 0.7])
def test_two_stacks_in_one_place_or_interleaved_are_parted(field: str, values: tuple[Any, Any], offset: float) -> None:
    """Offset by half a gap, together they look like one even stack."""
    first = stack([0, 2, 4, 6], **{field: values[0]})
    second = stack([z + offset for z in (0, 2, 4, 6)], **{field: values[1]})
    assert split(first + second) == [[0, 2, 4, 6], [offset + z for z in (0, 2, 4, 6)]]


def test_thick_and_thin_slices_in_one_place_are_parted() -> None:
    thin, thick = stack([0, 1, 2, 3, 4], slice_thickness_mm=1.0), stack([0, 2, 4], slice_thickness_mm=2.0)
    assert split(thin + thick) == [[0, 1, 2, 3, 4], [0, 2, 4]]


def test_thickness_alone_parts_nothing_that_does_not_coincide() -> None:
    rows = [row._replace(slice_thickness_mm=5.0 + 0.01 * (k % 2)) for k, row in enumerate(stack([0, 5, 10, 15]))]
    assert split(rows) == [[0, 5, 10, 15]]


def test_four_volumes_that_no_single_tag_tells_apart() -> None:
    rows = [
        row
        for acquisition in (1, 2)
        for time in (1, 2)
        for row in stack([0, 2, 4], acquisition_number=acquisition, temporal_position=time)
    ]
    assert split(rows) == [[0, 2, 4]] * 4


def test_a_frame_of_reference_for_every_image_parts_nothing() -> None:
    rows = [row._replace(frame_of_reference_uid=f"1.{k}") for k, row in enumerate(stack([0, 2, 4]))]
    assert (frames_vary(rows), split(rows)) == (True, [[0, 2, 4]])
    two = [row._replace(frame_of_reference_uid=f"1.{k % 2}") for k, row in enumerate(stack([0, 2, 4]))]
    assert (frames_vary(two), split(two)) == (False, [[0, 4], [2]])
    emptied = [rows[0]._replace(frame_of_reference_uid=""), *rows[1:]]
    assert not frames_vary(emptied)
    assert not frames_vary(rows[:2])


def test_what_no_tag_tells_apart_stays_together() -> None:
    assert split(stack([0, 2, 4]) + stack([0, 2, 4])) == [[0, 0, 2, 2, 4, 4]]


@pytest.mark.parametrize(
    "other",
    [
        {"image_type": ("DERIVED", "SECONDARY", "MPR")},
        {"sop_class": "1.2.840.10008.5.1.4.1.1.7"},
        {"frame_of_reference_uid": "1.9"},
        {"rows": 8},
        {"pixel_spacing": (0.9, 0.9)},
        {"orientation": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)},
        {"orientation": None},
        {"has_pixels": False},
        {"kernel": "B70f"},
        {"study_date": "20240401"},
        {"series_number": 3},
    ],
)
def test_what_cannot_share_a_grid_is_apart(other: dict[str, Any]) -> None:
    assert split(stack([0, 2, 4]) + stack([6, 8], **other)) == [[0, 2, 4], [6, 8]]


@pytest.mark.parametrize(
    "other",
    [
        {"orientation": (1.0, 0.001, 0.0, 0.0, 1.0, 0.0)},
        {"pixel_spacing": (0.8005, 0.7)},
        {"orientation": (float("nan"), 0.0, 0.0, 0.0, 1.0, 0.0)},
    ],
)
def test_small_differences_are_left_for_the_geometry_to_judge(other: dict[str, Any]) -> None:
    assert len(alike_in(stack([0, 2, 4]) + stack([6], **other))) == 1


def test_positions_that_are_not_known_part_nothing() -> None:
    rows = stack([0, 0], acquisition_number=1) + stack([0, 0], acquisition_number=2)
    lacking = [*rows[:3], rows[3]._replace(position=None)]
    assert volumes_in(lacking) == [lacking]
    infinite = [*rows[:3], rows[3]._replace(position=(0.0, 0.0, float("inf")))]
    assert volumes_in(infinite) == [infinite]


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 3), st.integers(1, 2)), min_size=1, max_size=12))
def test_every_row_comes_back_once_and_parts_are_untangled_or_untouched(slices: list[tuple[int, int, int]]) -> None:
    rows = [
        BASE._replace(name=f"{k}", position=(0.0, 0.0, float(z)), acquisition_number=a, temporal_position=t)
        for k, (z, a, t) in enumerate(slices)
    ]
    parts = volumes_in(rows)
    assert sorted(row.name for part in parts for row in part) == sorted(row.name for row in rows)
    if len(parts) > 1:
        for part in parts:
            places = [row.position[2] for row in part if row.position]
            assert len(set(places)) == len(places)


@pytest.mark.parametrize(
    ("places", "description", "tracking"),
    [
        ([10] * 8, "", True),
        ([10] * 3, "", True),
        ([10] * 2, "", False),
        ([10] * 2, "PreMonitoring", True),
        ([10], "PREMONITORING", True),
        ([10], "CONTRAST BOLUS", True),
        ([10], "Topogram", False),
        ([10, 12] * 5, "", True),
        ([10, 12, 14] * 4, "", False),
        ([10, 12, 14] * 4, "SMART PREP", True),
        ([10, 12, 14, 16, 18] * 4, "TEST BOLUS", False),
        ([0, 2, 4, 6], "chest post bolus", False),
        ([0, 2, 4, 6] * 2, "", False),
    ],
)
def test_bolus_tracking_repeats_few_places(places: list[float], description: str, tracking: bool) -> None:
    rows = stack(places, series_description=description)
    times = [row._replace(acquisition_number=k) for k, row in enumerate(rows)]
    assert is_bolus_tracking(times) == tracking
    assert not is_bolus_tracking([row._replace(modality="MR") for row in times])


def test_one_image_many_times_is_no_bolus_tracking() -> None:
    """The same slice in several encodings, say; unless it is named, repetition alone shows no time."""
    assert not is_bolus_tracking(stack([10] * 8))


def test_bolus_tracking_needs_places() -> None:
    assert not is_bolus_tracking([BASE._replace(position=None, series_description="TEST BOLUS")])


def test_series_are_told_apart_by_uid_study_and_patient() -> None:
    rows = [BASE._replace(series_uid=s, study_uid=t, patient_id=p) for s in "12" for t in "34" for p in "AB"]
    assert len(series_in(rows * 2)) == 8


def test_order_of_rows_is_that_of_names_and_frames() -> None:
    rows = [BASE._replace(name=name, frame=frame) for name in "ba" for frame in (2, 1)]
    (series,) = series_in(rows)
    assert [(row.name, row.frame) for row in series] == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]

"""What tells scans apart."""

from typing import Any

import numpy as np
import pytest
from phantom_scans import row

from fedescc.client.imaging.headers.header import DicomRow
from fedescc.client.imaging.volumes.telling import clusters, coincide, interleaved, seconds, telling_labels

PLACED: dict[str, Any] = {"orientation": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)}


def scans(*places: list[float], **values: list[Any]) -> list[DicomRow]:
    """Slices at the places of each scan, a field having one value a scan."""
    return [
        row(position=(0.0, 0.0, float(z)), **PLACED, **{name: each[k] for name, each in values.items()})
        for k, scan in enumerate(places)
        for z in scan
    ]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("acquisition_number", [1, 2]),
        ("image_type", [("ORIGINAL", "PRIMARY", "AXIAL", "A"), ("ORIGINAL", "PRIMARY", "AXIAL", "B")]),
        ("temporal_position", [1, 2]),
        ("phase_percent", [30.0, 70.0]),
        ("stack_id", ["1", "2"]),
        ("series_description", ["arterial", "venous"]),
        ("contrast_agent", ["", "IOHEXOL"]),
        ("acquisition_date", ["20240101", "20240401"]),
        ("acquisition_time", ["101010", "101110.5"]),
        ("kvp", [80.0, 140.0]),
        ("manufacturer", ["GE", "SIEMENS"]),
        ("accession_number", ["1", "2"]),
        ("slice_thickness_mm", [2.0, 3.0]),
    ],
)
def test_a_property_of_a_scan_labels_its_slices(field: str, values: list[Any]) -> None:
    (labels,) = telling_labels(scans([0, 2, 4], [1, 3, 5], **{field: values}))
    assert labels[:3] == [labels[0]] * 3
    assert labels[3:] == [labels[3]] * 3
    assert labels[0] != labels[3]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("kvp", [120.0, 120.3]),
        ("manufacturer", ["Siemens", "SIEMENS"]),
        ("slice_thickness_mm", [5.0, 5.01]),
        ("slice_thickness_mm", [5.0, None]),
        ("acquisition_time", ["101010", "101014"]),
        ("acquisition_time", ["101010", ""]),
        ("patient_position", ["HFS", "FFS"]),
    ],
)
def test_rounding_and_what_is_not_stated_label_nothing(field: str, values: list[Any]) -> None:
    assert telling_labels(scans([0, 2, 4], [1, 3, 5], **{field: values})) == []


def test_times_of_a_scan_that_goes_on_label_nothing() -> None:
    """Step-and-shoot with breath holds: a pause after every third slice, and slabs that overlap by one."""
    rows = scans([0, 2, 4], [3.5, 6, 8], [7.5, 10, 12], acquisition_time=["101010", "101030", "101050"])
    assert telling_labels(rows) == []
    assert len(telling_labels(scans([0, 2, 4], [1, 3, 5], acquisition_time=["101010", "101030"]))) == 1


def test_a_counter_labels_nothing() -> None:
    rows = [one._replace(accession_number=f"{k}") for k, one in enumerate(scans([0, 1, 2, 3, 4, 5]))]
    assert telling_labels(rows) == []


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("101010", 36610.0),
        ("101010.25", 36610.25),
        ("10:10:10", 36610.0),
        ("1010", 36600.0),
        ("101010.25+0100", 36610.25),
        ("", None),
        ("1", None),
        ("noon", None),
    ],
)
def test_times_of_the_day(time: str, expected: float | None) -> None:
    assert seconds(row(acquisition_time=time)) == expected


def test_groups_of_values() -> None:
    assert clusters([1, 9, 2, 10], gap=5) == [0, 1, 0, 1]
    assert clusters([1, 2, 3, 4], gap=1) == [0, 0, 0, 0]
    assert clusters([1.0, 1.05, 2.0], ratio=1.1) == [0, 0, 1]
    assert clusters([1, None, 9], gap=5) == clusters([1, float("nan"), 9], gap=5) == [0, 0, 0]
    assert clusters([]) == []


@pytest.mark.parametrize(
    ("labels", "between"), [("aabb", False), ("abab", True), ("abba", True), ("aaaa", False), ("bbaa", False)]
)
def test_labels_lie_between_each_other(labels: str, between: bool) -> None:
    assert interleaved(labels, range(4)) == between


def test_two_slices_in_one_place() -> None:
    assert coincide(np.array([3.0, 1.0, 3.005]))
    assert not coincide(np.array([3.0, 1.0, 3.02]))
    assert not coincide(np.array([3.0]))

"""Rejected files, and the series they may have been part of."""

from typing import Any

import pytest

from fedescc.client.imaging.headers.header import DicomRow
from fedescc.client.imaging.headers.index import RejectedFile
from fedescc.client.imaging.volumes.damage import damaged_series

BASE = DicomRow(**dict.fromkeys(DicomRow._fields, ""))  # type: ignore[arg-type]


def images(folder: str, uid: str, patient: str) -> list[DicomRow]:
    return [BASE._replace(name=f"{folder}/{uid}{k}.dcm", series_uid=uid, patient_id=patient) for k in range(3)]


SERIES = [images("a", "1", "P"), images("a", "2", "P"), images("a", "3", "Q"), images("b", "4", "R")]


@pytest.mark.parametrize("reason", ["truncated", "missing_from_media", "concatenation", "frame_count_mismatch"])
def test_a_file_that_names_its_series_concerns_that_one(reason: str) -> None:
    assert damaged_series(SERIES, [RejectedFile("elsewhere/x", reason, "P", "2")]) == {1}
    assert damaged_series(SERIES, [RejectedFile("a/x", reason, "other", "2")]) == set()


@pytest.mark.parametrize(
    ("file", "reason", "patient", "concerned"),
    [
        ("a/x.dcm", "truncated", "", {0, 1, 2}),
        ("a/x.dcm", "truncated", "P", {0, 1}),
        ("a/x", "zero_filled", "", {0, 1, 2}),
        ("a/x", "unreadable", "", {0, 1, 2}),
        ("b/x.dcm", "not_dicom", "", {3}),
        ("b/x.dcm", "empty_file", "", {3}),
        ("a/x.txt", "not_dicom", "", set()),
        ("a/x", "not_dicom", "", set()),
        ("a/x", "empty_file", "", set()),
        ("c/x.dcm", "truncated", "", set()),
        ("a/x.dcm", "no_pixel_data", "", set()),
        ("a/DICOMDIR", "dicomdir", "", set()),
        ("a/._x.dcm", "not_dicom", "", set()),
        ("a/._x.dcm", "empty_file", "", set()),
        ("a/._x.dcm", "truncated", "", {0, 1, 2}),
    ],
)
def test_a_file_that_names_none_may_be_of_any_beside_it(
    file: str, reason: str, patient: str, concerned: set[int]
) -> None:
    assert damaged_series(SERIES, [RejectedFile(file, reason, patient)]) == concerned


def test_empty_files_without_an_ending_count_beside_images_without_one() -> None:
    bare: dict[str, Any] = {"series_uid": "1"}
    series = [[BASE._replace(name="a/0001", **bare)]]
    assert damaged_series(series, [RejectedFile("a/0002", "empty_file")]) == {0}
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        assert damaged_series(series, [RejectedFile(f"a/{name}", "empty_file")]) == set()
    assert damaged_series(series, [RejectedFile("a/README", "not_dicom")]) == set()

"""The same image twice."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from fedescc.client.imaging.headers.header import DicomRow, read_header
from fedescc.client.imaging.volumes.copies import without_copies

Slice = Callable[..., pydicom.Dataset]
STORED = np.arange(20, dtype=np.uint16).reshape(4, 5)


@pytest.fixture
def save(tmp_path: Path, ct_slice: Slice) -> Callable[..., DicomRow]:
    def write(name: str, stored: np.ndarray = STORED, **tags: Any) -> DicomRow:
        dataset = ct_slice(stored, **({"SOPInstanceUID": "1.5"} | tags))
        if tags.get("syntax") == RLELossless:
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.save_as(tmp_path / name, enforce_file_format=True)
        return read_header(str(tmp_path), name)

    return write


def names(rows: Iterable[DicomRow]) -> list[str]:
    return [row.name for row in rows]


def parted(rows: list[DicomRow]) -> tuple[list[str], list[tuple[str, str]]]:
    """Names of the rows that are kept; and of each copy with what it is a copy of."""
    kept, copies = without_copies(rows)
    return names(kept), sorted((copy.name, original.name) for copy, original in copies)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless])
def test_first_of_identical_files_is_kept(save: Callable[..., DicomRow], syntax: str) -> None:
    assert parted([save(name, syntax=syntax) for name in "abc"]) == (["a"], [("b", "a"), ("c", "a")])


def test_another_header_around_the_same_image_is_a_copy(save: Callable[..., DicomRow]) -> None:
    """Exported again, with a description that somebody has changed; under another UID it may be another scan."""
    changed = [save(name, SOPInstanceUID=uid, SeriesDescription="thorax") for name, uid in (("b", "1.5"), ("c", "1.6"))]
    assert parted([save("a"), *changed]) == (["a", "c"], [("b", "a")])


@pytest.mark.parametrize("uid", ["1.5", "1.6", ""])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless])
def test_the_same_pixels_packed_otherwise_are_a_copy(save: Callable[..., DicomRow], syntax: str, uid: str) -> None:
    one, other = save("a"), save("b", syntax=syntax, SOPInstanceUID=uid)
    assert parted([one, other._replace(sop_uid=uid)]) == (["a"], [("b", "a")])


def test_trailing_padding_makes_no_other_image(save: Callable[..., DicomRow]) -> None:
    rows = [save(name) for name in "ab"]
    with rows[1].path.open("ab") as stream:
        stream.write(b"\xfc\xff\xfc\xffOB\0\0\4\0\0\0\0\0\0\0")
    assert parted(rows) == (["a"], [("b", "a")])


def test_copies_of_copies_lead_to_the_one_that_is_kept(save: Callable[..., DicomRow]) -> None:
    rows = [save("a"), save("b"), save("c", SOPInstanceUID="1.6"), save("d", SOPInstanceUID="1.6")]
    kept, copies = without_copies(rows)
    assert names(kept) == ["a"]
    assert {copy.name: original.name for copy, original in copies} == {"b": "a", "c": "a", "d": "c"}


@pytest.mark.parametrize(
    "tags",
    [
        {"stored": STORED + 1},
        {"ImagePositionPatient": [0, 0, 1]},
        {"ImageOrientationPatient": [1, 0, 0, 0, -1, 0]},
        {"PixelSpacing": [0.8, 0.8]},
        {"RescaleIntercept": 0},
        {"RescaleSlope": 2},
        {"PixelRepresentation": 1},
        {"BitsStored": 12, "HighBit": 11},
    ],
)
@pytest.mark.parametrize("uid", ["1.5", "1.6"])
def test_what_shares_only_its_uid_or_only_its_pixels_is_no_copy(
    save: Callable[..., DicomRow], tags: dict[str, Any], uid: str
) -> None:
    assert parted([save("a"), save("b", **({"SOPInstanceUID": uid} | tags))]) == (["a", "b"], [])


@pytest.mark.parametrize(
    "tags",
    [
        {"AcquisitionNumber": 2},
        {"AcquisitionTime": "101010"},
        {"AcquisitionDate": "20240101"},
        {"TemporalPositionIdentifier": 2},
        {"ConvolutionKernel": "B70f"},
        {"ContrastBolusAgent": "IOHEXOL"},
        {"SeriesNumber": 3},
        {"StudyDate": "20240101"},
        {"SliceThickness": 3},
        {"KVP": 80},
        {"FrameOfReferenceUID": "1.9"},
    ],
)
def test_another_scan_under_another_uid_is_no_copy(save: Callable[..., DicomRow], tags: dict[str, Any]) -> None:
    assert parted([save("a"), save("b", SOPInstanceUID="1.6", **tags)]) == (["a", "b"], [])


def test_emptied_uids_are_no_reason_to_keep_a_copy(save: Callable[..., DicomRow]) -> None:
    rows = [save(name)._replace(sop_uid="") for name in "ab"]
    assert parted(rows) == (["a"], [("b", "a")])
    unplaced = [row._replace(position=None) for row in rows]
    assert without_copies(unplaced) == (unplaced, [])


def test_slices_under_one_uid_are_not_compared(save: Callable[..., DicomRow]) -> None:
    """An anonymiser that gives every image one UID must not make a series slow; there are no files to read here."""
    one = save("a")
    rows = [one._replace(root="/nowhere", name=f"{k}", position=(0.0, 0.0, float(k))) for k in range(3000)]
    assert without_copies(rows) == (rows, [])


def test_only_files_that_may_be_copies_are_read(save: Callable[..., DicomRow]) -> None:
    rows = [save(f"{k}", ImagePositionPatient=[0, 0, k]) for k in range(2)]
    for row in rows:
        row.path.unlink()
    assert without_copies(rows) == (rows, [])


def test_a_file_that_is_gone_is_no_copy(save: Callable[..., DicomRow]) -> None:
    rows = [save("a"), save("b")]
    rows[1].path.unlink()
    assert without_copies(rows) == (rows, [])

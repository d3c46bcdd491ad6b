"""The same image twice."""

from collections.abc import Callable
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


def names(rows: list[DicomRow]) -> list[str]:
    return [row.name for row in rows]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless])
def test_first_of_identical_files_is_kept(save: Callable[..., DicomRow], syntax: str) -> None:
    kept, copies = without_copies([save(name, syntax=syntax) for name in "abc"])
    assert (names(kept), names(copies)) == (["a"], ["b", "c"])


def test_another_header_around_the_same_image_is_a_copy(save: Callable[..., DicomRow]) -> None:
    """Exported again, with a description that somebody has changed."""
    kept, copies = without_copies([save("a"), save("b", SeriesDescription="thorax"), save("c", SOPInstanceUID="1.6")])
    assert (names(kept), names(copies)) == (["a", "c"], ["b"])


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
        {"SOPInstanceUID": "1.6"},
        {"syntax": RLELossless},
    ],
)
def test_what_shares_only_its_uid_or_only_its_pixels_is_no_copy(
    save: Callable[..., DicomRow], tags: dict[str, Any]
) -> None:
    kept, copies = without_copies([save("a"), save("b", **tags)])
    assert (names(kept), copies) == (["a", "b"], [])


def test_emptied_uids_make_no_copies(save: Callable[..., DicomRow]) -> None:
    rows = [save(name)._replace(sop_uid="") for name in "ab"]
    assert without_copies(rows) == (rows, [])


def test_only_files_whose_uid_occurs_twice_are_read(save: Callable[..., DicomRow], tmp_path: Path) -> None:
    rows = [save(name, SOPInstanceUID=f"1.{name}") for name in "12"]
    for row in rows:
        row.path.unlink()
    assert without_copies(rows) == (rows, [])


def test_a_file_that_is_gone_is_no_copy(save: Callable[..., DicomRow]) -> None:
    rows = [save("a"), save("b")]
    rows[1].path.unlink()
    assert without_copies(rows) == (rows, [])

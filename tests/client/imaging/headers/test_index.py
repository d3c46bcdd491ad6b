"""Every file of a folder is read once and accounted for once."""

import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from fedescc.client.imaging.headers.header import read_header
from fedescc.client.imaging.headers.index import index_folder
from fedescc.common.errors import Refusal

Factory = Callable[..., list[Path]]
PIXELS = np.arange(2 * 4 * 5, dtype=np.uint16).reshape(2, 4, 5)
PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def reasons(folder: Path) -> dict[str, str]:
    return {rejected.file: rejected.reason for rejected in index_folder(folder).rejected}


def test_row_holds_the_header(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path, PIXELS, AcquisitionNumber=7, ContrastBolusAgent="IOHEXOL", SliceThickness=3)
    row = index_folder(tmp_path).rows[1]
    assert row.file == "0001"
    assert row.path == tmp_path / "0001"
    assert row.position == (-10.0, -20.0, 32.0)
    assert row.orientation == (1, 0, 0, 0, 1, 0)
    assert row.pixel_spacing == (0.8, 0.7)
    assert (row.rows, row.columns, row.bits_allocated, row.signed) == (4, 5, 16, False)
    assert (row.slope, row.intercept) == (1.0, -1024.0)
    assert row.image_type == ("ORIGINAL", "PRIMARY", "AXIAL")
    assert (row.acquisition_number, row.contrast_agent, row.slice_thickness_mm) == (7, "IOHEXOL", 3.0)
    assert (row.patient_id, row.series_uid, row.frame_of_reference_uid) == ("PAT-1", "1.2.3.4", "1.2.3.5")
    assert row.has_pixels


def test_identifying_fields_stay_out_of_the_representation(tmp_path: Path, ct_series: Factory) -> None:
    tags = {"AccessionNumber": "ACC-9", "SeriesDescription": "thorax of Smith", "StudyDate": "20240102"}
    ct_series(tmp_path / "Smith", PIXELS, **tags)
    shown = repr(index_folder(tmp_path).rows)
    for secret in ("PAT-1", "ACC-9", "Smith", "20240102", "Mercy"):
        assert secret not in shown


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_header_is_the_same_in_every_encoding(tmp_path: Path, ct_series: Factory, syntax: str) -> None:
    ct_series(tmp_path / "a", PIXELS)
    ct_series(tmp_path / "b", PIXELS, syntax=syntax)
    one, other = index_folder(tmp_path).rows[0], index_folder(tmp_path).rows[2]
    assert other.transfer_syntax == syntax
    assert other.has_pixels
    same = ("rows", "columns", "position", "orientation", "pixel_spacing", "slope", "intercept", "image_type")
    assert [getattr(one, name) for name in same] == [getattr(other, name) for name in same]


def test_layout_and_names_do_not_matter(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path / "a" / "b c" / "ü", PIXELS, names=["IM.1.2.3", "noextension"])
    assert len(index_folder(tmp_path).rows) == 2


def test_file_without_preamble_is_dicom(tmp_path: Path, ct_series: Factory) -> None:
    for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian):
        (path,) = ct_series(tmp_path / "source", PIXELS[:1], syntax=syntax)
        dataset = pydicom.dcmread(path)
        body = path.read_bytes()[132 + 12 + int(dataset.file_meta.FileMetaInformationGroupLength) :]
        path.write_bytes(body)
        row = index_folder(tmp_path).rows[0]
        assert row.transfer_syntax == syntax
        assert row.position == (-10.0, -20.0, 30.0)


def test_what_is_not_dicom_is_rejected_with_a_reason(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path, PIXELS)
    (tmp_path / "notes.txt").write_text("Total: 3 slices of patient", encoding="utf-8")
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "short").write_bytes(b"abc")
    (tmp_path / "zeros").write_bytes(bytes(4096))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    assert reasons(tmp_path) == {
        "notes.txt": "not_dicom",
        "empty.dcm": "empty_file",
        "short": "not_dicom",
        "zeros": "zero_filled",
        "pipe": "not_regular_file",
        "broken": "unreadable",
    }
    assert len(index_folder(tmp_path).rows) == 2


def test_truncated_files_are_rejected_wherever_they_end(tmp_path: Path, ct_series: Factory) -> None:
    (path,) = ct_series(tmp_path, PIXELS[:1], SeriesDescription="x" * 60)
    whole = path.read_bytes()
    for keep in range(133, len(whole)):
        path.write_bytes(whole[:keep])
        index = index_folder(tmp_path)
        assert index.rows == (), keep
        assert {one.reason for one in index.rejected} <= {"truncated", "unreadable"}, keep
    path.write_bytes(whole[:-1])
    assert reasons(tmp_path) == {"0000": "truncated"}


def test_truncated_fragment_is_rejected(tmp_path: Path, ct_slice: Callable[..., pydicom.Dataset]) -> None:
    dataset = ct_slice(PIXELS[0])
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "slice", enforce_file_format=True)
    assert index_folder(tmp_path).rows[0].has_pixels
    (tmp_path / "slice").write_bytes((tmp_path / "slice").read_bytes()[:-30])
    assert reasons(tmp_path) == {"slice": "truncated"}


@pytest.mark.parametrize("seed", range(20))
def test_random_damage_never_escapes(tmp_path: Path, ct_series: Factory, seed: int) -> None:
    (path,) = ct_series(tmp_path, PIXELS[:1])
    rng = np.random.default_rng(seed)
    damaged = bytearray(path.read_bytes())
    for at in rng.integers(132, len(damaged), size=25):
        damaged[at] = rng.integers(256)
    path.write_bytes(damaged)
    index = index_folder(tmp_path)
    assert len(index.rows) + len(index.masks) + len(index.rejected) == 1


def test_masks_are_set_apart(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path, PIXELS[:1])
    shutil.copy(PYDICOM_FILES / "rtstruct.dcm", tmp_path / "structures")
    shutil.copy(PYDICOM_FILES / "liver_1frame.dcm", tmp_path / "segmentation")
    for name in ("roi.nii.gz", "roi.NII", "roi.nrrd", "roi.mha"):
        (tmp_path / name).touch()
    assert {mask.file: mask.kind for mask in index_folder(tmp_path).masks} == {
        "structures": "rtstruct",
        "segmentation": "seg",
        "roi.nii.gz": "nifti",
        "roi.NII": "nifti",
        "roi.nrrd": "nrrd",
        "roi.mha": "metaimage",
    }


def test_symbolic_link_loop_ends_and_counts_nothing_twice(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path / "series", PIXELS)
    (tmp_path / "series" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "again").symlink_to(tmp_path / "series", target_is_directory=True)
    assert len(index_folder(tmp_path).rows) == 2


def test_progress_counts_every_file(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path, PIXELS)
    seen: list[tuple[int, int]] = []
    index_folder(tmp_path, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_empty_and_missing_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="empty-folder"):
        index_folder(tmp_path)
    with pytest.raises(Refusal, match="missing-folder"):
        index_folder(tmp_path / "nowhere")


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_header_equals_pydicoms_on_its_own_test_files() -> None:
    """Numbers and ASCII text are parsed without pydicom, so each value is compared with what pydicom makes of it."""
    compared = 0
    for path in sorted(PYDICOM_FILES.glob("*.dcm")):
        try:
            row = read_header(str(path.parent), path.name)
        except Refusal:
            continue
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        compared += 1
        for keyword, value in (
            ("SeriesInstanceUID", row.series_uid),
            ("PhotometricInterpretation", row.photometric),
            ("Modality", row.modality),
        ):
            assert value == (dataset.get(keyword) or ""), (path.name, keyword)
        for keyword, number in (
            ("Rows", row.rows),
            ("Columns", row.columns),
            ("BitsAllocated", row.bits_allocated),
            ("BitsStored", row.bits_stored),
            ("PixelRepresentation", int(row.signed)),
        ):
            assert number == (dataset.get(keyword) or 0), (path.name, keyword)
        for keyword, numbers in (("ImagePositionPatient", row.position), ("PixelSpacing", row.pixel_spacing)):
            expected = dataset.get(keyword)
            assert numbers == (tuple(float(v) for v in expected) if expected else None), (path.name, keyword)
        assert row.slope == (float(dataset.RescaleSlope) if "RescaleSlope" in dataset else None)
    assert compared > 60


def test_irregular_values_are_not_printed(
    tmp_path: Path, ct_series: Factory, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """pydicom's warnings quote the value, which may be a patient's name or date."""
    (path,) = ct_series(tmp_path, PIXELS[:1], StudyDate="20240102", SeriesNumber=11)
    path.write_bytes(path.read_bytes().replace(b"20240102", b"Smith 02").replace(b"11", b"1A"))
    (row,) = index_folder(tmp_path).rows
    assert (row.study_date, row.series_number) == ("Smith 02", None)
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""


def test_a_truncated_file_still_says_whose_it_is(tmp_path: Path, ct_series: Factory) -> None:
    (path,) = ct_series(tmp_path, PIXELS[:1])
    path.write_bytes(path.read_bytes()[:-1])
    (rejected,) = index_folder(tmp_path).rejected
    assert (rejected.reason, rejected.patient_id, rejected.series_uid) == ("truncated", "PAT-1", "1.2.3.4")
    assert "PAT-1" not in repr(rejected)


@pytest.mark.parametrize(
    ("tags", "truncated"),
    [
        ({}, True),
        ({"SOPClassUID": None}, True),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, True),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}, True),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, False),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, False),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4", "Modality": "MR"}, False),
    ],
)
def test_a_scans_image_without_pixels_was_cut(
    tmp_path: Path, ct_slice: Callable[..., pydicom.Dataset], tags: dict[str, object], truncated: bool
) -> None:
    dataset = ct_slice(PIXELS[0], **tags)
    del dataset.PixelData
    dataset.save_as(tmp_path / "slice", enforce_file_format=False)
    assert reasons(tmp_path) == ({"slice": "truncated"} if truncated else {})


def deny(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Folders of this name cannot be listed (tests may run as root, whom permissions do not stop)."""
    scandir = os.scandir

    def listing(path: os.PathLike[str] | str = ".") -> object:
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", listing)


def test_an_unreadable_folder_is_reported(tmp_path: Path, ct_series: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    ct_series(tmp_path / "a", PIXELS)
    ct_series(tmp_path / "b" / "closed", PIXELS)
    deny(monkeypatch, "closed")
    assert reasons(tmp_path) == {"b/closed": "unreadable_folder"}
    assert len(index_folder(tmp_path).rows) == 2
    with pytest.raises(Refusal, match="unreadable_folder"):
        index_folder(tmp_path / "b" / "closed")


class _Closed:
    """An entry of a folder that may not be entered: it has a name and a type, but no state."""

    def __init__(self, entry: os.DirEntry[str], status: Callable[[str], os.stat_result]) -> None:
        self.name, self.path, self.is_dir = entry.name, entry.path, entry.is_dir
        self.stat = lambda: status(entry.path)


def test_a_folder_that_may_be_listed_but_not_entered_is_reported(
    tmp_path: Path, ct_series: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    ct_series(tmp_path / "a", PIXELS)
    (tmp_path / "listed" / "inner").mkdir(parents=True)
    (tmp_path / "listed" / "file").touch()
    stat, scandir = os.stat, os.scandir

    def status(path: Any, **options: Any) -> os.stat_result:
        if Path(path).parent.name == "listed":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return stat(path, **options)

    def listing(path: str) -> Any:
        if Path(path).name != "listed":
            return scandir(path)
        with scandir(path) as entries:
            return nullcontext([_Closed(entry, status) for entry in entries])

    monkeypatch.setattr(os, "stat", status)
    monkeypatch.setattr(os, "scandir", listing)
    assert reasons(tmp_path) == {"listed/file": "unreadable", "listed/inner": "unreadable_folder"}


def test_names_that_are_no_utf8_can_be_printed(tmp_path: Path, ct_series: Factory) -> None:
    name = "张三".encode("gbk")
    folder = os.fsencode(tmp_path) + b"/" + name
    os.mkdir(folder)  # noqa: PTH102  bytes, not text
    ct_series(Path(os.fsdecode(folder)), PIXELS, names=["1", "2"])
    Path(os.fsdecode(folder), "notes").write_text("x")
    index = index_folder(tmp_path)
    shown = name.decode("utf-8", "backslashreplace")
    assert [row.file for row in index.rows] == [f"{shown}/1", f"{shown}/2"]
    assert index.rejected[0].file == f"{shown}/notes"
    shown.encode()

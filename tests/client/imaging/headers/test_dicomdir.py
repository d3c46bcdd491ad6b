"""A DICOMDIR names what its medium should hold; what is not there is reported with its owner."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from fedescc.client.imaging.headers.dicomdir import missing_files, read_references
from fedescc.client.imaging.headers.found import Reference
from fedescc.client.imaging.headers.index import RejectedFile, index_folder
from fedescc.client.imaging.volumes.series import DAMAGED_NEARBY, group_series
from fedescc.common.errors import Refusal

Factory = Callable[..., list[Path]]
MEDIA = Path(pydicom.__file__).parent / "data" / "test_files" / "dicomdirtests"
CR1 = "1.3.6.1.4.1.5962.1.1.0.0.0.1196527414.5534.0.10"
PIXELS = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5)


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """pydicom's medium: 31 images of three patients and one DICOMDIR."""
    folder = tmp_path / "media"
    for name in ("77654033", "98892001", "98892003"):
        shutil.copytree(MEDIA / name, folder / name)
    shutil.copy(MEDIA / "DICOMDIR", folder)
    return folder


def missing(folder: Path) -> list[RejectedFile]:
    return [one for one in index_folder(folder).rejected if one.reason == "missing_from_media"]


def test_a_complete_medium_lacks_nothing(media: Path) -> None:
    index = index_folder(media)
    assert len(index.rows) == 31
    assert [(one.file, one.reason) for one in index.rejected] == [("DICOMDIR", "dicomdir")]


def test_what_is_listed_and_absent_is_reported_with_its_owner(media: Path) -> None:
    (media / "77654033" / "CR1" / "6154").unlink()
    assert missing(media) == [RejectedFile("77654033/CR1/6154", "missing_from_media", "77654033", CR1)]


@pytest.mark.parametrize(
    ("name", "owned"),
    [
        ("DICOMDIR", True),
        ("DICOMDIR-bigEnd", True),
        ("DICOMDIR-implicit", True),
        ("DICOMDIR-nooffset", True),
        ("DICOMDIR-reordered", True),
        ("DICOMDIR-nopatient", False),  # its links lead nowhere
    ],
)
def test_every_variant_of_the_directory_says_the_same(name: str, owned: bool) -> None:
    expected = {(one.name, one.patient_id, one.series_uid) for one in read_references(str(MEDIA), "DICOMDIR")}
    assert len(expected) == 31
    found = {(one.name, one.patient_id, one.series_uid) for one in read_references(str(MEDIA), name)}
    assert (found == expected) == owned
    assert {one[0] for one in found} == {one[0] for one in expected}


def test_an_empty_directory_lists_nothing() -> None:
    assert read_references(str(MEDIA), "DICOMDIR-empty.dcm") == ()


@pytest.mark.parametrize(
    "name", ["CR1/6154", "cr1/6154", "CR1/6154.", "CR1/6154.;1", "cr1/6154;1", "CR1/6154.dcm", "CR1/6154.DCM;1"]
)
def test_names_are_found_however_a_file_system_writes_them(name: str) -> None:
    listed = Reference("CR1/6154", "P", "1.2", "")
    assert missing_files([listed], [name], ()) == ()
    assert missing_files([listed._replace(name=name.upper())], ["CR1/6154"], ()) == ()


@pytest.mark.parametrize("name", ["CR1/6155", "CR2/6154", "6154", "CR1/6154/6154", "CR1/6154.txt"])
def test_another_name_is_another_file(name: str) -> None:
    assert len(missing_files([Reference("CR1/6154", "P", "1.2", "")], [name], ())) == 1


def test_an_image_under_another_name_is_not_missing(media: Path) -> None:
    """Exports lay files out anew and keep the DICOMDIR."""
    (media / "77654033" / "CR1" / "6154").rename(media / "somewhere-else")
    assert missing(media) == []


def directory(folder: Path, records: list[dict[str, object]], first: int | None = None) -> Path:
    """A DICOMDIR whose records follow one another; a record's links are given as numbers of records, from 1."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = first or 0
    dataset.DirectoryRecordSequence = []
    for tags in records:
        record = Dataset()
        record.OffsetOfTheNextDirectoryRecord = record.OffsetOfReferencedLowerLevelDirectoryEntity = 0
        record.RecordInUseFlag = 0xFFFF
        for keyword, value in tags.items():
            setattr(record, keyword, value)
        dataset.DirectoryRecordSequence.append(record)
    dataset.save_as(folder / "DICOMDIR", enforce_file_format=True)
    places = [0, *(item.seq_item_tell for item in pydicom.dcmread(folder / "DICOMDIR").DirectoryRecordSequence)]
    if first is not None:
        dataset.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = places[first]
    for record in dataset.DirectoryRecordSequence:
        for link in ("OffsetOfTheNextDirectoryRecord", "OffsetOfReferencedLowerLevelDirectoryEntity"):
            if (to := getattr(record, link)) < len(places):
                setattr(record, link, places[to])
    dataset.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return folder / "DICOMDIR"


DOWN, NEXT = "OffsetOfReferencedLowerLevelDirectoryEntity", "OffsetOfTheNextDirectoryRecord"


def records(*files: list[str]) -> list[dict[str, object]]:
    """Patient, study, series, images."""
    images = [
        {"DirectoryRecordType": "IMAGE", "ReferencedFileID": file, NEXT: 5 + k if k + 1 < len(files) else 0}
        for k, file in enumerate(files)
    ]
    return [
        {"DirectoryRecordType": "PATIENT", "PatientID": "PAT-1", DOWN: 2},
        {"DirectoryRecordType": "STUDY", DOWN: 3},
        {"DirectoryRecordType": "SERIES", "SeriesInstanceUID": "1.2.3.4", DOWN: 4},
        *images,
    ]


def test_a_series_that_lost_a_slice_is_warned_of(tmp_path: Path, ct_series: Factory) -> None:
    """The last slice leaves no gap: without the DICOMDIR the series looks whole."""
    ct_series(tmp_path / "SE1", PIXELS, names=["IM1", "IM2", "IM3"])
    directory(tmp_path, records(*(["SE1", f"IM{k}"] for k in (1, 2, 3))), first=1)
    index = index_folder(tmp_path)
    assert DAMAGED_NEARBY not in group_series(index.rows, index.rejected)[0].warnings
    (tmp_path / "SE1" / "IM3").unlink()
    index = index_folder(tmp_path)
    (series,) = group_series(index.rows, index.rejected)
    assert series.verdict == "accepted"
    assert DAMAGED_NEARBY in series.warnings


def test_the_owner_follows_images_whose_patient_was_renamed(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path / "SE1", PIXELS[:2], names=["IM1", "IM2"], PatientID="ANON-7")
    directory(tmp_path, records(["SE1", "IM1"], ["SE1", "IM2"], ["SE1", "IM3"]), first=1)
    assert missing(tmp_path) == [RejectedFile("SE1/IM3", "missing_from_media", "ANON-7", "1.2.3.4")]


def test_an_inactive_record_promises_nothing(tmp_path: Path) -> None:
    listed = records(["IM1"], ["IM2"])
    listed[3]["RecordInUseFlag"] = 0
    directory(tmp_path, listed, first=1)
    assert [one.file for one in missing(tmp_path)] == ["IM2"]


def test_links_that_lead_nowhere_or_round_leave_the_owner_open(tmp_path: Path) -> None:
    round_and_round = records(["IM1"])
    round_and_round[0][NEXT] = round_and_round[2][NEXT] = 1
    directory(tmp_path, round_and_round, first=1)
    assert [(one.file, one.patient_id) for one in missing(tmp_path)] == [("IM1", "PAT-1")]
    directory(tmp_path, records(["IM1"]), first=None)
    assert [(one.file, one.patient_id, one.series_uid) for one in missing(tmp_path)] == [("IM1", "", "")]


def test_a_directory_in_a_lower_folder_speaks_of_that_folder(tmp_path: Path) -> None:
    (tmp_path / "disc 1").mkdir()
    directory(tmp_path / "disc 1", records(["A", "IM1"]), first=1)
    assert [one.file for one in missing(tmp_path)] == ["disc 1/A/IM1"]


def test_a_name_cannot_lead_out_of_the_medium(tmp_path: Path) -> None:
    path = directory(tmp_path, records(["UP", "ROOT", "IM1"]), first=1)
    path.write_bytes(path.read_bytes().replace(b"UP\\ROOT", b"..\\/etc"))
    assert [one.file for one in missing(tmp_path)] == ["IM1"]


def test_a_damaged_directory_is_rejected_with_a_reason(media: Path) -> None:
    content = (media / "DICOMDIR").read_bytes()
    (media / "DICOMDIR").write_bytes(content.replace(b"\x04\x00\x00\x15CS", b"\x04\x00\x00\x15C\x01"))
    with pytest.raises(Refusal, match="unreadable_dicomdir"):
        read_references(str(media), "DICOMDIR")
    (rejected,) = index_folder(media).rejected
    assert (rejected.file, rejected.reason) == ("DICOMDIR", "unreadable_dicomdir")
    (media / "DICOMDIR").write_bytes(content[:2000])
    (rejected,) = index_folder(media).rejected
    assert (rejected.file, rejected.reason) == ("DICOMDIR", "truncated")


def test_references_do_not_show_whose_they_are() -> None:
    assert repr(Reference("Smith/IM1", "PAT-1", "1.2", "1.3")) == "Reference()"

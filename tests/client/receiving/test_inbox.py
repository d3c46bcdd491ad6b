"""Received objects in intake's folder: whole, once, and named after nobody."""

import errno
import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pacs import NAME, PATIENT_ID, make_ct, make_site
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from fedescc.client.imaging.headers.index import index_folder
from fedescc.client.receiving import inbox as module
from fedescc.client.receiving.inbox import Inbox, open_inbox
from fedescc.client.receiving.options import Limits
from fedescc.client.receiving.part10 import file_head
from fedescc.client.receiving.spool import Spool
from fedescc.client.site import read_site
from fedescc.common.errors import Refusal

LIMITS = Limits(free_bytes=0)


@pytest.fixture
def site(tmp_path):
    return make_site(tmp_path)


@pytest.fixture
def inbox(site):
    with open_inbox(site, LIMITS) as opened:
        yield opened


def encoded(dataset: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def spooled(inbox: Inbox, content: bytes, uid: str, sop_class: str = CTImageStorage) -> Spool:
    spool = inbox.spool(lambda: file_head(sop_class, uid, ExplicitVRLittleEndian))
    spool.write(content)
    return spool


def take(inbox: Inbox, dataset: Dataset, *, cut: int = 0, uid: str = "", sop_class: str = CTImageStorage) -> str:
    content, uid = encoded(dataset), uid or dataset.SOPInstanceUID
    spool = spooled(inbox, content[: len(content) - cut], uid, sop_class)
    try:
        return inbox.take(spool, sop_class, uid)
    finally:
        spool.discard()


def refused(inbox: Inbox, dataset: Dataset, **how) -> str:
    with pytest.raises(Refusal) as caught:
        take(inbox, dataset, **how)
    return caught.value.code


def files(site) -> list[Path]:
    return sorted(path for path in site.path("dicom").rglob("*") if path.is_file())


def test_an_object_is_stored_as_it_was_sent(site, inbox):
    dataset = make_ct()
    assert take(inbox, dataset) == "received"
    [path] = files(site)
    assert path.read_bytes().endswith(encoded(dataset))
    stored = dcmread(path)
    assert stored == dataset
    assert stored.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert stored.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_names_are_hashes_of_the_three_uids_and_hold_no_identifier(site, inbox):
    dataset = make_ct(7, study="1.2.3.55555", series="1.2.3.66666")
    take(inbox, dataset)
    [path] = files(site)
    study, series, instance = (
        hashlib.sha256(uid.encode()).hexdigest()[:32]
        for uid in (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    )
    relative = str(path.relative_to(site.path("dicom")))
    assert relative == f"received-{study}/{series}/{instance}.dcm"
    for secret in (*NAME.split("^"), PATIENT_ID, "55555", "66666"):
        assert secret not in relative


def test_studies_without_patient_id_are_never_taken_for_one_patient(site, inbox):
    for study in ("1.2.3", "1.2.4"):
        take(inbox, make_ct(study=study, series=f"{study}.1", PatientID=""))
    rows = index_folder(site.path("dicom")).rows
    assert len({row.patient for row in rows}) == 2


def test_the_same_object_once_more_changes_nothing(site, inbox):
    take(inbox, make_ct())
    [path] = files(site)
    before = path.stat()
    assert take(inbox, make_ct()) == "duplicate"
    assert files(site) == [path]
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    "other", [{"RescaleIntercept": -1000}, {"PatientID": "OTHER"}, {"study": "1.2.9"}, {"side": 8}], ids=str
)
def test_another_object_with_the_same_uid_is_refused_and_the_first_stays(site, inbox, other):
    dataset = make_ct(series="1.2.3.4")
    take(inbox, dataset)
    [path] = files(site)
    before = path.read_bytes()
    assert refused(inbox, make_ct(series="1.2.3.4", **other)) == "conflict"
    assert (files(site), path.read_bytes()) == ([path], before)


def test_a_conflict_is_known_after_a_restart_and_gone_with_the_first_object(site):
    with open_inbox(site, LIMITS) as first:
        take(first, make_ct())
    with open_inbox(site, LIMITS) as second:
        assert refused(second, make_ct(study="1.2.9")) == "conflict"
        assert take(second, make_ct()) == "duplicate"
        files(site)[0].unlink()
        assert take(second, make_ct(study="1.2.9")) == "received"
    assert len(files(site)) == 1


def test_one_object_from_eight_senders_at_once_is_kept_once(site, inbox):
    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(lambda _: take(inbox, make_ct()), range(8)))
    assert sorted(verdicts) == ["duplicate"] * 7 + ["received"]
    assert len(files(site)) == 1


def test_two_objects_under_one_uid_at_once_leave_one_of_them_whole(site, inbox):
    def send(value):
        try:
            return take(inbox, make_ct(side=64, RescaleIntercept=value))
        except Refusal as refusal:
            return refusal.code

    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(send, range(8)))
    assert sorted(verdicts) == ["conflict"] * 7 + ["received"]
    [path] = files(site)
    assert int(dcmread(path).RescaleIntercept) == verdicts.index("received")


@pytest.mark.parametrize("cut", [1, 200, 512, 600])
def test_an_object_that_was_cut_short_never_reaches_the_folder(site, inbox, cut):
    assert refused(inbox, make_ct(), cut=cut) == "truncated"
    assert not files(site)


def test_noise_never_reaches_the_folder(site, inbox):
    spool = spooled(inbox, os.urandom(5000), "1.2.3")
    with pytest.raises(Refusal):
        inbox.take(spool, CTImageStorage, "1.2.3")
    spool.discard()
    assert not files(site)


def test_an_object_is_what_it_was_announced_as(site, inbox):
    assert refused(inbox, make_ct(), uid="1.2.3.4.2") == "uid_mismatch"
    assert refused(inbox, make_ct(SOPClassUID="1.2.840.10008.5.1.4.1.1.4")) == "sop_class_mismatch"
    assert not files(site)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_an_object_names_its_study_and_series(site, inbox, keyword):
    assert refused(inbox, make_ct(**{keyword: ""})) == "missing_uid"
    assert not files(site)


def test_the_name_of_no_patient_is_in_a_refusal(inbox):
    take(inbox, make_ct())
    for dataset, cut in ((make_ct(study="1.2.9"), 0), (make_ct(2), 100), (make_ct(3, StudyInstanceUID=""), 0)):
        with pytest.raises(Refusal) as caught:
            take(inbox, dataset, cut=cut)
        for secret in (*NAME.split("^"), PATIENT_ID, dataset.SOPInstanceUID):
            assert secret not in str(caught.value)


def test_a_disk_that_fails_at_the_last_step_leaves_nothing(site, inbox, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "gone")

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="gone"):
        take(inbox, make_ct())
    monkeypatch.undo()
    assert not files(site)
    assert take(inbox, make_ct()) == "received"


def test_the_object_is_on_disk_before_it_has_its_name(site, inbox, monkeypatch):
    calls = []
    sync, rename = os.fsync, Path.rename
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(Path(f"/proc/self/fd/{fd}").readlink()), sync(fd))[1])
    monkeypatch.setattr(Path, "rename", lambda path, to: (calls.append("rename"), rename(path, to))[1])
    take(inbox, make_ct())
    [path] = files(site)
    assert calls[0].suffix == ".part"
    assert calls[1:] == [site.path("dicom"), path.parents[1], "rename", path.parent]


def test_what_a_killed_receiver_left_is_swept_and_only_that(site):
    folder = site.work / "receiving"
    folder.mkdir(parents=True)
    (folder / "0123.part").write_bytes(b"half")
    with open_inbox(site, LIMITS):
        assert [path.name for path in folder.iterdir()] == ["lock"]
    assert not files(site)


def test_one_receiver_a_site(site):
    with open_inbox(site, LIMITS):
        with pytest.raises(Refusal, match="receiver-running"), open_inbox(site, LIMITS):
            pass
        (site.work / "receiving" / "x.part").write_bytes(b"of the first one")
    with open_inbox(site, LIMITS):
        pass


def test_the_folder_is_made(tmp_path):
    site = make_site(tmp_path)
    assert not site.path("dicom").exists()
    with open_inbox(site, LIMITS):
        assert not list(site.path("dicom").iterdir())


def test_a_site_that_matches_by_folder_cannot_receive(tmp_path):
    with pytest.raises(Refusal, match="match-by-folder"), open_inbox(make_site(tmp_path, "folder"), LIMITS):
        pass


def test_a_site_without_images_cannot_receive(tmp_path):
    (tmp_path / "site.yaml").write_text("site: a\nclinical: {path: c}\n")
    with pytest.raises(Refusal, match="no-images"), open_inbox(read_site(tmp_path / "site.yaml"), LIMITS):
        pass


@pytest.mark.parametrize(
    ("dicom", "work"), [(".", "work"), ("dicom", "dicom"), ("dicom", "dicom/work"), ("link", "dicom/w")]
)
def test_half_an_object_never_lies_where_intake_reads(tmp_path, dicom, work):
    (tmp_path / "link").symlink_to("dicom")
    (tmp_path / "dicom").mkdir()
    path = tmp_path / "site.yaml"
    path.write_text(f"site: a\nclinical: {{path: c}}\nimages: {{dicom: {dicom}}}\nwork: {work}\n")
    with pytest.raises(Refusal, match="work-inside-images"), open_inbox(read_site(path), LIMITS):
        pass


def test_folders_between_which_nothing_can_be_renamed_are_refused(site):
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == site.folder.stat().st_dev:
        pytest.skip("this machine has no second file system at /dev/shm")
    path = site.folder / "site.yaml"
    images = other / f"fedescc-{os.getpid()}"
    path.write_text(f"site: a\nclinical: {{path: c}}\nimages: {{dicom: {images}}}\n")
    try:
        with pytest.raises(Refusal, match="different-file-systems"), open_inbox(read_site(path), LIMITS):
            pass
        assert not list(images.iterdir())
    finally:
        images.rmdir()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "dicom").write_text("a file")
    with pytest.raises(Refusal, match="unusable-intake-folder"), open_inbox(make_site(tmp_path), LIMITS):
        pass


def test_a_folder_that_cannot_be_written_is_refused(site, monkeypatch):
    monkeypatch.setattr(module.Path, "rename", lambda *_: (_ for _ in ()).throw(PermissionError(errno.EACCES, "no")))
    with pytest.raises(Refusal, match="unusable-intake-folder"), open_inbox(site, LIMITS):
        pass
    assert not list((site.work / "receiving").glob("probe*"))

"""With a store only what changed is read again, and with any number of processes the index is the same."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from enhanced_ct import write_enhanced_ct

from fedescc.client.imaging.headers import batch, index, reading
from fedescc.client.imaging.headers.index import FolderIndex, index_folder
from fedescc.common.errors import Refusal

Factory = Callable[..., list[Path]]
PIXELS = np.arange(4 * 4 * 5, dtype=np.uint16).reshape(4, 4, 5)
RESOLUTION = index._TIME_RESOLUTION_NS
PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


@pytest.fixture
def read_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read, in order."""
    names: list[str] = []
    classify = batch.classify

    def watch(root: str, name: str) -> Any:
        names.append(name)
        return classify(root, name)

    monkeypatch.setattr(batch, "classify", watch)
    return names


@pytest.fixture
def export(tmp_path: Path, ct_series: Factory) -> Path:
    """One of everything, last changed an hour ago."""
    folder = tmp_path / "export"
    ct_series(folder / "ct", PIXELS)
    for name in ("rtstruct.dcm", "liver_1frame.dcm", "image_dfl.dcm", "MR_truncated.dcm", "rtplan.dcm"):
        shutil.copy(PYDICOM_FILES / name, folder)
    shutil.copytree(PYDICOM_FILES / "dicomdirtests", folder / "media")
    next((folder / "media" / "77654033" / "CR1").iterdir()).unlink()
    (folder / "notes.txt").write_text("no image")
    (folder / "roi.nii.gz").touch()
    os.mkfifo(folder / "pipe")
    (folder / "broken").symlink_to(folder / "nowhere")
    (folder / os.fsdecode("张三".encode("gbk"))).write_bytes(b"x")
    return folder


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that a test has just written count as old."""
    monkeypatch.setattr(index, "_TIME_RESOLUTION_NS", -(10**12))


def test_the_second_run_gives_the_same_and_reads_nothing(tmp_path: Path, export: Path, read_names: list[str]) -> None:
    store = tmp_path / "store"
    without = index_folder(export)
    assert {one.reason for one in without.rejected} >= {"missing_from_media", "dicomdir", "truncated", "unreadable"}
    assert index_folder(export, store=store) == without
    read_names.clear()
    again = index_folder(export, store=store)
    assert again == without
    assert read_names == []
    for one, other in zip(again.rows, without.rows, strict=True):
        assert [type(value) for value in one] == [type(value) for value in other]


def test_only_what_changed_is_read(tmp_path: Path, ct_series: Factory, read_names: list[str]) -> None:
    folder, store = tmp_path / "export", tmp_path / "store"
    ct_series(folder / "a", PIXELS)
    ct_series(folder / "b", PIXELS, SeriesInstanceUID="1.2.9")
    index_folder(folder, store=store)
    read_names.clear()
    ct_series(folder / "a", PIXELS[:1], names=["0002"], PatientID="PAT-2")
    ct_series(folder / "c", PIXELS[:1], names=["new"])
    shutil.rmtree(folder / "b")
    found = index_folder(folder, store=store)
    assert read_names == ["a/0002", "c/new"]
    assert [(row.name, row.patient_id) for row in found.rows] == [
        ("a/0000", "PAT-1"),
        ("a/0001", "PAT-1"),
        ("a/0002", "PAT-2"),
        ("a/0003", "PAT-1"),
        ("c/new", "PAT-1"),
    ]
    assert found == index_folder(folder)
    assert b"1.2.9" not in store.read_bytes()


def test_a_file_of_the_same_size_and_time_is_not_taken_for_the_old_one(tmp_path: Path, ct_series: Factory) -> None:
    """Slices of a series have one size, and copying programs give a file the time of its source."""
    folder, store = tmp_path / "export", tmp_path / "store"
    one, other = ct_series(folder, PIXELS[:2])
    for path in (one, other):
        os.utime(path, ns=(10**18, 10**18))
    before = index_folder(folder, store=store).rows
    assert one.stat().st_size == other.stat().st_size
    one.rename(folder / "x")
    other.rename(one)
    (folder / "x").rename(other)
    after = index_folder(folder, store=store).rows
    assert [row.position for row in after] == [row.position for row in before][::-1]
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    os.utime(one, ns=(10**18, 10**18))
    assert index_folder(folder, store=store).rows[0].position == after[1].position
    assert content != one.read_bytes()


def test_what_was_written_a_moment_ago_is_read_again(
    tmp_path: Path, ct_series: Factory, read_names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time may be the same after another write: FAT keeps even seconds only."""
    monkeypatch.setattr(index, "_TIME_RESOLUTION_NS", RESOLUTION)
    folder, store = tmp_path / "export", tmp_path / "store"
    ct_series(folder, PIXELS[:2])
    index_folder(folder, store=store)
    index_folder(folder, store=store)
    assert read_names == ["0000", "0001"] * 2
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + RESOLUTION + 10**9)
    index_folder(folder, store=store)
    read_names.clear()
    index_folder(folder, store=store)
    assert read_names == []
    os.utime(folder / "0001", ns=(time.time_ns(),) * 2)
    index_folder(folder, store=store)
    index_folder(folder, store=store)
    assert read_names == ["0001"] * 2


def test_a_file_that_could_not_be_read_is_tried_again(
    tmp_path: Path, ct_series: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, store = tmp_path / "export", tmp_path / "store"
    ct_series(folder, PIXELS[:2])

    def fail(root: str, name: str) -> Any:
        raise PermissionError(13, "Permission denied", name)

    with monkeypatch.context() as patch:
        patch.setattr(batch, "classify", fail)
        rejected = index_folder(folder, store=store).rejected
    assert [(one.file, one.reason) for one in rejected] == [("0000", "unreadable"), ("0001", "unreadable")]
    assert len(index_folder(folder, store=store).rows) == 2


def test_frames_of_one_file_are_kept_together(tmp_path: Path, read_names: list[str]) -> None:
    folder, store = tmp_path / "export", tmp_path / "store"
    folder.mkdir()
    write_enhanced_ct(folder / "enhanced", PIXELS)
    first = index_folder(folder, store=store)
    assert [row.frame for row in first.rows] == [1, 2, 3, 4]
    read_names.clear()
    assert index_folder(folder, store=store) == first
    assert read_names == []


def test_a_multi_frame_file_that_describes_no_frames_is_rejected_with_its_owner(tmp_path: Path) -> None:
    write_enhanced_ct(tmp_path / "enhanced", PIXELS)
    dataset = pydicom.dcmread(tmp_path / "enhanced")
    del dataset.PerFrameFunctionalGroupsSequence
    dataset.save_as(tmp_path / "enhanced")
    (rejected,) = index_folder(tmp_path).rejected
    assert (rejected.reason, rejected.series_uid) == ("missing_functional_groups", dataset.SeriesInstanceUID)
    assert rejected.patient_id == dataset.PatientID != ""


def test_a_missing_file_of_a_medium_is_noticed_without_reading_the_directory_again(
    tmp_path: Path, export: Path, read_names: list[str]
) -> None:
    store = tmp_path / "store"
    before = {one.file for one in index_folder(export, store=store).rejected}
    read_names.clear()
    (export / "media" / "77654033" / "CR3" / "6278").unlink()
    after = index_folder(export, store=store)
    assert {one.file for one in after.rejected} - before == {"media/77654033/CR3/6278"}
    assert read_names == []


def test_progress_counts_files_that_are_not_read_too(tmp_path: Path, export: Path) -> None:
    for _ in range(2):
        seen: list[tuple[int, int]] = []
        index_folder(export, lambda done, total, seen=seen: seen.append((done, total)), store=tmp_path / "store")
        assert seen == [(k + 1, len(seen)) for k in range(len(seen))]
        assert len(seen) > 40


def test_the_store_may_not_lie_in_the_folder(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path / "export", PIXELS)
    with pytest.raises(Refusal, match="store-in-folder"):
        index_folder(tmp_path / "export", store=tmp_path / "export" / "x" / "store")
    (tmp_path / "link").symlink_to(tmp_path / "export")
    with pytest.raises(Refusal, match="store-in-folder"):
        index_folder(tmp_path / "export", store=tmp_path / "link" / "store")


@pytest.mark.parametrize("workers", [2, 3])
def test_processes_change_nothing_but_the_time(
    tmp_path: Path, export: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(reading, "_BATCH", 3)
    alone = index_folder(export, workers=1)
    assert index_folder(export, workers=workers) == alone
    assert index_folder(export, workers=workers, store=tmp_path / "store") == alone
    assert index_folder(export, workers=workers, store=tmp_path / "store") == alone


@pytest.mark.parametrize("error", [BrokenExecutor(), OSError("no semaphores here")])
def test_files_are_read_here_when_processes_fail(export: Path, monkeypatch: pytest.MonkeyPatch, error: Any) -> None:
    monkeypatch.setattr(reading, "_BATCH", 5)
    expected = index_folder(export, workers=1)

    def breaks(root: str, batches: Any, workers: int) -> Any:
        yield batch.read_batch(root, batches[0])
        yield batch.read_batch(root, batches[1])
        raise error

    monkeypatch.setattr(reading, "_in_pool", breaks)
    assert index_folder(export, workers=2) == expected


def test_few_files_need_no_processes(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_in_pool", lambda *_: pytest.fail("processes for a handful of files"))
    assert index_folder(export).rows


@pytest.mark.parametrize("files", [reading._LEAST_FILES - 1, reading._LEAST_FILES])
def test_many_files_are_read_in_processes(monkeypatch: pytest.MonkeyPatch, files: int) -> None:
    asked: list[int] = []
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(reading, "read_batch", lambda *_: b"")
    monkeypatch.setattr(reading, "_in_pool", lambda root, batches, workers: asked.append(workers) or iter([]))
    list(reading.read_files("", [(str(k), None) for k in range(files)]))
    assert asked == ([2] if files >= reading._LEAST_FILES else [])


def test_batches_wait_in_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slowly they are taken, no more are read ahead than the processes need."""
    waiting = [0]
    monkeypatch.setattr(reading, "worker_pool", lambda *_, **__: _Executor(waiting))
    taken = 0
    for _ in reading._in_pool("", [[]] * 100, 2):
        taken += 1
        assert waiting[0] - taken <= 2 * reading._BATCHES_AHEAD
    assert taken == 100


class _Executor:
    """Counts what was asked for."""

    def __init__(self, waiting: list[int]) -> None:
        self._waiting = waiting

    def submit(self, *_: Any) -> Any:
        self._waiting[0] += 1
        return self

    def result(self) -> bytes:
        return b""

    def shutdown(self, **_: Any) -> None:
        pass


INDEXER = """
import sys
from pathlib import Path
from fedescc.client.imaging.headers import index
from fedescc.client.imaging.headers import reading
reading._BATCH = 1
index._TIME_RESOLUTION_NS = -10**12
print("up", flush=True)
index.index_folder(Path(sys.argv[1]), store=Path(sys.argv[2]))
print("done", flush=True)
"""


@pytest.mark.parametrize("after", [0.002, 0.01, 0.03])
def test_a_killed_run_costs_nothing_but_itself(
    tmp_path: Path, ct_series: Factory, read_names: list[str], after: float
) -> None:
    folder, store = tmp_path / "export", tmp_path / "store"
    ct_series(folder, np.repeat(PIXELS, 30, axis=0))
    expected: FolderIndex = index_folder(folder)
    read_names.clear()
    with subprocess.Popen([sys.executable, "-c", INDEXER, folder, store], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
    assert index_folder(folder, store=store) == expected
    assert len(read_names) <= len(expected.rows)
    read_names.clear()
    assert index_folder(folder, store=store) == expected
    assert read_names == []

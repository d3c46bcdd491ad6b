"""Where received objects end up: whole, once, under names that identify nobody."""

import fcntl
import filecmp
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Literal

from fedescc.client.imaging.headers.header import DicomRow, read_header
from fedescc.client.receiving.options import Limits
from fedescc.client.receiving.spool import SUFFIX, Spool
from fedescc.client.site import SiteFile
from fedescc.common.errors import Refusal
from fedescc.common.files import flush_to_disk

_NAME_DIGITS = 32  # 128 bits: no two UIDs of a hospital meet by chance
_STUDY_PREFIX = "received-"


@contextmanager
def open_inbox(site: SiteFile, limits: Limits) -> Iterator["Inbox"]:
    """The site's inbox; what an earlier receiver left half written is removed.

    Raises:
        Refusal: no-images, match-by-folder, work-inside-images, different-file-systems, unusable-intake-folder or
            receiver-running.

    """
    images, spool_folder = _folders(site)
    try:
        for folder in (images, spool_folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(spool_folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise _unusable(images, error) from error
    try:
        _lock(lock)
        for left in spool_folder.glob(f"*{SUFFIX}"):
            left.unlink()
        _check_rename(spool_folder, images)
        yield Inbox(images, spool_folder, limits)
    finally:
        os.close(lock)


class Inbox:
    """A site's folder of CTs, as a receiver sees it; safe to use from several threads.

    An object lies at ``received-<study>/<series>/<instance>.dcm``, each a hash of its UID. The topmost folder is the
    study's, because of images without PatientID the index says only that those of one top folder are one patient's.
    """

    def __init__(self, images: Path, spool_folder: Path, limits: Limits) -> None:
        self._images = images
        self._spool_folder = spool_folder
        self._limits = limits
        self._lock = Lock()
        # instance -> folder: a UID may come back under another study, and looking through all folders takes long.
        self._kept = {path.stem: str(path.parent) for path in images.glob(f"{_STUDY_PREFIX}*/*/*.dcm")}

    def spool(self, head: Callable[[], bytes], fault: str = "") -> Spool:
        """A file for an object that is about to arrive; see `Spool`."""
        return Spool(self._spool_folder, head, self._limits, fault)

    def take(self, spool: Spool, sop_class: str, sop_uid: str) -> Literal["received", "duplicate"]:
        """Move a complete object into the folder; the same object once more is left as it is.

        Args:
            spool: what arrived.
            sop_class, sop_uid: what the sender announced it as.

        Raises:
            Refusal: the object's fault: those of `Spool.finish` and of `read_header`; sop_class_mismatch or
                uid_mismatch with what was announced; missing_uid of study or series; conflict with another object
                that is kept under its UID.
            OSError: the disk failed.

        """
        path = spool.finish()
        row = read_header(str(path.parent), path.name)
        _check(row, sop_class, sop_uid)
        instance = _hashed(sop_uid)
        folder = self._images / f"{_STUDY_PREFIX}{_hashed(row.study_uid)}" / _hashed(row.series_uid)
        with self._lock:
            kept = Path(self._kept.get(instance, folder), f"{instance}.dcm")
            if kept.exists():
                if filecmp.cmp(path, kept, shallow=False):
                    return "duplicate"
                raise Refusal(
                    "conflict",
                    "another object with this SOP Instance UID is kept",
                    f"if the new one is right, delete {kept.parent.parent} and send the study again",
                )
            _make_folders(folder, self._images)
            path.rename(folder / kept.name)
            flush_to_disk(folder)
            self._kept[instance] = str(folder)
        return "received"


def _folders(site: SiteFile) -> tuple[Path, Path]:
    """The folder of CTs, and the one beside it where objects grow."""
    images = site.settings.images
    if images is None:
        raise Refusal("no-images", "the site file names no folder of CTs", "add an images section to the site file")
    if images.match == "folder":
        raise Refusal(
            "match-by-folder",
            "CTs are matched by folder name, and what a PACS sends has none",
            "match by patient_id or accession, or export to folders",
        )
    target, spool_folder = site.path(images.dicom).resolve(), (site.work / "receiving").resolve()
    if spool_folder.is_relative_to(target):
        raise Refusal(
            "work-inside-images",
            f"{site.work} lies in the folder of CTs, so half an object could be read as an image",
            "move work out of images.dicom",
        )
    return target, spool_folder


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise Refusal(
            "receiver-running", "another receiver runs for this site", "stop it first, or let it do the work"
        ) from error


def _check_rename(spool_folder: Path, images: Path) -> None:
    """Refuse a pair of folders between which a file cannot move in one step."""
    probe, there = spool_folder / f"probe{SUFFIX}", images / ".fedescc-probe"
    try:
        probe.mkdir()  # a folder, so that an index which runs right now sees no file
        probe.rename(there)
    except OSError as error:
        if images.stat().st_dev != spool_folder.stat().st_dev:
            raise Refusal(
                "different-file-systems",
                f"{spool_folder} and {images} lie on different file systems",
                "set work in the site file to a folder on the file system of images.dicom",
            ) from error
        raise _unusable(images, error) from error
    finally:
        for folder in (probe, there):
            if folder.is_dir():
                folder.rmdir()


def _unusable(images: Path, error: OSError) -> Refusal:
    return Refusal(
        "unusable-intake-folder",
        f"cannot write to {images} or to the work folder: {type(error).__name__}",
        "correct their permissions",
    )


def _check(row: DicomRow, sop_class: str, sop_uid: str) -> None:
    todo = "export it again"
    if row.sop_class != sop_class:
        raise Refusal("sop_class_mismatch", "the object is of another class than announced", todo)
    if row.sop_uid != sop_uid:
        raise Refusal("uid_mismatch", "the object has another UID than announced", todo)
    if not (row.study_uid and row.series_uid):
        raise Refusal("missing_uid", "the object names no study or no series", todo)


def _hashed(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:_NAME_DIGITS]


def _make_folders(folder: Path, root: Path) -> None:
    """Make a folder below ``root``; each new name is on disk before anything lies below it."""
    if not folder.is_dir():
        if folder.parent != root:
            _make_folders(folder.parent, root)
        folder.mkdir(mode=0o700)
        flush_to_disk(folder.parent)

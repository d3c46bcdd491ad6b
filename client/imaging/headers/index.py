"""Index a folder: one row a DICOM image from its header alone, the masks beside them, a reason for the rest."""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from fedescc.client.imaging.headers.batch import decode
from fedescc.client.imaging.headers.dicomdir import missing_files
from fedescc.client.imaging.headers.found import FolderIndex, Found, MaskFile, MaskKind, Reference, RejectedFile
from fedescc.client.imaging.headers.header import DicomRow, printable
from fedescc.client.imaging.headers.reading import read_files
from fedescc.client.imaging.headers.store import Store
from fedescc.client.imaging.headers.walk import Listed, Listing, Signature, list_files
from fedescc.common.errors import Refusal

__all__ = ["FolderIndex", "MaskFile", "MaskKind", "Progress", "RejectedFile", "index_folder"]

Progress = Callable[[int, int], None]

# A file that is written to again within the resolution of its times may look unchanged; FAT's is the coarsest.
_TIME_RESOLUTION_NS = 2_000_000_000


def index_folder(
    folder: Path, progress: Progress | None = None, *, store: Path | None = None, workers: int | None = None
) -> FolderIndex:
    """Read the header of every file below a folder, whatever its layout or file names.

    Symbolic links are followed, each folder once. Pixels are not read. Names that are no UTF-8 are given with their
    bytes written out (``\\xd5``). The result is the same with and without a store, and with any number of processes.

    A file counts as unchanged if its size, time of modification, time of change and inode are what they were. The
    first two do not suffice: slices of a series have one size, and copying programs give files the times of their
    source. The price is that a file that was only moved or renamed is read again.

    Args:
        folder: a PACS export.
        progress: called with (files done, files in all) after each file.
        store: a file outside the folder that keeps what was read; the next call with it reads only what changed. It is
            as confidential as the export (see ``store.py``).
        workers: processes; None takes one a core if there are thousands of files to read.

    Raises:
        Refusal: missing-folder, unreadable_folder, empty-folder or store-in-folder.

    """
    folder = Path(folder)
    if not folder.is_dir():
        raise Refusal("missing-folder", f"{folder} is no folder", "give the folder that holds the DICOM files")
    if store and store.resolve().is_relative_to(folder.resolve()):
        raise Refusal("store-in-folder", f"{store} lies in {folder}", "keep the store outside the indexed folder")
    started = time.time_ns()
    listing = list_files(folder)
    if not listing.files and not listing.unreadable:
        raise Refusal("empty-folder", f"{folder} holds no files", "give the folder that holds the DICOM files")
    found: list[Found] = []
    with Store(store, folder) as kept:
        known = kept.match(listing.files)
        fresh = _read(str(folder), kept, _unknown(listing.files, known, started - _TIME_RESOLUTION_NS), workers)
        for done, ((name, state), one) in enumerate(zip(listing.files, known, strict=True), start=1):
            if isinstance(state, str):
                found.append(RejectedFile(printable(name), state))
            else:
                found += next(fresh) if one is None else one
            if progress:
                progress(done, len(listing.files))
    return _index(found, listing)


def _unknown(
    files: Sequence[Listed], known: Sequence[tuple[Found, ...] | None], settled: int
) -> list[tuple[str, Signature | None]]:
    """What must be read; without a signature where the file changed so lately that it may change again unseen."""
    return [
        (name, state if max(state[1], state[2]) < settled else None)
        for (name, state), one in zip(files, known, strict=True)
        if one is None and not isinstance(state, str)
    ]


def _read(
    root: str, kept: Store, files: Sequence[tuple[str, Signature | None]], workers: int | None
) -> Iterator[tuple[Found, ...]]:
    """What each file is, in order, keeping it."""
    for content in read_files(root, files, workers):
        kept.append(content)
        yield from decode(content, root, kept.shared).found


def _index(found: list[Found], listing: Listing) -> FolderIndex:
    rows = tuple(one for one in found if isinstance(one, DicomRow))
    references = [one for one in found if isinstance(one, Reference)]
    missing = missing_files(references, (name for name, _ in listing.files), rows) if references else ()
    unreadable = (RejectedFile(printable(name), "unreadable_folder") for name in listing.unreadable)
    rejected = (one for one in found if isinstance(one, RejectedFile))
    return FolderIndex(
        rows,
        tuple(one for one in found if isinstance(one, MaskFile)),
        tuple(chain(rejected, unreadable, missing)),
    )

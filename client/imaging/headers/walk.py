"""Every file below a folder."""

import os
import stat
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from fedescc.common.errors import Refusal

# Size, time of the last change of content and of status (both in ns), and number of the file (inode).
Signature = tuple[int, int, int, int]
# Name relative to the folder, and its signature or the reason why it cannot be read.
Listed = tuple[str, Signature | str]


class Found(NamedTuple):
    """Files in order of their path, and the folders that could not be listed."""

    files: tuple[Path, ...]
    unreadable: tuple[Path, ...]


class Listing(NamedTuple):
    """Files and unlistable folders by name relative to the folder, both in order of their path, part by part."""

    files: list[Listed]
    unreadable: list[str]


def walk(folder: Path) -> Found:
    """Every file below a folder; symbolic links are followed, each folder once.

    Raises:
        Refusal: the folder itself cannot be listed.

    """
    files, unreadable = list_files(folder)
    return Found(tuple(folder / name for name, _ in files), tuple(folder / name for name in unreadable))


def list_files(folder: Path) -> Listing:
    """Every file below a folder with its signature; symbolic links are followed, each folder once.

    A file that is no regular one has the reason not_regular_file instead, one that cannot be looked at (a broken link,
    for one) unreadable.

    Raises:
        Refusal: unreadable_folder, the folder itself cannot be listed.

    """
    listing = Listing([], [])
    seen: set[tuple[int, int]] = set()
    root = os.fspath(folder)
    levels = [_enter(root, "", seen, listing)]
    if listing.unreadable:
        raise Refusal("unreadable_folder", f"{folder} cannot be listed", "correct its permissions")
    # Folders are entered where their name sorts. No recursion: a folder may lie deeper than Python's stack.
    while levels:
        for entry, name in levels[-1]:
            if _is_folder(entry):
                levels.append(_enter(entry.path, name, seen, listing))
                break
            listing.files.append((name, _signature(entry)))
        else:
            levels.pop()
    return listing


def _enter(
    path: str, name: str, seen: set[tuple[int, int]], listing: Listing
) -> Iterator[tuple[os.DirEntry[str], str]]:
    """What lies in a folder, in order; nothing where it was seen before, or cannot be listed, which is noted."""
    try:
        state = os.stat(path)  # noqa: PTH116  a Path for every folder costs more than its listing
        if (state.st_dev, state.st_ino) in seen:
            return iter(())
        seen.add((state.st_dev, state.st_ino))
        with os.scandir(path) as entries:
            ordered = sorted(entries, key=attrgetter("name"))
    except OSError:
        listing.unreadable.append(name or ".")
        return iter(())
    prefix = f"{name}/" if name else ""
    return ((entry, prefix + entry.name) for entry in ordered)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def signature(path: Path) -> Signature | str:
    """Signature of one file, or the reason why it cannot be read, as `list_files` gives them."""
    return _signature(path)


def _signature(entry: os.DirEntry[str] | Path) -> Signature | str:
    try:
        state = entry.stat()
    except OSError:
        return "unreadable"
    if not stat.S_ISREG(state.st_mode):
        return "not_regular_file"
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino

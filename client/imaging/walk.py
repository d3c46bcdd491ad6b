"""Every file below a folder."""

import os
from pathlib import Path
from typing import NamedTuple

from fedescc.common.errors import Refusal


class Found(NamedTuple):
    """Files in order of their path, and the folders that could not be listed."""

    files: tuple[Path, ...]
    unreadable: tuple[Path, ...]


def walk(folder: Path) -> Found:
    """Every file below a folder; symbolic links are followed, each folder once.

    Raises:
        Refusal: the folder itself cannot be listed.

    """
    seen: set[tuple[int, int]] = set()
    files: list[Path] = []
    unreadable: list[Path] = []

    def note(error: OSError) -> None:
        unreadable.append(Path(error.filename))

    for here, folders, names in os.walk(folder, followlinks=True, onerror=note):
        try:
            stat = Path(here).stat()
        except OSError:
            unreadable.append(Path(here))
            folders.clear()
            continue
        if (stat.st_dev, stat.st_ino) in seen:
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        folders.sort()
        files += [Path(here, name) for name in names]
    if folder in unreadable:
        raise Refusal("unreadable_folder", f"{folder} cannot be listed", "correct its permissions")
    return Found(tuple(sorted(files)), tuple(sorted(set(unreadable))))

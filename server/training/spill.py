"""Updates on disk, for rules that compare the sites with each other and so need every update by itself."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol, Self

import numpy as np

from fedescc.common.errors import Refusal
from fedescc.common.statistics.fixedpoint import CHUNK, require_summable
from fedescc.server.training.aggregate import Floats, Update, require_claim

_FLOAT_BYTES = 4


class Rows(Protocol):
    """Updates of several sites as rows in order of the sites' names, read in blocks of columns."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of sites and length of an update."""

    def blocks(self) -> Iterator[tuple[slice, Update]]:
        """Columns and their values, (sites, columns), until all columns have passed."""


Rule = Callable[[Rows], Floats]
"""One update, (size,), out of several."""


class Spill(AbstractContextManager["Spill"]):
    """Every site's update in one unnamed temporary file, which the system removes even when the process is killed.

    Blocks are read, not memory-mapped: the pages of a map would count as this process' memory.

    Args:
        size: length of the flat update.
        parties: number of sites invited; as in `Fold`, it bounds how large a value may be.
        rule: what makes one update of all.
        folder: where the file lies; None for the system's folder of temporary files.

    """

    def __init__(self, size: int, parties: int, rule: Rule, folder: Path | None = None) -> None:
        self._size = size
        self._parties = parties
        self._rule = rule
        self._row: dict[str, int] = {}
        self._weight = 0
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed by __exit__

    @property
    def weight(self) -> int:
        """Training patients of the sites accepted so far."""
        return self._weight

    @property
    def shape(self) -> tuple[int, int]:
        """Number of sites accepted so far and length of an update."""
        return len(self._row), self._size

    def add(self, site: str, delta: Update, weight: int) -> None:
        """Store one site's update; a refused update leaves what was stored untouched.

        Raises:
            Refusal: wrong length, weight below 1, not finite, too large, or the disk does not take it.

        """
        require_claim(site, delta, self._size, weight)
        require_summable(delta, weight, self._parties)
        row = len(self._row)
        try:
            self._seek(row, 0)
            delta.astype(np.float32, copy=False).tofile(self._file)
        except OSError as error:
            kind = type(error).__name__
            raise Refusal(
                "server-disk-full", f"an update was not stored ({kind})", "free space at the server"
            ) from error
        self._row[site] = row
        self._weight += weight

    def combine(self) -> Floats:
        """What the rule makes of all rows.

        Raises:
            Refusal: nothing was stored.

        """
        if not self._row:
            raise Refusal("no-training-patients", "no update was accepted", "check intake at the sites")
        return self._rule(self)

    def blocks(self) -> Iterator[tuple[slice, Update]]:
        """Columns and their values, (sites, columns); rows by site's name, not by arrival."""
        rows = [self._row[site] for site in sorted(self._row)]
        for start in range(0, self._size, CHUNK):
            stop = min(start + CHUNK, self._size)
            yield slice(start, stop), np.array([self._read(row, start, stop) for row in rows])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _read(self, row: int, start: int, stop: int) -> Update:
        self._seek(row, start)
        return np.fromfile(self._file, dtype=np.float32, count=stop - start)

    def _seek(self, row: int, column: int) -> None:
        self._file.seek((row * self._size + column) * _FLOAT_BYTES)

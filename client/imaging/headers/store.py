"""What an index found, kept in a file, so that the next one reads only what changed.

The store is as confidential as the export: it holds patient IDs, dates, UIDs and file names. It belongs beside the
cache of tensors, never in it, and nothing of it leaves the site. Only the owner may read it, and what leaves the export
is overwritten in it.

It only saves time. What cannot be read, belongs to another folder or format, or fails its checksum is thrown away and
built anew; where it cannot be written, the index does without. It is a SQLite file, so that a process may be killed at
any line and several may use it at once.
"""

import gc
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from itertools import repeat
from pathlib import Path

from fedescc.client.imaging.headers.batch import Entry, Shared, decode, encode
from fedescc.client.imaging.headers.found import Found
from fedescc.client.imaging.headers.header import DicomRow
from fedescc.client.imaging.headers.walk import Listed, Signature

_FORMAT = 2  # to be raised whenever the same file may give another row
_VERSION = version("fedescc")
_WAIT_SECONDS = 10
_JOURNALS = ("", "-journal", "-wal", "-shm")
_NOT_OURS = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}  # the first: it has no such table
_SETTINGS = (
    "PRAGMA secure_delete = ON",
    # Not flushed to disk: what a loss of power damages fails its checksum and is read again.
    "PRAGMA synchronous = OFF",
)
_SCHEMA = (
    "CREATE TABLE identity (value TEXT NOT NULL)",
    "CREATE TABLE batch (id INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL, content BLOB NOT NULL)",
)


class Store:
    """The entries of one folder's files, in batches; without a path it holds nothing and keeps nothing.

    Use it as a context manager.

    Args:
        path: the file, made where there is none; whatever it held that is no store of this folder is lost.
        folder: the indexed folder.

    """

    def __init__(self, path: Path | None, folder: Path) -> None:
        self._root = str(folder)
        self._connection: sqlite3.Connection | None = None
        self._known: dict[str, tuple[Signature | None, tuple[Found, ...], int]] = {}
        self._sizes: dict[int, int] = {}  # batch -> entries; -1 where it is damaged
        self.shared: Shared = {}
        if path is None:
            return
        fields = [*DicomRow._fields, str(folder.resolve())]
        with self._giving_up(), _collector_paused():
            self._open(path, json.dumps([_FORMAT, _VERSION, *fields]))

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def match(self, files: Sequence[Listed]) -> list[tuple[Found, ...] | None]:
        """What each file is, if it has not changed since; all that is not the entry of such a file is dropped."""
        get = self._known.get
        pairs = ((get(name), signature) for name, signature in files)
        matched = [one[1] if one is not None and one[0] == signature else None for one, signature in pairs]
        if self._connection and len(files) - matched.count(None) != sum(self._sizes.values()):
            with self._giving_up():
                self._drop_stale(files)
        return matched

    def append(self, content: bytes) -> None:
        """Keep a batch of files that were not matched."""
        with self._giving_up():
            self._insert(content)

    def _open(self, path: Path, identity: str) -> None:
        self._connection = _connect(path)
        if self._load(identity):
            return
        self._close()
        for suffix in _JOURNALS:  # a journal that stayed would be played back into the new file
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        self._connection = _connect(path)
        for setting in _SETTINGS:
            self._connection.execute(setting)
        with self._transaction() as connection:
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute("INSERT INTO identity VALUES (?)", (identity,))

    def _load(self, identity: str) -> bool:
        """Whether this is a store of the folder."""
        assert self._connection
        try:
            for setting in _SETTINGS:
                self._connection.execute(setting)
            if self._connection.execute("SELECT value FROM identity").fetchall() != [(identity,)]:
                return False
            for number, digest, content in self._connection.execute(
                "SELECT id, digest, content FROM batch ORDER BY id"
            ):
                self._decode(number, digest, content)
        except UnicodeDecodeError:  # what a damaged file says is wrong with it
            self._known, self._sizes = {}, {}
            return False
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _NOT_OURS:
                raise
            self._known, self._sizes = {}, {}
            return False
        return True

    def _decode(self, number: int, digest: bytes, content: bytes) -> None:
        self._sizes[number] = -1
        with suppress(ValueError, TypeError, KeyError, IndexError):
            if digest == _digest(content):
                names, signatures, found = decode(content, self._root, self.shared)
                entries = zip(signatures, found, repeat(number, len(names)), strict=True)
                self._known.update(zip(names, entries, strict=True))
                self._sizes[number] = len(names)

    def _drop_stale(self, files: Iterable[Listed]) -> None:
        valid: dict[int, list[Entry]] = {number: [] for number in self._sizes}
        for name, signature in files:
            one = self._known.get(name)
            if one is not None and one[0] == signature:
                valid[one[2]].append((name, one[0], one[1]))
        with self._transaction() as connection:
            for number, entries in valid.items():
                if len(entries) != self._sizes[number]:
                    connection.execute("DELETE FROM batch WHERE id = ?", (number,))
                    if entries:
                        self._insert(encode(entries))

    def _insert(self, content: bytes) -> None:
        if self._connection:
            row = _digest(content), content
            self._connection.execute("INSERT INTO batch (digest, content) VALUES (?, ?)", row)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        assert self._connection
        with self._connection as connection:  # commits, or rolls back
            connection.execute("BEGIN IMMEDIATE")
            yield connection

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        """Do without the store once it fails."""
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeDecodeError):
            self._close()

    def _close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None


@contextmanager
def _collector_paused() -> Iterator[None]:
    """No garbage collection while only lasting tuples are made: it takes a third of the time and finds nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    path.chmod(0o600)
    return sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()

"""SQLite files in which a site remembers for good what it has been asked, whatever happens to the process.

A transaction is on the disk when it ends: a process that is killed, or a machine that loses power, has either answered
a question that is recorded, or not answered. What cannot be written or read stops the answer: a site that has forgotten
what it told would tell too much.
"""

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from fedescc.common.errors import Refusal

_WAIT_SECONDS = 30


class Lasting:
    """One SQLite file of a site; several processes may use it at once, and only the owner may read it.

    Args:
        path: the file, made where there is none; None keeps everything in memory.
        schema: statements that make its tables where they are not there.

    """

    def __init__(self, path: Path | None, schema: tuple[str, ...]) -> None:
        self._path, self._schema = path, schema
        self._lock = threading.Lock()
        self._memory: sqlite3.Connection | None = None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are kept together when the block ends, or not at all when it raises.

        Raises:
            Refusal: ``lost-records``, the file cannot be read or written.

        """
        with self._lock:
            try:
                with self._opened() as connection, connection:
                    connection.execute("BEGIN IMMEDIATE")
                    yield connection
            except (sqlite3.Error, OSError) as error:
                what = f"cannot use {self._path}: {type(error).__name__}"
                raise Refusal(
                    "lost-records", what, "make its folder writable, or restore the file from a backup"
                ) from error

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        if self._path is None:
            if self._memory is None:
                memory = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
                self._memory = self._prepared(memory)
                weakref.finalize(self, memory.close)
            yield self._memory
            return
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(self._path, timeout=_WAIT_SECONDS, isolation_level=None)
        with closing(connection):
            yield self._prepared(connection)

    def _prepared(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        connection.execute("PRAGMA synchronous = FULL")
        for statement in self._schema:
            connection.execute(statement)
        return connection

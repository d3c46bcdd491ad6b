"""One intake at a time for a site: two would remove each other's drafts and parts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fedescc.common.console import log
from fedescc.common.errors import Refusal

_LOCK = "intake.lock"


@contextmanager
def alone(work: Path) -> Iterator[None]:
    """Hold the site's lock, waiting for another intake to end; the lock of a killed one is free.

    Raises:
        Refusal: the work folder cannot be written.

    """
    lock = FileLock(work / _LOCK)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log("another intake of this site is running: waiting for it")
            lock.acquire()
    except OSError as error:
        raise Refusal(
            "unusable-work-folder",
            f"cannot lock {work}: {type(error).__name__}",
            "set work in the site file to a folder that can be written",
        ) from error
    try:
        yield
    finally:
        lock.release()

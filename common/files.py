"""Files that a reader sees old or new, never half, whatever is killed when."""

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Replace a file's content: written beside it, flushed to disk, then renamed over it.

    ``mode``: permissions of a new file, less the process' umask; 0o600 for what its owner alone may read.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def flush_to_disk(path: Path) -> None:
    """Make sure that a file, or a folder's list of names, survives a loss of power: fsync of a file covers no name."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""One data set on its way in: written to disk as it arrives, outside the folder that intake reads."""

import errno
import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from fedescc.client.receiving.options import Limits
from fedescc.common.errors import Refusal

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SUFFIX = ".part"
_DISK_CHECK_BYTES = 64 << 20
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Spool(BytesIO):
    """A file that fills up fragment by fragment. To pynetdicom it is the BytesIO that it keeps a data set in.

    Writing never raises: after a fault the rest is dropped, the file goes at once, and `finish` says what it was.
    So the sender gets a status for its object and the association lives on, even when the disk is full.

    Args:
        folder: where the file grows.
        head: gives what precedes the data set; called at the first fragment.
        limits: size of the object, and disk space to leave free.
        fault: a reason to drop everything from the start.

    """

    def __init__(self, folder: Path, head: Callable[[], bytes], limits: Limits, fault: str = "") -> None:
        super().__init__()
        self.size = 0  # bytes of the data set so far
        self._path = folder / f"{secrets.token_hex(8)}{SUFFIX}"
        self._head = head
        self._limits = limits
        self._fault = fault
        self._checked = 0
        self._file: BinaryIO | None = None

    def write(self, fragment: "ReadableBuffer", /) -> int:
        """Append a fragment of the data set."""
        count = memoryview(fragment).nbytes
        self.size += count
        if not self._fault:
            try:
                self._append(fragment)
            except Refusal as refusal:
                self._fail(refusal.code)
            except OSError as error:
                self._fail(os_fault(error))
        return count

    def finish(self) -> Path:
        """The whole file, on disk.

        Raises:
            Refusal: what went wrong while it was written, or empty_data_set.
            OSError: the last bytes could not be written.

        """
        if self._fault or self._file is None:
            code = self._fault or "empty_data_set"
            raise Refusal(code, "the object was not kept", "send it again")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._path

    def discard(self) -> None:
        """Remove the file, unless it has moved on."""
        if self._file is not None:
            with suppress(OSError):  # its last bytes may not fit the disk; they go anyway
                self._file.close()
            self._path.unlink(missing_ok=True)
            self._file = None

    def _append(self, fragment: "ReadableBuffer") -> None:
        if self.size > self._limits.object_bytes:
            raise Refusal("too_large", f"more than {self._limits.object_bytes} bytes", "send it in parts")
        if self.size > self._checked:
            check_space(self._path.parent, self._limits.free_bytes)
            self._checked = self.size + _DISK_CHECK_BYTES
        if self._file is None:
            head = self._head()
            self._file = os.fdopen(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")
            self._file.write(head)
        self._file.write(fragment)

    def _fail(self, code: str) -> None:
        self._fault = code
        self.discard()


def check_space(folder: Path, free_bytes: int) -> None:
    """Refuse, with ``disk_full``, to write where too little space is left."""
    if shutil.disk_usage(folder).free < free_bytes:
        raise Refusal("disk_full", f"less than {free_bytes} bytes are free at {folder}", "make room")


def os_fault(error: OSError) -> str:
    """The reason code of a failed write: disk_full or write_failed."""
    return "disk_full" if error.errno in _NO_SPACE else "write_failed"

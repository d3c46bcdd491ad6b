"""The same mask file found twice: in two folders of the site file, or sent twice."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from fedescc.client.imaging.headers.index import MaskFile
from fedescc.client.intake.rois.roi_files import Drawing

_CHUNK = 1 << 20
_GROUP_LENGTH_END = 144  # of (0002,0000), the first element behind preamble and prefix (PS3.10 7.1)


def without_same_files(files: Iterable[MaskFile]) -> list[MaskFile]:
    """Each file once, where the folder of masks is the CT export's, or one lies in the other.

    The innermost of the folders is kept: what lies directly in it is named like the patients.
    """
    innermost: dict[str, MaskFile] = {}
    for file in files:
        known = innermost.setdefault(os.path.realpath(file.path), file)
        if _depth(file) < _depth(known):
            innermost[os.path.realpath(file.path)] = file
    return list(innermost.values())


def without_copies(drawings: Sequence[Drawing]) -> list[Drawing]:
    """Drawings without copies: same patient, same SOP Instance UID and, byte for byte, the same data set.

    What shares the UID alone is no copy and stays. Only files whose UID occurs twice are read.
    """
    uses = Counter(one.sop_uid for one in drawings)
    kept: dict[tuple[object, ...], Drawing] = {}
    for one in drawings:
        copied = one.sop_uid and uses[one.sop_uid] > 1
        kept.setdefault((one.patient, one.sop_uid, _digest(one.file.path)) if copied else (one.file,), one)
    return list(kept.values())


def _depth(file: MaskFile) -> int:
    return len(PurePosixPath(file.name).parts)


def _digest(path: Path) -> str:
    """Hash of a data set; the file meta information before it names who sent it. Of a file that is gone, its name."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            head = stream.read(_GROUP_LENGTH_END)
            has_length = head[128:140] == b"DICM\x02\x00\x00\x00UL\x04\x00"
            stream.seek(_GROUP_LENGTH_END + int.from_bytes(head[140:], "little") if has_length else 0)
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return str(path)
    return digest.hexdigest()

"""One patient's prepared CTs on disk, so that an intake that was stopped goes on where it was.

A part lies under ``<work>/parts/<study>/`` and is named by a hash of everything that it was made from. Identifiers,
dates, UIDs and file names never enter it.
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from fedescc.client.imaging.headers.walk import signature
from fedescc.client.intake.eligibility import Scans
from fedescc.common.errors import Refusal
from fedescc.common.files import write_atomically
from fedescc.common.imaging import Imaging, TimePoint

_FORMAT = 2
_SUFFIX = ".npz"
_HEAD = "head"
# What must stay free on the disk beside the parts and the cohort made of them.
_RESERVE_BYTES = 200 << 20


class Tensors(NamedTuple):
    """A patient's images (time points, z, y, x), float16 in [0, 1], and ROIs of the same shape, uint8."""

    images: NDArray[np.float16]
    rois: NDArray[np.uint8]


@dataclass(frozen=True)
class Part:
    """What became of one patient's CTs.

    Attributes:
        quality: codes of CTs that cannot be used, as ``pre:thick_slices``.
        roi: whether every time point has its ROI.
        details: what was wrong with which ROI, as ``pre:no_mask``.
        notes: findings that do not exclude, and overrides, as ``post:noisy``.
        cut: whether the grid holds less than the whole ROI.
        propagated: whether the second CT's ROI came from the first by registration; None without a second CT.
        chosen: time point -> place of the CT used among the candidates.
        lost: time point, place and code of the other candidates.
        measures: what was measured, as ``pre.noise_hu``.
        codes: how the CTs were acquired, as ``pre.vendor``: codes of `fedescc.common.acquisition`.

    """

    quality: tuple[str, ...] = ()
    roi: bool = True
    details: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    cut: bool = False
    propagated: bool | None = None
    chosen: dict[TimePoint, int] = field(default_factory=dict)
    lost: tuple[tuple[TimePoint, int, str], ...] = ()
    measures: dict[str, float] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)

    @property
    def passing(self) -> bool:
        """Whether another try may end otherwise: the reader died, or fedescc failed, which may be for want of memory.

        Such a part is not kept.
        """
        return any("reader_died" in code or "unexpected_" in code for code in self.quality + self.details)

    @property
    def usable(self) -> bool:
        """Whether the patient has tensors."""
        return self.roi and not self.quality

    def of(self, scans: Scans) -> Scans:
        """The patient's scans with what was found here."""
        details = scans.details + self.quality + self.details
        return replace(scans, quality=self.quality, roi=self.roi, details=details)


class PartStore:
    """A study's parts in a site's work folder."""

    def __init__(self, work: Path, study: str) -> None:
        self._folder = work / "parts" / study

    def prepare(self, missing: int, total: int, imaging: Imaging) -> None:
        """Make the folder and see that the disk can hold ``missing`` parts and a cohort of ``total`` patients.

        Raises:
            Refusal: no-space, or a folder that cannot be made.

        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            free = shutil.disk_usage(self._folder).free
        except OSError as error:
            raise Refusal(
                "cannot-prepare",
                f"{self._folder}: {type(error).__name__}",
                "check the permissions of the work folder",
            ) from error
        needed = (missing + total) * part_bytes(imaging) + _RESERVE_BYTES
        if free < needed:
            raise Refusal(
                "no-space",
                f"the cohort needs {needed >> 20} MB below the work folder, which has {free >> 20} MB free",
                "free space, or set work in the site file to a larger disk",
            )

    def read(self, digest: str) -> Part | None:
        """A part, or None where there is none or it, or its tensors, are damaged."""
        try:
            with ZipFile(self._path(digest)) as stored:
                if stored.testzip() is not None:
                    return None
            with self._open(digest) as arrays:
                part = _part(json.loads(arrays[_HEAD].tobytes()))
                return part if part.usable == ("images" in arrays.files and "rois" in arrays.files) else None
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, RuntimeError):
            return None  # zipfile raises RuntimeError for a version, method or encryption that it does not know

    def tensors(self, digest: str) -> Tensors:
        """The tensors of a usable part.

        Raises:
            OSError: another process removed it meanwhile.

        """
        with self._open(digest) as arrays:
            return Tensors(arrays["images"], arrays["rois"])

    def write(self, digest: str, part: Part, tensors: Tensors | None) -> None:
        """Keep a part; a reader sees all of it or nothing.

        Raises:
            OSError: no space, or no permission.

        """
        head = np.frombuffer(json.dumps(vars(part)).encode(), np.uint8)
        arrays = tensors._asdict() if tensors is not None else {}
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **{_HEAD: head, **arrays})
        write_atomically(self._path(digest), buffer.getvalue())

    def prune(self, keep: Iterable[str]) -> None:
        """Remove all other parts: a patient who was withdrawn must not stay on in one of them."""
        wanted = {self._path(digest).name for digest in keep}
        for path in self._folder.glob("*"):
            if path.name not in wanted:
                path.unlink(missing_ok=True)

    @contextmanager
    def _open(self, digest: str) -> Iterator[NpzFile]:
        # np.load leaves a damaged file open when given its path.
        with self._path(digest).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            yield arrays

    def _path(self, digest: str) -> Path:
        return self._folder / f"{digest}{_SUFFIX}"


def part_bytes(imaging: Imaging) -> int:
    """Bytes of a patient's images (2 a voxel) and ROIs (1)."""
    return 3 * len(imaging.time_points) * int(np.prod(imaging.grid.size_zyx))


def part_digest(imaging: Imaging, patient: Iterable[object], files: Iterable[Path]) -> str:
    """SHA-256 over all that a part depends on, which includes fedescc's version.

    Args:
        imaging: the study's rules.
        patient: what else decides, as JSON takes it: key, overrides, days between the CTs, which files are candidates.
        files: the candidates' files and the patient's masks, in order; path and signature count.

    """
    # Intensities are harmonised after the cache: switching that on prepares nobody again.
    rules = imaging.model_dump(mode="json", exclude={"harmonisation"})
    inputs = [_FORMAT, version("fedescc"), rules, *patient]
    document = [*inputs, [[os.fsdecode(path), signature(path)] for path in files]]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _part(head: dict[str, Any]) -> Part:
    tuples = {name: tuple(head[name]) for name in ("quality", "details", "notes")}
    lost = tuple((point, int(place), str(code)) for point, place, code in head["lost"])
    return Part(**{**head, **tuples, "lost": lost})

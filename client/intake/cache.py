"""The prepared cohort on disk: found again by its content key, published in one step.

A cache folder holds ``images.npy`` and ``rois.npy`` (memory-mapped), ``tables.npz`` and ``cohort.json``.
Identifiers, dates, UIDs and file names never enter it; patients are named by salted keys.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from fedescc.client.cohort import SiteCohort
from fedescc.client.site import SiteFile
from fedescc.common.errors import Refusal
from fedescc.common.study import Study

IMAGES = "images.npy"
ROIS = "rois.npy"
_TABLES = "tables.npz"
_COHORT = "cohort.json"
_FORMAT = 1
_DRAFT = "draft-"
_STALE_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Prepared:
    """A site's cohort with the reasons of everyone left out.

    Attributes:
        cohort: the eligible patients.
        codes: salted key -> every reason code and then CT details, of the excluded patients.
        warnings: remarks on the inputs, without identifiers.

    """

    cohort: SiteCohort
    codes: dict[str, tuple[str, ...]]
    warnings: tuple[str, ...]


def content_key(site: SiteFile, study: Study, salt: bytes, inputs: Iterable[Path]) -> str:
    """SHA-256 over all that the prepared cohort depends on.

    That is the study, the site's settings, the salt, fedescc's version, the contents of input files and, of every
    file below an input folder, name, size and time of change: 100 GB of CT are not read again for it.

    Args:
        site: its clinical and image settings count; its work folder and release policy do not.
        study: counts by its hash.
        salt: decides keys and splits.
        inputs: files and folders, the latter with everything below them.

    Raises:
        Refusal: an input does not exist.

    """
    settings = site.settings.model_dump(mode="json", include={"clinical", "images"})
    parts: list[Any] = [_FORMAT, version("fedescc"), study.sha256, settings, hashlib.sha256(salt).hexdigest()]
    for root in inputs:
        if root.is_file():
            parts.append(hashlib.sha256(root.read_bytes()).hexdigest())
            continue
        for path in sorted(_files_below(root)):
            stat = path.stat()
            parts.append([path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns])
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _files_below(root: Path) -> Iterator[Path]:
    """Every file below a folder; links are followed, each folder once."""
    if not root.exists():
        raise Refusal("missing-input", f"{root} does not exist", "correct the path in the site file")
    seen: set[str] = set()
    for here, folders, names in os.walk(root, followlinks=True):
        if os.path.realpath(here) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(here))
        yield from (Path(here, name) for name in names if Path(here, name).is_file())


def read_cache(folder: Path) -> Prepared | None:
    """The cohort in a cache folder; None where there is none or it is damaged."""
    try:
        head = json.loads((folder / _COHORT).read_text(encoding="utf-8"))
        # np.load leaves a damaged file open when given its path.
        with (folder / _TABLES).open("rb") as file, np.load(file, allow_pickle=False) as tables:
            arrays = {name: tables[name] for name in tables.files}
        return Prepared(
            cohort=_cohort(head, arrays, {name: _mapped(folder / name) for name in head["images"]}),
            codes={key: tuple(codes) for key, codes in head["codes"].items()},
            warnings=tuple(head["warnings"]),
        )
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


@contextmanager
def draft_folder(root: Path) -> Iterator[Path]:
    """A folder beside the caches to prepare one in; removed unless it was published.

    Raises:
        Refusal: no space, or no permission.

    """
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    for stale in root.glob(f"{_DRAFT}*"):  # of a process that was killed
        if time.time() - stale.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(stale, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=root))
    try:
        yield draft
    except OSError as error:
        raise Refusal(
            "cannot-prepare",
            f"preparing the cohort under {root} failed: {type(error).__name__}",
            "check free space and the permissions of the work folder and the CT export",
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def publish(draft: Path, folder: Path, study: Study, prepared: Prepared) -> Prepared:
    """Complete a draft, whose images are already in it, and rename it to its final name.

    Older caches of the same study are removed: a patient who was withdrawn must not stay on in one of them.
    Returns the cohort as read back, so that first use and reuse see the same arrays.
    """
    cohort = prepared.cohort
    columns: dict[str, Any] = {f"numeric.{name}": column for name, column in cohort.numeric.items()}
    columns |= {f"categorical.{name}": column for name, column in cohort.categorical.items()}
    np.savez(draft / _TABLES, labels=cohort.labels, split=cohort.split, **columns)
    head = {
        "study": study.name,
        "keys": cohort.keys,
        "flow": cohort.flow,
        "codes": prepared.codes,
        "warnings": prepared.warnings,
        "images": sorted(path.name for path in draft.glob("*.npy")),
    }
    (draft / _COHORT).write_text(json.dumps(head, indent=1), encoding="utf-8")
    if read_cache(folder) is None:
        shutil.rmtree(folder, ignore_errors=True)
        _rename(draft, folder)
    stored = read_cache(folder)
    assert stored is not None, "a cache folder just written must be readable"
    for other in folder.parent.iterdir():
        if other != folder and not other.name.startswith(_DRAFT) and _study_name(other) == study.name:
            shutil.rmtree(other, ignore_errors=True)
    return stored


def _rename(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError:
        if read_cache(folder) is None:  # otherwise another intake was first, with the same result
            raise


def _study_name(folder: Path) -> str | None:
    try:
        name: str = json.loads((folder / _COHORT).read_text(encoding="utf-8"))["study"]
    except (OSError, ValueError, KeyError):
        return None
    return name


def _cohort(head: dict[str, Any], arrays: dict[str, NDArray[Any]], images: dict[str, NDArray[Any]]) -> SiteCohort:
    def columns(kind: str) -> dict[str, NDArray[Any]]:
        return {name.removeprefix(f"{kind}."): array for name, array in arrays.items() if name.startswith(f"{kind}.")}

    return SiteCohort(
        keys=tuple(head["keys"]),
        labels=arrays["labels"],
        numeric=columns("numeric"),
        categorical=columns("categorical"),
        split=arrays["split"],
        images=images.get(IMAGES),
        rois=images.get(ROIS),
        flow=head["flow"],
    )


def _mapped(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array

"""The prepared cohort on disk: found again by its content key, published in one step.

A cache folder holds ``images.npy`` and ``rois.npy`` (memory-mapped), ``tables.npz`` and ``cohort.json``, which has
the others' SHA-256.
Identifiers, dates, UIDs and file names never enter it; patients are named by salted keys.
"""

import hashlib
import json
import shutil
import tempfile
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
from fedescc.client.imaging.headers.walk import list_files
from fedescc.client.site import SiteFile
from fedescc.common.errors import Refusal
from fedescc.common.files import flush_to_disk
from fedescc.common.study import Study

IMAGES = "images.npy"
ROIS = "rois.npy"
_TABLES = "tables.npz"
_COHORT = "cohort.json"
_FORMAT = 4
_DRAFT = "draft-"
_FILE, _FOLDER = "file", "unreadable_folder"


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
    file below an input folder, name, size, inode and the times of change of content and status: 100 GB of CT are not
    read again for it, and a file put in another's place shows even if an archive gave both one date.

    Args:
        site: its clinical and image settings count; its work folder and release policy do not.
        study: counts by its hash.
        salt: decides keys and splits.
        inputs: files and folders, the latter with everything below them.

    Raises:
        Refusal: an input does not exist or cannot be listed.

    """
    settings = site.settings.model_dump(mode="json", include={"clinical", "images"})
    parts: list[Any] = [_FORMAT, version("fedescc"), study.sha256, settings, hashlib.sha256(salt).hexdigest()]
    for root in inputs:
        if root.is_file():
            parts.append(hashlib.sha256(root.read_bytes()).hexdigest())
            continue
        if not root.exists():
            raise Refusal("missing-input", f"{root} does not exist", "correct the path in the site file")
        files, unreadable = list_files(root)
        parts += [[_FILE, name, state] for name, state in files] + [[_FOLDER, name] for name in unreadable]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read_cache(folder: Path) -> Prepared | None:
    """The cohort in a cache folder; None where there is none or it is damaged."""
    try:
        head = _read_head(folder)
        if any(_sha256(folder / name) != digest for name, digest in head["sha256"].items()):
            return None
        # np.load leaves a damaged file open when given its path.
        with (folder / _TABLES).open("rb") as file, np.load(file, allow_pickle=False) as tables:
            arrays = {name: tables[name] for name in tables.files}
        return Prepared(
            cohort=_cohort(head, arrays, {name: _mapped(folder / name) for name in head["sha256"] if name != _TABLES}),
            codes={key: tuple(codes) for key, codes in head["codes"].items()},
            warnings=tuple(head["warnings"]),
        )
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def clear_drafts(root: Path) -> None:
    """Remove what killed processes have left beside the caches. Only one process at a time may prepare."""
    for stale in root.glob(f"{_DRAFT}*"):
        shutil.rmtree(stale, ignore_errors=True)


@contextmanager
def draft_folder(root: Path) -> Iterator[Path]:
    """A folder beside the caches to prepare one in; removed unless it was published.

    Raises:
        Refusal: no space, or no permission.

    """
    draft: Path | None = None
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=root))
        yield draft
    except OSError as error:
        raise Refusal(
            "cannot-prepare",
            f"preparing the cohort under {root} failed: {type(error).__name__}",
            "check free space and the permissions of the work folder and the CT export",
        ) from error
    finally:
        if draft:
            shutil.rmtree(draft, ignore_errors=True)


def publish(draft: Path, folder: Path, study: Study, prepared: Prepared) -> Prepared:
    """Complete a draft, whose images are already in it, and put it in the place of what has its final name.

    Older caches of the same study are removed: a patient who was withdrawn must not stay on in one of them.
    Returns the cohort as read back, so that first use and reuse see the same arrays.

    Raises:
        Refusal: what was written cannot be read back.

    """
    cohort = prepared.cohort
    columns: dict[str, Any] = {f"numeric.{name}": column for name, column in cohort.numeric.items()}
    columns |= {f"categorical.{name}": column for name, column in cohort.categorical.items()}
    columns |= {f"acquisition.{name}": table for name, table in cohort.acquisition.items()}
    if cohort.order is not None:
        columns["order"] = cohort.order
    np.savez(draft / _TABLES, labels=cohort.labels, split=cohort.split, **columns)
    head = {
        "study": study.name,
        "keys": cohort.keys,
        "flow": cohort.flow,
        "codes": prepared.codes,
        "warnings": prepared.warnings,
        "sha256": {path.name: _sha256(path) for path in sorted(draft.glob("*.np[yz]"))},
    }
    (draft / _COHORT).write_text(json.dumps(head, indent=1), encoding="utf-8")
    for path in (*draft.iterdir(), draft):
        flush_to_disk(path)
    _remove(folder)
    draft.rename(folder)
    flush_to_disk(folder.parent)
    stored = read_cache(folder)
    if stored is None:
        raise Refusal("cannot-prepare", "the cohort cannot be read back from the work folder", "check that disk")
    for other in folder.parent.iterdir():
        if other != folder and not other.name.startswith(_DRAFT) and _study_name(other) == study.name:
            _remove(other)
    return stored


def _remove(folder: Path) -> None:
    """Remove a cache. It stops being one in one step: of one removed by half nobody could say whose it was."""
    if folder.exists():
        doomed = folder.with_name(f"{_DRAFT}{folder.name}")
        shutil.rmtree(doomed, ignore_errors=True)
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _study_name(folder: Path) -> str | None:
    try:
        name: str = _read_head(folder)["study"]
    except (OSError, ValueError, KeyError):
        return None
    return name


def _read_head(folder: Path) -> dict[str, Any]:
    head = json.loads((folder / _COHORT).read_text(encoding="utf-8"))
    if not isinstance(head, dict):
        raise ValueError(_COHORT)
    return head


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        order=arrays.get("order"),
        acquisition=columns("acquisition"),
    )


def _mapped(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array

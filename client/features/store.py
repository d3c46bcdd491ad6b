"""A cohort with the features of its images as further numeric columns, measured once and kept."""

import hashlib
import io
import json
import mmap
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from fedescc.client.cohort import SiteCohort
from fedescc.client.features.named import Columns, named_columns
from fedescc.client.features.radiomic_columns import radiomic_columns
from fedescc.client.features.radiomics import mirp_version
from fedescc.common.console import OpenProgress, progress
from fedescc.common.errors import Refusal
from fedescc.common.files import write_atomically
from fedescc.common.imaging import Imaging
from fedescc.common.protocol import NumericVariable
from fedescc.common.tabular.features import NAMED_FEATURES, RADIOMIC_FEATURES

_FORMAT = 1  # one more whenever a measure changes within a version
_IN_MEMORY = 16  # families of cohorts; a simulation has several sites in one process


class _Family(NamedTuple):
    """Features that are measured together; ``revision`` names what, besides fedescc's version, decides their values."""

    variables: Mapping[str, NumericVariable]
    measure: Callable[[NDArray[np.float16], NDArray[np.uint8], Imaging, Callable[[], None]], Columns]
    revision: Callable[[], str]


_FAMILIES = {
    "named": _Family(NAMED_FEATURES, named_columns, str),
    "radiomic": _Family(RADIOMIC_FEATURES, radiomic_columns, mirp_version),
}
_memory: dict[str, Columns] = {}


def with_features(
    cohort: SiteCohort,
    names: Collection[str],
    imaging: Imaging,
    folder: Path | None,
    opened: OpenProgress = progress,
) -> SiteCohort:
    """The cohort, its ``numeric`` also holding the named features (n,); NaN where a scan is missing.

    A value outside its declared range becomes the bound that it passed. All features of a family are measured at the
    first use of any, in the order of a few milliseconds (named) or tenths of a second (radiomic) a scan.

    Args:
        cohort: with images, unless ``names`` is empty.
        names: out of ``NAMED_FEATURES`` and ``RADIOMIC_FEATURES`` (common/tabular/features.py).
        imaging: the study's; says which time points there are, the grid and the window.
        folder: where the measured values are kept, for the owner's eyes only; None keeps them in memory.
        opened: opens the display of progress.

    Raises:
        Refusal: unknown-feature, feature-is-covariate (a variable of the study has the name), no-images (a cohort
            without any), missing-extra (radiomic features without the extra ``[radiomics]``), cannot-keep-features
            (the folder cannot be written to).

    """
    _check(cohort, names)
    columns: Columns = {}
    for family, (variables, _, _) in _FAMILIES.items():
        wanted = [name for name in variables if name in names]
        if wanted:
            measured = _measured(cohort, family, imaging, folder, opened)
            columns |= {name: _bounded(measured[name], variables[name]) for name in wanted}
    return replace(cohort, numeric=cohort.numeric | columns)


def _check(cohort: SiteCohort, names: Collection[str]) -> None:
    known = NAMED_FEATURES | RADIOMIC_FEATURES
    for name in names:
        if name not in known:
            raise Refusal("unknown-feature", f"no image feature is named {name!r}", "see common/tabular/features.py")
        if name in cohort.categorical or name in cohort.numeric:
            raise Refusal("feature-is-covariate", f"{name!r} is a variable of the study too", "rename the variable")
    if names and (cohort.images is None or cohort.rois is None):
        raise Refusal("no-images", "image features of a cohort without images", "leave out model.image_features")


def _bounded(values: NDArray[np.float64], variable: NumericVariable) -> NDArray[np.float64]:
    finite = np.where(np.isfinite(values), values, np.nan)
    return np.clip(finite, *variable.range)


def _measured(cohort: SiteCohort, family: str, imaging: Imaging, folder: Path | None, opened: OpenProgress) -> Columns:
    """All features of a family, from where they are kept if they are."""
    assert cohort.images is not None
    assert cohort.rois is not None
    variables, measure, _ = _FAMILIES[family]
    key = _content_key(cohort, family, imaging)
    found = _memory.get(key) if folder is None else _read(_path(folder, family), key, variables, len(cohort))
    if found is not None:
        return found
    with opened(f"{family} image features", len(cohort)) as advance:
        columns = measure(cohort.images, cohort.rois, imaging, advance)
    _keep(key, family, columns, folder)
    return columns


def _content_key(cohort: SiteCohort, family: str, imaging: Imaging) -> str:
    """SHA-256 over all that the values depend on."""
    variables, _, revision = _FAMILIES[family]
    settings = imaging.model_dump(mode="json")
    parts = [_FORMAT, version("fedescc"), revision(), sorted(variables), settings, cohort.keys]
    parts += [_identity(cohort.images), _identity(cohort.rois)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _identity(array: NDArray[Any] | None) -> list[object]:
    """Of a file that is mapped as a whole, the file's; of an array in memory, the hash of its content.

    A cohort on disk is written once and then only replaced, and reading gigabytes for every run would cost more than
    the named features do.
    """
    assert array is not None
    whole: object = array.base
    if isinstance(array, np.memmap) and isinstance(whole, mmap.mmap) and array.filename is not None:
        state = Path(array.filename).stat()
        return [array.shape, state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns]
    return [array.shape, str(array.dtype), hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()]


def _path(folder: Path, family: str) -> Path:
    return folder / f"features-{family}.npz"


def _read(path: Path, key: str, variables: Collection[str], count: int) -> Columns | None:
    """Kept columns; None where there are none, they are damaged or belong to other scans."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            if stored["key"].item() != key:
                return None
            columns = {name: stored[name] for name in variables}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    whole = all(column.shape == (count,) and column.dtype == np.float64 for column in columns.values())
    return columns if whole else None


def _keep(key: str, family: str, columns: Columns, folder: Path | None) -> None:
    if folder is None:
        while len(_memory) >= _IN_MEMORY:
            del _memory[next(iter(_memory))]
        _memory[key] = columns
        return
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, key=np.array(key), **columns)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(_path(folder, family), buffer.getvalue(), mode=0o600)
    except OSError as error:
        raise Refusal(
            "cannot-keep-features",
            f"{folder}: {type(error).__name__}",
            "check free space and the permissions of the work folder",
        ) from error

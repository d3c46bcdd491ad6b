"""A site's counts of patients before training, as they travel by message or by file, and as whoever plans reads them.

On the wire a cell that the site keeps is `HIDDEN`; a file holds what the message would, so that a site that is not
connected yet can be planned for.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StrictInt

from fedescc.common.analysis import all_levels
from fedescc.common.disclosure.cells import enough, small
from fedescc.common.errors import Refusal
from fedescc.common.names import SITE_NAME
from fedescc.common.schema import SchemaViolationError, check_reply
from fedescc.common.study import Study
from fedescc.common.wire import COUNTS, Reply, Sums, installed_version
from fedescc.common.yamlfile import Strict, check_model

HIDDEN = -1
SPLITS = ("train", "validation", "test")
_LONGEST_FILE = 1_000_000


class CountsFile(Strict):
    """``counts.json``: a reply to the counts message, and nothing else."""

    format: Literal["fedescc-counts-1"] = "fedescc-counts-1"
    version: str
    site: Annotated[str, Field(pattern=f"^{SITE_NAME.pattern}$")]
    study_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    sums: dict[str, StrictInt | list[StrictInt]]
    reasons: dict[str, str]


@dataclass(frozen=True)
class Cell:
    """Patients and those with the outcome; None is what the site keeps."""

    patients: int | None
    positives: int | None

    @property
    def classes(self) -> tuple[int, int] | None:
        """Positives and negatives, where both are told."""
        if self.patients is None or self.positives is None:
            return None
        return self.positives, self.patients - self.positives


@dataclass(frozen=True)
class SiteCounts:
    """What one site told.

    Attributes:
        whole: all included patients.
        splits: `SPLITS` -> its patients under the study's fixed split.
        levels: subgroup -> level, that of missing values among them -> its training patients.
        missing: covariate -> included patients without a value.

    """

    whole: Cell
    splits: dict[str, Cell]
    levels: dict[str, dict[str, Cell]]
    missing: dict[str, int | None]


def read_counts(path: Path, study: Study) -> tuple[str, SiteCounts]:
    """The site and its counts out of a file.

    Raises:
        Refusal: ``unreadable-counts``, ``invalid-settings``, ``version-mismatch``, ``study-mismatch`` or
            ``malformed-message``; the file is named.

    """
    file = check_model(_read_json(path), CountsFile, str(path))
    if file.version != installed_version():
        what = f"{path} was written by fedescc {file.version[:20]}"
        raise Refusal("version-mismatch", what, "install the same version at the site and write it again")
    if file.study_sha256 != study.sha256:
        raise Refusal("study-mismatch", f"{path} is of another study", "give the study file that the site used")
    sums: Sums = {key: list(value) if isinstance(value, list) else value for key, value in file.sums.items()}
    reply = Reply(file.site, file.study_sha256, sums, reasons=file.reasons)
    try:
        check_reply(COUNTS, reply)
        return file.site, site_counts(study, reply)
    except (SchemaViolationError, Refusal) as error:
        what = error.what if isinstance(error, Refusal) else str(error)
        raise Refusal("malformed-message", f"{path}: {what}", "have the site write the file again") from error


def counts_document(reply: Reply) -> dict[str, Any]:
    """A reply to the counts message as the content of its file."""
    file = CountsFile(
        version=installed_version(),
        site=reply.site,
        study_sha256=reply.study_sha256,
        sums=reply.sums,  # type: ignore[arg-type] # the schema allows this message whole numbers only
        reasons=reply.reasons,
    )
    return file.model_dump(mode="json")


def site_counts(study: Study, reply: Reply) -> SiteCounts:
    """Counts out of a reply that keeps to the schema.

    Raises:
        Refusal: ``malformed-message``: something is missing or of another length, contradicts itself, or tells of
            fewer patients than the study allows.

    """
    sums, least = reply.sums, study.disclosure.min_class_count
    whole = Cell(_one(sums, "included"), _one(sums, "positives"))
    splits = dict(zip(SPLITS, _cells(sums, "split", len(SPLITS)), strict=True))
    levels: dict[str, dict[str, Cell]] = {}
    names = all_levels(study)
    for (subgroup, level), cell in zip(names, _cells(sums, "level", len(names)), strict=True):
        levels.setdefault(subgroup, {})[level] = cell
    missing = dict(zip(study.covariates, _listed(sums, "missing", len(study.covariates)), strict=True))
    _check_parts(whole, splits, least)
    for cells in levels.values():
        _check_parts(splits["train"], cells, least)
    _check_missing(missing, whole, least)
    return SiteCounts(whole, splits, levels, missing)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LONGEST_FILE:
            raise Refusal("unreadable-counts", f"{path} is too large for a file of counts", "check the path")
        text = path.read_text(encoding="utf-8")
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_no_constant)
    except (OSError, ValueError, RecursionError) as error:
        what = f"cannot read counts from {path}: {type(error).__name__}"
        raise Refusal("unreadable-counts", what, "give the file that fedescc-client counts wrote") from error
    if not isinstance(document, dict):
        raise Refusal("unreadable-counts", f"{path} holds no counts", "give the file that fedescc-client counts wrote")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(text[:20])


def _one(sums: Sums, key: str) -> int | None:
    value = sums.get(key)
    return value if isinstance(value, int) else None


def _listed(sums: Sums, key: str, length: int) -> list[int | None]:
    values = sums.get(key)
    if not isinstance(values, list) or len(values) != length:
        raise _malformed(f"{key} does not hold {length} values")
    return [None if value == HIDDEN else int(value) for value in values]


def _cells(sums: Sums, prefix: str, length: int) -> list[Cell]:
    patients, positives = (_listed(sums, f"{prefix}_{kind}", length) for kind in ("patients", "positives"))
    return [Cell(*pair) for pair in zip(patients, positives, strict=True)]


def _check_parts(whole: Cell, parts: Mapping[str, Cell], least: int) -> None:
    """Parts that make up the whole: none is small, none exceeds it, and all of them come to it."""
    for cell in (whole, *parts.values()):
        if cell.positives is not None and (cell.patients is None or cell.positives > cell.patients):
            raise _malformed("more patients have the outcome than there are")
        if small(cell.patients or 0, least) or any(small(count, least) for count in cell.classes or ()):
            raise _malformed("a count is below the study's minimum")
    for total, told in (
        (whole.patients, [cell.patients for cell in parts.values()]),
        (whole.positives, [cell.positives for cell in parts.values()]),
        (_negatives(whole), [_negatives(cell) for cell in parts.values()]),
    ):
        known = sum(count for count in told if count is not None)
        if total is not None and (known > total or (None not in told and known != total)):
            raise _malformed("parts do not come to their total")


def _negatives(cell: Cell) -> int | None:
    return None if cell.classes is None else cell.classes[1]


def _check_missing(missing: Mapping[str, int | None], whole: Cell, least: int) -> None:
    for count in missing.values():
        if count is None:
            continue
        if whole.patients is None or count > whole.patients or not enough(count, whole.patients, least):
            raise _malformed("missing values contradict the patients there are, or tell of too few")


def _malformed(what: str) -> Refusal:
    return Refusal("malformed-message", what, "check the site's version")

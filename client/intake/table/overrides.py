"""A person's decisions about single CTs, which overrule what intake would have done, and are recorded.

The file is CSV with a header line and the columns ``patient_id``, ``time_point`` (pre or post), ``action``, ``value``
and ``reader`` (who decided; further columns are free). Actions:

- ``use_series``: take this series; the value is its Series Instance UID, or its Series Number if only one has it;
- ``accept``: use the CT in spite of a finding; the value is a code of ``imaging.quality`` or ``low_similarity``. What
  compares the two CTs (``interval_unusual``, ``kernel_differs``, ``enhancement_differs``, ``low_similarity``) is a
  finding of the post CT;
- ``refuse_ct``: do not use this CT; the value is empty.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from fedescc.common.errors import Refusal
from fedescc.common.imaging import QualityCode, TimePoint

Action = Literal["use_series", "accept", "refuse_ct"]
LOW_SIMILARITY = "low_similarity"
_COLUMNS = ("patient_id", "time_point", "action", "value", "reader")
_ACCEPTABLE = frozenset({*get_args(QualityCode), LOW_SIMILARITY})


class Override(NamedTuple):
    """One decision; ``value`` as the module says. ``reader`` is a name: for the local record alone."""

    time_point: TimePoint
    action: Action
    value: str
    reader: str = ""

    @property
    def note(self) -> str:
        """What is counted of it: never the series' UID, nor who decided."""
        return self._note("override")

    @property
    def unused_note(self) -> str:
        """What is counted of one that had no effect: the finding was not there, or does not exclude."""
        return self._note("override_unused")

    def _note(self, word: str) -> str:
        shown = f":{self.value}" if self.action == "accept" else ""
        return f"{self.time_point}:{word}:{self.action}{shown}"


Overrides = dict[str, tuple[Override, ...]]


def read_overrides(path: Path) -> Overrides:
    """Decisions by patient identifier.

    Raises:
        Refusal: unreadable-overrides, missing-column, invalid-override (with its line), contradicting-overrides.

    """
    found: defaultdict[str, list[Override]] = defaultdict(list)
    for number, cells in _lines(path):
        override = _override(path, number, cells)
        others = found[cells["patient_id"]]
        if override.action != "accept" and any(_same_question(override, other) for other in others):
            raise Refusal(
                "contradicting-overrides",
                f"{path.name}, line {number}: a second decision about the same CT",
                "keep one use_series or refuse_ct a patient and time point",
            )
        others.append(override)
    return {patient: tuple(overrides) for patient, overrides in found.items()}


def accepted(overrides: tuple[Override, ...], time_point: TimePoint) -> frozenset[str]:
    """The findings that a person accepts at one time point."""
    return frozenset(one.value for one in overrides if one.time_point == time_point and one.action == "accept")


def _lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            absent = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if absent:
                raise Refusal(
                    "missing-column",
                    f"{path.name} has no column {absent[0]!r}",
                    f"give it the columns {', '.join(_COLUMNS)}",
                )
            for row in reader:
                yield reader.line_num, {name: (row[name] or "").strip() for name in _COLUMNS}
    except (OSError, UnicodeError, csv.Error) as error:
        raise Refusal(
            "unreadable-overrides",
            f"cannot read {path}: {type(error).__name__}",
            "check images.overrides; the file is CSV in UTF-8",
        ) from error


def _override(path: Path, number: int, cells: dict[str, str]) -> Override:
    faults = {
        "patient_id is empty": not cells["patient_id"],
        "reader is empty": not cells["reader"],
        f"time_point is none of {', '.join(get_args(TimePoint))}": cells["time_point"] not in get_args(TimePoint),
        f"action is none of {', '.join(get_args(Action))}": cells["action"] not in get_args(Action),
        f"accept takes one of {', '.join(sorted(_ACCEPTABLE))}": (
            cells["action"] == "accept" and cells["value"] not in _ACCEPTABLE
        ),
        "use_series takes a Series Instance UID or a Series Number": (
            cells["action"] == "use_series" and not cells["value"]
        ),
        "refuse_ct takes no value": cells["action"] == "refuse_ct" and bool(cells["value"]),
    }
    if fault := next((text for text, applies in faults.items() if applies), None):
        raise Refusal("invalid-override", f"{path.name}, line {number}: {fault}", "correct the line or remove it")
    point, action, value, reader = (cells[name] for name in _COLUMNS[1:])
    return Override(point, action, value, reader)  # type: ignore[arg-type] # checked above


def _same_question(one: Override, other: Override) -> bool:
    return one.time_point == other.time_point and other.action != "accept"

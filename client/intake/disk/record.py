"""What intake found out about each patient, for the hospital's own eyes.

``<work>/records/<study>.json`` (mode 0600) names series by UID and folder, as the worklist and the site's page need
them. It lies apart from the cache, which names nobody, and nothing of it is ever sent.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from fedescc.client.imaging.volumes.series import Series
from fedescc.client.intake.disk.parts import Part
from fedescc.client.intake.timepoints import Candidates
from fedescc.common.files import write_atomically
from fedescc.common.study import TimePoint

CHOSEN = "chosen"
NOT_USED = "no_time_point"


@dataclass(frozen=True)
class SeriesEntry:
    """One series of a patient and what became of it: ``code`` is ``chosen`` or why it was not.

    ``time_point`` is None for a series that no time point took; ``folder`` is relative to the CT export.
    """

    time_point: TimePoint | None
    uid: str
    number: int | None
    folder: str
    code: str


@dataclass(frozen=True)
class PatientRecord:
    """Findings and choices of one patient; see `Part`."""

    notes: tuple[str, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)
    propagated: bool | None = None
    series: tuple[SeriesEntry, ...] = ()


def patient_record(
    series: Iterable[Series], candidates: Mapping[TimePoint, Candidates], part: Part | None
) -> PatientRecord:
    """The record of a patient whose part was made; without one, as far as headers tell."""
    taken: dict[int, SeriesEntry] = {}
    for time_point, found in candidates.items():
        lost = {place: code for point, place, code in part.lost if point == time_point} if part else {}
        chosen = part.chosen.get(time_point) if part else None
        for place, one in enumerate(found.series):
            code = CHOSEN if place == chosen else lost.get(place, "not_tried")
            taken[id(one)] = _entry(time_point, one, code)
    rejected = [(rejection, point) for point, found in candidates.items() for rejection in found.rejected]
    for rejection, time_point in rejected:
        # A series out of one time point's window may be the other's; its own faults hold for both.
        own = rejection.code in rejection.series.reasons
        point = None if own or rejection.code == "outside_window" else time_point
        code = rejection.code if rejection.code != "outside_window" else NOT_USED
        taken.setdefault(id(rejection.series), _entry(point, rejection.series, code))
    for one in series:
        taken.setdefault(id(one), _entry(None, one, (*one.reasons, NOT_USED)[0]))
    entries = tuple(taken[id(one)] for one in series)
    if part is None:
        return PatientRecord(series=entries)
    return PatientRecord(part.notes, part.measures, part.propagated, entries)


def notes(records: Iterable[PatientRecord]) -> dict[str, int]:
    """How many patients have each finding that excludes nobody, as ``post:noisy``."""
    return dict(sorted(Counter(note for record in records for note in set(record.notes)).items()))


def write_records(work: Path, study: str, key: str, records: Mapping[str, PatientRecord]) -> None:
    """Keep the records that belong to the cohort of this content key.

    Raises:
        OSError: no space, or no permission.

    """
    path = _path(work, study)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    document = {"key": key, "patients": {patient: asdict(record) for patient, record in records.items()}}
    write_atomically(path, json.dumps(document, ensure_ascii=False).encode(), mode=0o600)


def read_records(work: Path, study: str, key: str) -> dict[str, PatientRecord] | None:
    """The records by salted key; None where there are none of this content key."""
    try:
        document = json.loads(_path(work, study).read_bytes())
        if document["key"] != key:
            return None
        return {patient: _record(values) for patient, values in document["patients"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _path(work: Path, study: str) -> Path:
    return work / "records" / f"{study}.json"


def _entry(time_point: TimePoint | None, series: Series, code: str) -> SeriesEntry:
    first = series.rows[0]
    return SeriesEntry(time_point, series.uid, first.series_number, str(PurePosixPath(first.file).parent), code)


def _record(values: dict[str, Any]) -> PatientRecord:
    series = tuple(SeriesEntry(**entry) for entry in values["series"])
    return PatientRecord(tuple(values["notes"]), values["measures"], values["propagated"], series)

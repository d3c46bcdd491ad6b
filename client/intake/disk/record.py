"""What intake found out about each patient, for the hospital's own eyes.

``<work>/records/<study>.json`` (mode 0600) names series by UID and folder, as the worklist and the site's page need
them. It lies apart from the cache, which names nobody, and nothing of it is ever sent.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from fedescc.client.imaging.volumes.series import Series
from fedescc.client.intake.disk.parts import Part
from fedescc.client.intake.table.overrides import Override
from fedescc.client.intake.timepoints import Candidates
from fedescc.common.files import write_atomically
from fedescc.common.imaging import TimePoint

CHOSEN = "chosen"
NOT_TRIED = "not_tried"
NOT_USED = "no_time_point"
_OUTSIDE = "outside_window"
# Said of all a patient's other series, so that what else is known of one tells more; the last of these tells least.
_BY_READER = ("not_chosen_by_reader", "refused_by_reader")
_BY_DATE = (_OUTSIDE, "no_study_date")


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
class OverrideEntry:
    """A person's decision about the patient: `Override.note`, who decided, and whether it changed anything."""

    note: str
    reader: str
    used: bool


@dataclass(frozen=True)
class PatientRecord:
    """Findings, decisions and choices of one patient; see `Part`. Nothing of it leaves the hospital."""

    notes: tuple[str, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)
    propagated: bool | None = None
    series: tuple[SeriesEntry, ...] = ()
    overrides: tuple[OverrideEntry, ...] = ()


def patient_record(
    series: Iterable[Series],
    candidates: Mapping[TimePoint, Candidates],
    part: Part | None,
    overrides: Sequence[Override] = (),
) -> PatientRecord:
    """The record of a patient whose part was made; without one, as far as headers tell.

    Of each series it keeps what tells most: chosen; else what another candidate was better by, or that nothing was
    tried; else why no time point's candidate: the series' own fault, another study or a damaged file, a reader's
    decision; and last that it is outside all windows, or has no date.

    Args:
        series: the patient's.
        candidates: what each time point made of them.
        part: None where the patient was not prepared.
        overrides: a person's decisions. ``refuse_ct`` always counts as used, the others where the part says so;
            ``override_unused`` is noted of others where the patient was prepared.

    """
    verdicts: defaultdict[int, list[_Verdict]] = defaultdict(list)
    for time_point, found in candidates.items():
        for one, verdict in _verdicts(time_point, found, part):
            verdicts[id(one)].append(verdict)
    entries = tuple(_entry(one, verdicts[id(one)], len(candidates)) for one in series)
    used = [_used(one, candidates, part) for one in overrides]
    noted = dict.fromkeys(part.notes if part else ())
    for override, effective in zip(overrides, used, strict=True):
        if effective:
            noted[override.note] = None
        elif part is not None and part.chosen:
            noted[override.unused_note] = None
    return PatientRecord(
        notes=tuple(noted),
        measures=part.measures if part else {},
        propagated=part.propagated if part else None,
        series=entries,
        overrides=tuple(
            OverrideEntry(one.note, one.reader, effect) for one, effect in zip(overrides, used, strict=True)
        ),
    )


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


class _Verdict(NamedTuple):
    """What one time point says of a series; the lowest rank tells most."""

    rank: int
    time_point: TimePoint | None
    code: str


def _verdicts(time_point: TimePoint, found: Candidates, part: Part | None) -> Iterator[tuple[Series, _Verdict]]:
    lost = {place: code for point, place, code in part.lost if point == time_point} if part else {}
    chosen = part.chosen.get(time_point) if part else None
    for place, one in enumerate(found.series):
        code = CHOSEN if place == chosen else lost.get(place, NOT_TRIED)
        yield one, _Verdict(0 if code == CHOSEN else 1, time_point, code)
    for one, code in found.rejected:
        if code in one.reasons:  # the series' own fault holds at both time points
            yield one, _Verdict(2, None, code)
        elif code in _BY_READER:
            yield one, _Verdict(4, time_point, code)
        elif code in _BY_DATE:
            yield one, _Verdict(5 + _BY_DATE.index(code), None, code)
        else:
            yield one, _Verdict(3, time_point, code)


def _entry(series: Series, verdicts: Sequence[_Verdict], time_points: int) -> SeriesEntry:
    nothing = _Verdict(2, None, (*series.reasons, NOT_USED)[0])
    _, point, code = min(verdicts, key=lambda verdict: verdict.rank, default=nothing)
    if code == _OUTSIDE and len(verdicts) < time_points:  # the other's window is not known
        code = NOT_USED
    first = series.rows[0]
    return SeriesEntry(point, series.uid, first.series_number, str(PurePosixPath(first.file).parent), code)


def _used(override: Override, candidates: Mapping[TimePoint, Candidates], part: Part | None) -> bool:
    if override.action == "refuse_ct":
        return override.time_point in candidates
    return part is not None and override.note in part.notes


def _record(values: dict[str, Any]) -> PatientRecord:
    series = tuple(SeriesEntry(**entry) for entry in values["series"])
    overrides = tuple(OverrideEntry(**entry) for entry in values["overrides"])
    return PatientRecord(tuple(values["notes"]), values["measures"], values["propagated"], series, overrides)

"""Which CT belongs to which patient and time point."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from fedescc.client.imaging.header import DicomRow, top_folder
from fedescc.client.imaging.series import Series
from fedescc.client.intake.cells import Value
from fedescc.client.intake.clinical import PatientRow
from fedescc.client.intake.eligibility import Finding
from fedescc.client.site import Images
from fedescc.common.errors import Refusal
from fedescc.common.study import Study, TimePoint

# A series refused for one of these is no scan of the chest at all: it neither counts as a CT nor spoils one.
_NO_SCAN = frozenset(
    {
        "modality_not_ct",
        "no_pixel_data",
        "not_ct_image",
        "secondary_capture",
        "localizer",
        "derived_reformat",
        "non_axial",
        "too_few_slices",
    }
)
_DICOM_DATE = re.compile(r"\d{8}", re.ASCII)
# A reconstruction of less than this part of the longest one is a detail of it.
_DETAIL_FRACTION = 0.5

Drawn = Callable[[TimePoint, Series], bool]


class Matched(NamedTuple):
    """Series by salted key; keys whose CTs another patient claims too; number of series that nobody claims."""

    by_key: dict[str, list[Series]]
    contested: frozenset[str]
    unclaimed: int


@dataclass(frozen=True)
class Choice:
    """The CT of one time point: an accepted series, or why there is none."""

    finding: Finding
    series: Series | None = None
    study_date: date | None = None
    refusals: tuple[str, ...] = ()


def match_series(series: Iterable[Series], patients: Mapping[str, PatientRow], images: Images) -> Matched:
    """Link every series to the patient that the site's table names for it.

    By PatientID (0010,0020), by AccessionNumber (0008,0050) out of the table's columns, or by the topmost folder of
    the export, named like the patient. A series that fits two patients, or of which some files fit a patient and
    others do not, is given to nobody.

    Args:
        series: volumes of the export.
        patients: salted key -> row of the table.
        images: how the site matches.

    """
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for key, row in patients.items():
        for name in row.accessions if images.match == "accession" else (row.patient_id,):
            owners[name].add(key)
    by_key: defaultdict[str, list[Series]] = defaultdict(list)
    contested: set[str] = set()
    unclaimed = 0
    for one in series:
        claims = [owners.get(name, set()) for name in {_name(row, images) for row in one.rows}]
        keys = set[str]().union(*claims)
        if len(keys) == 1 and all(claims):
            by_key[next(iter(keys))].append(one)
        else:
            contested |= keys
        unclaimed += not keys
    return Matched(dict(by_key), frozenset(contested), unclaimed)


def _name(row: DicomRow, images: Images) -> str:
    if images.match == "patient_id":
        return row.patient_id
    return row.accession_number if images.match == "accession" else top_folder(row.file)


def choose_series(
    study: Study, values: Mapping[str, Value], series: Iterable[Series], drawn: Drawn
) -> dict[TimePoint, Choice]:
    """The CT of each time point by StudyDate (0008,0020).

    pre: the latest study not after first_dose_date. post: the latest study after last_dose_date and before
    surgery_date. A study is passed over where an earlier one in the same window has an accepted series and it has
    none. Of a study's accepted series those with a drawn ROI are kept if there are any, then those that cover less
    than half of the longest are set aside; contrast-enhanced goes before plain, thin before thick (to 0.1 mm), long
    before short (to 1 mm), and last the lowest series number and UID.

    Args:
        study: names the time points.
        values: the patient's dates.
        series: all that was linked to the patient.
        drawn: whether a mask file was drawn on a series.

    Raises:
        Refusal: the study has two time points and no dates to tell them apart.

    """
    assert study.imaging is not None
    _check_dates(study)
    scans = [(one, _study_date(one)) for one in series if not _NO_SCAN & set(one.reasons)]
    return {time_point: _choose(time_point, study, values, scans, drawn) for time_point in study.imaging.time_points}


def _check_dates(study: Study) -> None:
    assert study.imaging is not None
    needed = {"first_dose_date", "last_dose_date", "surgery_date"}
    if len(study.imaging.time_points) > 1 and not needed <= study.variables.keys():
        raise Refusal(
            "study-without-dates",
            f"study {study.name} has pre and post CTs and nothing that tells them apart",
            f"record {', '.join(sorted(needed))} in the study",
        )


def _choose(
    time_point: TimePoint,
    study: Study,
    values: Mapping[str, Value],
    scans: list[tuple[Series, date | None]],
    drawn: Drawn,
) -> Choice:
    if not scans:
        return Choice("none")
    names = ("first_dose_date",) if time_point == "pre" else ("last_dose_date", "surgery_date")
    bounds = [name for name in names if name in study.variables]
    dated = [(one, day) for one, day in scans if day is not None]
    if bounds and (not dated or any(name not in values for name in bounds)):
        return Choice("unknown")
    in_window = [(one, day) for one, day in dated if _in_window(time_point, day, values)] if bounds else scans
    return _best(time_point, in_window, drawn) if in_window else Choice("none")


def _in_window(time_point: TimePoint, day: date, values: Mapping[str, Value]) -> bool:
    first, last, surgery = (values.get(name) for name in ("first_dose_date", "last_dose_date", "surgery_date"))
    if time_point == "pre":
        return not isinstance(first, date) or day <= first
    return (not isinstance(last, date) or last < day) and (not isinstance(surgery, date) or day < surgery)


def _best(time_point: TimePoint, scans: Iterable[tuple[Series, date | None]], drawn: Drawn) -> Choice:
    by_day = sorted(((day or date.min, one) for one, day in scans), key=lambda scan: scan[0])
    accepted = [(day, one) for day, one in by_day if not one.reasons]
    if not accepted:
        latest = by_day[-1][1]
        return Choice("found", None, _study_date(latest), latest.reasons)
    candidates = [one for day, one in accepted if day == accepted[-1][0]]
    if len(candidates) > 1:
        candidates = [one for one in candidates if drawn(time_point, one)] or candidates
    longest = max(_coverage_mm(one) for one in candidates)
    candidates = [one for one in candidates if _coverage_mm(one) >= _DETAIL_FRACTION * longest]
    best = min(candidates, key=_preference)
    return Choice("found", best, _study_date(best))


def _preference(series: Series) -> tuple[bool, float, float, int, str]:
    assert series.geometry is not None
    row = series.rows[0]
    number = row.series_number if row.series_number is not None else 2**31
    thickness = round(series.geometry.spacing_zyx_mm[0], 1)
    return not row.contrast_agent, thickness, -round(_coverage_mm(series)), number, series.uid


def _coverage_mm(series: Series) -> float:
    assert series.geometry is not None
    return series.geometry.shape_zyx[0] * series.geometry.spacing_zyx_mm[0]


def _study_date(series: Series) -> date | None:
    text = series.rows[0].study_date
    if not _DICOM_DATE.fullmatch(text):  # strptime would also take 2024115, and guess
        return None
    try:
        return datetime.strptime(text, "%Y%m%d").date()
    except ValueError:
        return None

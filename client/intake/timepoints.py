"""Which of a patient's CTs may be the one before treatment and the one before surgery."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from fedescc.client.imaging.headers.header import DicomRow, top_folder
from fedescc.client.imaging.volumes.series import DAMAGED_NEARBY, Series
from fedescc.client.intake.eligibility import Finding
from fedescc.client.intake.table.cells import Value
from fedescc.client.intake.table.clinical import PatientRow
from fedescc.client.intake.table.overrides import Override
from fedescc.client.site import Images
from fedescc.common.errors import Refusal
from fedescc.common.imaging import TimePoint
from fedescc.common.study import Study

# A series refused for one of these is no scan of the chest at all: it neither counts as a CT nor spoils one.
_NO_SCAN = frozenset(
    [
        *("modality_not_ct", "no_pixel_data", "not_ct_image", "secondary_capture", "screen_save", "dose_report"),
        *("localizer", "bolus_tracking", "derived_reformat", "non_axial", "too_few_slices"),
        *("perfusion_map", "pixel_arithmetic", "material_map", "monoenergetic"),
    ]
)
_DICOM_DATE = re.compile(r"\d{8}", re.ASCII)


Drawn = Callable[[Series], bool]


class Matched(NamedTuple):
    """Series by salted key; keys whose CTs another patient claims too; number of series that nobody claims."""

    by_key: dict[str, list[Series]]
    contested: frozenset[str]
    unclaimed: int


class Rejected(NamedTuple):
    """A series that is not used at a time point, and the code why."""

    series: Series
    code: str


@dataclass(frozen=True)
class Candidates:
    """The CT of one time point as far as headers tell.

    Attributes:
        finding: whether there is one.
        series: the accepted series of its study, one of which will be used.
        study_date: its day.
        refusals: why none of its series can be used.
        rejected: the patient's other series and what was against each.

    """

    finding: Finding
    series: tuple[Series, ...] = ()
    study_date: date | None = None
    refusals: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = ()


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


def find_candidates(
    study: Study,
    values: Mapping[str, Value],
    series: Sequence[Series],
    overrides: Iterable[Override] = (),
    drawn: Drawn = lambda _: False,
) -> dict[TimePoint, Candidates]:
    """The series that may be each time point's, by StudyDate (0008,0020).

    pre: the latest study not after first_dose_date. post: the latest study after last_dose_date and before
    surgery_date. A study is passed over where an earlier one in the same window has an accepted series and it has
    none; before treatment also where the baseline ROI was drawn on an earlier one, such as the chest CT before a
    later one of the head. After treatment a drawing decides nothing: who has one may depend on the outcome.

    A person's ``use_series`` puts the series that it names in place of all that, by UID also one outside the window:
    the chronology rule judges its date.

    Codes of rejected series: those of `group_series`, and no_study_date, outside_window, earlier_study, corrupt_file,
    not_chosen_by_reader, refused_by_reader.

    Args:
        study: names the time points.
        values: the patient's dates.
        series: all that was linked to the patient.
        overrides: a person's decisions about this patient.
        drawn: whether the baseline ROI was drawn on a series.

    Raises:
        Refusal: the study has two time points and no dates to tell them apart.

    """
    assert study.imaging is not None
    _check_dates(study)
    decisions = {one.time_point: one for one in overrides if one.action != "accept"}
    return {
        time_point: _decided(decisions[time_point], series, values)
        if time_point in decisions
        else _find(time_point, study, values, series, drawn if time_point == "pre" else None)
        for time_point in study.imaging.time_points
    }


def _check_dates(study: Study) -> None:
    assert study.imaging is not None
    needed = {"first_dose_date", "last_dose_date", "surgery_date"}
    if len(study.imaging.time_points) > 1 and not needed <= study.variables.keys():
        raise Refusal(
            "study-without-dates",
            f"study {study.name} has pre and post CTs and nothing that tells them apart",
            f"record {', '.join(sorted(needed))} in the study",
        )


def _decided(decision: Override, series: Sequence[Series], values: Mapping[str, Value]) -> Candidates:
    """What a person decided about a time point's CT."""
    if decision.action == "refuse_ct":
        rejected = tuple(Rejected(one, "refused_by_reader") for one in series)
        return Candidates("found", refusals=("refused_by_reader",), rejected=rejected)
    named = [one for one in series if decision.value == one.uid] or _numbered(decision, series, values)
    scans = [one for one in named if not _NO_SCAN & set(one.reasons)]
    if len(scans) != 1:
        several = "override_names_several_series" if scans else "override_names_no_usable_series"
        return Candidates("found", refusals=(*(code for one in named for code in one.reasons), several))
    (chosen,) = scans
    faults = chosen.reasons + (("corrupt_file",) if DAMAGED_NEARBY in chosen.warnings else ())
    if faults:
        return Candidates("found", refusals=faults)
    others = tuple(Rejected(one, "not_chosen_by_reader") for one in series if one is not chosen)
    return Candidates("found", (chosen,), study_date(chosen), rejected=others)


def _numbered(decision: Override, series: Sequence[Series], values: Mapping[str, Value]) -> list[Series]:
    """Series of this number in the time point's window: every study counts its series anew."""
    dated = [(one, study_date(one)) for one in series if str(one.rows[0].series_number) == decision.value]
    return [one for one, day in dated if day is not None and _in_window(decision.time_point, day, values)]


def _find(
    time_point: TimePoint, study: Study, values: Mapping[str, Value], series: Sequence[Series], drawn: Drawn | None
) -> Candidates:
    no_scans = tuple(Rejected(one, one.reasons[0]) for one in series if _NO_SCAN & set(one.reasons))
    scans = [(one, study_date(one)) for one in series if not _NO_SCAN & set(one.reasons)]
    if not scans:
        return Candidates("none", rejected=no_scans)
    names = ("first_dose_date",) if time_point == "pre" else ("last_dose_date", "surgery_date")
    bounds = [name for name in names if name in study.variables]
    dated = [(one, day) for one, day in scans if day is not None]
    if bounds and (not dated or any(name not in values for name in bounds)):
        return Candidates("unknown", rejected=no_scans)
    in_window = [(one, day) for one, day in dated if _in_window(time_point, day, values)] if bounds else scans
    inside = {id(one) for one, _ in in_window}
    outside = tuple(
        Rejected(one, "outside_window" if day else "no_study_date") for one, day in scans if id(one) not in inside
    )
    if not in_window:
        return Candidates("none", rejected=no_scans + outside)
    return _latest(in_window, no_scans + outside, drawn)


def _in_window(time_point: TimePoint, day: date, values: Mapping[str, Value]) -> bool:
    first, last, surgery = (values.get(name) for name in ("first_dose_date", "last_dose_date", "surgery_date"))
    if time_point == "pre":
        return not isinstance(first, date) or day <= first
    return (not isinstance(last, date) or last < day) and (not isinstance(surgery, date) or day < surgery)


def _latest(
    scans: Iterable[tuple[Series, date | None]], rejected: tuple[Rejected, ...], drawn: Drawn | None
) -> Candidates:
    """The accepted series of the latest day that has any, or any that was drawn on."""
    by_day = sorted(((day or date.min, one) for one, day in scans), key=lambda scan: scan[0])
    refused = tuple(Rejected(one, one.reasons[0]) for _, one in by_day if one.reasons)
    accepted = [(day, one) for day, one in by_day if not one.reasons]
    if not accepted:
        latest = by_day[-1][1]
        return Candidates("found", (), study_date(latest), latest.reasons, rejected + refused)
    last = accepted[-1][0]
    if drawn and len({day for day, _ in accepted}) > 1:
        last = max((day for day, one in accepted if drawn(one)), default=last)
    earlier = tuple(
        Rejected(one, "earlier_study" if day < last else "not_drawn_on") for day, one in accepted if day != last
    )
    candidates = [one for day, one in accepted if day == last]
    # A series beside a damaged file may be one slice short and look whole.
    whole = tuple(one for one in candidates if DAMAGED_NEARBY not in one.warnings)
    damaged = tuple(Rejected(one, "corrupt_file") for one in candidates if DAMAGED_NEARBY in one.warnings)
    faults = () if whole else ("corrupt_file",)
    return Candidates("found", whole, study_date(candidates[0]), faults, rejected + refused + earlier + damaged)


def study_date(series: Series) -> date | None:
    """StudyDate (0008,0020); None where there is none, or one that DICOM does not allow."""
    text = series.rows[0].study_date
    if not _DICOM_DATE.fullmatch(text):  # strptime would also take 2024115, and guess
        return None
    try:
        return datetime.strptime(text, "%Y%m%d").date()
    except ValueError:
        return None

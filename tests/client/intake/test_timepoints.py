"""Which CT belongs to which patient and time point."""

import dataclasses
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fedescc.client.imaging.headers.index import index_folder
from fedescc.client.imaging.volumes.series import Series, group_series
from fedescc.client.intake.table.clinical import PatientRow
from fedescc.client.intake.table.overrides import Override
from fedescc.client.intake.timepoints import Candidates, find_candidates, match_series
from fedescc.client.site import Images
from fedescc.common.errors import Refusal
from fedescc.common.imaging import TimePoint
from fedescc.common.study import Study, read_study

ESCC = read_study("escc-pcr")
DATES: dict[str, Any] = {
    "first_dose_date": date(2024, 1, 10),
    "last_dose_date": date(2024, 3, 1),
    "surgery_date": date(2024, 4, 1),
}
Make = Callable[..., Series]


@pytest.fixture
def template(tmp_path: Path, ct_series: Callable[..., list[Path]]) -> Series:
    """One accepted series, 20 slices 2 mm apart, that the tests change in memory."""
    ct_series(tmp_path, np.zeros((20, 4, 4), np.uint16))
    (series,) = group_series(index_folder(tmp_path).rows)
    return series


@pytest.fixture
def make(template: Series) -> Make:
    def change(
        uid: str = "1", reasons: tuple[str, ...] = (), gap: float = 2.0, slices: int = 20, **header: Any
    ) -> Series:
        assert template.geometry is not None
        rows = tuple(row._replace(**header) for row in template.rows[:slices])
        geometry = dataclasses.replace(
            template.geometry,
            shape_zyx=(slices, 4, 4),
            spacing_zyx_mm=(gap, *template.geometry.spacing_zyx_mm[1:]),
        )
        return Series(uid, rows, None if reasons else geometry, reasons, ())

    return change


def choose(
    series: list[Series], study: Study = ESCC, overrides: tuple[Override, ...] = (), **values: Any
) -> dict[TimePoint, Candidates]:
    known = {name: value for name, value in (DATES | values).items() if value is not None}
    return find_candidates(study, known, series, overrides)


def uid(found: Candidates) -> str | None:
    return found.series[0].uid if len(found.series) == 1 else None


def why(found: Candidates) -> dict[str, str]:
    return {one.series.uid: one.code for one in found.rejected}


def test_pre_is_the_latest_study_up_to_the_first_dose(make: Make) -> None:
    days = ["20231201", "20240110", "20240111", "20240115"]
    chosen = choose([make(day, study_date=day) for day in days])["pre"]
    assert (chosen.finding, uid(chosen), chosen.study_date) == ("found", "20240110", date(2024, 1, 10))


def test_post_is_the_latest_study_between_last_dose_and_surgery(make: Make) -> None:
    days = ["20240110", "20240301", "20240302", "20240331", "20240401", "20240501"]
    chosen = choose([make(day, study_date=day) for day in days])["post"]
    assert (chosen.finding, uid(chosen), chosen.study_date) == ("found", "20240331", date(2024, 3, 31))


@pytest.mark.parametrize(
    ("days", "pre", "post"),
    [
        ([], "none", "none"),
        (["20240111"], "none", "none"),
        (["20240301", "20240401"], "none", "none"),
        (["20240101"], "found", "none"),
        (["20240302"], "none", "found"),
        (["", "2024"], "unknown", "unknown"),
        (["", "20240101"], "found", "none"),
    ],
)
def test_findings(make: Make, days: list[str], pre: str, post: str) -> None:
    chosen = choose([make(str(k), study_date=day) for k, day in enumerate(days)])
    assert (chosen["pre"].finding, chosen["post"].finding) == (pre, post)


@pytest.mark.parametrize(
    ("missing", "pre", "post"),
    [
        ("first_dose_date", "unknown", "found"),
        ("last_dose_date", "found", "unknown"),
        ("surgery_date", "found", "unknown"),
    ],
)
def test_without_its_dates_a_time_point_is_unknown(make: Make, missing: str, pre: str, post: str) -> None:
    series = [make("1", study_date="20240105"), make("2", study_date="20240320")]
    chosen = choose(series, **{missing: None})
    assert (chosen["pre"].finding, chosen["post"].finding) == (pre, post)


def test_a_refused_series_is_a_ct_of_poor_quality_unless_an_accepted_one_exists(make: Make) -> None:
    good, bad = make("good", study_date="20240101"), make("bad", ("missing_slices",), study_date="20240105")
    assert uid(choose([good, bad])["pre"]) == "good"
    alone = choose([bad])["pre"]
    assert (alone.finding, alone.series, alone.refusals) == ("found", (), ("missing_slices",))
    assert why(alone) == {"bad": "missing_slices"}


@pytest.mark.parametrize(
    "code",
    ["localizer", "modality_not_ct", "derived_reformat", "non_axial", "bolus_tracking", "material_map", "screen_save"],
)
def test_what_is_no_scan_does_not_count_as_a_ct(make: Make, code: str) -> None:
    assert choose([make("1", (code,), study_date="20240101")])["pre"].finding == "none"


@pytest.mark.parametrize("text", ["2024115", "202411", "2024.01.05", "20240105 ", "２０２４０１０５", "20240230"])
def test_what_is_no_dicom_date_is_not_guessed(make: Make, text: str) -> None:
    assert choose([make("1", study_date=text)])["pre"].finding == "unknown"


def test_a_study_with_pre_alone_needs_no_dates(make: Make) -> None:
    data = yaml.safe_load(ESCC.to_yaml())
    data["imaging"]["time_points"] = ["pre"]
    data["eligibility"] = {}
    for name in DATES:
        del data["recorded"][name]
    chosen = choose([make("1", study_date=""), make("2", study_date="20240105")], Study.model_validate(data))
    assert uid(chosen["pre"]) == "2"
    assert why(chosen["pre"]) == {"1": "earlier_study"}
    data["imaging"]["time_points"] = ["pre", "post"]
    with pytest.raises(Refusal, match="study-without-dates"):
        choose([], Study.model_validate(data))


def test_every_series_of_the_day_is_a_candidate_and_the_others_are_told_why_not(make: Make) -> None:
    series = [
        make("localizer", ("localizer",), study_date="20240105"),
        make("a", study_date="20240105"),
        make("b", study_date="20240105"),
        make("gap", ("missing_slices",), study_date="20240105"),
        make("older", study_date="20231201"),
        make("undated", study_date=""),
        make("late", study_date="20240320"),
    ]
    found = choose(series)
    assert [one.uid for one in found["pre"].series] == ["a", "b"]
    assert why(found["pre"]) == {
        "localizer": "localizer",
        "gap": "missing_slices",
        "older": "earlier_study",
        "undated": "no_study_date",
        "late": "outside_window",
    }


def test_a_series_beside_damaged_files_gives_way_to_a_whole_one_of_the_day(make: Make) -> None:
    whole = make("whole", study_date="20240105")
    damaged = dataclasses.replace(make("damaged", study_date="20240105"), warnings=("damaged_files_nearby",))
    found = choose([damaged, whole])["pre"]
    assert (uid(found), why(found)) == ("whole", {"damaged": "corrupt_file"})
    alone = choose([damaged, make("older", study_date="20231201")])["pre"]
    assert (alone.series, alone.refusals) == ((), ("corrupt_file",)), "an older CT is not put in its place in silence"


def use(value: str) -> tuple[Override, ...]:
    return (Override("pre", "use_series", value),)


def test_a_reader_chooses_by_uid_also_outside_the_window_and_by_number_within_it(make: Make) -> None:
    series = [
        make("1.2.3", study_date="20240105", series_number=4),
        make("1.2.4", study_date="20240320", series_number=4),
    ]
    for value, name in (("1.2.3", "1.2.3"), ("4", "1.2.3"), ("1.2.4", "1.2.4")):
        found = choose(series, overrides=use(value))["pre"]
        assert uid(found) == name
        assert set(why(found).values()) == {"not_chosen_by_reader"}
    assert choose(series, overrides=use("1.2.4"))["pre"].study_date == date(2024, 3, 20)


def test_a_number_that_two_studies_of_the_window_have_is_ambiguous(make: Make) -> None:
    """Also where one of the two cannot be used: it may be the one that was meant."""
    for reasons in ((), ("missing_slices",)):
        series = [
            make("a", study_date="20240105", series_number=3),
            make("b", reasons, study_date="20220105", series_number=3),
        ]
        found = choose(series, overrides=use("3"))["pre"]
        assert (found.series, found.refusals[-1]) == ((), "override_names_several_series")


def test_a_reader_cannot_choose_what_geometry_refuses_or_nobody_has(make: Make) -> None:
    series = [make("gap", ("missing_slices",), study_date="20240105"), make("ok", study_date="20240105")]
    refused = choose(series, overrides=use("gap"))["pre"]
    assert (refused.series, refused.refusals) == ((), ("missing_slices",))
    assert choose(series, overrides=use("9"))["pre"].refusals == ("override_names_no_usable_series",)
    twins = [make("same", study_date="20240105"), make("same", study_date="20240105")]
    assert choose(twins, overrides=use("same"))["pre"].refusals == ("override_names_several_series",)
    scout = [make("same", ("localizer",), study_date="20240105"), make("same", study_date="20240105")]
    assert uid(choose(scout, overrides=use("same"))["pre"]) == "same", "a localizer in the series was not meant"
    damaged = dataclasses.replace(make("cut", study_date="20240105"), warnings=("damaged_files_nearby",))
    assert choose([damaged], overrides=use("cut"))["pre"].refusals == ("corrupt_file",)


def test_the_study_that_was_drawn_on_goes_before_a_later_one_before_treatment_alone(make: Make) -> None:
    chest, head = make("chest", study_date="20240102"), make("head", study_date="20240105")
    known = dict(DATES)

    def found(drawn: str) -> Candidates:
        return find_candidates(ESCC, known, [chest, head], (), lambda one: one.uid == drawn)["pre"]

    assert (uid(found("chest")), why(found("chest"))) == ("chest", {"head": "not_drawn_on"})
    assert (uid(found("")), why(found(""))) == ("head", {"chest": "earlier_study"})
    assert uid(found("head")) == "head"
    early, late = make("early", study_date="20240310"), make("late", study_date="20240320")
    after = find_candidates(ESCC, known, [early, late], (), lambda one: one.uid == "early")["post"]
    assert uid(after) == "late"


def test_a_reader_refuses_a_ct(make: Make) -> None:
    found = choose([make("1", study_date="20240105")], overrides=(Override("pre", "refuse_ct", ""),))["pre"]
    assert (found.finding, found.series, found.refusals) == ("found", (), ("refused_by_reader",))
    accepted = choose([make("1", study_date="20240105")], overrides=(Override("pre", "accept", "noisy"),))["pre"]
    assert uid(accepted) == "1"


def rows(**accessions: tuple[str, ...]) -> dict[str, PatientRow]:
    return {f"key-{name}": PatientRow(name, {}, accessions=numbers) for name, numbers in accessions.items()}


def test_matching_by_patient_id(make: Make) -> None:
    series = [
        make("1", patient_id="A"),
        make("2", patient_id="B"),
        make("3", patient_id="A"),
        make("4", patient_id="C"),
    ]
    matched = match_series(series, rows(A=(), B=()), Images(dicom="d"))
    assert {key: [one.uid for one in mine] for key, mine in matched.by_key.items()} == {
        "key-A": ["1", "3"],
        "key-B": ["2"],
    }
    assert (matched.contested, matched.unclaimed) == (frozenset(), 1)


def test_matching_by_accession_number(make: Make) -> None:
    images = Images(dicom="d", match="accession", accession_columns=("one", "two"))
    series = [
        make("1", accession_number="11"),
        make("2", accession_number="12"),
        make("3", accession_number="13"),
    ]
    matched = match_series(series, rows(A=("11", "12"), B=("13", "99")), images)
    assert [one.uid for one in matched.by_key["key-A"]] == ["1", "2"]
    shared = match_series(series, rows(A=("11",), B=("11",)), images)
    assert shared.by_key == {}
    assert shared.contested == {"key-A", "key-B"}
    assert shared.unclaimed == 2


def test_matching_by_folder_name(make: Make) -> None:
    images = Images(dicom="d", match="folder")
    series = [
        make("1", name="A/x/1.dcm"),
        make("2", name="B/A"),
        make("3", name="A/B/1.dcm"),
        make("4", name="AB/2024/A/1.dcm"),
        make("5", name="A"),
    ]
    matched = match_series(series, rows(A=(), B=()), images)
    assert [one.uid for one in matched.by_key["key-A"]] == ["1", "3"]
    assert [one.uid for one in matched.by_key["key-B"]] == ["2"]
    assert (matched.contested, matched.unclaimed) == (frozenset(), 2)


@pytest.mark.parametrize(("folder", "lost"), [("B", {"key-A", "key-B"}), ("nobody", {"key-A"})])
def test_a_series_of_files_from_two_patients_goes_to_nobody(make: Make, folder: str, lost: set[str]) -> None:
    one = make("1", name="A/1.dcm")
    mixed = dataclasses.replace(one, rows=(*one.rows[:-1], one.rows[-1]._replace(name=f"{folder}/1.dcm")))
    matched = match_series([mixed], rows(A=(), B=()), Images(dicom="d", match="folder"))
    assert (matched.by_key, matched.contested) == ({}, lost)

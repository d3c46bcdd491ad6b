"""What the hospital is told of every series, and where that is kept."""

import dataclasses
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from fedescc.client.imaging.headers.index import index_folder
from fedescc.client.imaging.volumes.series import Series, group_series
from fedescc.client.intake.disk.parts import Part
from fedescc.client.intake.disk.record import (
    OverrideEntry,
    PatientRecord,
    SeriesEntry,
    notes,
    patient_record,
    read_records,
    write_records,
)
from fedescc.client.intake.table.overrides import Override
from fedescc.client.intake.timepoints import Candidates, Rejected
from fedescc.common.imaging import TimePoint

DAY = date(2024, 1, 5)


@pytest.fixture
def series(tmp_path: Path, ct_series: Callable[..., list[Path]]) -> Callable[..., Series]:
    ct_series(tmp_path / "export" / "P1" / "a", np.zeros((3, 4, 4), np.uint16), SeriesNumber=7)
    (template,) = group_series(index_folder(tmp_path / "export").rows)

    def named(uid: str, *reasons: str) -> Series:
        return dataclasses.replace(template, uid=uid, reasons=reasons)

    return named


def codes(record: PatientRecord) -> dict[str, tuple[TimePoint | None, str]]:
    return {one.uid: (one.time_point, one.code) for one in record.series}


def test_every_series_is_told_once(series: Callable[..., Series]) -> None:
    thin, thick, post = series("thin"), series("thick"), series("post")
    scout, stranger, broken = series("scout", "localizer"), series("stranger"), series("gap", "missing_slices")
    candidates: dict[TimePoint, Candidates] = {
        "pre": Candidates(
            "found",
            (thick, thin),
            DAY,
            (),
            (
                Rejected(scout, "localizer"),
                Rejected(post, "outside_window"),
                Rejected(stranger, "outside_window"),
                Rejected(broken, "missing_slices"),
            ),
        ),
        "post": Candidates(
            "found", (post,), DAY, (), (Rejected(thin, "outside_window"), Rejected(stranger, "outside_window"))
        ),
    }
    part = Part(chosen={"pre": 1, "post": 0}, lost=(("pre", 0, "thicker_slices"),), notes=("pre:noisy",))
    record = patient_record([scout, thin, thick, post, stranger, broken], candidates, part)
    assert codes(record) == {
        "scout": (None, "localizer"),
        "thin": ("pre", "chosen"),
        "thick": ("pre", "thicker_slices"),
        "post": ("post", "chosen"),
        "stranger": (None, "outside_window"),
        "gap": (None, "missing_slices"),
    }
    assert [one.uid for one in record.series] == ["scout", "thin", "thick", "post", "stranger", "gap"]
    assert (record.series[0].number, record.series[0].folder) == (7, "P1/a")
    assert record.notes == ("pre:noisy",)


def test_without_a_part_candidates_were_not_tried(series: Callable[..., Series]) -> None:
    one, older = series("one"), series("older")
    found: dict[TimePoint, Candidates] = {
        "pre": Candidates("found", (one,), DAY, (), (Rejected(older, "earlier_study"),))
    }
    assert codes(patient_record([one, older], found, None)) == {
        "one": ("pre", "not_tried"),
        "older": ("pre", "earlier_study"),
    }


@pytest.mark.parametrize(
    ("pre", "post", "told"),
    [
        ("outside_window", "earlier_study", ("post", "earlier_study")),
        ("not_chosen_by_reader", "earlier_study", ("post", "earlier_study")),
        ("refused_by_reader", "corrupt_file", ("post", "corrupt_file")),
        ("not_chosen_by_reader", "outside_window", ("pre", "not_chosen_by_reader")),
        ("outside_window", "refused_by_reader", ("post", "refused_by_reader")),
        ("refused_by_reader", "missing_slices", (None, "missing_slices")),
        ("missing_slices", "not_chosen_by_reader", (None, "missing_slices")),
        ("outside_window", "outside_window", (None, "outside_window")),
        ("no_study_date", "no_study_date", (None, "no_study_date")),
        ("outside_window", None, (None, "no_time_point")),
        (None, None, (None, "missing_slices")),
    ],
)
def test_of_two_time_points_the_one_that_tells_more_is_told(
    series: Callable[..., Series], pre: str | None, post: str | None, told: tuple[TimePoint | None, str]
) -> None:
    one = series("one", "missing_slices") if "missing_slices" in {pre, post, told[1]} else series("one")
    found: dict[TimePoint, Candidates] = {
        "pre": Candidates("found", rejected=(Rejected(one, pre),) if pre else ()),
        "post": Candidates("found", rejected=(Rejected(one, post),) if post else ()),
    }
    assert codes(patient_record([one], found, None)) == {"one": told}


@pytest.mark.parametrize("code", ["not_chosen_by_reader", "refused_by_reader", "earlier_study", "outside_window"])
@pytest.mark.parametrize("point", ["pre", "post"])
def test_who_is_a_candidate_is_told_as_one(series: Callable[..., Series], point: TimePoint, code: str) -> None:
    best, lost = series("best"), series("lost")
    rejected = (Rejected(best, code), Rejected(lost, code))
    found: dict[TimePoint, Candidates] = {
        time_point: Candidates("found", (best, lost)) if time_point == point else Candidates("found", rejected=rejected)
        for time_point in ("pre", "post")
    }
    part = Part(chosen={point: 0}, lost=((point, 1, "shorter"),))
    assert codes(patient_record([best, lost], found, part)) == {"best": (point, "chosen"), "lost": (point, "shorter")}
    assert set(codes(patient_record([best, lost], found, None)).values()) == {(point, "not_tried")}


FOUND: dict[TimePoint, Candidates] = {"pre": Candidates("found"), "post": Candidates("found")}


def decided(part: Part | None, *overrides: Override) -> tuple[tuple[str, ...], list[bool]]:
    record = patient_record([], FOUND, part, overrides)
    assert [one.note for one in record.overrides] == [one.note for one in overrides]
    return record.notes, [one.used for one in record.overrides]


def test_a_decision_counts_as_used_where_it_had_an_effect() -> None:
    noisy, dark = Override("pre", "accept", "noisy", "Dr A"), Override("pre", "accept", "not_enhanced", "Dr A")
    made = Part(chosen={"pre": 0, "post": 0}, notes=("pre:override:accept:noisy", "pre:noisy"))
    assert decided(made, noisy, dark) == ((*made.notes, "pre:override_unused:accept:not_enhanced"), [True, False])
    assert decided(None, noisy) == ((), [False]), "nobody looked, so nothing is said of the finding"
    assert decided(Part(quality=("reader_died",)), noisy) == ((), [False])


def test_a_refused_ct_counts_although_nothing_was_made_of_it() -> None:
    refused = Override("post", "refuse_ct", "", "Dr B")
    assert decided(None, refused) == (("post:override:refuse_ct",), [True])
    (record,) = [patient_record([], {"pre": Candidates("found")}, None, [refused])]
    assert (record.notes, record.overrides[0].used) == ((), False), "the study has no such CT"


def test_a_chosen_series_counts_where_it_was_used() -> None:
    use = Override("pre", "use_series", "1.2.3", "Dr B")
    made = Part(chosen={"pre": 0, "post": 0}, notes=("pre:override:use_series",))
    assert decided(made, use) == (("pre:override:use_series",), [True])
    assert decided(None, use) == ((), [False])


def test_who_decided_is_kept_and_never_counted() -> None:
    overrides = (Override("post", "refuse_ct", "", "Dr B"), Override("pre", "use_series", "1.2.3", "Dr C"))
    record = patient_record([], FOUND, None, overrides)
    assert record.overrides == (
        OverrideEntry("post:override:refuse_ct", "Dr B", used=True),
        OverrideEntry("pre:override:use_series", "Dr C", used=False),
    )
    assert notes([record]) == {"post:override:refuse_ct": 1}


RECORDS = {
    "k1": PatientRecord(
        ("pre:noisy", "post:noisy"),
        {"pre.noise_hu": 41.5},
        True,
        (SeriesEntry("pre", "1.2", None, "a/b", "chosen"),),
        (OverrideEntry("pre:override:accept:noisy", "Dr \u738b", used=True),),
    ),
    "k2": PatientRecord(("pre:noisy",)),
}


def test_records_round_trip_for_their_cohort_alone(tmp_path: Path) -> None:
    write_records(tmp_path, "escc-pcr", "key", RECORDS)
    assert read_records(tmp_path, "escc-pcr", "key") == RECORDS
    assert read_records(tmp_path, "escc-pcr", "other") is None
    assert read_records(tmp_path, "heart-disease", "key") is None
    assert (tmp_path / "records" / "escc-pcr.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"key": "key"}', b'{"key": "key", "patients": 3}'])
def test_damaged_records_are_none(tmp_path: Path, content: bytes) -> None:
    write_records(tmp_path, "escc-pcr", "key", RECORDS)
    (tmp_path / "records" / "escc-pcr.json").write_bytes(content)
    assert read_records(tmp_path, "escc-pcr", "key") is None


def test_notes_count_patients(tmp_path: Path) -> None:
    assert notes(RECORDS.values()) == {"post:noisy": 1, "pre:noisy": 2}

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
    PatientRecord,
    SeriesEntry,
    notes,
    patient_record,
    read_records,
    write_records,
)
from fedescc.client.intake.timepoints import Candidates, Rejected
from fedescc.common.study import TimePoint

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
        "stranger": (None, "no_time_point"),
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


RECORDS = {
    "k1": PatientRecord(
        ("pre:noisy", "post:noisy"), {"pre.noise_hu": 41.5}, True, (SeriesEntry("pre", "1.2", None, "a/b", "chosen"),)
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

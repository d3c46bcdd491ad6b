"""A few hundred damaged series: no crash, no hang, no volume in the wrong place. ``make verify`` runs 10,000."""

import time
from pathlib import Path

import header_fuzz
import pytest
from header_fuzz import Case, make_case, run_case

from fedescc.client.imaging.headers import fields, header
from fedescc.client.imaging.volumes import series

CASES, BLOCKS = 400, 4


@pytest.mark.parametrize("block", range(BLOCKS))
def test_damage_is_refused_or_harmless(tmp_path: Path, block: int) -> None:
    totals = [0, 0, 0]
    for seed in range(block * CASES // BLOCKS, (block + 1) * CASES // BLOCKS):
        case = make_case(seed)
        outcome = run_case(tmp_path, case)
        assert outcome.faults == [], (seed, case.damage)
        counts = (outcome.accepted, outcome.refused, outcome.rejected)
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
    assert min(totals) > 5


def test_undamaged_series_are_accepted(tmp_path: Path) -> None:
    for files in header_fuzz.SERIES:
        outcome = run_case(tmp_path, Case(list(files), {}))
        assert (outcome.accepted, outcome.refused, outcome.faults) == (2, 0, [])


@pytest.mark.parametrize("mutation", header_fuzz.MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_every_kind_of_damage_changes_something_and_repeats(mutation: header_fuzz.Mutation) -> None:
    from numpy.random import default_rng

    content = header_fuzz.SERIES[0][0]
    damaged = [mutation(default_rng(seed), content) for seed in range(20)]
    assert sum(one != content for one in damaged) > 10
    assert damaged == [mutation(default_rng(seed), content) for seed in range(20)]
    for nothing in (b"", b"x", b"DICM" * 3):
        mutation(default_rng(0), nothing)


def faults(folder: Path, files: tuple[bytes, ...] = header_fuzz.SERIES[0]) -> list[str]:
    return run_case(folder, Case(list(files), {})).faults


def test_a_wrong_position_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = fields.own_fields

    def shifted(stored: dict[int, bytes]) -> tuple[object, ...]:
        *others, position = own(stored)
        assert position
        return *others, (position[0] + 1, *position[1:])

    monkeypatch.setattr(header, "own_fields", shifted)
    assert len(faults(tmp_path)) == 2 * header_fuzz.SLICES
    assert all("mm off" in fault for fault in faults(tmp_path))


@pytest.mark.parametrize(("field", "fault"), [("pixel_spacing", "spacing"), ("orientation", "orientation")])
def test_a_wrong_grid_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, fault: str) -> None:
    row, value = header._row, {"pixel_spacing": (0.75, 0.75), "orientation": (1, 0, 0, 0, -1, 0)}[field]
    monkeypatch.setattr(header, "_row", lambda *args: row(*args)._replace(**{field: value}))
    assert any(fault in one for one in faults(tmp_path))


def test_a_cut_file_that_nobody_warns_of_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = list(header_fuzz.SERIES[0])
    files[-1] = files[-1][:-1]
    case = Case(files, {header_fuzz.SLICES - 1: ["truncated"]})
    assert run_case(tmp_path, case).faults == []
    monkeypatch.setattr(series, "damaged_series", lambda *_: set())
    assert run_case(tmp_path, case).faults == ["a cut file goes unnoticed"] * 2


def test_a_crash_and_a_hang_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(header_fuzz, "index_folder", crash)
    assert faults(tmp_path)[0].startswith("crash: ZeroDivisionError")
    monkeypatch.setattr(header_fuzz, "SECONDS_PER_CASE", 0.05)
    monkeypatch.setattr(header_fuzz, "index_folder", lambda _: time.sleep(5))
    assert faults(tmp_path) == ["hang"]

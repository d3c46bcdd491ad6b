"""A site's state: a round asked for again starts from the same, and files are private and whole."""

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedescc.client.state import START, Held, Place, SiteState, Stamp
from fedescc.common.errors import Refusal
from fedescc.common.wire import Request

PLACE = Place("ab" * 8, "split", "own")


@pytest.fixture(params=["memory", "disk"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> SiteState:
    return SiteState(tmp_path if request.param == "disk" else None)


def stamp(number: int) -> Stamp:
    return Stamp(number, f"{number:016x}")


def vector(number: float) -> np.ndarray:
    return np.full(3, number, np.float32)


def go(state: SiteState, *rounds: int, place: Place = PLACE, all_rounds: bool = False) -> None:
    """Rounds that each leave their own number."""
    for number in rounds:
        state.keep(place, stamp(number), vector(number), state.before(place, number), all_rounds=all_rounds)


def value(held: Held | None) -> float | None:
    assert held is not None
    return None if held.values is None else float(held.values[0])


def test_the_first_round_starts_from_nothing(state: SiteState) -> None:
    held = state.before(PLACE, 1)
    assert (held.stamp, held.values) == (START, None)
    assert state.of_model(PLACE, "0" * 16) is None


def test_a_round_starts_from_what_the_newest_earlier_round_left(state: SiteState) -> None:
    go(state, 1, 2, 5)
    assert value(state.before(PLACE, 6)) == value(state.before(PLACE, 9)) == 5


def test_a_round_asked_for_again_starts_from_the_same(state: SiteState) -> None:
    go(state, 1)
    assert value(state.before(PLACE, 1)) is None
    go(state, 1, 2, 3)
    assert value(state.before(PLACE, 3)) == 2
    go(state, 3, 3)
    assert value(state.before(PLACE, 3)) == 2
    assert value(state.before(PLACE, 4)) == 3


def test_what_a_forgotten_round_started_from_is_refused_not_replaced(state: SiteState) -> None:
    go(state, 1, 2, 3, 4)
    assert value(state.before(PLACE, 4)) == 3
    with pytest.raises(Refusal, match="round-too-old"):
        state.before(PLACE, 2)


def test_a_late_round_takes_nothing_from_the_newer_ones(state: SiteState) -> None:
    go(state, 1, 3, 2)
    assert value(state.before(PLACE, 4)) == 3
    assert value(state.before(PLACE, 2)) == 1


def test_all_rounds_are_kept_on_demand(state: SiteState) -> None:
    go(state, 1, 2, 3, 4, all_rounds=True)
    assert [value(state.before(PLACE, number)) for number in (1, 2, 3, 4, 5)] == [None, 1, 2, 3, 4]


def test_what_a_round_left_is_found_by_its_number_or_refused(state: SiteState) -> None:
    go(state, 1, 2)
    assert value(state.left_by(PLACE, 2)) == 2
    assert value(state.left_by(PLACE, 0)) is None
    with pytest.raises(Refusal, match="state-lost"):
        state.left_by(PLACE, 3)


def test_a_model_belongs_with_what_its_round_started_from(state: SiteState) -> None:
    go(state, 1, 2, 3, all_rounds=True)
    assert value(state.of_model(PLACE, stamp(1).started_from)) is None
    assert value(state.of_model(PLACE, stamp(3).started_from)) == 2
    assert value(state.of_model(PLACE, "f" * 16)) == 3


def test_a_round_repeated_from_another_model_replaces_the_first(state: SiteState) -> None:
    go(state, 1)
    state.keep(PLACE, Stamp(1, "e" * 16), vector(9), state.before(PLACE, 1), all_rounds=False)
    assert value(state.before(PLACE, 2)) == 9
    assert value(state.of_model(PLACE, stamp(1).started_from)) == 9


def test_runs_folds_and_purposes_are_kept_apart(state: SiteState) -> None:
    others = [
        Place("cd" * 8, "split", "own"),
        Place("ab" * 8, "fold-1-of-5", "own"),
        Place("ab" * 8, "split", "control"),
    ]
    go(state, 1, 2)
    assert all(state.before(place, 3).values is None for place in others)
    go(state, 1, place=others[0])
    assert value(state.before(PLACE, 3)) == 2


def test_what_is_kept_does_not_change_with_the_callers_array(state: SiteState) -> None:
    mine = vector(1)
    state.keep(PLACE, stamp(1), mine, Held(), all_rounds=False)
    mine[:] = 7
    assert value(state.before(PLACE, 2)) == 1


def test_a_new_process_goes_on_from_the_files(tmp_path: Path) -> None:
    go(SiteState(tmp_path), 1, 2)
    assert value(SiteState(tmp_path).before(PLACE, 3)) == 2


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    go(SiteState(tmp_path), 1)
    files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert len(files) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_disk_holds_two_rounds_however_many_there_were(tmp_path: Path) -> None:
    go(SiteState(tmp_path), *range(1, 8))
    assert sorted(path.name[:6] for path in tmp_path.rglob("*.safetensors")) == ["000006", "000007"]


@pytest.mark.parametrize("damage", [b"", bytes(40), b"half a file"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: bytes) -> None:
    go(SiteState(tmp_path), 1)
    next(tmp_path.rglob("000001.*")).write_bytes(damage)
    with pytest.raises(Refusal, match="unreadable-weights"):
        SiteState(tmp_path).before(PLACE, 2)


@pytest.mark.parametrize("metadata", [None, {"started_from": "0" * 16}])
def test_a_file_of_other_content_is_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    from safetensors.numpy import save

    go(SiteState(tmp_path), 1)
    next(tmp_path.rglob("000001.*")).write_bytes(save({"weights": np.zeros(3, np.float32)}, metadata))
    with pytest.raises(Refusal, match="unreadable-weights"):
        SiteState(tmp_path).before(PLACE, 2)


def test_foreign_files_in_the_folder_are_passed_over(tmp_path: Path) -> None:
    go(SiteState(tmp_path), 1)
    folder = next(tmp_path.rglob("000001.*")).parent
    (folder / "copy of 000009.safetensors").write_bytes(b"x")
    (folder / ".000009.safetensors.7.partial").write_bytes(b"x")
    assert value(SiteState(tmp_path).before(PLACE, 2)) == 1


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    with pytest.raises(Refusal, match="unwritable-state"):
        go(SiteState(tmp_path), 1)


def killed_before(line: int, work: Callable[[], None]) -> bool:
    """Do the work in a process that dies, as by kill -9, before that line of the state's code; False: it came through.

    Nothing is cleaned up: no ``finally`` is reached.
    """
    if (child := os.fork()) == 0:
        reached = 0

        def trace(frame: Any, event: str, arg: Any) -> Any:
            nonlocal reached
            if Path(frame.f_code.co_filename).name not in ("state.py", "files.py"):
                return None
            if event == "line":
                reached += 1
                if reached == line:
                    os._exit(9)
            return trace

        try:
            sys.settrace(trace)
            work()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9)
    return status == 9


def every_kill(before: Path, work: Callable[[SiteState], None]) -> Iterator[SiteState]:
    """The state that a new process finds after the work was killed at each of its lines in turn."""
    line = 1
    while True:
        folder = before.with_name(f"killed-before-line-{line}")
        shutil.copytree(before, folder)
        if not killed_before(line, lambda folder=folder: work(SiteState(folder))):
            break
        yield SiteState(folder)
        line += 1
    assert line > 20


def test_a_round_killed_anywhere_has_left_its_old_or_its_new_state_never_both(tmp_path: Path) -> None:
    """The round is repeated from another model, whose digest sorts before or after the first one's."""
    for digest in ("0" * 15 + "1", "e" * 16):
        before = tmp_path / digest / "before"
        go(SiteState(before), 1, 2, 3)
        again = Stamp(3, digest)

        def repeat(state: SiteState, again: Stamp = again) -> None:
            state.keep(PLACE, again, vector(9), state.before(PLACE, 3), all_rounds=False)

        found = set()
        for state in every_kill(before, repeat):
            assert value(state.before(PLACE, 3)) == 2
            left = value(state.left_by(PLACE, 3))
            assert value(state.before(PLACE, 4)) == left
            assert state.left_by(PLACE, 3).stamp == (again if left == 9 else stamp(3))
            of_the_new = value(state.of_model(PLACE, digest))
            assert of_the_new == (2 if left == 9 else 3)
            found.add(left)
            repeat(state)
            assert value(state.before(PLACE, 4)) == 9
            assert value(state.before(PLACE, 3)) == 2
        assert found == {3, 9}


def test_a_first_round_killed_anywhere_is_as_if_never_begun_or_done(tmp_path: Path) -> None:
    before = tmp_path / "before"
    before.mkdir()
    found = set()
    for state in every_kill(before, lambda state: go(state, 1)):
        assert value(state.before(PLACE, 1)) is None
        after = value(state.before(PLACE, 2))
        known = state.of_model(PLACE, stamp(1).started_from)
        assert (known is None) == (after is None)
        found.add(after)
        go(state, 1, 2)
        assert value(state.before(PLACE, 3)) == 2
    assert found == {None, 1}


def test_what_a_killed_process_did_not_forget_misleads_nobody_and_goes_with_the_next_round(tmp_path: Path) -> None:
    before = tmp_path / "before"
    go(SiteState(before), 1, 2)
    for state in every_kill(before, lambda state: go(state, 3)):
        assert value(state.before(PLACE, 3)) == 2
        assert value(state.before(PLACE, 4)) in (2, 3)
        go(state, 3, 4)
        assert value(state.before(PLACE, 5)) == 4
        with pytest.raises(Refusal, match="round-too-old"):
            state.before(PLACE, 3)


@pytest.mark.parametrize("run", [None, 7, "", "../../etc", "ABCDEF0123", "ab" * 40, "abcdefg0"])
def test_a_run_that_is_no_random_id_is_refused(run: Any) -> None:
    with pytest.raises(Refusal, match="malformed-message"):
        Place.of(Request("0" * 64, {"run": run}), "own")


def test_a_request_names_its_place() -> None:
    fold = {"mode": "kfold", "index": 0, "of": 5}
    assert Place.of(Request("0" * 64, {"run": "ab" * 8}), "own") == PLACE
    assert Place.of(Request("0" * 64, {"run": "ab" * 8, "fold": fold}), "own").fold == "fold-1-of-5"
    with pytest.raises(Refusal, match="unknown-fold"):
        Place.of(Request("0" * 64, {"run": "ab" * 8, "fold": {"mode": "../x"}}), "own")

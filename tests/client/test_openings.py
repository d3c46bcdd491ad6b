"""The record of who has looked at which test patients outlasts a kill, and names nobody."""

import hashlib
import os
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedescc.client.answers.dispatch import answer
from fedescc.client.local_site import LocalSite
from fedescc.client.openings import FILE, Openings, PatientSet, Place
from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.tabular.columns import NumericColumn
from fedescc.common.tabular.covariates import Encoding
from fedescc.common.wire import Request

KEYS = tuple(hashlib.sha256(bytes([number])).hexdigest() for number in range(20))


def opening(run: str = "r1", fold: str = "", keys: tuple[str, ...] = KEYS, plan: str = "plan") -> PatientSet:
    return PatientSet("study", plan, Place(run, fold), keys)


def look(
    openings: Openings, test: PatientSet, model: str = "m1", look: str = "l1", declared: tuple[str, ...] = ("l1",)
):
    return openings.look(test, declared, model, look)


@pytest.fixture(params=["memory", "disk"])
def openings(request: pytest.FixtureRequest, tmp_path: Path) -> Openings:
    return Openings(tmp_path if request.param == "disk" else None)


def test_the_first_declaration_holds_whatever_is_asked_later(openings: Openings) -> None:
    first = look(openings, opening(), declared=("l1", "l2"))
    assert look(openings, opening(), declared=("l1", "l2")) == first
    assert look(openings, opening(), "m2", "l2", ("l1", "l2")) == first
    for changed in (
        {"declared": ("l1",)},
        {"declared": ("l2", "l1")},
        {"test": opening(keys=KEYS[1:])},
        {"test": opening(plan="other")},
        {"test": opening()._replace(study="other")},
    ):
        arguments = {"test": opening(), "declared": ("l1", "l2")} | changed
        with pytest.raises(Refusal, match=r"\[test-already-opened\]"):
            look(openings, **arguments)


def test_one_model_takes_one_look(openings: Openings) -> None:
    look(openings, opening(), declared=("l1", "l2"))
    with pytest.raises(Refusal, match="test-already-opened"):
        look(openings, opening(), "m1", "l2", ("l1", "l2"))


@pytest.mark.parametrize("shared", [1, 5, 20])
def test_in_a_run_no_patient_is_tested_by_two_folds(openings: Openings, shared: int) -> None:
    look(openings, opening(fold="one"))
    others = (*KEYS[:shared], *(f"{number:064x}" for number in range(100, 110)))
    with pytest.raises(Refusal, match="another fold of this run"):
        look(openings, opening(fold="two", keys=others))
    look(openings, opening(fold="two", keys=others[shared:]))
    assert look(openings, opening("r2", "two", others)).before == 1


def test_a_refused_opening_leaves_nothing_behind(openings: Openings) -> None:
    look(openings, opening(fold="one"))
    with pytest.raises(Refusal):
        look(openings, opening(fold="two"))
    with pytest.raises(Refusal, match="test-not-opened"):
        openings.looked(Place("r1", "two"), "m1")


def test_earlier_runs_are_counted_once_each_and_only_where_they_tested_the_same_patients(openings: Openings) -> None:
    look(openings, opening("r1", "one", KEYS[:10]))
    look(openings, opening("r1", "two", KEYS[10:]))
    assert look(openings, opening("r2")).before == 1
    assert look(openings, opening("r3", keys=KEYS[:3])).before == 2
    assert look(openings, opening("r4", keys=("f" * 64,))).before == 0
    assert look(openings, opening("r1", "one", KEYS[:10])).before == 0  # as it was when it opened


def test_questions_follow_a_look_and_are_counted_by_model(openings: Openings) -> None:
    place = Place("r1", "")
    with pytest.raises(Refusal, match=r"\[test-not-opened\]"):
        openings.count_question(place, "m1")
    look(openings, opening(), declared=("l1", "l2"))
    look(openings, opening(), "m2", "l2", ("l1", "l2"))
    assert [openings.count_question(place, "m1") for _ in range(3)] == [1, 2, 3]
    assert openings.count_question(place, "m2") == 1
    assert openings.looked(place, "m2") == "l2"
    with pytest.raises(Refusal, match="test-already-opened"):
        openings.count_question(place, "m3")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.sets(st.integers(0, 9))), max_size=12))
@settings(deadline=None, max_examples=50)
def test_whatever_is_asked_nobody_is_tested_twice_in_a_run(asked: list[tuple[str, str, set[int]]]) -> None:
    openings, opened = Openings(), {}
    for run, fold, patients in asked:
        keys = tuple(KEYS[number] for number in sorted(patients))
        with suppress(Refusal):
            look(openings, opening(run, fold, keys))
            opened[run, fold] = patients
    for run in "abc":
        of_run = [patients for (name, _), patients in opened.items() if name == run]
        assert sum(map(len, of_run)) == len(set().union(*of_run))


def test_a_place_is_the_same_however_its_fold_is_spelt() -> None:
    spelt = [{"mode": "kfold", "index": 0, "of": 3}, {"of": 3, "mode": "kfold", "index": 0}]
    places = {Place.of(Request("s", {"run": "r1", "fold": fold})) for fold in spelt}
    assert places == {Place("r1", "fold-1-of-3")}
    assert Place.of(Request("s", {"fold": None})) == Place("", "") == Place.of(Request("s"))


def test_the_file_is_for_its_owner_alone_and_holds_no_key(tmp_path: Path) -> None:
    look(Openings(tmp_path), opening())
    content = (tmp_path / FILE).read_bytes()
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert not any(key.encode() in content or bytes.fromhex(key) in content for key in KEYS)


def test_a_damaged_record_opens_nothing(tmp_path: Path) -> None:
    look(Openings(tmp_path), opening())
    (tmp_path / FILE).write_bytes(b"rubbish" * 500)
    with pytest.raises(Refusal, match=r"\[lost-records\]"):
        look(Openings(tmp_path), opening("r2"))


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_openings import look, opening
from fedescc.client.openings import Openings
openings = Openings(Path(sys.argv[1]))
for number in range(10**6):
    look(openings, opening(f"r{number}"))
    print(number, flush=True)
"""


def test_an_opening_that_was_recorded_before_a_kill_stays(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = [int(process.stdout.readline()) for _ in range(3)]
        os.kill(process.pid, signal.SIGKILL)
        seen += [int(line) for line in process.stdout]
    after = Openings(tmp_path)
    for number in seen:
        with pytest.raises(Refusal, match="test-already-opened"):
            look(after, opening(f"r{number}"), "m2", "l2", ("l2",))
    assert look(after, opening("last")).before >= len(seen)


@pytest.mark.parametrize("gone", ["openings.sqlite", "queries.sqlite"])
def test_a_site_that_has_lost_one_of_its_records_answers_nothing_more(toy, tmp_path, gone) -> None:
    """Else whoever deletes the record of openings would have an untouched test set."""

    def ask(run: str) -> int:
        site = LocalSite("site-a", toy.study, toy.policy("site-a"), toy.cohorts["site-a"], tmp_path)
        column = NumericColumn(name="age", group="age", mean=50, sd=10)
        encoding = Encoding(covariates=(column,)).model_dump(mode="json")
        task = {"run": run, "encoding": encoding, "model": "linear", "edges": [0.0], "threshold": 0.0}
        task |= {"plan": toy.study.analysis.sha256}
        request = Request(toy.study.sha256, task, np.array([0.0, 1.0, 0.0], np.float32))
        return answer(site, wire.TEST, request).sums["openings_before"]

    assert [ask("r1"), ask("r1"), ask("r2")] == [0, 0, 1]
    (tmp_path / gone).rename(tmp_path / "elsewhere")
    with pytest.raises(Refusal, match=r"\[lost-records\]"):
        ask("r3")
    (tmp_path / "elsewhere").rename(tmp_path / gone)
    assert ask("r3") == 2


def test_a_site_killed_before_its_first_question_was_counted_goes_on(toy, tmp_path) -> None:
    assert not Openings(tmp_path).any()
    site = LocalSite("site-a", toy.study, toy.policy("site-a"), toy.cohorts["site-a"], tmp_path)
    answer(site, wire.STATISTICS, Request(toy.study.sha256, {"run": "r1"}))
    assert {path.name for path in tmp_path.glob("*.sqlite")} == {"openings.sqlite", "queries.sqlite"}

"""A site counts what it answers for good: a restart, a kill or another process gives no new budget."""

import dataclasses
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from fedescc.client.answers.dispatch import answer
from fedescc.client.local_site import LocalSite
from fedescc.client.queries import FILE, Queries, question_digest
from fedescc.client.site import ReleasePolicy
from fedescc.common import wire
from fedescc.common.disclosure.budget import Budget
from fedescc.common.errors import Refusal
from fedescc.common.wire import Request

LIMIT = {wire.STATISTICS: Budget(3, 5)}
STUDY = "ab" * 32


def question(number: int, run: str = "r1") -> Request:
    return Request(STUDY, {"run": run, "features": [f"f{number}"]})


def charge(queries: Queries, request: Request, kind: str = wire.STATISTICS, patients: str = "p") -> None:
    queries.charge(kind, request, patients, LIMIT)


@pytest.fixture(params=["memory", "disk"])
def queries(request: pytest.FixtureRequest, tmp_path: Path) -> Queries:
    return Queries(tmp_path if request.param == "disk" else None)


def test_a_run_ends_with_its_budget_and_a_study_with_its(queries: Queries) -> None:
    for number in range(3):
        charge(queries, question(number))
    with pytest.raises(Refusal, match=r"\[query-budget-spent\]"):
        charge(queries, question(3))
    for number in range(2):
        charge(queries, question(number, "r2"))
    with pytest.raises(Refusal, match="query-budget-spent"):
        charge(queries, question(2, "r2"))
    with pytest.raises(Refusal, match="query-budget-spent"):
        charge(queries, question(0, "r3"))


def test_the_same_question_costs_nothing_even_when_the_budget_is_spent(queries: Queries) -> None:
    for number in (*range(3), *range(3), 0, 0, 0):
        charge(queries, question(number))
    with pytest.raises(Refusal, match="query-budget-spent"):
        charge(queries, question(3))
    charge(queries, question(2))


def test_of_other_patients_the_same_words_are_another_question(queries: Queries) -> None:
    """Else whoever joins the cohort could be found by asking again."""
    for patients in "pqr":
        charge(queries, question(0), patients=patients)
    with pytest.raises(Refusal, match="query-budget-spent"):
        charge(queries, question(0), patients="s")


def test_kinds_and_studies_are_counted_apart(queries: Queries) -> None:
    for number in range(3):
        charge(queries, question(number))
        charge(queries, question(number), kind=wire.SCREENING)
    other = dataclasses.replace(question(9), study_sha256="cd" * 32)
    charge(queries, other)


def test_a_model_has_one_question_of_a_kind_and_a_place_few_models(queries: Queries) -> None:
    assert queries.only("p", "m1", "moments", "a", 2)
    assert queries.only("p", "m1", "moments", "a", 2)
    assert not queries.only("p", "m1", "moments", "b", 2)
    assert queries.only("p", "m1", "rules", "b", 2)
    assert queries.only("p", "m2", "moments", "b", 2)
    assert not queries.only("p", "m3", "moments", "b", 2)
    assert queries.only("q", "m3", "moments", "b", 2)


def test_a_restart_gives_no_second_question(tmp_path: Path) -> None:
    assert Queries(tmp_path).only("p", "m1", "rules", "a", 2)
    assert not Queries(tmp_path).only("p", "m1", "rules", "b", 2)
    assert Queries(tmp_path).only("p", "m1", "rules", "a", 2)


def test_weights_make_another_question() -> None:
    one = Request(STUDY, {}, np.zeros(3, np.float32))
    digests = {question_digest(one, "p"), question_digest(dataclasses.replace(one, weights=one.weights + 1), "p")}
    assert len(digests | {question_digest(Request(STUDY, {}), "p")}) == 3
    assert question_digest(one, "p") in digests


def test_another_process_and_a_restart_count_on(tmp_path: Path) -> None:
    for number in range(3):
        charge(Queries(tmp_path), question(number))
    with pytest.raises(Refusal, match="query-budget-spent"):
        charge(Queries(tmp_path), question(3))


def test_threads_that_ask_at_once_do_not_get_more_than_the_budget(queries: Queries) -> None:
    refused = []

    def ask(number: int) -> None:
        try:
            charge(queries, question(number))
        except Refusal as refusal:
            refused.append(refusal.code)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == ["query-budget-spent"] * 5


def test_the_file_is_for_its_owner_alone_and_holds_no_patient(tmp_path: Path) -> None:
    charge(Queries(tmp_path), question(0), patients="patient-key")
    path = tmp_path / FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"patient-key" not in path.read_bytes()


def test_a_damaged_file_stops_the_answers_instead_of_starting_from_nothing(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all, but long enough to be looked at" * 50)
    with pytest.raises(Refusal, match=r"\[lost-records\]"):
        charge(Queries(tmp_path), question(0))


def test_a_folder_that_cannot_be_written_stops_the_answers(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("a file where the folder should be")
    with pytest.raises(Refusal, match="lost-records"):
        charge(Queries(tmp_path / "work"), question(0))


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_queries import LIMIT, question
from fedescc.client.queries import Queries
from fedescc.common import wire
queries = Queries(Path(sys.argv[1]))
for number in range(10**6):
    queries.charge(wire.TRAIN, question(number), "p", {})
    print(number, flush=True)
"""


def test_what_was_counted_before_a_kill_is_counted_after_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = [int(process.stdout.readline()) for _ in range(5)]
        os.kill(process.pid, signal.SIGKILL)
        seen += [int(line) for line in process.stdout]
    with sqlite3.connect(tmp_path / FILE) as connection:
        ((times,),) = connection.execute("SELECT times FROM asked").fetchall()
        assert connection.execute("SELECT count(*) FROM question").fetchone() == (times,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert times >= len(seen) == seen[-1] + 1
    with pytest.raises(Refusal, match="query-budget-spent"):
        Queries(tmp_path).charge(wire.TRAIN, question(-1), "p", {wire.TRAIN: Budget(times, times)})


def test_the_site_counts_before_it_answers_and_a_refused_question_too(toy) -> None:
    policy = ReleasePolicy(min_class_count=3, query_budget={wire.STATISTICS: Budget(2, 9)})
    site = LocalSite("site-a", toy.study, policy, toy.cohorts["site-a"])

    def ask(**task) -> None:
        answer(site, wire.STATISTICS, Request(toy.study.sha256, {"run": "r1", **task}))

    with pytest.raises(Refusal, match="no-images"):
        ask(features=["tumour_hu_post"])
    ask()
    ask()
    with pytest.raises(Refusal, match="query-budget-spent"):
        ask(features=["tumour_hu_pre"])
    site.cohort = dataclasses.replace(site.cohort, labels=1 - site.cohort.labels)
    with pytest.raises(Refusal, match="query-budget-spent"):
        ask()

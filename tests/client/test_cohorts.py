"""Two runs of a study do not differ by few patients: who came, left or was corrected cannot be subtracted."""

import dataclasses
import sqlite3
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_federation import make_cohort

from fedescc.client.answers.dispatch import answer
from fedescc.client.cohort import SiteCohort
from fedescc.client.cohorts import Cohorts, identity, members
from fedescc.client.local_site import LocalSite
from fedescc.client.queries import FILE
from fedescc.client.site import ReleasePolicy
from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.tabular.moments import STEPS
from fedescc.common.wire import Request

STUDY, MINIMUM = "ab" * 32, 5
WHOLE = make_cohort("site-a", 160)


def part(rows: np.ndarray, whole: SiteCohort = WHOLE) -> SiteCohort:
    """The cohort of some of the rows."""
    return dataclasses.replace(
        whole,
        keys=tuple(whole.keys[row] for row in rows),
        labels=whole.labels[rows],
        split=whole.split[rows],
        numeric={name: column[rows] for name, column in whole.numeric.items()},
        categorical={name: column[rows] for name, column in whole.categorical.items()},
    )


def without(split: str, positives: int, negatives: int) -> SiteCohort:
    """The cohort before so many patients of a part had come."""
    rows = np.flatnonzero(WHOLE.split == split)
    by_class = [rows[WHOLE.labels[rows] == label][:number] for label, number in ((1, positives), (0, negatives))]
    return part(np.setdiff1d(np.arange(len(WHOLE)), np.concatenate(by_class)))


def admit(cohorts: Cohorts, cohort: SiteCohort, study: str = STUDY, minimum: int = MINIMUM) -> bool:
    try:
        cohorts.admit(study, cohort, minimum)
    except Refusal as refusal:
        assert refusal.code == "few-patients-changed"  # noqa: PT017 - the other answer
        return False
    return True


@pytest.mark.parametrize(
    ("split", "positives", "negatives", "admitted"),
    [
        ("train", 1, 0, False),
        ("train", 0, 4, False),
        ("train", 5, 5, True),
        ("train", 0, 5, True),
        ("test", 4, 9, False),
        ("test", 6, 9, True),
    ],
)
def test_so_many_of_each_class_and_part_come_or_leave_at_once(split, positives, negatives, admitted) -> None:
    for order in ((0, 1), (1, 0)):
        cohorts, both = Cohorts(), (without(split, positives, negatives), WHOLE)
        assert admit(cohorts, both[order[0]])
        assert admit(cohorts, both[order[1]]) is admitted
        assert admit(cohorts, both[order[0]])


@pytest.mark.parametrize("changed", [1, 4, 5])
def test_a_corrected_value_is_a_change_of_its_patient(changed) -> None:
    """The difference of two sums would be what was corrected, and a label what the patient's outcome is."""
    women = np.flatnonzero((WHOLE.split == "train") & (WHOLE.labels == 0))[:changed]
    age = WHOLE.numeric["age"].copy()
    age[women] += 1
    cohorts = Cohorts()
    admit(cohorts, WHOLE)
    assert admit(cohorts, dataclasses.replace(WHOLE, numeric={**WHOLE.numeric, "age": age})) is (changed == 5)


def test_every_earlier_cohort_counts_not_the_last_alone() -> None:
    cohorts = Cohorts()
    assert admit(cohorts, WHOLE)
    assert admit(cohorts, without("train", 8, 8))
    nearly = without("train", 1, 0)
    assert not admit(cohorts, nearly)
    assert admit(cohorts, nearly, study="cd" * 32)
    assert admit(cohorts, nearly, minimum=1)


@given(st.lists(st.integers(0, 159), unique=True, max_size=60), st.lists(st.integers(0, 159), unique=True, max_size=60))
def test_what_two_admitted_cohorts_differ_by_is_never_few(first, second) -> None:
    cohorts, parts = Cohorts(), [part(np.setdiff1d(np.arange(160), gone)) for gone in (first, second)]
    if not all(admit(cohorts, one) for one in parts):
        return
    keys = set(parts[0].keys) ^ set(parts[1].keys)
    rows = [row for row, key in enumerate(WHOLE.keys) if key in keys]
    for split in ("train", "validation", "test"):
        for label in (0, 1):
            number = np.count_nonzero((WHOLE.split[rows] == split) & (WHOLE.labels[rows] == label))
            assert number == 0 or number >= MINIMUM


def test_a_restart_remembers_and_the_file_names_nobody(tmp_path: Path) -> None:
    assert admit(Cohorts(tmp_path), WHOLE)
    assert not admit(Cohorts(tmp_path), without("train", 1, 0))
    assert admit(Cohorts(tmp_path), WHOLE)
    content = (tmp_path / FILE).read_bytes()
    assert not any(key.encode() in content for key in WHOLE.keys)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    with sqlite3.connect(tmp_path / FILE) as connection:
        assert connection.execute("SELECT count(*) FROM cohort").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM member").fetchone() == (160,)
    connection.close()


def test_a_damaged_file_stops_the_answers(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all, but long enough to be looked at" * 50)
    with pytest.raises(Refusal, match=r"\[lost-records\]"):
        Cohorts(tmp_path).admit(STUDY, WHOLE, MINIMUM)


def test_every_patient_is_a_member_and_any_change_another_identity() -> None:
    assert len(members(WHOLE)) == 160
    other = dataclasses.replace(WHOLE, categorical={"sex": 1 - WHOLE.categorical["sex"]})
    assert len(members(WHOLE) & members(other)) == 0
    assert len({identity(WHOLE), identity(other), identity(without("test", 1, 0))}) == 3


@pytest.mark.parametrize(("small_changes", "answers"), [("never", False), ("plain", True)])
def test_a_site_does_not_tell_a_patient_by_the_difference_of_two_runs(toy, tmp_path, small_changes, answers) -> None:
    """The statistics before and after one patient came; the policy decides."""
    policy = ReleasePolicy(min_class_count=3, small_changes=small_changes, dominance_percent=0)
    late = np.flatnonzero(WHOLE.split == "train")[7]
    totals = []
    for run, cohort in (("r1", part(np.delete(np.arange(160), late))), ("r2", WHOLE)):
        site = LocalSite("site-a", toy.study, policy, cohort, tmp_path)
        request = Request(toy.study.sha256, {"run": run})
        if run == "r2" and not answers:
            with pytest.raises(Refusal, match=r"\[few-patients-changed\]"):
                answer(site, wire.STATISTICS, request)
            return
        totals.append(answer(site, wire.STATISTICS, request).sums["covariate_totals"][0])
    assert (totals[1] - totals[0]) / STEPS * 120 == pytest.approx(WHOLE.numeric["age"][late], abs=1e-3)

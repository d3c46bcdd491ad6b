"""What a site tells of its test patients by subgroup: at the look that was taken, and of enough of both classes."""

import dataclasses

import numpy as np
import pytest
from planned import with_plan
from sklearn.metrics import brier_score_loss, confusion_matrix

from fedescc.client.answers.dispatch import answer
from fedescc.client.answers.levels import hidden_by_subgroup
from fedescc.client.answers.subgroups import level_sums, subgroup_codes
from fedescc.client.local_site import LocalSite
from fedescc.client.site import ReleasePolicy
from fedescc.common import wire
from fedescc.common.acquisition import VENDORS
from fedescc.common.analysis import all_levels
from fedescc.common.errors import Refusal
from fedescc.common.identity import look_digest
from fedescc.common.statistics.roc import score_histogram
from fedescc.common.study import read_study
from fedescc.common.subgroups import coarse_edges
from fedescc.common.tabular.columns import NumericColumn
from fedescc.common.tabular.covariates import Encoding
from fedescc.common.wire import Request

ENCODING = Encoding(covariates=(NumericColumn(name="age", group="age", mean=50, sd=10),)).model_dump(mode="json")
EDGES = np.linspace(-2, 2, 41).tolist()


@pytest.fixture
def site(toy):
    with_plan(toy)
    return LocalSite("site-a", toy.study, toy.policy("site-a"), toy.cohorts["site-a"])


def request(site, of_age=1.0, **task):
    full = {"run": "1", "encoding": ENCODING, "edges": EDGES, "threshold": 0.25, "plan": site.study.analysis.sha256}
    return Request(site.study.sha256, full | task, np.array([0.0, of_age, 0.0], np.float32))


def opened(site, of_age=1.0):
    asked = request(site, of_age)
    task = asked.task | {"declared": [look_digest(asked)]}
    answer(site, wire.TEST, dataclasses.replace(asked, task=task))
    return asked


def test_a_levels_sums_are_those_of_its_patients(site):
    asked = opened(site)
    sums = answer(site, wire.SUBGROUPS, asked).sums
    cohort, levels = site.cohort, all_levels(site.study)
    rows = cohort.rows("test")
    logit = site.logits(asked, "test")
    place = levels.index(("sex", "male"))
    male = cohort.categorical["sex"][rows] == 1
    y, p = cohort.labels[rows][male], 1 / (1 + np.exp(-logit[male]))
    tn, fp, fn, tp = confusion_matrix(y, logit[male] >= 0.25).ravel()
    assert sums["shown"][place] == 1
    assert [sums[key][place] for key in ("n", "n_pos", "tp", "fp", "tn", "fn")] == [len(y), y.sum(), tp, fp, tn, fn]
    assert sums["brier_sum"][place] == pytest.approx(len(y) * brier_score_loss(y, p), abs=1e-6)
    coarse = coarse_edges(EDGES)
    own = score_histogram(y, logit[male], coarse)
    bins = slice(place * (len(coarse) + 1), (place + 1) * (len(coarse) + 1))
    assert sums["negatives"][bins] == own.negatives.tolist()
    assert sums["positives"][bins] == own.positives.tolist()
    assert len(sums["n"]) == len(levels) == 6


def test_levels_that_are_hidden_are_all_zero(site):
    sex = np.ones(len(site.cohort), np.int16)
    sex[site.cohort.rows("test")[:2]] = 0
    site.cohort = dataclasses.replace(site.cohort, categorical={"sex": sex})
    sums = answer(site, wire.SUBGROUPS, opened(site)).sums
    of_sex = slice(0, 3)
    assert sums["shown"][of_sex] == [0, 0, 1]
    for key in ("n", "n_pos", "tp", "fp", "tn", "fn", "brier_sum"):
        assert sums[key][of_sex] == [0, 0, 0], key
    bins = 3 * (len(coarse_edges(EDGES)) + 1)
    assert not any(sums["negatives"][:bins] + sums["positives"][:bins])


@pytest.mark.parametrize("change", [{"threshold": 0.3}, {"edges": EDGES[1:]}])
def test_other_bins_or_another_threshold_than_looked_are_refused(site, change):
    """Else a subgroup's patients could be asked about at every score, one question after the other."""
    opened(site)
    with pytest.raises(Refusal, match="test-already-opened"):
        answer(site, wire.SUBGROUPS, request(site, **change))


def test_a_model_that_has_not_looked_is_refused(site):
    with pytest.raises(Refusal, match="test-not-opened"):
        answer(site, wire.SUBGROUPS, request(site))
    opened(site)
    with pytest.raises(Refusal, match="test-already-opened"):
        answer(site, wire.SUBGROUPS, request(site, of_age=2.0))


def test_a_site_below_the_minimum_tells_nothing(site):
    site.cohort = dataclasses.replace(site.cohort, labels=np.zeros_like(site.cohort.labels))
    reply = answer(site, wire.SUBGROUPS, opened(site))
    assert (reply.sums, reply.reasons) == ({}, {"shown": "class-count-below-minimum"})


def test_a_site_that_keeps_its_histogram_tells_counts_alone(site):
    site.policy = ReleasePolicy(min_class_count=3, score_histogram="never")
    reply = answer(site, wire.SUBGROUPS, opened(site))
    assert set(reply.sums) == {"shown", "brier_sum", "n", "n_pos", "tp", "fp", "tn", "fn"}
    assert set(reply.reasons) == {"negatives", "positives"}


def test_a_cohort_prepared_without_a_variable_says_so(site):
    asked = opened(site)
    site.cohort = dataclasses.replace(site.cohort, categorical={})
    with pytest.raises(Refusal, match="unknown-variable"):
        answer(site, wire.SUBGROUPS, asked)


def test_the_scanner_is_that_of_the_last_time_point_and_unknown_ones_are_missing(toy):
    escc = read_study("escc-pcr")
    vendor = np.array([[0, 1], [2, -1], [-1, 3]], np.int8)
    columns = {name: np.zeros(3) for name in ("age",)}
    codes = {name: np.zeros(3, np.int16) for name in ("sex", "regimen", "stage")}
    cohort = dataclasses.replace(toy.cohorts["site-a"], numeric=columns, categorical=codes)
    cohort = dataclasses.replace(cohort, keys=("a", "b", "c"), acquisition={"vendor": vendor})
    found, levels = subgroup_codes(escc, cohort, np.arange(3))["scanner_vendor"]
    assert levels == len(VENDORS) + 1
    assert found.tolist() == [1, len(VENDORS), 3]
    unknown = dataclasses.replace(cohort, acquisition={})
    assert subgroup_codes(escc, unknown, np.arange(3))["scanner_vendor"][0].tolist() == [len(VENDORS)] * 3


def test_levels_add_to_the_whole_where_none_is_hidden():
    rng = np.random.default_rng(3)
    y, logit = rng.integers(0, 2, 200).astype(np.int8), rng.normal(size=200)
    codes = {"sex": (np.where(np.arange(200) % 2, 1, 0), 3)}
    policy = ReleasePolicy(min_class_count=5, score_histogram="plain")
    sums, reasons = level_sums(codes, y, logit, [0.0], 0.0, policy)
    assert reasons == {}
    assert sums["shown"] == [1, 1, 1]
    assert (sum(sums["n"]), sum(sums["n_pos"])) == (200, y.sum())
    assert np.reshape(sums["positives"], (3, 2)).sum(axis=0).tolist() == [
        ((logit < 0) & (y == 1)).sum(),
        ((logit >= 0) & (y == 1)).sum(),
    ]


def levels_of(*columns):
    return {str(place): (np.asarray(column), 2) for place, column in enumerate(columns)}


@pytest.mark.parametrize(
    ("of_patient", "hidden"),
    [
        (lambda age: age >= 65, False),  # the same patients: nobody is left over
        (lambda age: age >= 66, True),  # the few between both cuts
        (lambda age: age >= 75, False),  # many between
        (lambda age: age < 63, True),  # below the other cut; few are in neither
        (lambda age: age < 67, True),  # few are in both, and everybody is in one
        (lambda age: np.arange(len(age)) // 2 % 2, False),  # no cell is empty
    ],
)
def test_two_subgroups_tell_of_no_few_together(of_patient, hidden):
    """Each may be told by itself; the difference of their Brier sums would be of the few that they differ by."""
    age = np.repeat(np.arange(50, 80), 4).astype(float)
    labels = np.tile([0, 1], 60).astype(np.int8)
    codes = levels_of((age >= 65).astype(int), np.asarray(of_patient(age), int))
    first, second = hidden_by_subgroup(codes, labels, 5).values()
    assert not first.any()
    assert second.all() == second.any() == hidden
    assert hidden_by_subgroup(levels_of(codes["1"][0]), labels, 5)["0"].tolist() == [False, False]


def test_a_message_tells_no_subgroup_that_lies_few_within_another(site):
    plan = {"old": {"variable": "age", "cuts": [55]}, "older": {"variable": "age", "cuts": [55.5]}}
    analysis = site.study.analysis.model_validate({"subgroups": plan})
    site.study = site.study.model_copy(update={"analysis": analysis})
    age = site.cohort.numeric["age"]
    between = ((age >= 55) & (age < 55.5))[site.cohort.rows("test")].sum()
    assert 0 < between < 3
    sums = answer(site, wire.SUBGROUPS, opened(site)).sums
    assert sums["shown"][:2] == [1, 1]
    assert sums["shown"][3:5] == [0, 0]
    assert not any(sums["n"][3:] + sums["brier_sum"][3:])


def test_a_site_held_out_tells_no_level_that_its_counts_for_the_plan_leave_few_of(site):
    """It is tested whole: less the training patients of the level, whom the counts tell, few women would be left."""
    cohort, females = site.cohort, {"train": 20, "validation": 2, "test": 2}
    sex = np.ones(len(cohort), np.int16)
    labels = np.tile([0, 1], len(cohort) // 2).astype(np.int8)
    for part, number in females.items():
        sex[cohort.rows(part)[:number]] = 0
    site.cohort = dataclasses.replace(cohort, categorical={"sex": sex}, labels=labels)
    told = answer(site, wire.COUNTS, Request(site.study.sha256, {"run": "1"})).sums
    assert told["level_patients"][0] == 20
    asked = request(site, fold={"mode": "loso", "held_out": "site-a"})
    answer(site, wire.TEST, dataclasses.replace(asked, task=asked.task | {"declared": [look_digest(asked)]}))
    assert answer(site, wire.SUBGROUPS, asked).sums["shown"][:2] == [0, 0]
    sex[cohort.rows("test")[:12]] = 0
    other = LocalSite("site-a", site.study, site.policy, site.cohort)
    answer(other, wire.TEST, asked)
    assert answer(other, wire.SUBGROUPS, asked).sums["shown"][:2] == [1, 1]

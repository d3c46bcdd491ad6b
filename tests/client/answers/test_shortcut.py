"""What a site tells of embeddings: sums of many, one projection a model, never a test patient or a label."""

import dataclasses

import numpy as np
import pytest
from scan_sites import scan_site, scan_study
from scanner_sites import scanner_cohort, task_of

from fedescc.client.answers.dispatch import answer
from fedescc.client.learning.dataset import SiteTensors
from fedescc.client.learning.embed import predict_embeddings
from fedescc.common import wire
from fedescc.common.acquisition import VENDORS
from fedescc.common.arrays import flatten_parameters
from fedescc.common.errors import Refusal
from fedescc.common.fold import KFold
from fedescc.common.network.model import build_model
from fedescc.common.schema import check_reply
from fedescc.common.shortcut import FEW, FEW_RIGHT, FEW_WRONG, TOLD, LinearRule, Projection, symmetric
from fedescc.common.tabular.covariates import Encoding
from fedescc.common.wire import Request

STUDY = scan_study()
MODEL = build_model(STUDY, 0, seed=3)
SIZE = 12
MIXED = np.array((["ge"] * 6 + ["canon"] * 6) * 10)
RNG = np.random.default_rng(5)
WHOLE = Projection(np.zeros(SIZE), np.ones(SIZE))
NARROW = Projection(np.zeros(SIZE), np.ones(SIZE), RNG.normal(size=(3, SIZE)))


def site_of(cohort, minimum=5, **policy):
    site = scan_site("a", STUDY, cohort, minimum)
    site.policy = site.policy.model_copy(update=policy)
    return site


def ask(site, model=MODEL, **task):
    reply = answer(site, wire.SHORTCUT, Request(STUDY.sha256, task_of() | task, flatten_parameters(model)))
    check_reply(wire.SHORTCUT, reply)
    return reply


def embeddings(cohort, split):
    rows = cohort.rows(split)
    return predict_embeddings(MODEL, SiteTensors.from_cohort(cohort, Encoding(covariates=()), rows)), rows


def test_sums_are_those_of_the_training_patients_and_of_each_vendors():
    cohort = scanner_cohort(0, 120, vendor=MIXED)
    sums, (found, rows) = ask(site_of(cohort)).sums, embeddings(cohort, "train")
    assert sums["n"] == 60
    assert np.allclose(sums["totals"], found.sum(axis=0))
    assert np.allclose(sums["squares"], (found**2).sum(axis=0))
    assert sums["vendor_counts"] == [0, 30, 0, 30, 0, 0, 0, 0]
    codes = cohort.acquisition["vendor"][rows, 1]
    by_hand = [found[codes == VENDORS.index(name)].sum(axis=0) for name in ("ge", "canon")]
    assert np.allclose(np.array(sums["vendor_totals"]).reshape(2, SIZE), by_hand)


def test_products_are_those_of_the_projections_columns():
    cohort = scanner_cohort(0, 120, vendor=MIXED)
    sums, (found, rows) = ask(site_of(cohort), projection=NARROW.task()).sums, embeddings(cohort, "train")
    columns = found @ NARROW.axes.T
    assert np.allclose(symmetric(np.array(sums["products"]), 3), columns.T @ columns)
    codes = cohort.acquisition["vendor"][rows, 1]
    for place, name in enumerate(("ge", "canon")):
        own = columns[codes == VENDORS.index(name)]
        told = np.array(sums["vendor_products"]).reshape(2, 6)[place]
        assert np.allclose(symmetric(told, 3), own.T @ own)


def test_neither_a_label_nor_a_test_patient_is_looked_at():
    cohort = scanner_cohort(0, 120)
    images = cohort.images.copy()
    images[cohort.split == "test"] = np.nan
    turned = dataclasses.replace(cohort, images=images, labels=(1 - cohort.labels).astype(np.int8))
    rules = {"site": LinearRule(("a", "b"), RNG.normal(size=(2, SIZE)), np.zeros(2)).task()}
    for task in ({}, {"projection": WHOLE.task()}, {"projection": WHOLE.task(), "rules": rules}):
        assert ask(site_of(turned), **task).sums == ask(site_of(cohort), **task).sums


def test_as_many_columns_as_patients_are_refused_unless_the_policy_allows_them():
    cohort = scanner_cohort(0, 24)  # 12 of them train
    with pytest.raises(Refusal, match="more-columns-than-patients"):
        ask(site_of(cohort), projection=WHOLE.task())
    assert "products" in ask(site_of(cohort), projection=NARROW.task()).sums
    assert "products" in ask(site_of(cohort, small_newton="plain"), projection=WHOLE.task()).sums


@pytest.mark.parametrize("few", [6, 9, 12])
def test_products_of_a_vendor_stay_where_its_patients_or_the_others_are_as_few_as_columns(few):
    cohort = scanner_cohort(0, 120)
    vendors = cohort.acquisition["vendor"]
    vendors[cohort.rows("train")[:few]] = VENDORS.index("ge")
    reply = ask(site_of(cohort), projection=WHOLE.task())
    assert "products" in reply.sums
    assert "vendor_products" not in reply.sums
    assert reply.reasons == {"vendor_products": "more-columns-than-patients-of-a-vendor"}
    unknown = cohort.acquisition["vendor"].copy()
    unknown[unknown == VENDORS.index("ge")] = -1
    hidden = dataclasses.replace(cohort, acquisition={"vendor": unknown})
    assert "vendor_products" not in ask(site_of(hidden), projection=WHOLE.task()).sums  # they could be subtracted


def test_a_small_vendor_is_neither_counted_nor_summed():
    cohort = scanner_cohort(0, 120, vendor=MIXED)
    cohort.acquisition["vendor"][cohort.rows("train")[:2]] = VENDORS.index("philips")
    sums = ask(site_of(cohort)).sums
    assert all(count == 0 or count >= 5 for count in sums["vendor_counts"])
    assert sums["vendor_counts"][VENDORS.index("philips")] == 0
    assert len(sums["vendor_totals"]) == SIZE * sum(count > 0 for count in sums["vendor_counts"][:6])


def rule_that_assigns(cohort, right):
    """A rule by the first dimension that assigns so many of the validation patients to site ``a``."""
    first = np.sort(embeddings(cohort, "validation")[0][:, 0])
    cut = np.inf if right == len(first) else first[right]
    weights = np.zeros((2, SIZE))
    weights[1, 0] = 1.0
    return LinearRule(("a", "b"), weights, np.array([0.0, -min(cut, first[-1] + 1) + 1e-9])).task()


@pytest.mark.parametrize(
    ("right", "told"),
    [(0, (0, TOLD)), (2, (0, FEW_RIGHT)), (5, (5, TOLD)), (15, (15, TOLD)), (17, (0, FEW_WRONG)), (20, (20, TOLD))],
)
def test_a_count_is_told_unless_it_or_the_rest_is_few(right, told):
    cohort = scanner_cohort(0, 120)  # 20 of them validate
    rules = {"site": rule_that_assigns(cohort, right)}
    sums = ask(site_of(cohort), projection=WHOLE.task(), rules=rules).sums
    assert (sums["n"], sums["minimum"]) == (20, 5)
    assert (sums["right"], sums["right_hidden"]) == told


def test_both_sides_may_be_few_and_vendors_are_counted_alike():
    cohort = scanner_cohort(0, 36, vendor="canon")  # 6 of them validate
    vendor = LinearRule(("canon", "ge"), np.zeros((2, SIZE)), np.array([1.0, 0.0])).task()
    rules = {"site": rule_that_assigns(cohort, 3), "vendor": vendor}
    sums = ask(site_of(cohort), projection=WHOLE.task(), rules=rules).sums
    assert (sums["right"], sums["right_hidden"]) == (0, FEW)
    assert sums["vendor_counts"] == [0, 0, 0, 6, 0, 0, 0, 0]
    assert (sums["vendor_right"], sums["vendor_hidden"]) == ([6], [TOLD])


def test_a_site_that_the_rule_does_not_know_counts_nobody():
    rules = {"site": LinearRule(("b", "c"), np.zeros((2, SIZE)), np.zeros(2)).task()}
    sums = ask(site_of(scanner_cohort(0, 120)), projection=WHOLE.task(), rules=rules).sums
    assert "right" not in sums


def test_of_a_model_one_projection_and_one_pair_of_rules_are_answered():
    site = site_of(scanner_cohort(0, 120))
    first = ask(site, projection=NARROW.task())
    assert ask(site, projection=NARROW.task()) == first
    other = Projection(NARROW.centre, NARROW.scale, NARROW.axes[::-1].copy())
    with pytest.raises(Refusal, match="too-many-questions"):
        ask(site, projection=other.task())
    rules = [{"site": LinearRule(("a", "b"), np.eye(2, 3) * sign, np.zeros(2)).task()} for sign in (1, -1)]
    ask(site, projection=NARROW.task(), rules=rules[0])
    with pytest.raises(Refusal, match="too-many-questions"):
        ask(site, projection=NARROW.task(), rules=rules[1])


def test_of_a_fold_two_models_are_answered_and_k_folds_not_at_all():
    site, models = site_of(scanner_cohort(0, 120)), [build_model(STUDY, 0, seed) for seed in range(3)]
    ask(site, models[0])
    ask(site, models[1])
    with pytest.raises(Refusal, match="too-many-questions"):
        ask(site, models[2])
    ask(site, models[0])
    with pytest.raises(Refusal, match="not-in-k-folds"):
        ask(site_of(scanner_cohort(0, 120)), fold=KFold(index=0, of=2).model_dump())


def test_too_few_patients_are_not_asked():
    with pytest.raises(Refusal, match="class-count-below-minimum"):
        ask(site_of(scanner_cohort(0, 6)))
    with pytest.raises(Refusal, match="class-count-below-minimum"):
        ask(site_of(scanner_cohort(0, 24)), projection=WHOLE.task(), rules={})


@pytest.mark.parametrize(
    "task",
    [
        {"projection": {"centre": [0.0], "scale": [1.0], "axes": None}},
        {"projection": WHOLE.task(), "rules": {"site": {"names": ["a", "b"]}}},
        {"rules": {}},
        {"projection": 3},
        {"rules": []},
        {"split": "test"},
    ],
)
def test_questions_that_do_not_fit_are_refused(task):
    with pytest.raises(Refusal, match="malformed-message"):
        ask(site_of(scanner_cohort(0, 120)), **task)

"""What a site answers before egress: small counts stay hidden, requests of another study are refused."""

import dataclasses

import numpy as np
import pytest

from fedescc.client.answers.dispatch import answer
from fedescc.client.answers.statistics import flow_counts
from fedescc.client.local_site import LocalSite
from fedescc.client.site import ReleasePolicy
from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.wire import Request


@pytest.fixture
def site(toy):
    return LocalSite("site-a", toy.study, toy.policy("site-a"), toy.cohorts["site-a"])


def statistics(site):
    return answer(site, wire.STATISTICS, Request(site.study.sha256))


def with_flow(site, **excluded):
    site.cohort = dataclasses.replace(site.cohort, flow={"included": len(site.cohort), **excluded})
    return statistics(site)


def test_another_study_is_refused(site):
    with pytest.raises(Refusal, match="study-mismatch"):
        answer(site, wire.STATISTICS, Request("0" * 64))


def test_an_unknown_message_type_is_refused(site):
    with pytest.raises(Refusal, match="unknown-message-type"):
        answer(site, "query.patients", Request(site.study.sha256))


def test_a_request_without_weights_is_refused(site):
    with pytest.raises(Refusal, match="malformed-message"):
        answer(site, wire.TRAIN, Request(site.study.sha256, {"federation": {}, "encoding": {"covariates": []}}))


def test_covariates_of_too_few_patients_stay_hidden(site):
    marker = np.full(len(site.cohort), np.nan)
    marker[site.cohort.rows("train")[:2]] = 500.0
    site.cohort = dataclasses.replace(site.cohort, numeric={**site.cohort.numeric, "marker": marker})
    sums = statistics(site).sums
    assert sums["covariate_counts"][1] == sums["covariate_totals"][1] == sums["covariate_squares"][1] == 0
    assert sums["covariate_counts"][0] == len(site.cohort.rows("train"))


@pytest.mark.parametrize(
    ("excluded", "shown", "hidden"),
    [
        ({}, {"flow_excluded": 0, "flow_by_rule": [0, 0]}, set()),
        ({"adult": 5, "missing:age": 4}, {"flow_excluded": 9, "flow_by_rule": [5, 4]}, set()),
        ({"adult": 5, "missing:age": 1}, {"flow_excluded": 6}, {"flow_by_rule"}),
        ({"adult:unknown": 2}, {}, {"flow_excluded", "flow_by_rule"}),
    ],
)
def test_one_small_cell_hides_the_breakdown(site, excluded, shown, hidden):
    reply = with_flow(site, **excluded)
    flow = {key: value for key, value in reply.sums.items() if key.startswith("flow_")}
    assert flow == {"flow_included": len(site.cohort), **shown}
    assert set(reply.reasons) == hidden


def test_flow_counts_put_unknown_codes_under_other(toy):
    assert flow_counts(toy.study, {"adult": 1, "adult:unknown": 2, "endpoint_unknown": 3}) == [3, 3]


@pytest.mark.parametrize(("own", "effective"), [(1, 3), (3, 3), (8, 8)])
def test_the_stricter_limit_holds(toy, own, effective):
    site = LocalSite("site-a", toy.study, ReleasePolicy(min_class_count=own), toy.cohorts["site-a"])
    assert site.policy.min_class_count == effective


def train_like(site, **task):
    """A request with the weights and encoding of a whole model."""
    from fedescc.common.arrays import flatten_parameters
    from fedescc.common.network.model import build_model
    from fedescc.common.tabular.covariates import Encoding, column_sums

    rows = site.cohort.rows("train")
    encoding = Encoding.from_sums(site.study, column_sums(site.study, site.cohort.numeric, rows))
    weights = flatten_parameters(build_model(site.study, len(encoding.columns), 0))
    full = {"encoding": encoding.model_dump(mode="json"), "edges": [-1.0, 0.0, 1.0], "threshold": 0.0, **task}
    return Request(site.study.sha256, full, weights)


def look_like(site, **task):
    """The same under the study's plan, as the test set is opened."""
    return train_like(site, plan=site.study.analysis.sha256, **task)


def test_the_test_set_opens_once(site):
    with pytest.raises(Refusal, match="test-not-opened"):
        answer(site, wire.RECALIBRATION, train_like(site, large=[0.0], slope=[0.0, 1.0]))
    first = answer(site, wire.TEST, look_like(site))
    assert answer(site, wire.TEST, look_like(site)) is first
    for change in ({"threshold": 0.1}, {"edges": [0.0]}):
        with pytest.raises(Refusal, match="test-already-opened"):
            answer(site, wire.TEST, look_like(site, **change))
    other = dataclasses.replace(look_like(site), weights=look_like(site).weights + 1)
    followed_up = dataclasses.replace(other, task=other.task | {"large": [0.0], "slope": [0.0, 1.0]})
    for message_type, request in ((wire.TEST, other), (wire.EXPLANATION, other), (wire.RECALIBRATION, followed_up)):
        with pytest.raises(Refusal, match="test-already-opened"):
            answer(site, message_type, request)


def test_recalibration_cannot_be_asked_for_ever(site):
    answer(site, wire.TEST, look_like(site))
    request = train_like(site, large=[0.0], slope=[0.0, 1.0])
    for _ in range(60):
        answer(site, wire.RECALIBRATION, request)
    with pytest.raises(Refusal, match="too-many-questions"):
        answer(site, wire.RECALIBRATION, request)


def test_logits_follow_the_encoding_too(site):
    one = site.logits(train_like(site), "validation")
    request = train_like(site)
    request.task["encoding"]["covariates"][0]["mean"] += 10
    weights = request.weights + np.float32(0.5)
    moved = site.logits(dataclasses.replace(request, weights=weights), "validation")
    plain = site.logits(dataclasses.replace(train_like(site), weights=weights), "validation")
    assert not np.allclose(moved, plain)
    assert len(one) == len(moved)


@pytest.mark.parametrize(("rows", "trains"), [(2, False), (3, True)])
def test_an_update_of_too_few_patients_stays(site, rows, trains):
    split = np.full(len(site.cohort), "test", dtype="<U10")
    split[:rows] = "train"
    site.cohort = dataclasses.replace(site.cohort, split=split)
    federation = Federation().model_dump(mode="json")
    request = train_like(site, federation=federation, round=1)
    assert ("n_train" in statistics(site).sums) is trains
    if trains:
        assert answer(site, wire.TRAIN, request).sums["n"] == 3
    else:
        with pytest.raises(Refusal, match="too-few-training-patients"):
            answer(site, wire.TRAIN, request)

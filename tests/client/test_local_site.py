"""What a site answers before egress: small counts stay hidden, requests of another study are refused."""

import dataclasses

import numpy as np
import pytest

from fedescc.client.local_site import LocalSite, flow_counts
from fedescc.client.site import ReleasePolicy
from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.wire import Request


@pytest.fixture
def site(toy):
    return LocalSite("site-a", toy.study, toy.policy("site-a"), toy.cohorts["site-a"])


def statistics(site):
    return site.answer(wire.STATISTICS, Request(site.study.sha256))


def with_flow(site, **excluded):
    site.cohort = dataclasses.replace(site.cohort, flow={"included": len(site.cohort), **excluded})
    return statistics(site)


def test_another_study_is_refused(site):
    with pytest.raises(Refusal, match="study-mismatch"):
        site.answer(wire.STATISTICS, Request("0" * 64))


def test_an_unknown_message_type_is_refused(site):
    with pytest.raises(Refusal, match="unknown-message-type"):
        site.answer("query.patients", Request(site.study.sha256))


def test_a_request_without_weights_is_refused(site):
    with pytest.raises(Refusal, match="malformed-message"):
        site.answer(wire.TRAIN, Request(site.study.sha256, {"federation": {}, "encoding": {"covariates": []}}))


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

"""Sums for the paired test: of models that have looked, among all sites' patients, and equal to DeLong's."""

import dataclasses

import numpy as np
import pytest

from fedescc.client.answers.dispatch import answer
from fedescc.client.local_site import LocalSite
from fedescc.client.site import ReleasePolicy
from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.identity import join_looks, look_digest
from fedescc.common.statistics.paired import PlacementSums, auc_covariance, compare
from fedescc.common.statistics.roc import paired_delong, score_histogram
from fedescc.common.tabular.columns import NumericColumn
from fedescc.common.tabular.covariates import Encoding
from fedescc.common.wire import Request

ENCODING = Encoding(
    covariates=(
        NumericColumn(name="age", group="age", mean=50, sd=10),
        NumericColumn(name="marker", group="marker", mean=450, sd=200),
    )
).model_dump(mode="json")


@pytest.fixture
def site(toy):
    return LocalSite("site-a", toy.study, toy.policy("site-a"), toy.cohorts["site-a"])


def model(site, of_age, of_marker, **task):
    edges = np.linspace(-2, 2, 9).tolist()
    full = {"run": "1", "encoding": ENCODING, "edges": edges, "threshold": 0.0, "plan": site.study.analysis.sha256}
    weights = np.array([0.0, of_age, 0.0, of_marker, 0.0], np.float32)
    return Request(site.study.sha256, full | task, weights)


def opened(site, *models):
    declared = [look_digest(one) for one in models]
    for one in models:
        answer(site, wire.TEST, dataclasses.replace(one, task=one.task | {"declared": declared}))
    return models


def histograms(site, models):
    labels = site.cohort.labels[site.cohort.rows("test")]
    found = [score_histogram(labels, site.logits(one, "test"), one.task["edges"]) for one in models]
    return [{"negatives": one.negatives.tolist(), "positives": one.positives.tolist()} for one in found]


def test_sums_of_one_site_alone_give_delongs_test_on_its_binned_scores(site):
    models = opened(site, model(site, 1.0, 0.0), model(site, 0.2, 1.0))
    sums = answer(site, wire.COMPARISON, join_looks(models, pooled=histograms(site, models))).sums
    labels = site.cohort.labels[site.cohort.rows("test")]
    assert (sums["n"], sums["n_pos"]) == (len(labels), labels.sum())
    parts = PlacementSums(
        np.array([sums["n"] - sums["n_pos"], sums["n_pos"]]),
        np.reshape(sums["sums"], (2, 2)),
        np.reshape(sums["products"], (2, 3)),
    )
    found = compare(auc_covariance(parts).value, 1, 0).value
    first, second = (np.digitize(site.logits(one, "test"), one.task["edges"]).astype(float) for one in models)
    expected = paired_delong(labels, second, first).value
    assert found.difference == pytest.approx(expected.difference, abs=1e-12)
    assert found.standard_error == pytest.approx(expected.standard_error, rel=1e-9)


def test_a_sites_own_test_is_delongs_on_its_exact_scores(site):
    models = opened(site, model(site, 1.0, 0.0), model(site, 0.2, 1.0), model(site, 2.0, 0.0))
    sums = answer(site, wire.COMPARISON, join_looks(models, pooled=histograms(site, models))).sums
    labels = site.cohort.labels[site.cohort.rows("test")]
    first, second, third = (site.logits(one, "test") for one in models)
    expected = paired_delong(labels, second, first).value
    assert sums["differences"] == pytest.approx([expected.difference, 0.0], abs=1e-6)
    assert sums["standard_errors"] == pytest.approx([expected.standard_error, 0.0], abs=1e-6)
    assert paired_delong(labels, third, first).reason == "zero-variance"  # twice the scores rank alike


def test_only_models_that_have_looked_are_compared(site):
    one, two, three = model(site, 1.0, 0.0), model(site, 0.2, 1.0), model(site, 0.0, 1.0)
    pooled = histograms(site, [one, two])
    with pytest.raises(Refusal, match="test-not-opened"):
        answer(site, wire.COMPARISON, join_looks([one, two], pooled=pooled))
    opened(site, one, two)
    with pytest.raises(Refusal, match="test-already-opened"):
        answer(site, wire.COMPARISON, join_looks([one, three], pooled=pooled))


@pytest.mark.parametrize("change", [{"threshold": 0.3}, {"edges": [-1.0, 0.0, 1.0]}])
def test_a_look_cannot_change_its_bins_or_threshold_afterwards(site, change):
    one, two = opened(site, model(site, 1.0, 0.0), model(site, 0.2, 1.0))
    changed = dataclasses.replace(two, task=two.task | change)
    with pytest.raises(Refusal, match="test-already-opened"):
        answer(site, wire.COMPARISON, join_looks([one, changed], pooled=histograms(site, [one, changed])))


def test_histograms_that_lack_this_sites_patients_are_refused(site):
    """Placements among made-up patients would be a question of the server's own making."""
    models = opened(site, model(site, 1.0, 0.0), model(site, 0.2, 1.0))
    pooled = histograms(site, models)
    pooled[1]["positives"] = [0] * len(pooled[1]["positives"])
    with pytest.raises(Refusal, match="not-the-pool"):
        answer(site, wire.COMPARISON, join_looks(models, pooled=pooled))


@pytest.mark.parametrize("pooled", [[], [{"negatives": [1], "positives": [1]}], "pooled", None])
def test_a_malformed_request_is_refused(site, pooled):
    models = opened(site, model(site, 1.0, 0.0), model(site, 0.2, 1.0))
    with pytest.raises(Refusal, match="malformed-message"):
        answer(site, wire.COMPARISON, join_looks(models, pooled=pooled))


def test_a_site_that_keeps_its_histogram_keeps_these_sums(site):
    site.policy = ReleasePolicy(min_class_count=3, score_histogram="never")
    models = opened(site, model(site, 1.0, 0.0), model(site, 0.2, 1.0))
    reply = answer(site, wire.COMPARISON, join_looks(models, pooled=histograms(site, models)))
    assert (reply.sums, reply.reasons) == ({}, {"n": "histogram-not-released"})


def test_a_site_below_the_minimum_stays_out(site):
    site.cohort = dataclasses.replace(site.cohort, labels=np.zeros_like(site.cohort.labels))
    models = opened(site, model(site, 1.0, 0.0), model(site, 0.2, 1.0))
    reply = answer(site, wire.COMPARISON, join_looks(models, pooled=histograms(site, models)))
    assert (reply.sums, reply.reasons) == ({}, {"n": "class-count-below-minimum"})

"""Screening over the wire: what scipy and numpy say of the pooled patients, and no harm from a bad reply."""

import numpy as np
import pytest
from scipy.stats import ttest_ind
from toy_comparators import Sites

from fedescc.client.site import ReleasePolicy
from fedescc.common.errors import Refusal
from fedescc.common.protocol import NumericVariable
from fedescc.common.tabular.moments import STEPS
from fedescc.common.wire import Reply
from fedescc.server.evaluation.screening import class_moments_share, products_share, screen

FEATURES = ["age", "marker", "echo", "noise", "nobody"]
ECHO = NumericVariable(type="numeric", unit="", range=(-5000, 5000), available_at="baseline")


@pytest.fixture
def sites(toy):
    """The toy's patients with an echo of the marker, noise, and a number that nobody has."""
    toy.policies = dict.fromkeys(toy.cohorts, ReleasePolicy(min_class_count=3, small_newton="plain"))
    more = dict.fromkeys(("echo", "noise", "nobody"), ECHO)
    toy.study = toy.study.model_copy(update={"covariates": {**toy.study.covariates, **more}})
    rng = np.random.default_rng(2)
    for cohort in toy.cohorts.values():
        n = len(cohort)
        cohort.numeric["echo"] = -2 * cohort.numeric["marker"] + rng.normal(size=n)
        cohort.numeric["noise"] = rng.normal(size=n)
        cohort.numeric["nobody"] = np.full(n, np.nan)
    return Sites(toy)


def pooled(sites, name):
    cohorts = sites.toy.cohorts.values()
    values = np.concatenate([c.numeric[name][c.rows("train")] for c in cohorts])
    return values, np.concatenate([c.labels[c.rows("train")] for c in cohorts])


def test_the_most_relevant_come_first_and_echoes_are_dropped(sites):
    welch = {}
    for name in FEATURES[:4]:
        values, labels = pooled(sites, name)
        welch[name] = abs(ttest_ind(values[labels == 1], values[labels == 0], equal_var=False, nan_policy="omit")[0])
    ranked = sorted(welch, key=welch.__getitem__, reverse=True)
    echoed = min(("marker", "echo"), key=welch.__getitem__)
    assert screen(sites.evaluator(), FEATURES, 5) == tuple(name for name in ranked if name != echoed)
    assert screen(sites.evaluator(), FEATURES, 1) == (ranked[0],)


def test_a_site_that_keeps_its_products_still_says_what_is_relevant(sites):
    """Three features of the 20 training patients of site-d are few enough; its policy would refuse 20."""
    sites.sites["site-d"].policy = ReleasePolicy(min_class_count=12)
    assert "noise" in screen(sites.evaluator(min_sites=3), FEATURES, 3)
    with pytest.raises(Refusal, match="no-quorum"):
        screen(sites.evaluator(min_sites=4), FEATURES, 3)


def test_nothing_to_choose_from_is_nothing(sites):
    assert screen(sites.evaluator(), [], 3) == ()
    assert screen(sites.evaluator(), ["nobody"], 3) == ()
    assert screen(sites.evaluator(), FEATURES, 0) == ()


MOMENTS = {"counts": [3, 2], "totals": [30, 20], "squares": [302, 202]}


@pytest.mark.parametrize(
    "change",
    [
        {"counts": [3]},
        {"counts": [3.0, 2.0]},
        {"counts": 3},
        {"totals": [3 * STEPS + 1, 20]},
        {"squares": [299, 202]},
        {"totals": [2**62, 2**62]},
    ],
)
def test_moments_that_no_patients_have_are_refused(change):
    assert class_moments_share(Reply("a", "s", MOMENTS), 1).table[:, 0, 0].tolist() == [3, 30, 302]
    with pytest.raises(Refusal, match="malformed-message"):
        class_moments_share(Reply("a", "s", MOMENTS | change), 1)


@pytest.mark.parametrize(
    "change",
    [
        {"products": [4, 1]},
        {"products": [4, 7, 9]},
        {"products": [4, -7, 9]},
        {"products": [-4, 0, 9]},
        {"products": [4, 2.0, 9]},
        {"products": [2**62, 1, 2**62]},
        {"n": None},
    ],
)
def test_products_that_no_patients_have_are_refused(change):
    sums = {"n": 5, "products": [4, 6, 9]}
    assert products_share(Reply("a", "s", sums), 2).triangle.tolist() == [4, 6, 9]
    with pytest.raises(Refusal, match="malformed-message"):
        products_share(Reply("a", "s", sums | change), 2)

"""Random effects and the mean within sites, as published from what sites send, against their patients."""

import math

import numpy as np
import pytest
from audited import failed, published
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from fedescc.common.disclosure.rounding import rounded
from fedescc.server.evaluation.heterogeneity import meta_entry, within_entry
from fedescc.simulations.audit.figures import Ledger
from fedescc.simulations.audit.heterogeneity import audit_meta, audit_within, reml
from fedescc.simulations.audit.scores import Scored

SKILLS = {"north": (120, 1.8), "south": (90, 0.4), "west": (60, 1.2), "east": (50, 2.4)}


@pytest.fixture(scope="module")
def sites():
    rng = np.random.default_rng(4)
    found = {}
    for name, (n, skill) in SKILLS.items():
        y = (rng.random(n) < 0.4).astype(np.int8)
        found[name] = Scored(y, rng.normal(skill * y))
    return found


def sent(sites):
    """METRICS as the coordinator has them: a site's own figures in six decimals."""
    found = {}
    for name, scored in sites.items():
        record = published(scored)
        low, high = record["auc_ci95"]
        short = rounded({"auc": record["auc"], "auc_low": low, "auc_high": high})
        found[name] = record | {"auc": short["auc"], "auc_ci95": [short["auc_low"], short["auc_high"]]}
    return found


def audited(meta, within, sites):
    ledger = Ledger()
    audit_meta(ledger, "m", meta, sites)
    audit_within(ledger, "m", within, sites)
    return ledger


def test_right_entries_pass(sites):
    records = sent(sites)
    meta = meta_entry(records)
    ledger = audited(meta, within_entry(records), sites)
    assert failed(ledger) == []
    assert meta["tau2"] > 0.1
    assert len(ledger.figures) == 5 + 4 + 3


@pytest.mark.parametrize("key", ["auc", "tau2", "q", "q_p", "i2"])
def test_a_changed_figure_is_found(key, sites):
    records = sent(sites)
    meta = meta_entry(records)
    ledger = audited(meta | {key: meta[key] + 2e-6 * max(1.0, meta[key])}, within_entry(records), sites)
    assert failed(ledger) == [f"m / meta {key}"]


def test_changed_intervals_are_found(sites):
    records = sent(sites)
    meta, within = meta_entry(records), within_entry(records)
    meta["ci95"][0] -= 1e-5
    meta["prediction95"][1] += 1e-5
    within["ci95"][1] += 1e-5
    within["auc"] += 1e-5
    assert failed(audited(meta, within, sites)) == [
        "m / meta interval, low",
        "m / meta prediction, high",
        "m / auc within sites",
        "m / auc within sites, interval, high",
    ]


def test_sites_that_are_alike_have_no_variance_between_them(sites):
    twins = dict.fromkeys(("a", "b", "c"), sites["west"])
    records = sent(twins)
    meta = meta_entry(records)
    assert meta["tau2"] == 0
    assert failed(audited(meta, within_entry(records), twins)) == []


def test_two_sites_have_no_prediction_interval(sites):
    two = {name: sites[name] for name in ("north", "south")}
    records = sent(two)
    assert meta_entry(records)["prediction95"] is None
    assert failed(audited(meta_entry(records), within_entry(records), two)) == []


def test_one_site_has_nothing_between(sites):
    records = sent({"north": sites["north"]})
    ledger = audited(meta_entry(records), within_entry(records), sites)
    assert ledger.skipped == {"m / meta": "not-released"}
    assert failed(ledger) == []


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 12), st.floats(0, 2))
def test_the_variance_is_where_the_restricted_likelihood_is_largest(seed, studies, tau):
    rng = np.random.default_rng(seed)
    within = rng.uniform(0.02, 0.5, studies)
    effects = rng.normal(0.5, np.sqrt(tau**2 + within))

    def loss(log_tau2):
        weights = 1 / (within + math.exp(log_tau2))
        mean = weights @ effects / weights.sum()
        return 0.5 * (weights @ (effects - mean) ** 2 - np.log(weights).sum() + math.log(weights.sum()))

    found = reml(effects, within)
    best = minimize_scalar(loss, bounds=(-20, 4), method="bounded", options={"xatol": 1e-9}).fun
    assert loss(math.log(max(found, 1e-9))) <= best + 1e-6

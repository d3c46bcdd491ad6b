"""Figures of sites against each other: variances out of intervals, random effects, within-site mean, sites redrawn."""

import math

import numpy as np
import pytest

from fedescc.common.statistics.roc import Estimate, auc, delong_variance, logit_interval, score_histogram
from fedescc.server.evaluation.heterogeneity import (
    auc_variance,
    bootstrap_entry,
    meta_entry,
    within_entry,
)


def record(seed, n=120, shift=1.2):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    logit = rng.normal(shift * y)
    area = auc(y, logit)
    interval = logit_interval(area, delong_variance(y, logit)).value
    return {"n": n, "auc": area.value, "auc_ci95": list(interval)}, delong_variance(y, logit).value


def hidden(reason="class-count-below-minimum"):
    return {"n": None, "auc": None, "auc_ci95": None, "suppressed": {"auc": reason, "auc_ci95": reason}}


def boundary():
    return {"n": 8, "auc": 1.0, "auc_ci95": None, "suppressed": {"auc_ci95": "auc-at-boundary"}}


def test_the_variance_comes_back_out_of_the_interval():
    found, variance = record(1)
    assert auc_variance(found).value == pytest.approx(variance, rel=1e-9)
    rounded = found | {"auc_ci95": [round(end, 6) for end in found["auc_ci95"]]}
    assert auc_variance(rounded).value == pytest.approx(variance, rel=1e-4)


@pytest.mark.parametrize("interval", [[0.0, 0.9], [0.5, 1.0]])
def test_an_interval_that_no_logit_has_gives_no_variance(interval):
    assert auc_variance(record(1)[0] | {"auc_ci95": interval}).reason == "auc-at-boundary"
    assert auc_variance(hidden("few")).reason == "few"


def test_two_sites_of_hand_computed_variance():
    """Equal variances: the mean logit is their average, and Hartung-Knapp's error the spread between the two."""
    half = 1.959963984540054 * 0.2
    logits = (0.5, 1.5)
    sites = {
        name: {
            "n": 50,
            "auc": 1 / (1 + math.exp(-x)),
            "auc_ci95": [1 / (1 + math.exp(-(x + sign * half))) for sign in (-1, 1)],
        }
        for name, x in zip("ab", logits, strict=True)
    }
    found = meta_entry(sites)
    assert found["auc"] == pytest.approx(1 / (1 + math.exp(-1.0)))
    assert found["tau2"] == pytest.approx(0.5 - 0.04, abs=1e-6)
    assert found["q"] == pytest.approx(0.5 / 0.04)
    assert found["i2"] == pytest.approx(1 - 0.04 / 0.5)
    low, high = found["ci95"]
    assert (math.log(high / (1 - high)) - math.log(low / (1 - low))) / 2 == pytest.approx(12.706205 * 0.5, rel=1e-5)
    assert found["prediction95"] is None
    assert found["suppressed"] == {"prediction95": "fewer-than-three-studies"}


def of_logits(*logits, error=0.3):
    """Sites of these logit AUCs with one standard error."""

    def area(x):
        return 1 / (1 + math.exp(-x))

    half = 1.959963984540054 * error
    return {
        f"s{place:02d}": {"n": 50, "auc": area(x), "auc_ci95": [area(x - half), area(x + half)]}
        for place, x in enumerate(logits)
    }


def test_a_prediction_interval_of_few_sites_says_what_it_is_worth():
    alike, apart = meta_entry(of_logits(1.0, 1.0, 1.1)), meta_entry(of_logits(0.0, 1.0, 2.5))
    assert alike["tau2"] == 0 < apart["tau2"]
    assert "no variance between sites was found" in alike["note"]
    assert "few sites tell the variance" in apart["note"]


def test_many_sites_and_no_prediction_interval_need_no_note():
    assert "note" not in meta_entry(of_logits(*np.linspace(0.0, 2.5, 20)))
    assert "note" in meta_entry(of_logits(*np.linspace(0.9, 1.1, 20)))  # none was found among these
    assert "note" not in meta_entry(of_logits(1.0, 1.0))
    assert "note" not in meta_entry({})


def test_sites_that_cannot_enter_are_named_with_their_reason():
    sites = {"a": record(1)[0], "b": record(2)[0], "c": record(3)[0], "few": hidden(), "perfect": boundary()}
    found = meta_entry(sites)
    assert found["sites"] == ["a", "b", "c"]
    assert found["left_out"] == {"few": "class-count-below-minimum", "perfect": "auc-at-boundary"}
    low, high = found["prediction95"]
    assert low < found["ci95"][0] < found["auc"] < found["ci95"][1] < high


@pytest.mark.parametrize("interval", [[0.7, 0.7], [0.7 - 1e-12, 0.7 + 1e-12]])
def test_a_site_that_claims_certainty_is_left_out_and_costs_no_other(interval):
    claimed = {"n": 9, "auc": 0.7, "auc_ci95": interval}
    found = meta_entry({"a": record(1)[0], "b": record(2)[0], "sure": claimed})
    assert found["left_out"] == {"sure": "auc-at-boundary"}
    assert found["auc"] is not None


def test_one_site_is_no_meta_analysis():
    found = meta_entry({"a": record(1)[0], "few": hidden()})
    assert found["auc"] is found["ci95"] is found["tau2"] is None
    assert found["suppressed"]["auc"] == "fewer-than-two-studies"


def test_the_mean_within_sites_is_weighted_by_patients():
    (a, va), (b, vb) = record(1, 40), record(2, 160)
    found = within_entry({"a": a, "b": b, "few": hidden()})
    assert found["auc"] == pytest.approx(0.2 * a["auc"] + 0.8 * b["auc"])
    half = 1.959963984540054 * math.sqrt(0.04 * va + 0.64 * vb)
    assert found["ci95"] == pytest.approx([found["auc"] - half, found["auc"] + half])
    assert (found["sites"], found["left_out"]) == (["a", "b"], {"few": "class-count-below-minimum"})


def test_a_site_without_an_interval_leaves_the_mean_without_one():
    found = within_entry({"a": record(1)[0], "perfect": boundary()})
    assert found["auc"] is not None
    assert (found["ci95"], found["suppressed"]) == (None, {"ci95": "auc-at-boundary"})
    nobody = within_entry({"few": hidden("few")})
    assert (nobody["auc"], nobody["suppressed"]) == (None, {"auc": "few", "ci95": "few"})
    assert within_entry({})["suppressed"]["auc"] == "not-released"


def test_redrawn_sites_have_an_interval_that_the_seed_alone_decides():
    edges = np.linspace(-2, 3, 20)
    histograms = {}
    for seed in range(5):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, 2, 80)
        histograms[str(seed)] = score_histogram(y, rng.normal(y), edges)
    total = sum(list(histograms.values())[1:], histograms["0"])
    found = bootstrap_entry(histograms, Estimate(total), seed=4)
    low, high = found["auc_ci95"]
    assert 0.5 < low < high < 1
    assert bootstrap_entry(dict(reversed(histograms.items())), Estimate(total), seed=4) == found
    assert bootstrap_entry(histograms, Estimate(total), seed=5) != found
    kept = bootstrap_entry({}, Estimate(None, "histogram-not-released"), seed=4)
    assert (kept["auc_ci95"], kept["suppressed"]) == (None, {"auc_ci95": "histogram-not-released"})

"""Differences of AUCs, as published of exact scores and of bins."""

import numpy as np
import pytest
from audited import EDGES, failed

from fedescc.common.statistics.paired import auc_covariance, compare, placement_sums
from fedescc.common.statistics.roc import score_histogram
from fedescc.server.evaluation.comparison import difference_entry
from fedescc.simulations.audit.figures import Ledger
from fedescc.simulations.audit.paired import audit_difference
from fedescc.simulations.audit.scores import Scored


@pytest.fixture
def pair(scored):
    rng = np.random.default_rng(2)
    return scored, Scored(scored.y, 0.4 * scored.logit + rng.normal(size=200))


def by_bins(pair, cuts):
    """As the federation compares: two sites' sums of placements among the pooled patients."""
    y, scores = pair[0].y, np.stack([one.logit for one in pair], axis=1)
    pooled = [score_histogram(y, score, cuts) for score in scores.T]
    halves = [placement_sums(y[part], scores[part], pooled, [cuts, cuts]) for part in (slice(0, 80), slice(80, None))]
    found = compare(auc_covariance(halves[0] + halves[1]).value, 1, 0).value
    return difference_entry(found.difference, found.standard_error, found.p)


def audited(entry, pair, locked):
    ledger = Ledger()
    first, second = (locked.binned(one) for one in pair[::-1])
    audit_difference(ledger, "b - a", entry, first.y, first.logit, second.logit, rounded=False)
    return ledger


def test_the_federations_comparison_is_that_of_the_binned_pooled_patients(pair, locked):
    ledger = audited(by_bins(pair, EDGES), pair, locked)
    assert failed(ledger) == []
    assert len(ledger.figures) == 5


@pytest.mark.parametrize("key", ["difference", "standard_error", "p"])
def test_a_changed_figure_is_found(key, pair, locked):
    entry = by_bins(pair, EDGES)
    assert failed(audited(entry | {key: entry[key] + 2e-6}, pair, locked)) == [f"b - a / {key.replace('_', ' ')}"]


def test_other_bins_are_found(pair, locked):
    assert "b - a / difference" in failed(audited(by_bins(pair, EDGES[::4]), pair, locked))


def test_an_entry_without_an_interval_is_compared_without_one(pair, locked):
    entry = {key: value for key, value in by_bins(pair, EDGES).items() if key != "ci95"}
    assert len(audited(entry, pair, locked).figures) == 3


def test_what_was_not_compared_is_passed_over(pair, locked):
    entry = {"difference": None, "p": None, "suppressed": "zero-variance"}
    assert audited(entry, pair, locked).skipped == {"b - a": "zero-variance"}

"""The locked threshold is that of the plan's rule, whichever it is; another edge is found."""

import numpy as np
import pytest
from audited import EDGES, failed
from hypothesis import given, settings
from hypothesis import strategies as st

from fedescc.common.analysis import Analysis
from fedescc.common.statistics.roc import probability, score_histogram
from fedescc.server.evaluation.lock import threshold_by
from fedescc.simulations.audit.bins import Locked
from fedescc.simulations.audit.figures import Ledger
from fedescc.simulations.audit.scores import Scored
from fedescc.simulations.audit.thresholds import UNDECIDED, audit_threshold

RULES = (
    "youden",
    {"rule": "sensitivity", "at": 0.9},
    {"rule": "specificity", "at": 0.8},
    {"rule": "cost", "false_negative": 5, "false_positive": 1},
    {"rule": "cost", "false_negative": 0.1, "false_positive": 0.3},
)


def audited(threshold, parts, rule):
    ledger = Ledger()
    plan = Analysis(threshold=rule)
    audit_threshold(ledger, "m", float(probability(threshold)), Locked(EDGES, threshold), parts, plan.threshold)
    return ledger


@pytest.mark.parametrize("rule", RULES)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 60))
@settings(max_examples=40, deadline=None)
def test_the_federations_choice_passes_and_no_other(rule, seed, n):
    rng = np.random.default_rng(seed)
    y = np.r_[0, 1, rng.integers(0, 2, n - 2)].astype(np.int8)
    logit = rng.normal(1.2 * y, 1).round(1)
    chosen = threshold_by(Analysis(threshold=rule), score_histogram(y, logit, EDGES), EDGES.tolist()).value
    chosen = UNDECIDED if chosen is None else chosen
    half = n // 2
    parts = [Scored(y[:half], logit[:half]), Scored(y[half:], logit[half:])]
    assert failed(audited(chosen, parts, rule)) == []
    other = EDGES[(int(np.searchsorted(EDGES, chosen)) + 1) % len(EDGES)]
    assert failed(audited(other, parts, rule)) == ["m / threshold, logit", "m / threshold"]


def test_a_class_that_nobody_has_leaves_the_threshold_at_one_half():
    alone = Scored(np.zeros(5, np.int8), np.linspace(-1, 1, 5))
    assert failed(audited(UNDECIDED, [alone], "youden")) == []
    assert failed(audited(UNDECIDED, [], "youden")) == []
    assert failed(audited(1.0, [], "youden")) == ["m / threshold, logit", "m / threshold"]


def test_a_specificity_that_no_edge_reaches_leaves_it_there_too():
    everybody = Scored(np.array([0, 0, 1], np.int8), np.array([9.0, 9.0, 9.0]))
    assert failed(audited(UNDECIDED, [everybody], {"rule": "specificity", "at": 0.9})) == []

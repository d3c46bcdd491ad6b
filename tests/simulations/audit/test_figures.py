"""Published beside recomputed: what agrees, what does not, and what is said of both."""

import json
import math

import pytest

from fedescc.simulations.audit.figures import EXACT, NOT_RELEASED, Figure, Ledger


@pytest.mark.parametrize(
    ("published", "pooled", "passed"),
    [(0.8, 0.8, True), (0.8, 0.8 + 0.9e-6, True), (0.8, 0.8 + 1.1e-6, False), (0.8, None, False)],
)
def test_a_figure_agrees_within_its_tolerance_and_only_with_a_figure(published, pooled, passed):
    assert Figure("group", "auc", published, pooled, EXACT).passed is passed


def test_a_tolerance_can_be_that_of_bins():
    assert Figure("group", "auc", 0.80, 0.81, 0.01 + 1e-12).passed
    assert not Figure("group", "auc", 0.80, 0.81, 0.009).passed


def test_nan_is_no_figure_of_the_pooled_patients():
    ledger = Ledger()
    ledger.check("group", "slope", 1.0, math.nan)
    assert ledger.figures[0].pooled is None
    assert not ledger.entry()["passed"]


def test_what_was_not_published_is_listed_and_does_not_fail():
    ledger = Ledger("fold-1 / ")
    ledger.check("group", "auc", None, 0.8)
    ledger.check("group", "n", 10, 10)
    entry = ledger.entry()
    assert entry["passed"]
    assert entry["not_audited"] == {"fold-1 / auc": NOT_RELEASED}
    assert [figure["figure"] for figure in entry["figures"]] == ["fold-1 / n"]


def test_nothing_recomputed_is_no_pass():
    assert not Ledger().entry()["passed"]


def test_a_group_shows_its_worst_figure_by_share_of_tolerance():
    ledger = Ledger()
    ledger.check("a", "wide", 0.80, 0.805, 0.01)
    ledger.check("a", "narrow", 0.80, 0.80 + 0.9e-6, 1e-6)
    ledger.check("b", "wrong", 0.5, 0.6)
    ledger.check("b", "undefined", 0.5, None)
    groups = ledger.entry()["groups"]
    assert (groups["a"]["worst"], groups["a"]["failed"], groups["a"]["figures"]) == ("narrow", 0, 2)
    assert groups["a"]["difference"] == pytest.approx(-0.9e-6)
    assert (groups["b"]["worst"], groups["b"]["failed"], groups["b"]["difference"]) == ("undefined", 2, None)


def test_an_entry_is_plain_json():
    ledger = Ledger()
    ledger.check("a", "undefined", 0.5, math.inf)
    figure = json.loads(json.dumps(ledger.entry(), allow_nan=False))["figures"][0]
    assert figure == {
        "group": "a",
        "figure": "undefined",
        "federated": 0.5,
        "pooled": None,
        "difference": None,
        "tolerance": EXACT,
        "passed": False,
    }

"""The audit of a simulation: its verdict in words, the worst of each group, and every figure that failed."""

import pytest
from examined_results import DISAGREES, examined_results
from report_page import Page

from fedescc.server.report.audit import _MOST_FAILED
from fedescc.server.report.formats import magnitude
from fedescc.server.report.page import render
from fedescc.simulations.audit.figures import Ledger


@pytest.fixture
def results():
    return examined_results()


def audited(results, ledger):
    return Page(render(results | {"audit": ledger.entry()}))


def test_a_failed_audit_says_so_and_names_each_figure(results):
    page = Page(render(results))
    assert "Failed. 2 of 3 figures disagree." in page.text
    rows = {row[0]: row[1:] for row in page.table("Figure", "Group")[1:]}
    assert rows[DISAGREES] == ["classification", "0.2", "0.25", "\u22120.050", "1.0e\u221206"]
    assert rows["federated / beijing / ppv"][2] == "undefined"


def test_every_group_has_its_worst_figure(results):
    page = Page(render(results))
    rows = {row[0]: row[1:] for row in page.table("Group", "Furthest off")[1:]}
    groups = results["audit"]["groups"]
    assert set(rows) == set(groups)
    for name, one in groups.items():
        verdict = f"{one['failed']} failed" if one["failed"] else "passed"
        numbers = [str(one["figures"]), magnitude(one["difference"]), magnitude(one["tolerance"])]
        assert rows[name] == [one["worst"], *numbers, verdict]


def test_a_passed_audit_has_no_warning_and_no_table_of_failures(results):
    ledger = Ledger()
    ledger.check("discrimination", "federated / pooled / auc", 0.8, 0.8)
    page = audited(results, ledger)
    assert "Passed. 1 figure were recomputed" not in page.text
    assert "Passed. 1 figure recomputed; all agree within their tolerance." in page.text
    assert not [found for found in page.tables if found[0][:2] == ["Figure", "Group"]]


def test_figures_that_differ_by_little_differ_by_sight(results):
    ledger = Ledger()
    ledger.check("discrimination", "federated / pooled / auc", 0.812345, 0.812347)
    row = audited(results, ledger).table("Figure", "Group")[1]
    assert row[2:4] == ["0.812345", "0.812347"]


def test_an_audit_of_nothing_has_failed(results):
    ledger = Ledger()
    ledger.skip("federated", "models-stay-at-the-sites")
    page = audited(results, ledger)
    assert "Failed. Nothing could be recomputed." in page.text
    assert "1: the models stay at the sites (models-stay-at-the-sites)" in page.text


def test_only_the_first_of_many_failures_are_listed(results):
    ledger = Ledger()
    for number in range(_MOST_FAILED + 5):
        ledger.check("curves", f"figure {number}", 0.0, 1.0)
    page = audited(results, ledger)
    assert len(page.table("Figure", "Group")) == 1 + _MOST_FAILED
    assert "all are in results.json" in page.text


def test_what_was_left_out_is_counted_by_reason(results):
    text = Page(render(results)).text
    assert "Not audited (3) 2: the site did not release it (not-released)" in text
    assert "1: it draws sites at random (sites-drawn-at-random)" in text


@pytest.mark.parametrize("absent", [True, False])
def test_a_run_without_an_audit_has_no_section(results, absent):
    results["audit"] = None
    if absent:
        del results["audit"]
    assert "audit" not in [a["id"] for a in Page(render(results)).named("section")]

"""The table: worst differences, and a plain line for what failed."""

import io

from rich.console import Console

from fedescc.simulations.audit.figures import Ledger
from fedescc.simulations.audit.table import print_audit


def printed(ledger):
    console = Console(width=200, record=True, file=io.StringIO())
    print_audit(ledger.entry(), console)
    return console.export_text()


def test_it_shows_the_worst_of_each_group():
    ledger = Ledger()
    ledger.check("calibration", "federated / pooled / slope", 1.0, 1.0 + 3e-8)
    ledger.check("calibration", "federated / pooled / intercept", 0.5, 0.5)
    ledger.check("bins", "federated / pooled / auc", 0.81, 0.812, 0.01)
    ledger.skip("local_only", "computed-on-pooled-patients")
    ledger.skip("centralised", "computed-on-pooled-patients")
    text = printed(ledger)
    for words in ("calibration", "3.0e-08", "2.0e-03", "1.0e-02", "passed"):
        assert words in text
    assert "not audited: 2 computed-on-pooled-patients" in text
    assert "FAILED" not in text
    assert "audit failed" not in text


def test_a_figure_that_failed_has_its_own_line():
    ledger = Ledger()
    ledger.check("calibration", "federated / pooled / slope", 1.25, 1.0)
    ledger.check("calibration", "federated / east / slope", 1.5, None)
    text = printed(ledger)
    assert "2 FAILED" in text
    assert "audit failed: federated / pooled / slope is 1.25, on the pooled patients 1" in text
    assert "audit failed: federated / east / slope is 1.5, on the pooled patients undefined" in text


def test_many_failures_are_counted_and_not_all_printed():
    ledger = Ledger()
    for number in range(25):
        ledger.check("classification", f"site-{number} / n", 10, 11)
    text = printed(ledger)
    assert text.count("audit failed: site-") == 20
    assert "audit failed: 5 more" in text


def test_nothing_recomputed_is_said():
    assert "audit failed: nothing could be recomputed" in printed(Ledger())

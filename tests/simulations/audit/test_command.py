"""``--audit`` of the simulate command: on where statsmodels is there, off when told so, and shown in the summary."""

import pytest
from typer.testing import CliRunner

from fedescc.simulations import simulate as simulate_module
from fedescc.simulations.audit import audit as audit_module
from fedescc.simulations.audit.figures import Ledger
from fedescc.simulations.cli import app
from fedescc.simulations.summary import print_summary

POOLED = {"n": 10, "auc": 0.8, "auc_ci95": [0.7, 0.9]}
RESULTS = {
    "study": "toy",
    "strategy": "fedavg",
    "mode": "split",
    "rounds": [],
    "folds": [],
    "final": {"pooled": POOLED},
    "comparators": {},
    "comparators_unavailable": {},
    "sites_lost": [],
}


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What the command would simulate with some options."""
    seen = []

    def simulate(simulation):
        seen.append(simulation.audit)
        return RESULTS

    monkeypatch.setattr(simulate_module, "simulate", simulate)

    def ask(*options):
        command = ["run", "--study", "heart-disease", "--cohort", str(tmp_path), "--out", str(tmp_path / "out")]
        done = CliRunner().invoke(app, [*command, *options])
        assert done.exit_code == 0, done.output
        return seen[-1]

    return ask


@pytest.mark.parametrize("installed", [True, False])
def test_an_audit_is_made_where_it_can_be(installed, asked, monkeypatch):
    monkeypatch.setattr(audit_module, "find_spec", lambda name: object() if installed else None)
    assert asked() is installed
    assert asked("--audit") is True  # which the simulation refuses where it cannot
    assert asked("--no-audit") is False


def test_statsmodels_is_there_in_development():
    assert audit_module.can_audit()


def test_the_summary_ends_with_the_audit(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    ledger = Ledger()
    ledger.check("calibration", "federated / pooled / slope", 1.25, 1.0)
    print_summary(RESULTS | {"audit": ledger.entry()}, tmp_path)
    shown = capsys.readouterr().out
    assert "audit failed: federated / pooled / slope is 1.25, on the pooled patients 1" in shown
    assert shown.rstrip().endswith("report.html")


def test_a_run_without_an_audit_says_nothing_of_one(tmp_path, capsys):
    print_summary(RESULTS, tmp_path)
    assert "pooled patients" not in capsys.readouterr().out

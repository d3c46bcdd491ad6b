"""The audit of a federation of the four hospitals of the UCI heart-disease data."""

from pathlib import Path

import pytest

from fedescc.common.study import read_study
from fedescc.simulations.cli import shipped_federation
from fedescc.simulations.simulate import Simulation, simulate

pytestmark = pytest.mark.real_data


def test_everything_published_of_four_hospitals_is_that_of_their_pooled_patients(
    real_data: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight of Switzerland's patients are healthy: its own figures stay hidden, and so they are not audited."""
    monkeypatch.setenv("FEDESCC_REAL_DATA", str(real_data))
    study = read_study("heart-disease")
    federation = shipped_federation(study, ("rounds=2",))
    cohort = repository / "configs" / "cohorts" / "heart-disease"
    results = simulate(Simulation(study, federation, tmp_path / "out", cohort, comparators=("clinical",), audit=True))
    audit = results["audit"]
    assert [figure["figure"] for figure in audit["figures"] if not figure["passed"]] == []
    assert audit["passed"]
    assert len(audit["figures"]) > 500
    assert audit["not_audited"]["federated / switzerland"] == "class-count-below-minimum"

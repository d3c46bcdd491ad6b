"""Gaps and the primary metric are those of the figures they are made of."""

import pytest
from audited import failed

from fedescc.simulations.audit.derived import audit_gaps, audit_primary
from fedescc.simulations.audit.figures import Ledger

LEVELS = {"sex": {"f": {"auc": 0.7}, "m": {"auc": 0.8}, "missing": {"auc": 0.1}}}
FINAL = {
    "pooled": {"auc": 0.8, "auc_ci95": [0.7, 0.9]},
    "auc_within_site": {"auc": 0.75, "ci95": [0.6, 0.85]},
    "meta": {"auc": 0.74, "ci95": [0.5, 0.88]},
}


@pytest.mark.parametrize(("gap", "expected"), [(0.1, []), (0.7, ["m / sex / gap of auc"])])
def test_a_gap_is_between_levels_of_people(gap, expected):
    ledger = Ledger()
    audit_gaps(ledger, "m", {"sex": {"auc": {"gap": gap}}}, LEVELS)
    assert failed(ledger) == expected


def test_a_gap_that_one_level_cannot_have_is_found():
    ledger = Ledger()
    audit_gaps(ledger, "m", {"sex": {"auc": {"gap": 0.1}}}, {"sex": {"f": {"auc": 0.7}, "m": {"auc": None}}})
    assert failed(ledger) == ["m / sex / gap of auc"]


@pytest.mark.parametrize(
    ("metric", "key"),
    [("pooled_auc", "pooled"), ("mean_site_auc", "auc_within_site"), ("site_meta_analysis", "meta")],
)
def test_the_primary_metric_is_that_of_its_source_alone(metric, key):
    source = FINAL[key]
    interval = source.get("ci95") or source["auc_ci95"]
    ledger = Ledger()
    audit_primary(ledger, "m", FINAL | {"primary": {"metric": metric, "auc": source["auc"], "ci95": interval}})
    assert failed(ledger) == []
    assert len(ledger.figures) == 3
    ledger = Ledger()
    audit_primary(ledger, "m", FINAL | {"primary": {"metric": metric, "auc": 0.77, "ci95": [0.0, 1.0]}})
    assert len(failed(ledger)) == 3


def test_a_primary_metric_without_a_value_is_listed():
    ledger = Ledger()
    nothing = {"auc": None, "auc_ci95": None}
    audit_primary(ledger, "m", {"pooled": nothing, "primary": {"metric": "pooled_auc", "auc": None, "ci95": None}})
    assert ledger.skipped == {"m / primary": "not-released"}
    assert ledger.figures == []


def test_an_interval_that_its_source_does_not_have_is_found():
    ledger = Ledger()
    source = {"auc": 0.8, "auc_ci95": None}
    audit_primary(ledger, "m", {"pooled": source, "primary": {"metric": "pooled_auc", "auc": 0.8, "ci95": [0.7, 0.9]}})
    assert failed(ledger) == ["m / primary interval, low", "m / primary interval, high"]

"""The main figure: whose it is, and why it is missing where it is."""

import pytest

from fedescc.server.evaluation.primary import held_out_entry, primary_entry

FINAL = {
    "pooled": {"auc": 0.8, "auc_ci95": [0.7, 0.9]},
    "auc_within_site": {"auc": 0.75, "ci95": [0.6, 0.85]},
    "meta": {"auc": 0.77, "ci95": [0.6, 0.9], "prediction95": [0.4, 0.95], "note": "few sites"},
}


def test_it_is_the_plans():
    assert primary_entry(FINAL, "pooled_auc") == {"metric": "pooled_auc", "auc": 0.8, "ci95": [0.7, 0.9]}
    assert primary_entry(FINAL, "mean_site_auc") == {"metric": "mean_site_auc", "auc": 0.75, "ci95": [0.6, 0.85]}


def test_of_sites_held_out_it_is_their_meta_analysis_with_what_is_to_be_known_of_it():
    found = held_out_entry(FINAL)
    assert found == {"metric": "site_meta_analysis", **FINAL["meta"]}


@pytest.mark.parametrize("metric", ["pooled_auc", "mean_site_auc"])
def test_a_missing_value_says_why(metric):
    final = {
        "pooled": {"auc": None, "auc_ci95": None, "suppressed": {"auc": "kept", "auc_ci95": "kept"}},
        "auc_within_site": {"auc": 0.7, "ci95": None, "suppressed": {"ci95": "auc-at-boundary"}},
    }
    found = primary_entry(final, metric)
    if metric == "pooled_auc":
        assert found == {"metric": metric, "auc": None, "ci95": None, "suppressed": {"auc": "kept", "ci95": "kept"}}
    else:
        assert found["suppressed"] == {"ci95": "auc-at-boundary"}


def test_two_sites_have_no_prediction_interval_and_one_no_mean():
    meta = {"auc": 0.7, "ci95": [0.5, 0.9], "prediction95": None, "suppressed": {"prediction95": "fewer-than-three"}}
    assert held_out_entry({"meta": meta})["suppressed"] == {"prediction95": "fewer-than-three"}
    keys = ("auc", "ci95", "prediction95")
    alone = {**dict.fromkeys(keys), "suppressed": dict.fromkeys(keys, "fewer-than-two-studies")}
    assert held_out_entry({"meta": alone})["suppressed"] == dict.fromkeys(keys, "fewer-than-two-studies")

"""Drift between sites: what differs is flagged with its reason, what is alike is not, small cells are not compared."""

import json

import numpy as np
import pytest
from scanner_sites import ask_sites, scanner_cohort

from fedescc.common.acquisition import VENDORS
from fedescc.server.shortcuts.drift import drift

NOISE = {"a": 12.0, "b": 12.5, "c": 20.0}


def cohorts(**vendors):
    return {
        name: scanner_cohort(place, 60, vendor=vendors.get(name, "siemens"), noise_hu=noise)
        for place, (name, noise) in enumerate(NOISE.items())
    }


def flagged(found):
    return {(flag["what"], flag["site"]) for flag in found["flags"]}


def test_means_spreads_and_standardised_differences_are_those_of_the_patients():
    sites = cohorts()
    entry = ask_sites(sites, drift)["numbers"]["post.noise_hu"]
    values = {name: one.acquisition["noise_hu"][one.rows("train"), 1] for name, one in sites.items()}
    for name, own in values.items():
        rest = np.concatenate([other for key, other in values.items() if key != name])
        smd = (own.mean() - rest.mean()) / np.sqrt((own.var() + rest.var()) / 2)
        shown = entry["sites"][name]
        assert (shown["n"], shown["mean"], shown["sd"]) == (
            30,
            pytest.approx(own.mean(), abs=1e-3),
            pytest.approx(own.std(), abs=1e-3),
        )
        assert shown["smd"] == pytest.approx(smd, abs=1e-3)


def test_a_noisy_site_is_flagged_with_its_reason_and_blood_is_not():
    found = ask_sites(cohorts(), drift)
    noisy = {what for what, site in flagged(found) if site == "c"}
    assert {"pre.noise_hu", "post.noise_hu"} <= noisy
    flag = next(flag for flag in found["flags"] if flag["what"] == "pre.noise_hu" and flag["site"] == "c")
    assert flag["value"] > 2
    assert "SD apart, above 0.5" in flag["why"]
    assert found["numbers"]["pre.noise_hu"]["p_adjusted"] < 1e-6
    assert found["tests"] == 4  # blood and noise, twice; nothing else varies
    json.dumps(found, allow_nan=False)


def test_small_sites_that_are_alike_are_not_flagged_for_what_chance_does():
    """Of ten patients a site means lie half an SD apart more often than not; no test says that sites differ."""
    found = ask_sites({name: scanner_cohort(place, 20) for place, name in enumerate("abcde", 10)}, drift)
    differences = [abs(one["smd"]) for name in ("pre", "post") for kind in ("blood_hu", "noise_hu")
                   for one in found["numbers"][f"{name}.{kind}"]["sites"].values()]  # fmt: skip
    assert max(differences) > 0.5
    assert found["flags"] == []


def test_a_vendor_of_its_own_is_flagged_by_cramers_v():
    found = ask_sites(cohorts(c="ge"), drift)
    assert ("pre.vendor", None) in flagged(found)
    entry = found["categories"]["pre.vendor"]
    assert entry["cramers_v"] == pytest.approx(1)
    assert entry["sites"]["c"] == {"ge": 30}
    assert ("pre.kernel", None) not in flagged(found)
    assert found["categories"]["pre.kernel"]["suppressed"] == "one-level"


def test_adjusted_p_values_are_never_below_the_plain_ones():
    found = ask_sites(cohorts(c="ge"), drift)
    entries = [*found["categories"].values(), *found["numbers"].values()]
    tested = [entry for entry in entries if entry["p"] is not None]
    assert len(tested) == found["tests"]
    assert all(entry["p"] <= entry["p_adjusted"] <= 1 for entry in tested)
    assert all(entry["p_adjusted"] is None for entry in entries if entry["p"] is None)


def test_slices_that_differ_without_any_spread_are_flagged():
    sites = {name: cohorts()[name] for name in "ab"}
    sites["b"].acquisition["slice_mm"][:] = 5.0
    found = ask_sites(sites, drift)
    assert {("pre.slice_mm", "a"), ("pre.slice_mm", "b")} <= flagged(found)
    assert found["numbers"]["pre.slice_mm"]["sites"]["a"]["suppressed"] == "no-spread"
    assert any("no spread within" in flag["why"] for flag in found["flags"])


def test_a_site_with_merged_cells_is_shown_but_not_compared():
    sites = cohorts()
    sites["b"].acquisition["vendor"][sites["b"].rows("train")[:2]] = VENDORS.index("philips")
    found = ask_sites(sites, drift, minimum=5)["categories"]["pre.vendor"]
    assert found["compared"] == ["a", "c"]
    assert found["sites"]["b"] == {"merged": 30}


def test_a_number_that_few_have_is_hidden_and_left_out():
    sites = cohorts()
    sites["b"].acquisition["blood_hu"][sites["b"].rows("train")[:28], 0] = np.nan
    found = ask_sites(sites, drift, minimum=5)["numbers"]["pre.blood_hu"]
    assert found["sites"]["b"] == {"n": None, "suppressed": "too-few-patients"}
    assert found["df"][0] == 1.0


def test_a_lone_site_has_nothing_to_differ_from(toy):
    found = ask_sites({"a": cohorts()["a"]}, drift)
    assert found["flags"] == []
    assert found["tests"] == 0
    assert found["numbers"]["pre.noise_hu"]["sites"]["a"]["suppressed"] == "fewer-than-two-sites"


def test_nothing_depends_on_the_order_in_which_sites_answer():
    one, two = (ask_sites(cohorts(c="ge"), drift, shuffle=shuffle) for shuffle in (1, 2))
    assert json.dumps(one) == json.dumps(two)

"""Which sites and levels can be shown: by the counts, by the rules that sites follow, and by simulation."""

import numpy as np
import pytest
from site_counts import told
from toy_federation import STUDY

from fedescc.common.counts import HIDDEN, Cell
from fedescc.common.study import Study
from fedescc.common.yamlfile import parse_model
from fedescc.server.planning.releases import expected_levels, patients_tested, role_of

PLAN = "analysis: {subgroups: {sex: {variable: sex}}}\ndisclosure:"
TOY = parse_model(STUDY.replace("disclosure:", PLAN), Study, "toy")
LARGE = [(120, 40), (30, 10), (50, 17)]


def levels(female, male):
    return {("sex", "female"): female, ("sex", "male"): male, ("sex", "missing"): (0, 0)}


def one_level(sites, mode="split", folds=5):
    return expected_levels(TOY, sites, mode, folds)["sex"]["female"]


def test_tested_are_the_test_split_or_with_every_patient_tested_once_all():
    counts = told(TOY, "a", LARGE)
    assert patients_tested(counts, "split") == patients_tested(counts, "temporal") == Cell(50, 17)
    assert patients_tested(counts, "loso") == patients_tested(counts, "kfold") == Cell(200, 67)


def test_a_site_shows_its_own_results_where_both_classes_of_every_fold_reach_the_minimum():
    small = told(TOY, "a", [(20, 8), (6, 3), (9, 3)])
    assert role_of(small, "split", 5, 3) == "own_results"
    assert role_of(small, "split", 5, 4) == "sums_only"
    assert role_of(small, "kfold", 4, 3) == "own_results"
    assert role_of(small, "kfold", 5, 3) == "sums_only"
    assert role_of(small, "loso", 5, 14) == "own_results"
    assert role_of(small, "loso", 5, 15) == "sums_only"


def test_a_site_that_keeps_its_test_outcomes_counts_through_sums_and_one_that_keeps_all_is_not_known():
    assert role_of(told(TOY, "a", [(60, 20), None, None], included=100), "split", 5, 3) == "sums_only"
    nothing = told(TOY, "a", [None, None, None], missing=[HIDDEN] * 3)
    assert role_of(nothing, "split", 5, 3) == "sums_only"
    other = told(TOY, "a", LARGE, positives=None, split_positives=[HIDDEN] * 3)
    assert role_of(other, "kfold", 5, 3) == "not_told"


def test_large_levels_are_shown_by_every_site():
    sites = {name: told(TOY, name, LARGE, levels((60, 20), (60, 20))) for name in "ab"}
    found = one_level(sites)
    assert found.likely_sites == ("a", "b")
    assert found.expected_sites == pytest.approx(2, abs=0.15)
    assert (found.patients, found.positives) == (120, 40)
    assert found.tested == pytest.approx(2 * 60 * 50 / 120)


def test_sites_that_keep_a_level_are_named():
    sites = {"a": told(TOY, "a", LARGE, levels((60, 20), (60, 20))), "b": told(TOY, "b", LARGE)}
    assert one_level(sites).kept_by == ("b",)
    assert one_level(sites).patients == 60


def test_the_chance_is_that_of_drawing_the_test_patients_from_a_large_hospital():
    """Of levels so large that training tells their shares well, against a plain draw and the rule by hand."""
    rng = np.random.default_rng(1)
    draws = rng.multinomial(40, np.array([300, 900, 900, 2100]) / 4200, size=20_000)
    expected = (draws >= 3).all(axis=1).mean()  # either level is shown only where both are
    splits = [(4200, 1200), (30, 10), (40, 12)]
    found = one_level({"a": told(TOY, "a", splits, levels((1200, 300), (3000, 900)))})
    assert 0.1 < expected < 0.9
    assert found.expected_sites == pytest.approx(expected, abs=0.1)


def test_a_level_that_must_protect_another_is_not_expected():
    """Of two levels, the large one is as rare as the small one: what is left of all patients would tell it."""
    found = expected_levels(TOY, {"a": told(TOY, "a", LARGE, levels((114, 37), (6, 3)))}, "split", 5)["sex"]
    assert found["female"].expected_sites == pytest.approx(found["male"].expected_sites, abs=0.25)
    assert found["female"].likely_sites == ()


def test_modes_that_test_everybody_show_more_and_small_folds_less():
    sites = {"a": told(TOY, "a", LARGE, levels((40, 12), (80, 28)))}
    chance = {mode: one_level(sites, mode, 10).expected_sites for mode in ("split", "loso", "kfold")}
    assert chance["loso"] > chance["split"] > chance["kfold"]


def test_untold_numbers_are_filled_in_by_the_studys_shares():
    kept = [HIDDEN] * 3
    sites = {"a": told(TOY, "a", [(120, 40), None, None], levels((60, 20), (60, 20)), missing=kept)}
    assert one_level(sites).tested == pytest.approx(60 * 50 / 120)
    assert one_level(sites, "loso").tested == pytest.approx(60 * 200 / 120)


def test_the_plan_is_the_same_every_time_and_a_site_that_keeps_all_shows_nothing():
    sites = {"a": told(TOY, "a", LARGE, levels((28, 8), (92, 32))), "b": told(TOY, "b", LARGE)}
    assert one_level(sites) == one_level(sites)
    assert one_level({"b": sites["b"]}).expected_sites == 0

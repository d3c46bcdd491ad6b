"""The final evaluation over folds: sums pooled, what needs one model null, and the main figure of each mode."""

import json

import numpy as np
import pytest

from fedescc.client.learning.evaluate import split_sums
from fedescc.client.site import ReleasePolicy
from fedescc.common.analysis import Analysis
from fedescc.common.statistics.metrics import EvaluationSums
from fedescc.server.entries import final_entry
from fedescc.server.evaluation.evaluate import Evaluation, pooled_auc
from fedescc.server.evaluation.replies import LevelShare
from fedescc.server.evaluation.several import pool_evaluations as pool
from fedescc.server.evaluation.told import Told
from fedescc.server.replies import split_share
from fedescc.simulations.comparison.comparators import exact_record

EDGES = np.linspace(-2, 2, 21).tolist()
PLAN = Analysis(partial_auc=0.2)
NO_SUBGROUPS = Told({}, {}, {}, 5, 0.0).document()


def pool_evaluations(mode, finals, told=None):
    return pool(mode, finals, told or [NO_SUBGROUPS] * len(finals))


def final(sites, seed, comparisons=()):
    """``final`` of a fold that tested these sites, of 60 patients each."""
    rng = np.random.default_rng(seed)
    policy = ReleasePolicy(score_histogram="plain")
    scored = {}
    for site in sites:
        y = (np.arange(60) % 2).astype(np.int8)
        scored[site] = y, rng.normal(y)
    shares = {
        site: split_share(*split_sums(*one, edges=EDGES, threshold=0.0, policy=policy), len(EDGES) + 1)
        for site, one in scored.items()
    }
    joined = [np.concatenate([one[place] for one in scored.values()]) for place in (0, 1)]
    area, interval = pooled_auc(shares.values())
    pooled = exact_record(*joined, 0.0) | {"auc": area.value, "auc_ci95": list(interval.value)}
    records = {site: exact_record(*one, 0.0) for site, one in scored.items()}
    histograms = {site: share.histogram for site, share in shares.items()}
    evaluation = Evaluation(0.0, "youden-on-validation", EDGES, pooled, records, list(sites), histograms)
    more = {"comparisons": list(comparisons), "subgroups": {}, "fairness": {}}
    return final_entry(evaluation, PLAN, seed=1) | more


def compared(difference, error):
    return {
        "model": "clinical", "versus": "federated", "difference": difference, "standard_error": error,
        "ci95": None, "p": 0.5, "planned": True, "primary": False,
    }  # fmt: skip


def test_of_sites_held_out_the_main_figure_is_their_meta_analysis():
    finals = [final([name], seed) for seed, name in enumerate("abcd")]
    found = pool_evaluations("loso", finals)
    assert found["primary"]["metric"] == "site_meta_analysis"
    assert found["primary"]["prediction95"] == found["meta"]["prediction95"]
    assert found["meta"]["sites"] == ["a", "b", "c", "d"]
    assert found["pooled"]["n"] == 240
    assert found["pooled"]["ci95"]["accuracy"][0] < found["pooled"]["accuracy"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_of_k_folds_it_is_the_plans():
    finals = [final("ab", seed) for seed in range(3)]
    found = pool_evaluations("kfold", finals)
    assert found["primary"] == {
        "metric": "pooled_auc", "auc": found["pooled"]["auc"], "ci95": found["pooled"]["auc_ci95"],
    }  # fmt: skip
    for one in finals:
        one["primary"]["metric"] = "mean_site_auc"
    assert pool_evaluations("kfold", finals)["primary"]["auc"] == found["auc_within_site"]["auc"]


def test_what_needs_the_scores_of_one_model_is_null_and_says_so():
    found = pool_evaluations("kfold", [final("ab", seed) for seed in range(2)])
    several = "scores-of-several-models"
    assert found["roc"] == {}
    assert found["partial_auc"] is found["average_precision"] is None
    assert set(found["suppressed"].values()) == set(found["curves"]["suppressed"].values()) == {several}
    assert found["bootstrap"]["suppressed"] == {"auc_ci95": several}


def test_paired_differences_are_averaged_by_patients_with_every_folds_variance():
    finals = [final("ab", 0, [compared(0.1, 0.03)]), final("a", 1, [compared(-0.05, 0.06)])]
    [found] = pool_evaluations("kfold", finals)["comparisons"]
    shares = np.array([120, 60]) / 180
    assert found["difference"] == pytest.approx(shares @ [0.1, -0.05])
    assert found["standard_error"] == pytest.approx(np.sqrt(shares**2 @ np.square([0.03, 0.06])))
    assert (found["planned"], found["primary"], found["folds"]) == (True, False, 2)
    assert "no covariance between folds" in found["method"]


def test_a_fold_without_a_paired_difference_is_missing_and_counted_as_such():
    none = compared(None, None) | {"p": None, "suppressed": "contributors-changed"}
    found = pool_evaluations("kfold", [final("ab", 0, [compared(0.1, 0.03)]), final("ab", 1, [none])])["comparisons"]
    assert (found[0]["difference"], found[0]["folds"]) == (pytest.approx(0.1), 1)
    found = pool_evaluations("kfold", [final("ab", 0, [none]), final("ab", 1, [none])])["comparisons"]
    assert found == [none]
    assert pool_evaluations("kfold", [final("ab", 0), final("ab", 1)])["comparisons"] == []


def test_subgroups_are_shown_over_all_folds_together():
    sums = EvaluationSums(40, 20, 12, 8, 12, 8, 9.0, 0.0)
    share = LevelShare(sums, None)
    levels = {"sex": ("f", "m", "missing")}
    told = Told(levels, {"sex": {n: [share, share, None] for n in "abc"}}, dict.fromkeys("abc", sums + sums), 5, 0.0)
    found = pool_evaluations("kfold", [final("abc", 0), final("abc", 1)], [told.document()] * 2)
    assert found["subgroups"]["sex"]["f"]["n"] == 240
    assert found["subgroups"]["sex"]["missing"]["n"] is None
    assert found["fairness"]["sex"]["sensitivity"]["gap"] == pytest.approx(0.0)
    assert found["fairness"]["sex"]["auc"]["gap"] is None

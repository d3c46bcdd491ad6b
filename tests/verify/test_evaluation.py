"""The verification of the evaluation, small: the same functions on 210 simulations, bounds by the binomial law."""

import json
import math
import warnings

import evaluation
import numpy as np
import pytest
from evaluation_document import as_markdown, plot
from evaluation_pooled import SHARES, edges_of_training, histogram_of, simulate_pooled
from evaluation_scores import HARDER, SETTINGS, draw, true_auc, true_shares
from evaluation_sites import FEDERATIONS, Federation, simulate_sites
from evaluation_summary import GOALS, summarise
from scipy.stats import binom
from sklearn.metrics import roc_auc_score

from fedescc.common.statistics.roc import histogram_auc

EACH = 35
SITE_SIMULATIONS = 150


def simulated(setting, count=EACH):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [simulate_pooled(setting, number) for number in range(count)]


@pytest.fixture(scope="module")
def rows():
    return {setting.name: simulated(setting) for setting in SETTINGS}


@pytest.fixture(scope="module")
def together(rows):
    return summarise([row for some in rows.values() for row in some])


def least_coverage(n, of=0.93):
    """The share that intervals which hold the truth with chance .93 reach in all but one of 10,000 such samples."""
    return binom.ppf(1e-4, n, of) / n


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_kind_of_score_is_as_near_to_the_pooled_patients_as_was_asked(setting, rows):
    summary = summarise(rows[setting.name])
    assert [goal.words for goal in GOALS if not goal.key.endswith("covered") and not goal.reached(summary)] == []
    assert summary["net_benefit_planned_max"] < 1e-12
    assert summary["slope_error_max"] < 1e-6
    assert summary["intercept_error_max"] < 1e-6


def test_intervals_of_the_pooled_auc_hold_the_truth(together):
    assert together["simulations"] == EACH * len(SETTINGS) == 210
    assert together["auc_covered"] >= least_coverage(210)
    assert together["auc_covered_missing"] == 0


@pytest.mark.parametrize("share", SHARES)
def test_wilson_intervals_hold_the_truth(share, together):
    assert together[f"{share}_covered"] >= least_coverage(210)


@pytest.mark.parametrize(("federation", "least"), [(Federation(5, 0.6), 0.93), (Federation(10, 0.6, 5), 0.93)])
def test_the_hartung_knapp_interval_holds_the_mean_auc(federation, least):
    found = summarise([simulate_sites(federation, number) for number in range(SITE_SIMULATIONS)])
    assert found["mean_covered"] >= least_coverage(SITE_SIMULATIONS, least)
    assert 0.8 < found["new_covered"] <= 1


def test_prediction_intervals_are_wider_than_what_the_sites_differ_by():
    """Sites that are alike are all held; that of unlike ones is the chance of a new site, never 0 or 1."""
    alike, unlike = (simulate_sites(Federation(5, tau), 3) for tau in (0.0, 0.6))
    assert alike["new_covered"] == 1.0
    assert 0 < unlike["new_covered"] < 1


@pytest.mark.parametrize("setting", [SETTINGS[0], SETTINGS[4]], ids=lambda setting: setting.name)
def test_the_truth_in_closed_form_is_that_of_many_patients(setting):
    rng = np.random.default_rng(1)
    sites = draw(rng, setting, share=400)
    y, score = (np.concatenate([getattr(site, name) for site in sites]) for name in ("y", "score"))
    assert roc_auc_score(y, score) == pytest.approx(true_auc(setting), abs=0.004)
    called = score >= -0.6
    truth = true_shares(setting, -0.6)
    assert called[y == 1].mean() == pytest.approx(truth["sensitivity"], abs=0.006)
    assert (~called[y == 0]).mean() == pytest.approx(truth["specificity"], abs=0.006)
    assert (called == y).mean() == pytest.approx(truth["accuracy"], abs=0.006)
    assert y[called].mean() == pytest.approx(truth["ppv"], abs=0.008)
    assert 1 - y[~called].mean() == pytest.approx(truth["npv"], abs=0.006)


def test_an_overfitted_models_training_patients_are_told_apart():
    sites = draw(np.random.default_rng(2), HARDER[0], training=True)
    y, score = (np.concatenate([getattr(site, name) for site in sites]) for name in ("y", "score"))
    assert roc_auc_score(y, score) > 0.99


def test_few_bins_miss_the_goal():
    """So that the comparison could fail."""
    rng = np.random.default_rng(3)
    training, test = draw(rng, SETTINGS[0], training=True), draw(rng, SETTINGS[0])
    edges = edges_of_training(training)
    y, score = (np.concatenate([getattr(site, name) for site in test]) for name in ("y", "score"))
    errors = [histogram_auc(histogram_of(test, e)).value - roc_auc_score(y, score) for e in (edges, edges[::25])]
    assert abs(errors[0]) <= 0.005 < abs(errors[1])


def test_an_interval_that_is_absent_holds_nothing():
    found = summarise([{"auc_error": -0.5, "auc_covered": 1.0}, {"auc_error": 0.25, "auc_covered": math.nan}])
    assert found == {
        "simulations": 2,
        "auc_error_mean": 0.375,
        "auc_error_max": 0.5,
        "auc_error_bias": -0.125,
        "auc_covered": 0.5,
        "auc_covered_missing": 1,
    }


@pytest.fixture(scope="module")
def summaries(rows):
    pooled = {name: summarise(some) for name, some in rows.items()}
    pooled |= {setting.name: summarise(simulated(setting, 3)) for setting in HARDER}
    sites = {one.name: summarise([simulate_sites(one, number) for number in range(3)]) for one in FEDERATIONS}
    return pooled, sites


def test_a_missed_goal_is_marked(summaries):
    pooled, sites = summaries
    name = SETTINGS[0].name
    worse = pooled | {name: pooled[name] | {"auc_error_max": 0.0051}}
    assert "| 0.0051 MISSED |" in as_markdown(worse, sites, 60.0, "")
    assert "| 0.0050 |" in as_markdown(worse | {name: worse[name] | {"auc_error_max": 0.005}}, sites, 60.0, "")


def test_the_document_and_its_plot_show_every_setting(summaries, tmp_path):
    text = as_markdown(*summaries, 60.0, "## Reading it\n\nkept")
    assert text.rstrip().endswith("kept")
    for name in (*summaries[0], *summaries[1]):
        assert f"| {name} |" in text
    plot(*summaries, tmp_path / "coverage.svg")
    assert (tmp_path / "coverage.svg").stat().st_size > 10_000


def test_what_was_simulated_is_kept_and_a_missed_goal_is_an_error(summaries, tmp_path, monkeypatch, capsys):
    pooled, sites = ({name: one | {"seconds": 1.0} for name, one in group.items()} for group in summaries)
    out = tmp_path / "out"
    out.mkdir()
    for name, one in (pooled | sites).items():
        good = {goal.key: goal.high for goal in GOALS} if name in pooled else {}
        (out / f"{name.replace(' ', '-').replace(',', '')}.json").write_text(json.dumps(one | good))
    monkeypatch.setattr(evaluation, "simulate_pooled", pytest.fail)
    monkeypatch.setattr(evaluation, "simulate_sites", pytest.fail)
    assert evaluation.main(out, tmp_path / "evaluation.md") == 0
    assert "MISSED" not in capsys.readouterr().out.partition("## Harder")[0]
    path = out / "compressed-sites-shifted.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auc_covered": 0.9}))
    assert evaluation.main(out, tmp_path / "evaluation.md") == 1

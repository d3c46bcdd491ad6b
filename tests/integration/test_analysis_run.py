"""A whole run under an analysis plan, recomputed on the pooled patients with scikit-learn and statsmodels."""

import math

import numpy as np
import pytest
from comparable import without_times
from planned import COMPARED, binned, enlarge, fold_scores, with_plan
from scipy import stats
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.proportion import proportion_confint
from toy_federation import Toy

from fedescc.client import app
from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.statistics.roc import auc, delong_variance, paired_delong
from fedescc.server.evaluation.subgroups import HIDDEN
from fedescc.server.results import read_json

ROUNDS = 3


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    toy = with_plan(enlarge(Toy(tmp_path_factory.mktemp("planned") / "out")), **COMPARED)
    return toy, toy.run(rounds=ROUNDS)


@pytest.fixture
def planned(toy):
    return with_plan(enlarge(toy))


def test_the_plan_and_its_opening_are_in_the_results(done):
    toy, results = done
    plan = results["plan"]
    assert plan["sha256"] == results["opening"]["plan_sha256"] == toy.study.analysis.sha256
    assert plan["analysis"] == toy.study.analysis.model_dump(mode="json")
    assert plan["comparators"] == {"planned": ["clinical"], "exploratory": [], "not_run": []}
    opening = results["opening"]
    assert len(opening["looks"]) == 2
    assert opening["sites"] == dict.fromkeys(toy.cohorts, 0)
    assert opening["thresholds"]["federated"] == results["final"]["pooled"]["threshold"]
    assert opening["thresholds"]["clinical"] == results["comparators"]["clinical"]["pooled"]["threshold"]
    assert results["final"]["threshold_source"] == "youden-on-validation"


def test_what_is_shown_beyond_the_plan_is_called_exploratory(planned):
    results = with_plan(planned, **COMPARED).run(rounds=1, plan={"comparators": "fusion"})
    assert results["plan"]["comparators"] == {"planned": [], "exploratory": ["fusion"], "not_run": ["clinical"]}


def test_every_proportion_has_its_wilson_interval_pooled_at_sites_and_of_comparators(done):
    toy, results = done
    scored, _ = fold_scores(toy)
    for name, final in {"federated": results["final"], "clinical": results["comparators"]["clinical"]}.items():
        record = final["pooled"]
        y, logit = scored[name]
        threshold = read_json(toy.out / "folds" / "split" / "opening.json")["models"][name]["threshold"]
        called = logit >= threshold
        parts = {
            "accuracy": ((called == y).sum(), len(y)),
            "sensitivity": ((called & (y == 1)).sum(), (y == 1).sum()),
            "specificity": ((~called & (y == 0)).sum(), (y == 0).sum()),
            "ppv": ((called & (y == 1)).sum(), called.sum()),
            "npv": ((~called & (y == 0)).sum(), (~called).sum()),
        }
        for metric, (part, whole) in parts.items():
            expected = proportion_confint(part, whole, method="wilson")
            assert record["ci95"][metric] == pytest.approx(list(expected), abs=1e-9), (name, metric)
        for site in final["sites"].values():
            low, high = site["ci95"]["sensitivity"]
            assert low < site["sensitivity"] < high or site["sensitivity"] in {0.0, 1.0}


def test_partial_auc_and_average_precision_are_scikit_learns_on_the_binned_scores(done):
    toy, results = done
    y, logit = fold_scores(toy)[0]["federated"]
    bins, _ = binned(toy, "federated", logit)
    final = results["final"]
    assert final["partial_auc"]["max_fpr"] == 0.2
    assert final["partial_auc"]["auc"] == pytest.approx(roc_auc_score(y, bins, max_fpr=0.2), abs=1e-9)
    assert final["average_precision"] == pytest.approx(average_precision_score(y, bins), abs=1e-9)
    assert final["pooled"]["auc"] == pytest.approx(roc_auc_score(y, bins), abs=1e-9)
    assert final["pooled"]["auc"] == pytest.approx(roc_auc_score(y, logit), abs=0.005)


def test_net_benefit_is_exact_because_the_plans_thresholds_are_edges(done):
    toy, results = done
    y, logit = fold_scores(toy)[0]["federated"]
    chance = 1 / (1 + np.exp(-logit))
    curve = results["final"]["curves"]["decision"]
    assert curve["thresholds"] == list(toy.study.analysis.decision_thresholds)
    for threshold, model, everybody in zip(*(curve[k] for k in ("thresholds", "model", "treat_all")), strict=True):
        odds, called = threshold / (1 - threshold), chance >= threshold
        expected = ((called & (y == 1)).sum() - odds * (called & (y == 0)).sum()) / len(y)
        assert model == pytest.approx(expected, abs=1e-12)
        assert everybody == pytest.approx(((y == 1).sum() - odds * (y == 0).sum()) / len(y), abs=1e-12)


def test_the_curves_speak_of_all_patients(done):
    toy, results = done
    y, logit = fold_scores(toy)[0]["federated"]
    curves = results["final"]["curves"]
    assert "suppressed" not in curves
    groups = curves["calibration"]
    assert sum(groups["n"]) == len(y)
    assert np.dot(groups["n"], groups["observed"]) == pytest.approx(y.sum())
    bounds = zip(*(groups[key] for key in ("low", "observed", "high")), strict=True)
    assert all(low <= seen <= high and low < high for low, seen, high in bounds)
    precision, recall, _ = precision_recall_curve(y, binned(toy, "federated", logit)[0])
    points = set(zip(recall.round(9), precision.round(9), strict=True))
    found = curves["precision_recall"]
    assert {(round(r, 9), round(p, 9)) for r, p in zip(found["recall"], found["precision"], strict=True)} <= points


def test_the_comparison_is_delongs_paired_test_on_the_pooled_patients(done):
    toy, results = done
    scored, _ = fold_scores(toy)
    y = scored["federated"][0]
    bins = {name: binned(toy, name, logit)[0] for name, (_, logit) in scored.items()}
    expected = paired_delong(y, bins["clinical"].astype(float), bins["federated"].astype(float)).value
    [found] = results["final"]["comparisons"]
    assert (found["model"], found["versus"]) == ("clinical", "federated")
    assert found["difference"] == pytest.approx(expected.difference, abs=1e-12)
    assert found["standard_error"] == pytest.approx(expected.standard_error, rel=1e-9)
    assert found["p"] == pytest.approx(expected.p, rel=1e-9)
    half = stats.norm.ppf(0.975) * expected.standard_error
    assert found["ci95"] == pytest.approx([expected.difference - half, expected.difference + half], abs=1e-12)
    assert found["planned"] is found["primary"] is True


def test_every_sites_own_comparison_is_delongs_on_its_exact_scores(done):
    toy, results = done
    scored, site = fold_scores(toy)
    own = results["final"]["comparisons"][0]["sites"]
    assert sorted(own) == sorted(toy.cohorts)
    for place, name in enumerate(toy.cohorts):
        mine = site == place
        y, clinical, network = scored["federated"][0][mine], scored["clinical"][1][mine], scored["federated"][1][mine]
        expected = paired_delong(y, clinical, network).value
        assert own[name]["difference"] == pytest.approx(expected.difference, abs=1e-6)
        assert own[name]["standard_error"] == pytest.approx(expected.standard_error, abs=1e-6)
        assert own[name]["p"] == pytest.approx(expected.p, abs=1e-4)


def test_the_meta_analysis_pools_the_sites_own_aucs(done):
    """The fixed-effect statistic by statsmodels, and the mean at REML's tau² by its own normal equations."""
    toy, results = done
    scored, site = fold_scores(toy)
    y, logit = scored["federated"]
    own = [(y[site == i], logit[site == i]) for i in range(len(toy.cohorts))]
    areas = np.array([auc(*one).value for one in own])
    variances = np.array([delong_variance(*one).value for one in own]) / (areas * (1 - areas)) ** 2
    logits = np.log(areas / (1 - areas))
    meta = results["final"]["meta"]
    assert (meta["sites"], meta["left_out"]) == (sorted(toy.cohorts), {})
    assert meta["q"] == pytest.approx(combine_effects(logits, variances).q, rel=1e-3)
    weights = 1 / (variances + meta["tau2"])
    centre = np.average(logits, weights=weights)
    assert meta["auc"] == pytest.approx(1 / (1 + math.exp(-centre)), abs=1e-4)
    scale = max(1.0, np.sum(weights * (logits - centre) ** 2) / (len(areas) - 1))
    error = math.sqrt(scale / weights.sum())
    for key, spread, degrees in (("ci95", error, 3), ("prediction95", math.hypot(error, meta["tau2"] ** 0.5), 2)):
        half = stats.t.ppf(0.975, degrees) * spread
        expected = [1 / (1 + math.exp(-(centre + sign * half))) for sign in (-1, 1)]
        assert meta[key] == pytest.approx(expected, abs=1e-3), key


def test_within_site_and_pooled_auc_stand_apart(done):
    toy, results = done
    scored, site = fold_scores(toy)
    y, logit = scored["federated"]
    sizes = np.bincount(site)
    areas = [roc_auc_score(y[site == i], logit[site == i]) for i in range(len(sizes))]
    within = results["final"]["auc_within_site"]
    assert within["auc"] == pytest.approx(np.average(areas, weights=sizes), abs=1e-6)
    assert within["auc"] != results["final"]["pooled"]["auc"]
    assert "weighted by patients" in within["method"]
    assert within["ci95"][0] < within["auc"] < within["ci95"][1]


def test_the_primary_metric_is_the_plans(done, planned):
    _, results = done
    pooled = results["final"]["pooled"]
    assert results["final"]["primary"] == {"metric": "pooled_auc", "auc": pooled["auc"], "ci95": pooled["auc_ci95"]}
    final = with_plan(planned, primary_metric="mean_site_auc").run(rounds=1)["final"]
    assert final["primary"]["metric"] == "mean_site_auc"
    assert final["primary"]["auc"] == final["auc_within_site"]["auc"]


def test_drawing_sites_again_gives_an_interval_around_the_pooled_auc(done):
    toy, results = done
    scored, site = fold_scores(toy)
    y, logit = scored["federated"]
    bins, _ = binned(toy, "federated", logit)
    rng, areas = np.random.default_rng(1), []
    for _ in range(400):
        rows = np.concatenate([np.flatnonzero(site == i) for i in rng.integers(0, 4, 4)])
        areas.append(roc_auc_score(y[rows], bins[rows]))
    assert results["final"]["bootstrap"]["auc_ci95"] == pytest.approx(np.quantile(areas, [0.025, 0.975]), abs=0.02)


def level_of(toy, name):
    """The level of every pooled test patient."""
    columns = [(c.categorical if name == "sex" else c.numeric)[name][c.rows("test")] for c in toy.cohorts.values()]
    values = np.concatenate(columns)
    return np.where(values == 0, "female", "male") if name == "sex" else np.where(values < 55, "<55", ">=55")


@pytest.mark.parametrize(("name", "level"), [("sex", "female"), ("sex", "male"), ("age", "<55"), ("age", ">=55")])
def test_a_levels_metrics_are_those_of_its_pooled_patients(done, name, level):
    toy, results = done
    y, logit = fold_scores(toy)[0]["federated"]
    keep = level_of(toy, name) == level
    record = results["final"]["subgroups"][name][level]
    threshold = read_json(toy.out / "folds" / "split" / "opening.json")["models"]["federated"]["threshold"]
    called, positive = logit[keep] >= threshold, y[keep] == 1
    assert record["sites"] == 4
    assert (record["n"], record["n_pos"]) == (keep.sum(), positive.sum())
    assert record["sensitivity"] == pytest.approx(called[positive].mean())
    assert record["specificity"] == pytest.approx((~called[~positive]).mean())
    assert record["brier"] == pytest.approx(np.mean((1 / (1 + np.exp(-logit[keep])) - positive) ** 2), abs=1e-6)
    assert record["auc"] == pytest.approx(roc_auc_score(positive, logit[keep]), abs=0.02)
    assert record["ci95"]["sensitivity"] == pytest.approx(
        proportion_confint((called & positive).sum(), positive.sum(), method="wilson")
    )
    low, high = record["auc_ci95"]
    assert low < record["auc"] < high


def test_gaps_are_between_the_levels_that_lie_farthest_apart(done):
    _, results = done
    levels, gaps = results["final"]["subgroups"]["age"], results["final"]["fairness"]["age"]
    for key in ("sensitivity", "specificity", "auc"):
        shown = {name: one[key] for name, one in levels.items() if one[key] is not None}
        assert gaps[key]["gap"] == pytest.approx(max(shown.values()) - min(shown.values()))
        low, high = gaps[key]["levels"]
        assert shown[high] - shown[low] == pytest.approx(gaps[key]["gap"])


def test_a_subgroup_that_would_tell_of_few_patients_is_hidden_with_its_neighbour(planned):
    """One site's only two women: neither they nor, by subtraction, the men of that site are told."""
    for name, cohort in planned.cohorts.items():
        sex = np.ones(len(cohort), np.int16)
        sex[cohort.rows("test")[:2]] = 0
        planned.cohorts[name] = type(cohort)(**{**cohort.__dict__, "categorical": {"sex": sex}})
    levels = planned.run(rounds=1)["final"]["subgroups"]["sex"]
    for level in ("female", "male"):
        assert levels[level]["n"] is None
        assert levels[level]["suppressed"]["n"] == HIDDEN


def test_patients_without_a_value_are_a_level_of_their_own_and_no_group_of_people(planned):
    for name, cohort in planned.cohorts.items():
        sex = cohort.categorical["sex"].copy()
        sex[::2] = -1
        planned.cohorts[name] = type(cohort)(**{**cohort.__dict__, "categorical": {"sex": sex}})
    final = planned.run(rounds=1)["final"]
    assert final["subgroups"]["sex"]["missing"]["n"] > 0
    assert "missing" not in str(final["fairness"]["sex"])


def test_the_order_of_answers_changes_no_bit(planned, done):
    _, first = done
    assert without_times(with_plan(planned, **COMPARED).run(rounds=ROUNDS, shuffle=5)) == without_times(first)


def test_a_site_lost_between_test_and_comparison_costs_the_paired_test_alone(planned, monkeypatch):
    lose(monkeypatch, "site-b", wire.COMPARISON)
    results = with_plan(planned, **COMPARED).run(rounds=1)
    [found] = results["final"]["comparisons"]
    assert results["comparators"]["clinical"]["pooled_sites"] == sorted(planned.cohorts)
    assert (found["difference"], found["suppressed"]) == (None, "contributors-changed")
    assert results["refused_in_evaluation"][wire.COMPARISON] == {"site-b": "no-power"}
    assert results["final"]["pooled"]["auc"] is not None
    assert results["final"]["subgroups"]["sex"]["male"]["n"] is not None
    assert results["sites_lost"] == ["site-b"]


def test_a_site_lost_before_the_subgroups_is_not_among_them(planned, monkeypatch):
    lose(monkeypatch, "site-a", wire.SUBGROUPS)
    results = planned.run(rounds=1)
    assert results["final"]["subgroups"]["sex"]["male"]["sites"] == 3
    assert results["final"]["pooled"]["n"] == sum(len(c.rows("test")) for c in planned.cohorts.values())


def test_where_a_site_keeps_its_histogram_nothing_that_needs_it_is_shown_and_says_why(planned):
    with_plan(planned, **COMPARED)
    planned.policies["site-c"] = planned.policies["site-c"].model_copy(update={"score_histogram": "never"})
    final = planned.run(rounds=1)["final"]
    kept = "histogram-not-released"
    assert final["suppressed"] == {"partial_auc": kept, "average_precision": kept}
    assert final["curves"]["suppressed"] == dict.fromkeys(("precision_recall", "calibration", "decision"), kept)
    assert final["bootstrap"]["suppressed"] == {"auc_ci95": kept}
    assert final["comparisons"][0]["suppressed"] == kept
    assert final["subgroups"]["sex"]["male"]["auc"] is None
    assert final["subgroups"]["sex"]["male"]["sensitivity"] is not None
    assert final["meta"]["auc"] is not None


def lose(monkeypatch, site, message_type):
    honest = app.release

    def release(reply, message, request, minimum):
        if reply.site == site and message.metadata.message_type == message_type:
            raise Refusal("no-power", "x", "y")
        return honest(reply, message, request, minimum)

    monkeypatch.setattr(app, "release", release)


def test_the_opening_is_written_before_anybody_is_asked_about_test_patients(planned, monkeypatch):
    path, seen = planned.out / "folds" / "split" / "opening.json", []
    honest = app.answer

    def answer(site, message_type, request):
        if message_type in wire.OF_TEST_PATIENTS:
            seen.append((path.exists(), request.task["plan"]))
        else:
            assert "plan" not in request.task
        return honest(site, message_type, request)

    monkeypatch.setattr(app, "answer", answer)
    planned.run(rounds=1)
    assert set(seen) == {(True, planned.study.analysis.sha256)}


def test_a_run_that_stops_after_the_opening_goes_on_with_the_thresholds_that_were_declared(planned, monkeypatch):
    """Also where other sites validate by then, so that the rule would choose another threshold."""
    whole = without_times(planned.run(rounds=1))
    with monkeypatch.context() as patch:
        patch.setattr("fedescc.server.fold.ask_levels", lambda *_: (_ for _ in ()).throw(StopError))
        with pytest.raises(StopError):
            planned.run(rounds=1)
    path = planned.out / "folds" / "split" / "opening.json"
    opening = read_json(path)
    for phase in (wire.TRAINING_SCORES, wire.VALIDATION):
        lose(monkeypatch, "site-a", phase)
    results = planned.run(rounds=1, resume=True)
    assert (results["opening"]["looks"], results["opening"]["opened_at"]) == (opening["looks"], opening["opened_at"])
    assert without_times(results)["final"] == whole["final"]
    assert results["refused_in_evaluation"] == {wire.VALIDATION: {"site-a": "no-power"}}
    planned.run(rounds=1)
    assert read_json(path)["models"]["federated"]["edges"] != opening["models"]["federated"]["edges"]


class StopError(Exception):
    pass


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        ({"rule": "sensitivity", "at": 0.9}, "sensitivity-0.9-on-validation"),
        ({"rule": "specificity", "at": 0.8}, "specificity-0.8-on-validation"),
        ({"rule": "cost", "false_negative": 5, "false_positive": 1}, "cost-5-1-on-validation"),
    ],
)
def test_the_threshold_is_locked_on_the_validation_patients_by_the_plans_rule(planned, rule, source):
    with_plan(planned, threshold=rule)
    results = planned.run(rounds=1)
    y, logit = fold_scores(planned, split="validation")[0]["federated"]
    known = read_json(planned.out / "folds" / "split" / "opening.json")["models"]["federated"]
    assert results["final"]["threshold_source"] == known["source"] == source
    called = [logit >= edge for edge in known["edges"]]
    hits = np.array([(one & (y == 1)).sum() for one in called])
    alarms = np.array([(one & (y == 0)).sum() for one in called])
    if rule["rule"] == "sensitivity":
        allowed = np.flatnonzero(hits >= math.ceil(0.9 * y.sum()))
        expected = allowed[-1]
    elif rule["rule"] == "specificity":
        allowed = (1 - y).sum() - alarms >= math.ceil(0.8 * (1 - y).sum())
        expected = np.flatnonzero(allowed & (hits == hits[allowed].max()))[-1]
    else:
        cost = 5 * (y.sum() - hits) + alarms
        expected = np.flatnonzero(cost == cost.min())[-1]
    assert known["threshold"] == known["edges"][expected]


def test_leaving_sites_out_one_by_one_gives_the_prediction_interval_as_the_main_figure(planned):
    results = with_plan(planned, **COMPARED).run(rounds=1, plan={"mode": "loso"})
    final = results["final"]
    assert final["primary"]["metric"] == "site_meta_analysis"
    assert final["primary"]["auc"] == final["meta"]["auc"]
    low, high = final["primary"]["prediction95"]
    assert low < final["primary"]["ci95"][0] < final["primary"]["ci95"][1] < high
    assert final["meta"]["sites"] == sorted(planned.cohorts)
    several = "scores-of-several-models"
    assert final["suppressed"] == {"partial_auc": several, "average_precision": several}
    assert final["bootstrap"]["suppressed"] == {"auc_ci95": several}
    assert [fold["opening"]["sites"] for fold in results["folds"]] == [{name: 0} for name in sorted(planned.cohorts)]
    assert results["opening"] is None
    [found] = final["comparisons"]
    folds = [fold["final"]["comparisons"][0] for fold in results["folds"]]
    sizes = [fold["final"]["pooled"]["n"] for fold in results["folds"]]
    assert found["difference"] == pytest.approx(np.average([one["difference"] for one in folds], weights=sizes))
    assert found["folds"] == 4
    assert final["pooled"]["ci95"]["accuracy"] == pytest.approx(
        proportion_confint(round(final["pooled"]["accuracy"] * sum(sizes)), sum(sizes), method="wilson")
    )
    assert [fold["final"]["subgroups"] for fold in results["folds"]] == [{}] * 4
    level = final["subgroups"]["sex"]["female"]
    women = {name: cohort.labels[cohort.categorical["sex"] == 0] for name, cohort in planned.cohorts.items()}
    assert (level["sites"], level["threshold"]) == (4, None)
    assert (level["n"], level["n_pos"]) == (sum(map(len, women.values())), sum(y.sum() for y in women.values()))

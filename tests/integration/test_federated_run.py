"""ServerApp and ClientApp together on a clinical-only study, against independent recomputation."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score
from statsmodels.discrete.discrete_model import Logit

from fedescc.client.site import ReleasePolicy
from fedescc.common.arrays import load_safetensors
from fedescc.common.errors import Refusal
from fedescc.common.statistics.metrics import METRIC_KEYS
from fedescc.common.tabular.covariates import Encoding


def pooled_scores(toy, split="test"):
    """Labels and logits of all sites' patients, computed here with numpy from the saved model."""
    arrays, metadata = load_safetensors(toy.out / "model.safetensors")
    encoding = Encoding.model_validate_json(metadata["encoding"])
    labels, logits = [], []
    for cohort in toy.cohorts.values():
        rows = cohort.rows(split)
        x = encoding.encode(cohort.numeric, cohort.categorical, rows)
        labels.append(cohort.labels[rows])
        logits.append(x @ arrays["linear.weight"][0] + arrays["linear.bias"][0])
    return np.concatenate(labels), np.concatenate(logits)


def test_pooled_metrics_equal_scikit_learn_on_the_pooled_patients(toy):
    results = toy.run()
    pooled = results["final"]["pooled"]
    y, logit = pooled_scores(toy)
    p = 1 / (1 + np.exp(-logit))
    assert (pooled["n"], pooled["n_pos"]) == (len(y), y.sum())
    assert pooled["auc"] == pytest.approx(roc_auc_score(y, logit), abs=0.005)
    assert pooled["brier"] == pytest.approx(brier_score_loss(y, p), abs=1e-6)
    called = p >= pooled["threshold"]
    assert pooled["accuracy"] == pytest.approx((called == y).mean(), abs=1e-9)
    assert pooled["sensitivity"] == pytest.approx(called[y == 1].mean(), abs=1e-9)
    assert pooled["specificity"] == pytest.approx((~called[y == 0]).mean(), abs=1e-9)
    assert pooled["ppv"] == pytest.approx(y[called].mean(), abs=1e-9)
    assert pooled["npv"] == pytest.approx(1 - y[~called].mean(), abs=1e-9)
    slope = Logit(y, np.column_stack([np.ones_like(logit), logit])).fit(disp=0).params[1]
    assert pooled["calibration_slope"] == pytest.approx(slope, rel=1e-6)
    low, high = pooled["auc_ci95"]
    assert low < pooled["auc"] < high


def test_the_federation_learns_and_every_contract_key_is_there(toy):
    results = toy.run()
    assert results["final"]["pooled"]["auc"] > 0.75
    losses = [entry["train_loss"] for entry in results["rounds"]]
    assert losses[-1] < losses[0]
    assert results["rounds"][-1]["validation"]["auc"] > 0.7
    assert set(METRIC_KEYS) <= set(results["final"]["pooled"])
    assert set(results["final"]["sites"]) == set(toy.cohorts)
    assert results["study_sha256"] == toy.study.sha256
    for entry in results["rounds"]:
        assert entry["sites"] == sorted(toy.cohorts)
        assert entry["seconds"] > 0
    assert results["flow"]["site-a"] == {
        "included": 160,
        "excluded": 4,
        "n_train": 54,
        "by_rule": {"adult": 4, "other": 0},
    }


def test_site_metrics_are_that_sites_own(toy):
    results = toy.run()
    arrays, metadata = load_safetensors(toy.out / "model.safetensors")
    encoding = Encoding.model_validate_json(metadata["encoding"])
    for name, cohort in toy.cohorts.items():
        rows = cohort.rows("test")
        x = encoding.encode(cohort.numeric, cohort.categorical, rows)
        logit = x @ arrays["linear.weight"][0] + arrays["linear.bias"][0]
        expected = roc_auc_score(cohort.labels[rows], logit)
        # It leaves with six decimals.
        assert results["final"]["sites"][name]["auc"] == pytest.approx(expected, abs=1e-6)


def test_federated_statistics_are_the_pooled_ones(toy):
    toy.run(rounds=1)
    _, metadata = load_safetensors(toy.out / "model.safetensors")
    age = Encoding.model_validate_json(metadata["encoding"]).covariates[0]
    pooled = np.concatenate([c.numeric["age"][c.rows("train")] for c in toy.cohorts.values()])
    assert age.mean == pytest.approx(pooled.mean(), abs=1e-3)
    assert age.sd == pytest.approx(pooled.std(), abs=1e-3)


@pytest.mark.parametrize("strategy", [{"name": "fedavg"}, {"name": "fedprox", "mu": 0.1}])
def test_same_seed_same_bits_in_any_order(toy, strategy, tmp_path):
    runs = []
    for shuffle in (None, 1, 2):
        results = toy.run(shuffle=shuffle, rounds=3, strategy=strategy)
        model = (toy.out / "model.safetensors").read_bytes()
        runs.append((model, results["final"], results["explanation"]))
    assert runs[0] == runs[1] == runs[2]
    toy.run(rounds=3, strategy=strategy, seed=1)
    assert (toy.out / "model.safetensors").read_bytes() != runs[0][0]


def test_fedprox_pulls_towards_the_received_model(toy):
    def distance(strategy):
        toy.run(rounds=1, strategy=strategy)
        arrays, _ = load_safetensors(toy.out / "model.safetensors")
        return np.abs(arrays["linear.weight"]).sum()

    assert distance({"name": "fedprox", "mu": 10.0}) < 0.7 * distance({"name": "fedavg"})


def test_an_empty_site_is_left_out_and_named(toy):
    toy.empty("site-c")
    results = toy.run()
    assert results["rounds"][0]["accepted"] == 3
    assert results["sites_lost"] == ["unnamed-102"]
    assert list(results["rounds"][0]["refused"].values()) == ["empty-site"]
    assert "site-c" not in results["final"]["sites"]
    assert results["final"]["pooled"]["auc"] is not None


def test_without_quorum_the_run_is_refused(toy):
    for name in ("site-a", "site-b", "site-c"):
        toy.empty(name)
    with pytest.raises(Refusal, match="no-quorum"):
        toy.run()
    assert not (toy.out / "results.json").exists()


def test_a_one_class_site_trains_and_its_auc_is_null_with_a_reason(toy):
    toy.cohorts["site-d"] = toy.make_cohort("site-d", 60, one_class=True)
    results = toy.run()
    assert "site-d" in results["rounds"][-1]["sites"]
    site = results["final"]["sites"]["site-d"]
    assert site["auc"] is None
    assert site["suppressed"]["auc"] == "class-count-below-minimum"
    assert "site-d" not in results["final"]["pooled_sites"]


def test_a_site_without_training_patients_refuses_by_code(toy):
    cohort = toy.cohorts["site-b"]
    toy.cohorts["site-b"] = dataclasses.replace(cohort, split=np.full(len(cohort), "test"))
    results = toy.run(rounds=2)
    assert results["rounds"][0]["refused"] == {"site-b": "too-few-training-patients"}
    assert "site-b" in results["final"]["sites"]


def test_histograms_that_no_site_releases_leave_the_pooled_auc_null(toy):
    toy.policies = {name: ReleasePolicy(min_class_count=3) for name in toy.cohorts}
    pooled = toy.run()["final"]["pooled"]
    assert pooled["auc"] is None
    assert pooled["suppressed"]["auc"] == "histogram-not-released"
    assert pooled["accuracy"] is not None


def test_one_site_that_keeps_its_histogram_hides_the_pooled_auc(toy):
    toy.policies = {"site-a": ReleasePolicy(min_class_count=3)}
    results = toy.run()
    assert results["final"]["pooled"]["auc"] is None
    assert results["final"]["sites"]["site-a"]["auc"] is not None
    assert "site-a" not in results["final"]["roc"]


def test_the_studys_floor_is_not_lowered_by_a_lax_site(toy):
    toy.cohorts["site-d"] = toy.make_cohort("site-d", 9)
    toy.policies = {"site-d": ReleasePolicy(min_class_count=1, score_histogram="plain")}
    site = toy.run(rounds=1)["final"]["sites"]["site-d"]
    assert site["n"] is None
    assert site["suppressed"]["n"] == "class-count-below-minimum"


def test_explanation_adds_up_to_the_players_of_the_study(toy):
    explanation = toy.run()["explanation"]
    assert list(explanation["pooled"]) == ["age", "marker", "sex"]
    n = sum(len(c.rows("test")) for c in toy.cohorts.values())
    assert explanation["pooled"]["age"]["n"] == n
    weighted = sum(site["age"]["n"] * site["age"]["mean_abs"] for site in explanation["sites"].values()) / n
    assert explanation["pooled"]["age"]["mean_abs"] == pytest.approx(weighted)


def test_another_study_at_a_site_is_refused_there(toy):
    study = toy.study
    toy.study = study.model_copy(update={"title": "Changed at the server"})
    toy.failing["site-a"] = Refusal("study-mismatch", "the server follows another study", "use this run's")
    results = toy.run(rounds=1)
    assert results["rounds"][0]["refused"] == {"unnamed-100": "study-mismatch"}

"""Local-only and centralised models: trained like the federation, scored exactly."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from fedescc.common.federation import Federation
from fedescc.common.statistics.metrics import suppressed_record
from fedescc.simulations.comparison.comparators import (
    Ensemble,
    auc_entry,
    comparator_entry,
    exact_record,
    pool_cohorts,
    pool_versus,
    versus_entry,
)
from fedescc.simulations.comparison.training import fit

FEDERATION = Federation.model_validate(
    {"rounds": 5, "training": {"optimizer": "sgd", "learning_rate": 0.05, "class_weight": "none"}}
)
SHOWN = {name: {"n": 1} for name in ("site-a", "site-b", "site-c", "site-d")}


@pytest.fixture
def fitted(toy):
    pooled = pool_cohorts(list(toy.cohorts.values()))
    return fit(toy.study, pooled, FEDERATION, "centralised", lambda: None)


def test_pooling_keeps_every_patient_in_place(toy):
    pooled = pool_cohorts(list(toy.cohorts.values()))
    assert len(pooled) == sum(len(cohort) for cohort in toy.cohorts.values())
    assert len(set(pooled.keys)) == len(pooled)
    row = pooled.keys.index("site-c-0010")
    assert pooled.numeric["age"][row] == toy.cohorts["site-c"].numeric["age"][10]
    assert pooled.labels[row] == toy.cohorts["site-c"].labels[10]
    assert pooled.images is None


def test_metrics_equal_scikit_learn(toy, fitted):
    everywhere = dict.fromkeys(toy.cohorts, fitted)
    entry = comparator_entry(everywhere, toy.cohorts, SHOWN, fitted)
    pairs = [(c.labels[c.rows("test")], fitted.logits(c, c.rows("test"))) for c in toy.cohorts.values()]
    y, logit = np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])
    assert entry["pooled"]["auc"] == pytest.approx(roc_auc_score(y, logit))
    assert entry["sites"]["site-b"]["auc"] == pytest.approx(roc_auc_score(*pairs[1]))


def test_the_threshold_is_youdens_on_validation_patients_only(toy, fitted):
    entry = comparator_entry(dict.fromkeys(toy.cohorts, fitted), toy.cohorts, SHOWN, fitted)
    y = np.concatenate([c.labels[c.rows("validation")] for c in toy.cohorts.values()])
    logit = np.concatenate([fitted.logits(c, c.rows("validation")) for c in toy.cohorts.values()])
    fpr, tpr, thresholds = roc_curve(y, logit, drop_intermediate=False)
    threshold = np.log(entry["pooled"]["threshold"] / (1 - entry["pooled"]["threshold"]))
    at = (tpr - fpr)[np.argmin(np.abs(thresholds - threshold))]
    assert at == pytest.approx((tpr - fpr).max())


def test_a_model_does_not_differ_from_itself_and_a_worse_one_does(toy, fitted):
    same = comparator_entry(dict.fromkeys(toy.cohorts, fitted), toy.cohorts, SHOWN, fitted)["versus_federated"]
    assert same == {"difference": None, "p": None, "suppressed": "zero-variance"}
    start = fit(toy.study, toy.cohorts["site-d"], FEDERATION.model_copy(update={"rounds": 1}), "x", lambda: None)
    entry = comparator_entry(dict.fromkeys(toy.cohorts, start), toy.cohorts, SHOWN, fitted)
    reference = comparator_entry(dict.fromkeys(toy.cohorts, fitted), toy.cohorts, SHOWN, fitted)
    difference = entry["pooled"]["auc"] - reference["pooled"]["auc"]
    assert entry["versus_federated"]["difference"] == pytest.approx(difference)
    assert 0 <= entry["versus_federated"]["p"] <= 1


def test_what_the_federation_hid_stays_hidden(toy, fitted):
    everywhere = dict.fromkeys(toy.cohorts, fitted)
    hidden = suppressed_record("class-count-below-minimum", 0.5)
    entry = comparator_entry(everywhere, toy.cohorts, SHOWN | {"site-c": hidden, "site-d": hidden}, fitted)
    assert entry["pooled"]["n"] == sum(len(toy.cohorts[name].rows("test")) for name in ("site-a", "site-b"))
    assert entry["sites"]["site-c"]["n"] is None
    assert entry["sites"]["site-c"]["suppressed"]["auc"] == "class-count-below-minimum"
    nobody = comparator_entry(everywhere, toy.cohorts, dict.fromkeys(toy.cohorts, hidden), fitted)
    assert nobody["pooled"]["suppressed"]["auc"] == "no-patients"


def test_records_without_patients_or_with_one_class_say_why():
    empty = exact_record(np.zeros(0, np.int8), np.zeros(0), 0.0)
    assert empty["suppressed"]["auc"] == "no-patients"
    alone = exact_record(np.ones(4, np.int8), np.arange(4.0), 0.0)
    assert alone["suppressed"]["auc"] == "one-class"
    assert alone["sensitivity"] == 1.0


def test_auc_entry_without_an_interval():
    assert auc_entry(np.array([0, 1], np.int8), np.array([0.0, 1.0])) == {"auc": 1.0, "auc_ci95": None}


class Fixed:
    """A scorer with given logits, the same for every cohort of that size."""

    def __init__(self, logits):
        self.values = np.asarray(logits, float)

    def logits(self, cohort, rows):
        return self.values[rows]


def test_an_ensemble_is_the_mean_probability_and_stays_finite(toy):
    cohort, rows = toy.cohorts["site-d"], np.arange(3)
    found = Ensemble((Fixed([0, 2, 900]), Fixed([2, 0, 900]))).logits(cohort, rows)
    mean = (0.5 + 1 / (1 + np.exp(-2))) / 2
    assert found[:2] == pytest.approx([np.log(mean / (1 - mean))] * 2)
    assert np.isfinite(found[2])
    assert found[2] > 30


def test_a_held_out_site_is_tested_and_the_others_only_validate(toy, fitted):
    """Where one site is held out the federation tests it alone; the threshold is that of the others' patients."""
    held_out = dataclasses.replace(toy.cohorts["site-a"], split=np.full(len(toy.cohorts["site-a"]), "test"))
    others = {name: cohort for name, cohort in toy.cohorts.items() if name != "site-a"}
    entry = comparator_entry(
        dict.fromkeys(toy.cohorts, fitted), {"site-a": held_out, **others}, {"site-a": {"n": 160}}, fitted
    )
    assert list(entry["sites"]) == ["site-a"]
    assert entry["pooled"]["n"] == 160
    y = np.concatenate([c.labels[c.rows("validation")] for c in others.values()])
    logit = np.concatenate([fitted.logits(c, c.rows("validation")) for c in others.values()])
    at = [np.mean(logit[y == 1] >= edge) - np.mean(logit[y == 0] >= edge) for edge in np.unique(logit)]
    threshold = np.log(entry["pooled"]["threshold"] / (1 - entry["pooled"]["threshold"]))
    chosen = np.mean(logit[y == 1] >= threshold - 1e-9) - np.mean(logit[y == 0] >= threshold - 1e-9)
    assert chosen == pytest.approx(max(at))


def test_without_a_reference_nothing_is_paired(toy, fitted):
    assert "versus_federated" not in comparator_entry(dict.fromkeys(toy.cohorts, fitted), toy.cohorts, SHOWN, None)


def test_paired_differences_of_folds_are_one_z_test(toy, fitted):
    worse = fit(toy.study, toy.cohorts["site-d"], FEDERATION.model_copy(update={"rounds": 1}), "x", lambda: None)
    everywhere = dict.fromkeys(toy.cohorts, worse)
    one = versus_entry(everywhere, toy.cohorts, fitted)
    pooled = pool_versus([(100, one), (300, {**one, "difference": 3 * one["difference"]})])
    assert pooled["difference"] == pytest.approx(2.5 * one["difference"])
    assert pooled["standard_error"] == pytest.approx(one["standard_error"] * np.sqrt(0.25**2 + 0.75**2))
    z = pooled["difference"] / pooled["standard_error"]
    assert pooled["p"] == pytest.approx(2 * norm.sf(abs(z)))
    undefined = {"difference": None, "p": None, "suppressed": "zero-variance"}
    assert pool_versus([(100, one), (50, undefined)])["difference"] == pytest.approx(one["difference"])
    assert pool_versus([(100, undefined)] * 2) == undefined

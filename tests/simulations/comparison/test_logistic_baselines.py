"""scikit-learn's regressions beside the federated one: equal where both see the same patients."""

import dataclasses

import numpy as np
import pytest

from fedescc.client.site import ReleasePolicy
from fedescc.common.errors import Refusal
from fedescc.server.evaluation.logistic import DEFAULT_PENALTY, PENALTIES
from fedescc.server.fold_results import fold_files
from fedescc.server.results import read_json
from fedescc.simulations.comparison.comparators import pool_cohorts
from fedescc.simulations.comparison.logistic_baselines import Fusion, Logistic, fit_logistic
from fedescc.simulations.comparison.training import own_encoding

PLAIN = ReleasePolicy(min_class_count=3, score_histogram="plain", small_newton="plain")


@pytest.fixture
def pooled(toy):
    return pool_cohorts(list(toy.cohorts.values()))


@pytest.fixture
def encoding(toy, pooled):
    return own_encoding(toy.study, pooled, pooled.rows("train"))


@pytest.mark.parametrize("class_weight", ["none", "balanced"])
def test_the_federated_fit_is_the_pooled_one(toy, pooled, encoding, class_weight):
    toy.policies = dict.fromkeys(toy.cohorts, PLAIN)
    training = {"optimizer": "sgd", "learning_rate": 0.05, "weight_decay": 0, "class_weight": class_weight}
    results = toy.run(plan={"comparators": "clinical"}, rounds=1, training=training)
    (path,) = fold_files(toy.out)
    federated = read_json(path)["comparator_models"]["clinical"]
    chosen = fit_logistic(pooled, encoding, balanced=class_weight == "balanced")
    assert chosen.penalty == federated["penalty"] == results["comparators"]["clinical"]["penalty"]
    assert chosen.encoding.model_dump(mode="json") == federated["encoding"]
    assert chosen.coefficients == pytest.approx(np.array(federated["coefficients"]), abs=1e-6)


def test_the_penalty_is_that_of_least_validation_loss(pooled, encoding):
    rows = pooled.rows("validation")
    y = pooled.labels[rows]
    fits = [fit_logistic(pooled, encoding, balanced=False, penalty=c) for c in PENALTIES]
    losses = [np.logaddexp(0, np.where(y == 1, -z, z)).mean() for z in (f.logits(pooled, rows) for f in fits)]
    assert fit_logistic(pooled, encoding, balanced=False).penalty == PENALTIES[int(np.argmin(losses))]


def test_without_validation_patients_the_penalty_is_the_default(pooled, encoding):
    alone = dataclasses.replace(pooled, split=np.where(pooled.split == "validation", "test", pooled.split))
    assert fit_logistic(alone, encoding, balanced=False).penalty == DEFAULT_PENALTY


def test_one_class_is_refused(pooled, encoding):
    nobody = dataclasses.replace(pooled, labels=np.zeros_like(pooled.labels))
    with pytest.raises(Refusal, match="one-class"):
        fit_logistic(nobody, encoding, balanced=False)


def test_a_fusion_adds_its_models_weighted_logits(pooled, encoding):
    columns = len(encoding.columns)
    one = Logistic(encoding, np.concatenate([[1.0], np.zeros(columns)]), 1.0)
    two = Logistic(encoding, np.concatenate([[-3.0], np.zeros(columns)]), 1.0)
    assert Fusion((one, two), (0.5, 2.0, 1.0)).logits(pooled, np.arange(4)) == pytest.approx([-0.5] * 4)

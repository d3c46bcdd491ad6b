"""Models trained in one place: as many passes as the federation, its selection, its start."""

import numpy as np
import pytest

from fedescc.common.arrays import flatten_parameters, save_safetensors
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.simulations.comparison.comparators import pool_cohorts
from fedescc.simulations.comparison.training import fit, own_encoding

FEDERATION = Federation.model_validate(
    {"rounds": 5, "training": {"optimizer": "sgd", "learning_rate": 0.05, "class_weight": "none"}}
)


def nothing():
    pass


def with_(**changes):
    return Federation.model_validate(FEDERATION.model_dump() | changes)


def weights(fitted):
    return flatten_parameters(fitted.model)


def test_training_advances_once_a_round_and_is_reproducible(toy):
    steps = []
    cohort = pool_cohorts(list(toy.cohorts.values()))
    first = fit(toy.study, cohort, FEDERATION, "centralised", lambda: steps.append(1))
    assert len(steps) == FEDERATION.rounds
    assert np.array_equal(weights(first), weights(fit(toy.study, cohort, FEDERATION, "centralised", nothing)))
    assert not np.array_equal(weights(first), weights(fit(toy.study, cohort, FEDERATION, "elsewhere", nothing)))


def log_loss(fitted, cohort):
    rows = cohort.rows("validation")
    y, logit = cohort.labels[rows], fitted.logits(cohort, rows)
    return np.logaddexp(0, np.where(y == 1, -logit, logit)).mean()


def test_the_best_round_by_its_own_validation_patients_is_kept(toy):
    """Of growing numbers of rounds, one of which the best model must be: the rate does not follow the schedule."""
    cohort = toy.cohorts["site-d"]
    wild = {"optimizer": "sgd", "learning_rate": 3.0, "class_weight": "none", "schedule": "constant"}
    losses = [
        log_loss(fit(toy.study, cohort, with_(rounds=n, training=wild), "x", nothing), cohort) for n in range(1, 7)
    ]
    best = fit(toy.study, cohort, with_(rounds=6, training=wild, selection={"keep": "best"}), "x", nothing)
    assert log_loss(best, cohort) == pytest.approx(min(losses), abs=1e-6)
    assert min(losses) < losses[-1]


def test_patience_ends_training_and_the_progress_still_fills(toy):
    steps = []
    diverging = {"optimizer": "sgd", "learning_rate": 30.0, "class_weight": "none", "schedule": "constant"}
    settings = with_(rounds=30, training=diverging, selection={"keep": "best", "patience": 1})
    fitted = fit(toy.study, toy.cohorts["site-d"], settings, "x", lambda: steps.append(1))
    assert len(steps) == 30
    assert np.isfinite(weights(fitted)).all()


def test_it_starts_from_the_file_that_the_federation_starts_from(toy, tmp_path):
    cohort, still = toy.cohorts["site-a"], {"optimizer": "sgd", "learning_rate": 1e-12, "weight_decay": 0}
    columns = len(own_encoding(toy.study, cohort, cohort.rows("train")).columns)
    given = np.arange(columns, dtype=np.float32)[None, :]
    save_safetensors(tmp_path / "start.safetensors", {"linear.weight": given}, {})
    settings = with_(rounds=1, training=still)
    fitted = fit(toy.study, cohort, settings, "x", nothing, tmp_path / "start.safetensors")
    assert weights(fitted)[1:] == pytest.approx(given[0], abs=1e-6)


def test_a_cohort_without_training_patients_is_refused(toy):
    cohort = toy.cohorts["site-a"]
    nobody = type(cohort)(**{**vars(cohort), "split": np.full(len(cohort), "test")})
    with pytest.raises(Refusal, match="no-training-patients"):
        fit(toy.study, nobody, FEDERATION, "x", nothing)

"""Gates fail what they are there to catch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedescc.client.explanation.gates import (
    additivity_error,
    gate_rows,
    largest_difference,
    random_correlation,
)
from fedescc.client.explanation.randomise import randomised
from fedescc.client.explanation.values import Explanation
from fedescc.common.network.model import build_model
from fedescc.common.study import Study


def explanation(phi: np.ndarray) -> Explanation:
    n, m = phi.shape
    present = np.ones((n, m), bool)
    return Explanation(tuple("abcdefgh"[:m]), phi, 1 + phi.sum(axis=1), np.ones(n), present, np.zeros(n))


@given(st.integers(0, 200), st.integers(1, 30))
def test_the_gates_patients_and_the_others_are_never_few(patients: int, minimum: int) -> None:
    rows = gate_rows(patients, minimum)
    assert len(np.unique(rows)) == len(rows)
    assert all(0 <= row < patients for row in rows)
    assert len(rows) == patients or (len(rows) == 16 >= minimum and patients - len(rows) >= minimum)


def test_the_gates_patients_are_spread_evenly() -> None:
    assert gate_rows(32, 5).tolist() == list(range(0, 32, 2))


def test_values_that_do_not_add_up_and_logits_that_differ_are_errors() -> None:
    found = explanation(np.array([[1.0, -2.0], [0.5, 0.25]]))
    logits = np.array([0.0, 1.75])
    assert additivity_error(found, logits, logits) == 0
    assert additivity_error(found, logits, logits + np.array([0, 0.5])) == 0.5
    lacking = replace(found, phi=found.phi * [1, 0.5])
    assert additivity_error(lacking, logits, logits) == pytest.approx(1.0)


def test_two_runs_differ_by_the_largest_value() -> None:
    found = explanation(np.zeros((2, 3)))
    assert largest_difference(found, found) == 0
    assert largest_difference(found, explanation(np.array([[0, 0, 0], [0, 0, -1e-9]]))) == 1e-9


def test_a_model_that_is_explained_like_a_random_one_is_found_out() -> None:
    phi = np.arange(1.0, 6.0) * np.array([[1], [-1]])
    everybody = np.ones(5, bool)
    same, reverse = explanation(phi), explanation(phi[:, ::-1])
    assert random_correlation(same, [same, same], everybody).value == pytest.approx(1.0)
    assert random_correlation(same, [reverse], everybody).value == pytest.approx(-1.0)
    assert random_correlation(same, [same, reverse], everybody).value == pytest.approx(0.0)
    assert random_correlation(same, [same], np.arange(5) < 3).reason == "too-few-players"
    assert random_correlation(same, [explanation(phi * 0)], everybody).reason == "all-tied"


def test_players_that_patients_lack_do_not_dilute_means() -> None:
    phi = np.array([[1.0, 4, 2, 3], [1, 0, 2, 3]])
    present = np.array([[1, 1, 1, 1], [1, 0, 1, 1]], bool)
    found, everybody = replace(explanation(phi), present=present), np.ones(4, bool)
    other = explanation(np.array([[1.0, 4, 2, 3]]))
    assert random_correlation(found, [other], everybody).value == pytest.approx(1.0)


def test_a_randomised_model_has_the_same_numbers_in_other_places(imaging_study: Study) -> None:
    model = build_model(imaging_study, 5, 1)
    before = [parameter.clone() for parameter in model.parameters()]
    changed = randomised(model, 0)
    for old, kept, new in zip(before, model.parameters(), changed.parameters(), strict=True):
        assert torch.equal(old, kept)
        assert torch.equal(old.flatten().sort().values, new.flatten().sort().values)
    assert not torch.equal(model.encoder.project.weight, changed.encoder.project.weight)
    again = randomised(model, 0)
    assert all(torch.equal(*pair) for pair in zip(changed.parameters(), again.parameters(), strict=True))
    other = randomised(model, 1)
    assert not torch.equal(other.encoder.project.weight, changed.encoder.project.weight)

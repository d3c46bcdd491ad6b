"""Shapley values by the shap library: linear models by hand, a small network, and what is found when means change."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from audited import failed
from blob_cohorts import cohort as blobs
from blob_cohorts import encoding_of, imaging_study

from fedescc.common.network.model import LinearModel, build_model
from fedescc.common.statistics.shapley import summarise
from fedescc.server.evaluation.explanation import player_entries
from fedescc.simulations.audit import shapley_patients
from fedescc.simulations.audit.figures import Ledger
from fedescc.simulations.audit.shapley import audit_means, audit_reference, by_group, everybody, linear_values
from fedescc.simulations.audit.shapley_patients import audit_patient, network_values
from fedescc.simulations.comparison.comparators import Fitted

__all__ = ["imaging_study"]

NAMES = ("age", "sex")


def linear(weights):
    model = LinearModel(len(weights))
    with torch.no_grad():
        model.linear.weight.copy_(torch.tensor([weights]))
        model.linear.bias.fill_(0.5)
    return model


def test_a_columns_value_is_its_weight_times_its_distance_from_the_reference():
    values = linear_values(linear([2.0, -1.0]), np.array([[1.0, 3.0], [0.0, 1.0]]), np.array([0.5, 1.0]))
    assert values == pytest.approx(np.array([[1.0, -2.0], [-1.0, 0.0]]))


def test_columns_of_one_group_are_one_player(imaging_study):
    encoding = encoding_of(imaging_study, blobs(9))
    columns = np.arange(2 * len(encoding.columns), dtype=float).reshape(2, -1)
    grouped = by_group(columns, encoding, imaging_study)
    assert encoding.column_groups == ("age", "age", "sex", "sex", "sex")
    assert grouped.tolist() == [[0 + 1, 2 + 3 + 4], [5 + 6, 7 + 8 + 9]]


@pytest.fixture
def values():
    rng = np.random.default_rng(3)
    return {"east": everybody(rng.normal(size=(30, 2))), "west": everybody(rng.normal(1, 2, size=(12, 2)))}


def entry_of(values, hidden=()):
    """What leaves: sums in six decimals, 0 of players that a site hides."""
    sums = {}
    for site, (phi, present) in values.items():
        shown = np.array([(site, name) not in hidden for name in NAMES])
        whole = summarise(phi, present & shown)
        parts = {key: np.round(getattr(whole, key), 6) for key in ("absolute", "total", "squares")}
        sums[site] = dataclasses.replace(whole, **parts)
    pooled = player_entries(NAMES, sums["east"] + sums["west"])
    return {"pooled": pooled, "sites": {site: player_entries(NAMES, one) for site, one in sums.items()}}


def audited(entry, values):
    ledger = Ledger()
    audit_means(ledger, "m", entry, NAMES, values)
    return ledger


def test_right_means_pass(values):
    ledger = audited(entry_of(values), values)
    assert failed(ledger) == []
    assert len(ledger.figures) == 3 * 2 * 4


@pytest.mark.parametrize("key", ["n", "mean_abs", "mean", "sd"])
@pytest.mark.parametrize("where", ["pooled", "west"])
def test_a_changed_mean_is_found(key, where, values):
    entry = copy.deepcopy(entry_of(values))
    row = entry["pooled"]["sex"] if where == "pooled" else entry["sites"]["west"]["sex"]
    row[key] += 1 if key == "n" else 5e-5
    assert failed(audited(entry, values)) == [f"m / {where} / sex {key}"]


def test_a_player_that_a_site_hides_is_passed_over_there_and_not_pooled(values):
    ledger = audited(entry_of(values, hidden={("west", "age")}), values)
    assert failed(ledger) == []
    assert ledger.skipped == {"m / west / age": "player-of-too-few"}
    [pooled] = [figure for figure in ledger.figures if figure.name == "m / pooled / age n"]
    assert pooled.federated == pooled.pooled == 30


def test_a_player_without_spread_may_have_the_root_of_what_rounding_leaves(values):
    same = {site: everybody(np.full_like(phi, 1 / 3)) for site, (phi, _) in values.items()}
    assert failed(audited(entry_of(same), same)) == []


def test_the_reference_is_the_columns_mean():
    columns = [np.array([[1.0, 0.0], [3.0, 1.0]]), np.array([[5.0, 1.0]])]
    right = {"patients": 3, "values": [3.0, 2 / 3]}
    ledger = Ledger()
    audit_reference(ledger, "m", right, columns)
    assert failed(ledger) == []
    audit_reference(ledger, "m", {"patients": 4, "values": [3.0, 0.7]}, columns)
    assert failed(ledger) == ["m / reference, patients", "m / reference, largest difference"]


@pytest.fixture
def network(imaging_study):
    made = blobs(6, seed=5)
    encoding = encoding_of(imaging_study, made)
    fitted = Fitted(build_model(imaging_study, len(encoding.columns), 1).eval(), encoding)
    columns = encoding.encode(made.numeric, made.categorical, made.rows("test")).astype(float)
    return fitted, made, columns, columns.mean(axis=0)


def test_our_explainer_and_shap_agree_on_a_patient(network, imaging_study):
    fitted, made, columns, reference = network
    ledger = Ledger()
    audit_patient(ledger, "east", fitted, made, imaging_study, columns[:1], reference)
    assert failed(ledger) == []
    assert ledger.figures[0].federated < 1e-5


@pytest.mark.parametrize("fault", ["reference", "player"])
def test_a_wrong_explainer_is_found(fault, network, imaging_study, monkeypatch):
    """One that takes another reference, or one that swaps two players."""
    fitted, made, columns, reference = network
    honest = network_values

    def wrong(*arguments):
        *rest, shown = arguments
        if fault == "reference":
            return honest(*rest, shown + 0.1)
        found = honest(*arguments)
        return dataclasses.replace(found, phi=found.phi[:, [1, 0, *range(2, found.phi.shape[1])]])

    monkeypatch.setattr(shapley_patients, "network_values", wrong)
    ledger = Ledger()
    audit_patient(ledger, "east", fitted, made, imaging_study, columns[:1], reference)
    assert failed(ledger) == ["east / largest difference of a player"]

"""What leaves of an explanation: no figure of one patient, and none that goes round what hides a player."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_federation import make_cohort

from fedescc.client.answers.dispatch import answer
from fedescc.client.explanation.gates import Gates
from fedescc.client.explanation.release import PLAYERS_HIDDEN, released_sums
from fedescc.client.explanation.survey import Survey
from fedescc.client.explanation.values import Explanation
from fedescc.client.local_site import LocalSite
from fedescc.common import wire
from fedescc.common.statistics.roc import Estimate
from fedescc.common.statistics.shapley import additive_deletion_areas
from fedescc.common.tabular.columns import NumericColumn
from fedescc.common.tabular.covariates import Encoding
from fedescc.common.wire import Request

EDGES = [-1.0, 0.0, 1.0]


def survey_of(phi, shown=None, error=0.0):
    n, m = phi.shape
    found = Explanation(tuple("abcdef"[:m]), phi, phi.sum(axis=1), np.zeros(n), np.ones((n, m), np.bool_),
                        additive_deletion_areas(phi))  # fmt: skip
    players = np.ones(m, np.bool_) if shown is None else np.array(shown)
    gates = Gates(error, 0.0, Estimate(None, "too-few-players"))
    return Survey(found, found, players, np.arange(n), gates, of_columns=True)


def spread(n=20, m=2):
    return np.random.default_rng(3).uniform(-1, 1, (n, m))


def test_the_area_of_the_deletion_curves_is_told_where_every_player_is():
    phi = spread()
    sums, reasons = released_sums(survey_of(phi), 5, 10.0)
    assert sums["deletion_total"] == pytest.approx(additive_deletion_areas(phi).sum(), abs=1e-6)
    assert "deletion_total" not in reasons


def test_the_area_goes_round_no_dominated_player():
    """With one player that moves, the area is half of Σ|φ|: one patient's value, where that patient gives all of it."""
    phi = np.zeros((20, 2))
    phi[3, 0] = 0.8125
    sums, reasons = released_sums(survey_of(phi), 5, 10.0)
    assert sums["counts"] == [0, 0] or sums["absolute"][0] == 0
    assert reasons["deletion_total"] == PLAYERS_HIDDEN
    assert 0.8125 / 2 not in sums.values()


def test_nor_round_a_player_of_few_patients():
    phi = np.zeros((20, 2))
    phi[:4, 0] = [0.5, 0.5, 0.25, 0.25]
    sums, reasons = released_sums(survey_of(phi, shown=[False, True]), 5, 10.0)
    assert "deletion_total" not in sums
    assert reasons["deletion_total"] == PLAYERS_HIDDEN


def test_a_hidden_player_who_moves_nobody_hides_no_area():
    phi = spread() * [0.0, 1.0]
    assert "deletion_total" in released_sums(survey_of(phi, shown=[False, True]), 5, 10.0)[0]


@given(st.floats(1e-12, 1e9))
def test_an_error_is_told_by_its_power_of_ten(error):
    told = released_sums(survey_of(spread(), error=error), 5, 10.0)[0]["additivity_error"]
    assert told in [10.0**power for power in range(-9, 1)]
    assert told >= min(error, 1.0)


def test_an_error_within_the_gates_limit_passes_and_one_beyond_does_not():
    for error, passes in ((0.0, True), (9.99e-6, True), (1e-5, True), (1.01e-5, False), (np.inf, False)):
        told = released_sums(survey_of(spread(), error=error), 5, 10.0)[0]["additivity_error"]
        assert (told <= 1e-5) is passes, error


def test_rounding_under_chosen_weights_tells_nobodys_value(toy):
    """A bias of 2^31 leaves multiples of 256 in single precision: the largest error is the oldest patient's age."""
    site = LocalSite("site-a", toy.study, toy.policy("site-a"), make_cohort("site-a", 160))
    encoding = Encoding(covariates=(NumericColumn(name="age", group="age", mean=0, sd=1),)).model_dump(mode="json")
    task = {"run": "r1", "encoding": encoding, "model": "linear"}
    look = {"edges": EDGES, "threshold": 0.0, "plan": toy.study.analysis.sha256}
    asked = Request(toy.study.sha256, task, np.array([2.0**31, 1.0, 0.0], np.float32))
    answer(site, wire.TEST, dataclasses.replace(asked, task=task | look))
    sums = answer(site, wire.EXPLANATION, asked).sums
    oldest = site.cohort.numeric["age"][site.cohort.rows("test")].max()
    assert abs(sums["additivity_error"] - oldest) > 1
    assert sums["additivity_error"] == 1.0

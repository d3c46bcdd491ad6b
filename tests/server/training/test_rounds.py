"""The round loop: a bad update costs its site alone, any order gives the same bits, the best model is kept."""

import dataclasses
import math
import re
from functools import cache

import numpy as np
import pytest
from round_sites import START, RoundSites, at, delta_of, sums_of

from fedescc.common.errors import Refusal
from fedescc.common.strategy import STRATEGIES


def strategy(name):
    return {"name": name}


def settings_of(name):
    return {"strategy": strategy(name), "task": {"scaffold": name == "scaffold"}}


BAD = [
    (delta_of(at(1, np.nan)), "update-not-finite"),
    (delta_of(at(0, np.inf)), "update-not-finite"),
    (delta_of(at(2, -np.inf)), "update-not-finite"),
    (delta_of(at(2, 3e38)), "update-too-large"),
    (delta_of(at(2, -3e38)), "update-too-large"),
    (delta_of(lambda delta: delta[:-1]), "malformed-message"),
    (delta_of(lambda delta: np.append(delta, np.float32(0))), "malformed-message"),
    (delta_of(lambda delta: np.zeros(0, np.float32)), "malformed-message"),
    (lambda reply: dataclasses.replace(reply, study_sha256="another"), "study-mismatch"),
    (lambda reply: dataclasses.replace(reply, delta=None), "malformed-message"),
    (lambda reply: dataclasses.replace(reply, site="site-1"), "site-name-conflict"),
    (sums_of(n=0), "patients-changed"),
    (sums_of(n=31), "patients-changed"),
    (sums_of(n=-1), "malformed-message"),
    (sums_of(loss=math.nan), "malformed-message"),
    (sums_of(validation_tp=99), "inconsistent-sums"),
]


@cache
def weights_without_one_in_round_2(name):
    sites = RoundSites()
    sites.changes["site-3", 2] = delta_of(at(0, np.nan))
    return sites.run(rounds=3, **settings_of(name)).weights


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [("fedavg", *bad) for bad in BAD] + [("median", *bad) for bad in BAD[:7]],
)
def test_a_bad_update_counts_against_its_site_with_its_code_and_the_round_goes_on(name, change, code):
    sites = RoundSites()
    sites.changes["site-3", 2] = change
    trained = sites.run(rounds=3, **settings_of(name))
    attendance = trained.progress.records[1].attendance
    assert attendance.refused == {"site-3": code}
    assert attendance.accepted == ["site-0", "site-1", "site-2"]
    assert trained.progress.records[1].patients == 60
    assert trained.progress.records[2].attendance.accepted[-1] == "site-3"
    assert trained.weights.tobytes() == weights_without_one_in_round_2(name).tobytes()


@pytest.mark.parametrize(("n", "code"), [(0, "update-without-patients"), (10_000_001, "malformed-message")])
def test_an_update_of_nobody_or_of_too_many_is_refused_also_when_no_site_declared_anything(n, code):
    sites = RoundSites()
    sites.changes["site-3", 1] = sums_of(n=n)
    assert sites.run(patients={}).progress.records[0].attendance.refused == {"unnamed-103" if n else "site-3": code}


def test_one_round_of_fedavg_by_hand():
    sites = RoundSites(sites=2)
    trained = sites.run(rounds=1)
    mean = (10 * sites.targets[0] + 20 * sites.targets[1]) / 30
    assert np.allclose(trained.weights, START + 0.25 * (mean - START), rtol=1e-6)
    losses = ((sites.targets.astype(np.float64) - START) ** 2).sum(axis=1)
    assert trained.progress.records[0].train_loss == pytest.approx((10 * losses[0] + 20 * losses[1]) / 30)


@pytest.mark.parametrize("name", STRATEGIES)
def test_any_order_of_answers_gives_the_same_bits(name):
    orders, ends = set(), set()
    for shuffle in (None, 1, 2):
        sites = RoundSites(sites=5)
        sites.changes["site-1", 2] = delta_of(at(0, np.nan)) if "krum" not in name else lambda reply: reply
        trained = sites.run(shuffle=shuffle, rounds=3, **settings_of(name))
        orders.add(tuple(sites.seen))
        slots = b"".join(slot.tobytes() for _, slot in sorted(trained.progress.state.slots.items()))
        ends.add((trained.weights.tobytes(), slots, tuple(r.train_loss for r in trained.progress.records)))
    assert len(orders) > 1
    assert len(ends) == 1


def test_a_site_that_misses_a_round_slows_scaffolds_control_by_its_share():
    sites, whole = RoundSites(), RoundSites()
    sites.changes["site-3", 1] = delta_of(at(0, np.nan))
    lost = sites.run(rounds=1, **settings_of("scaffold")).progress.state.slots["c"]
    full = whole.run(rounds=1, **settings_of("scaffold")).progress.state.slots["c"]
    pulls = 0.1 * (START - sites.targets)
    assert full == pytest.approx(np.array([10, 20, 30, 40]) @ pulls / 100, rel=1e-5)
    assert lost == pytest.approx(np.array([10, 20, 30, 0]) @ pulls / 100, rel=1e-5)


@pytest.mark.parametrize(
    ("chosen", "sites", "needed"),
    [
        ({"name": "krum", "byzantine": 1}, 4, 5),
        ({"name": "multi_krum", "byzantine": 0}, 2, 3),
        ({"name": "median"}, 2, 3),
    ],
)
def test_a_strategy_without_the_sites_it_needs_stops_the_run_and_says_why(chosen, sites, needed):
    with pytest.raises(Refusal, match="too-few-sites-for-strategy") as refusal:
        RoundSites(sites).run(strategy=chosen)
    assert f"round 1: {sites} of {sites} invited sites took part, the strategy needs {needed} (" in str(refusal.value)


def test_a_lost_site_that_krum_cannot_spare_is_named():
    sites = RoundSites(5)
    sites.changes["site-2", 3] = delta_of(at(0, np.nan))
    with pytest.raises(
        Refusal, match=re.escape("round 3: 4 of 5 invited sites took part, the strategy needs 5 (site-2: update")
    ):
        sites.run(strategy={"name": "krum", "byzantine": 1})


def test_every_request_carries_the_one_run_id():
    sites = RoundSites()
    trained = sites.run(selection={"keep": "best"})
    assert sites.runs == {trained.progress.run}
    assert re.fullmatch("[0-9a-f]{16}", trained.progress.run)
    told = RoundSites()
    assert told.run(task={"run": "ab" * 8}).progress.run == "ab" * 8
    assert told.runs == {"ab" * 8}


def test_without_selection_the_last_model_is_kept_and_nobody_is_asked_again():
    sites = RoundSites()
    trained = sites.run()
    assert (trained.kept.round, trained.kept.reason) == (4, "last-round")
    assert trained.weights is trained.progress.state.weights
    assert trained.validation == {}
    assert trained.losses[-1] is None
    assert all(loss is not None for loss in trained.losses[:-1])
    assert {number for number, _ in sites.seen} == {1, 2, 3, 4}


def kept_of(sites, rounds=4, **selection):
    states = [START]
    trained = sites.run(
        rounds=rounds,
        selection={"keep": "best", **selection},
        on_round=lambda record, state: states.append(state.weights),
    )
    return trained, states


def test_the_best_validated_model_is_kept_also_when_it_is_the_last():
    trained, states = kept_of(RoundSites())
    assert (trained.kept.round, trained.kept.reason) == (4, "best-validation")
    assert trained.weights.tobytes() == states[4].tobytes()
    assert trained.losses == sorted(trained.losses, reverse=True)
    assert len(trained.losses) == 5


@pytest.mark.parametrize(("worse_from", "expected"), [(1, 0), (2, 1), (4, 3)])
def test_a_round_that_makes_the_model_worse_is_not_kept(worse_from, expected):
    sites = RoundSites()
    sites.overshoot = dict.fromkeys(range(worse_from, 5), -1.0)  # uphill
    trained, states = kept_of(sites)
    assert trained.kept.round == expected
    assert trained.weights.tobytes() == states[expected].tobytes()
    assert min(trained.losses) == trained.losses[expected]
    assert trained.progress.state.weights.tobytes() == states[4].tobytes()


def test_patience_stops_the_training():
    sites = RoundSites()
    sites.overshoot = dict.fromkeys(range(3, 20), -1.0)
    trained, states = kept_of(sites, rounds=20, patience=2)
    # Model 2 is the best; rounds 4 and 5 show models 3 and 4 to be worse.
    assert trained.progress.state.round == 5
    assert trained.kept.round == 2
    assert trained.weights.tobytes() == states[2].tobytes()


def test_where_no_site_releases_validation_the_last_is_kept_and_said_so():
    sites = RoundSites()
    sites.mute = {(name, number) for name in sites.patients for number in range(5)}
    trained, states = kept_of(sites, patience=1)
    assert (trained.kept.round, trained.kept.reason) == (4, "no-validation-released")
    assert trained.weights.tobytes() == states[4].tobytes()
    assert trained.losses == [None] * 5


def test_a_site_that_fails_the_last_validation_is_named_and_costs_nobody_the_run():
    sites = RoundSites()
    sites.changes["site-0", 0] = sums_of(tp=99)
    trained, _ = kept_of(sites)
    assert trained.refused == {"site-0": "inconsistent-sums"}
    assert sorted(trained.validation) == ["site-1", "site-2", "site-3"]
    assert trained.kept.round == 4

"""The coordinator's side of a federated regression: equal to scikit-learn, robust to sites that leave or lie."""

import dataclasses
import math

import numpy as np
import pytest
from flwr.app import Message
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from toy_comparators import Sites

from fedescc.client import app
from fedescc.client.site import ReleasePolicy
from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.statistics.logistic import Penalty, terms
from fedescc.common.wire import Reply, pack_reply
from fedescc.server.evaluation.logistic import (
    DEFAULT_PENALTY,
    PENALTIES,
    PathStep,
    Regression,
    choose_penalty,
    fit_path,
    logistic_share,
)


@pytest.fixture
def sites(toy):
    return open_sites(toy)


def open_sites(toy, shuffle=None, histogram="plain"):
    policy = ReleasePolicy(min_class_count=3, score_histogram=histogram, small_newton="plain")
    toy.policies = dict.fromkeys(toy.cohorts, policy)
    return Sites(toy, shuffle)


def regression_of(sites, **settings):
    encoding = sites.encoding()
    evaluator = sites.evaluator(encoding=encoding.model_dump(mode="json"), model="linear", **settings)
    return Regression(evaluator, len(encoding.columns)), encoding


def sklearn(X, y, c, class_weight=None):
    model = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-12, max_iter=1000, class_weight=class_weight)
    model.fit(X, y)
    return np.r_[model.intercept_, model.coef_[0]]


@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
def test_coefficients_over_the_wire_equal_the_pooled_fit(sites, c):
    regression, encoding = regression_of(sites)
    fit = regression.fit(Penalty(c))
    assert fit.outcome == "converged"
    assert fit.coefficients == pytest.approx(sklearn(*sites.pooled(encoding), c), abs=1e-6)
    assert regression.patients == {name: len(c.rows("train")) for name, c in sites.toy.cohorts.items()}


def test_balanced_classes_equal_scikit_learns(sites):
    regression, encoding = regression_of(sites)
    regression.balance()
    fit = regression.fit(Penalty(1.0))
    assert fit.coefficients == pytest.approx(sklearn(*sites.pooled(encoding), 1.0, "balanced"), abs=1e-6)


def test_any_order_of_answers_gives_the_same_bits(toy):
    fits = [regression_of(open_sites(toy, shuffle))[0].fit(Penalty(3.0)).coefficients for shuffle in (None, 1, 2)]
    assert fits[0] == fits[1] == fits[2]


def test_the_penalty_is_the_one_of_least_validation_loss(sites):
    regression, encoding = regression_of(sites)
    chosen, path = choose_penalty(regression.evaluator, fit_path(regression))
    X, y = sites.pooled(encoding, "validation")
    losses = []
    for step in path:
        assert step.coefficients == pytest.approx(sklearn(*sites.pooled(encoding), step.penalty), abs=1e-6)
        z = step.coefficients[0] + X @ np.array(step.coefficients[1:])
        losses.append(log_loss(y, 1 / (1 + np.exp(-z))))
    assert [step.validation_loss for step in path] == pytest.approx(losses, abs=1e-6)
    assert [step.penalty for step in path] == sorted(PENALTIES)
    assert chosen.penalty == path[int(np.argmin(losses))].penalty
    assert 0 < path.index(chosen) < len(path) - 1


def test_neither_choice_nor_fit_sees_test_patients(toy, sites):
    before = chosen_of_two(sites)
    for name, cohort in toy.cohorts.items():
        labels = cohort.labels.copy()
        labels[cohort.rows("test")] = 1 - labels[cohort.rows("test")]
        toy.cohorts[name] = dataclasses.replace(cohort, labels=labels)
    assert chosen_of_two(open_sites(toy)) == before


def chosen_of_two(sites):
    regression, _ = regression_of(sites)
    return choose_penalty(regression.evaluator, fit_path(regression, (0.01, 1.0)))


def test_a_tie_goes_to_the_stronger_penalty(sites):
    regression, encoding = regression_of(sites)
    same = (0.0,) * (len(encoding.columns) + 1)
    path = [PathStep(c, same, "converged") for c in (0.01, 0.1, 1.0)]
    chosen, judged = choose_penalty(regression.evaluator, path)
    assert chosen.penalty == 0.01
    assert [step.validation_loss for step in judged] == pytest.approx([math.log(2)] * 3)


def test_a_fit_that_did_not_converge_is_not_chosen(sites):
    regression, encoding = regression_of(sites)
    same = (0.0,) * (len(encoding.columns) + 1)
    path = [PathStep(0.01, same, "not-converged"), PathStep(0.1, same, "converged")]
    chosen, judged = choose_penalty(regression.evaluator, path)
    assert chosen.penalty == 0.1
    assert judged[0].validation_loss is None
    with pytest.raises(Refusal, match="not-converged"):
        choose_penalty(regression.evaluator, path[:1])


def test_where_nobody_may_tell_a_validation_loss_the_default_penalty_holds(toy):
    for name, cohort in toy.cohorts.items():
        split = np.where(cohort.split == "validation", "test", cohort.split)
        toy.cohorts[name] = dataclasses.replace(cohort, split=split)
    regression, _ = regression_of(open_sites(toy))
    chosen, path = choose_penalty(regression.evaluator, fit_path(regression, (0.01, 0.1, 1.0)))
    assert chosen.penalty == DEFAULT_PENALTY
    assert all(step.validation_loss is None for step in path)


def failing_after(monkeypatch, site, answers, for_ever=True):
    """Let a site's answers about the regression fail after some of them, once or from then on."""
    honest, count = app.release, []

    def release(reply, message, request, minimum):
        if reply.site == site and message.metadata.message_type == wire.LOGISTIC:
            count.append(1)
            if len(count) > answers if for_ever else len(count) == answers + 1:
                raise Refusal("no-power", "x", "y")
        return honest(reply, message, request, minimum)

    monkeypatch.setattr(app, "release", release)


@pytest.mark.parametrize("for_ever", [True, False])
def test_a_site_lost_on_the_way_leaves_the_fit_of_the_others(sites, monkeypatch, for_ever):
    """It stays out even when it comes back: a fit has one set of patients."""
    failing_after(monkeypatch, "site-b", 2, for_ever)
    regression, encoding = regression_of(sites)
    fit = regression.fit(Penalty(1.0))
    others = ["site-a", "site-c", "site-d"]
    assert fit.outcome == "converged"
    assert fit.coefficients == pytest.approx(sklearn(*sites.pooled(encoding, names=others), 1.0), abs=1e-6)
    assert regression.attendance.accepted == others
    assert regression.attendance.refused == {"site-b": "no-power"}


def test_a_site_lost_on_the_path_has_no_part_in_any_step(sites, monkeypatch):
    failing_after(monkeypatch, "site-b", 6)
    regression, encoding = regression_of(sites)
    X, y = sites.pooled(encoding, names=["site-a", "site-c", "site-d"])
    for step in fit_path(regression, (0.01, 0.1, 1.0)):
        assert step.coefficients == pytest.approx(sklearn(X, y, step.penalty), abs=1e-6)


def test_classes_are_balanced_over_the_sites_that_are_left(sites, monkeypatch):
    """The weights by all sites would give one class more say among the others."""
    toy = sites.toy
    cohort = toy.cohorts["site-b"]
    mostly = np.where(np.arange(len(cohort)) % 6 > 0, 1, cohort.labels).astype(np.int8)
    toy.cohorts["site-b"] = dataclasses.replace(cohort, labels=mostly)
    regression, encoding = regression_of(open_sites(toy))
    regression.balance()
    failing_after(monkeypatch, "site-b", 2)
    X, y = sites.pooled(encoding, names=["site-a", "site-c", "site-d"])
    for step in fit_path(regression, (0.01, 1.0)):
        assert step.coefficients == pytest.approx(sklearn(X, y, step.penalty, "balanced"), abs=1e-6)


def test_without_quorum_there_is_no_fit(sites, monkeypatch):
    regression, _ = regression_of(sites, min_sites=4)
    failing_after(monkeypatch, "site-b", 1)
    with pytest.raises(Refusal, match="no-quorum"):
        regression.fit(Penalty(1.0))


def tamper(monkeypatch, **changes):
    """An attacker's egress at site-b: any reply it likes."""
    honest = app.release

    def release(reply, message, request, minimum):
        if reply.site != "site-b":
            return honest(reply, message, request, minimum)
        sums = {key: change(reply.sums[key]) for key, change in changes.items()}
        return Message(pack_reply(dataclasses.replace(reply, sums=reply.sums | sums)), reply_to=message)

    monkeypatch.setattr(app, "release", release)


@pytest.mark.parametrize(
    "changes",
    [
        {"gradient": lambda v: v[:-1]},
        {"gradient": lambda v: [*v, 0]},
        {"gradient": lambda v: [float(x) for x in v]},
        {"gradient": lambda v: [2**62, *v[1:]]},
        {"hessian": lambda v: [-1, *v[1:]]},
        {"hessian": lambda v: [v[0], 2**50, *v[2:]]},
        {"hessian": lambda v: v[:3]},
        {"loss": lambda v: -1},
        {"loss": lambda v: 0.5},
        {"n_pos": lambda v: 9999},
        {"n": lambda v: [v]},
    ],
)
def test_a_hostile_reply_costs_its_own_site_only(sites, monkeypatch, changes):
    tamper(monkeypatch, **changes)
    regression, encoding = regression_of(sites)
    fit = regression.fit(Penalty(1.0))
    assert set(regression.attendance.refused) <= {"site-b", "unnamed-101"}
    assert len(regression.attendance.refused) == 1
    X, y = sites.pooled(encoding, names=["site-a", "site-c", "site-d"])
    assert fit.coefficients == pytest.approx(sklearn(X, y, 1.0), abs=1e-6)


def test_a_site_whose_patients_change_on_the_way_is_lost(sites, monkeypatch):
    asked = []
    tamper(monkeypatch, n=lambda n: n + len(asked.append(1) or asked))
    regression, _ = regression_of(sites)
    assert regression.fit(Penalty(1.0)).outcome == "converged"
    assert regression.attendance.refused == {"site-b": "patients-changed"}


def test_terms_of_another_size_are_refused():
    found = terms([[1.0], [2.0]], [0, 1], [0.0, 0.0])
    sums = {"n": 2, "n_pos": 1, "loss": found.loss}
    sums |= {"gradient": found.gradient.tolist(), "hessian": found.hessian.tolist()}
    assert logistic_share(Reply("a", "s", sums), 2).n == 2
    for size in (1, 3):
        with pytest.raises(Refusal, match="malformed-message"):
            logistic_share(Reply("a", "s", sums), size)
    for key in sums:
        with pytest.raises(Refusal, match="malformed-message"):
            logistic_share(Reply("a", "s", {name: v for name, v in sums.items() if name != key}), 2)

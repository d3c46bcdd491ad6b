"""Federated logistic regression against scikit-learn's fit on the pooled patients."""

import math
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from fedescc.common.errors import Refusal
from fedescc.common.statistics.logistic import (
    GRADIENT_BITS,
    HESSIAN_BITS,
    LOSS_BITS,
    MAX_SITES,
    TERM_LIMIT,
    LogisticTerms,
    Penalty,
    balanced_weights,
    flat_weights,
    newton_step,
    start,
    terms,
    towards_equal,
)
from fedescc.common.statistics.newton import MAX_EVALUATIONS, NewtonFit


def patients(seed, n=150, numbers=4, signal=1.0):
    """Standardised numbers, a one-hot variable of three categories beside the intercept, and a column of zeros."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=(n, numbers)), np.eye(3)[rng.integers(0, 3, n)], np.zeros(n)])
    y = rng.random(n) < 1 / (1 + np.exp(0.5 - signal * X[:, 0]))
    y[:2] = [True, False]
    return X, y


def sites_of(X, y, cuts):
    return list(zip(np.split(X, cuts), np.split(y, cuts), strict=True))


def federated(sites, penalty, class_weights=(1.0, 1.0)):
    fit = start(sites[0][0].shape[1])
    while fit.outcome is None:
        fit = newton_step(reduce(add, (terms(X, y, fit.coefficients, class_weights) for X, y in sites)), fit, penalty)
    return fit


def sklearn(X, y, c, class_weight=None):
    model = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-12, max_iter=1000, class_weight=class_weight)
    model.fit(X, y)
    return np.r_[model.intercept_, model.coef_[0]]


@pytest.mark.parametrize("c", [0.01, 0.1, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_the_federated_fit_equals_scikit_learns_pooled_fit(c, class_weight):
    X, y = patients(1)
    sites = sites_of(X, y, [40, 45, 100])
    total = reduce(add, (terms(*site, np.zeros(9)) for site in sites))
    weights = balanced_weights(total) if class_weight else (1.0, 1.0)
    fit = federated(sites, Penalty(c), weights)
    assert fit.outcome == "converged"
    assert fit.coefficients == pytest.approx(sklearn(X, y, c, class_weight), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(8, 200),
    numbers=st.integers(1, 8),
    signal=st.floats(0, 8),
    c=st.floats(0.01, 100),
    cuts=st.lists(st.integers(0, 200), max_size=4),
)
def test_it_equals_the_pooled_fit_however_patients_are_spread(seed, n, numbers, signal, c, cuts):
    X, y = patients(seed, n, numbers, signal)
    fit = federated(sites_of(X, y, sorted(cuts)), Penalty(c))
    assert fit.outcome == "converged"
    assert np.abs(np.array(fit.coefficients) - sklearn(X, y, c)).max() < 1e-6


def test_separated_classes_and_collinear_columns_converge_too():
    x = np.linspace(-2, 2, 30)
    X = np.column_stack([x, x, -x, np.where(x > 0, 1.0, 0.0)])
    fit = federated(sites_of(X, x > 0, [10]), Penalty(100.0))
    assert fit.outcome == "converged"
    assert fit.coefficients == pytest.approx(sklearn(X, x > 0, 100.0), abs=1e-6)


def test_a_fit_takes_few_questions():
    """Each is a message to every site."""
    evaluations = [federated(sites_of(*patients(seed), [50]), Penalty(1.0)).evaluations for seed in range(10)]
    assert max(evaluations) <= 7


def test_the_order_of_sites_does_not_matter_bit_for_bit():
    sites = sites_of(*patients(3), [20, 60, 61, 110])
    forwards, backwards = federated(sites, Penalty(3.0)), federated(sites[::-1], Penalty(3.0))
    assert forwards == backwards


def test_terms_are_the_derivatives_of_the_weighted_loss():
    X, y = patients(5, n=40)
    at = np.random.default_rng(0).normal(size=9) * 0.5
    loss, gradient, hessian = terms(X, y, at, (0.7, 2.0)).values()
    z = at[0] + X @ at[1:]
    p = 1 / (1 + np.exp(-z))
    assert loss == pytest.approx(-np.sum(np.where(y, 2.0 * np.log(p), 0.7 * np.log(1 - p))), abs=2.0**-LOSS_BITS)
    for k in range(9):
        step = 1e-4 * np.eye(9)[k]
        up, down = (terms(X, y, at + sign * step, (0.7, 2.0)).values() for sign in (1, -1))
        assert gradient[k] == pytest.approx((up[0] - down[0]) / 2e-4, abs=1e-5)
        assert hessian[k] == pytest.approx((up[1] - down[1]) / 2e-4, abs=1e-5)


def test_sums_are_whole_steps_and_rounded_once():
    X, y = np.array([[1.0], [-1.0], [0.5]]), np.array([1, 0, 0])
    found = terms(X, y, [0.0, 0.0])
    assert (found.n, found.n_pos) == (3, 1)
    assert found.loss == round(3 * math.log(2) * 2**LOSS_BITS)
    assert found.gradient.tolist() == [2 ** (GRADIENT_BITS - 1), int((-0.5 - 0.5 + 0.25) * 2**GRADIENT_BITS)]
    assert found.hessian.tolist() == [int(v / 4 * 2**HESSIAN_BITS) for v in (3.0, 0.5, 2.25)]


def test_terms_of_as_many_sites_as_allowed_cannot_overflow():
    assert MAX_SITES * TERM_LIMIT < 2**63


@pytest.mark.parametrize("value", [1e12, math.inf])
def test_a_sum_that_does_not_fit_is_refused(value):
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(Refusal) as caught:
        terms([[value], [1.0]], [1, 0], [0.0, 0.0])
    assert caught.value.code in {"sum-too-large", "scores-not-finite"}


def test_one_class_has_no_fit():
    X, _ = patients(1, n=10)
    assert federated([(X, np.zeros(10, bool))], Penalty(1.0)).outcome == "one-class"
    with pytest.raises(Refusal, match="one-class"):
        balanced_weights(terms(X, np.zeros(10), np.zeros(9)))


def test_mismatched_sizes_are_refused():
    X, y = patients(1, n=10)
    one, two = terms(X, y, np.zeros(9)), terms(X[:, :2], y, np.zeros(3))
    attempts = [
        lambda: one + two,
        lambda: newton_step(two, start(8), Penalty(1.0)),
        lambda: newton_step(one, start(8), Penalty(1.0, np.eye(3))),
        lambda: terms(X, y, np.zeros(4)),
        lambda: terms(X, y, np.full(9, math.nan)),
        lambda: terms(X[:, 0], y, np.zeros(2)),
    ]
    for attempt in attempts:
        with pytest.raises(Refusal, match="bad-coefficients"):
            attempt()


def test_a_step_that_raised_the_loss_is_halved_and_questions_are_bounded():
    X, y = patients(2)
    best = federated([(X, y)], Penalty(1.0))
    far = tuple(20 * np.sign(best.coefficients))
    at_best = newton_step(terms(X, y, best.coefficients), NewtonFit(best.coefficients), Penalty(1.0))
    overshot = NewtonFit(far, None, 3, best.coefficients, at_best.anchor_loss)
    halved = newton_step(terms(X, y, far), overshot, Penalty(1.0))
    assert halved.coefficients == pytest.approx((np.array(far) + best.coefficients) / 2)
    assert halved.evaluations == 4
    last = newton_step(terms(X, y, np.zeros(9)), NewtonFit((0.0,) * 9, evaluations=MAX_EVALUATIONS - 1), Penalty(1.0))
    assert last.outcome == "not-converged"
    assert newton_step(terms(X, y, np.zeros(9)), last, Penalty(1.0)) is last


def test_a_ridge_towards_equal_weights_equals_scikit_learn_on_transformed_columns():
    """With w = P^(-1/2) u the penalty is ½ |u|²: scikit-learn's own, on the columns X P^(-1/2)."""
    rng = np.random.default_rng(8)
    X = rng.normal(size=(60, 3)) + rng.normal(size=(60, 1))
    y = rng.random(60) < 1 / (1 + np.exp(-X[:, 0] - X[:, 1]))
    penalty = towards_equal(3, 0.1)
    values, vectors = np.linalg.eigh(penalty.matrix)
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    u = sklearn(X @ root, y, 0.1)
    assert federated(sites_of(X, y, [20]), penalty).coefficients == pytest.approx(np.r_[u[0], root @ u[1:]], abs=1e-6)


def test_the_penalty_pulls_weights_together_and_leaves_their_mean():
    penalty = towards_equal(2, 1.0).matrix
    assert penalty @ np.ones(2) == pytest.approx(0.01 * np.ones(2))
    assert penalty @ [1.0, -1.0] == pytest.approx([1.0, -1.0])


def test_flat_weights_are_those_of_the_linear_model():
    import torch

    from fedescc.common.arrays import load_parameters
    from fedescc.common.network.model import LinearModel

    model = LinearModel(3)
    load_parameters(model, flat_weights([0.5, 1.0, 2.0, 3.0]))
    nothing = torch.zeros(1, 0)
    assert model(nothing, nothing, nothing, torch.tensor([[1.0, 10.0, 100.0]])).item() == pytest.approx(321.5)


GOOD = terms([[1.0, 2.0], [3.0, -1.0], [0.2, 0.0]], [1, 0, 0], [0.1, 0.2, -0.3])


@pytest.mark.parametrize(
    "change",
    [
        {"n": -1},
        {"n_pos": 4},
        {"loss": -1},
        {"hessian": GOOD.hessian * [-1, 1, 1, 1, 1, 1]},
        {"hessian": GOOD.hessian * [1, 1, 1, 0, 5, 1]},
    ],
)
def test_sums_that_no_patients_have_are_told_apart(change):
    assert GOOD.possible()
    fields = {"n": 3, "n_pos": 1, "loss": GOOD.loss, "gradient": GOOD.gradient, "hessian": GOOD.hessian}
    assert not LogisticTerms(**fields | change).possible()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 5))
def test_sums_of_very_few_patients_are_possible_in_spite_of_rounding(seed, n):
    X, y = patients(seed, n=max(n, 2))
    assert terms(X, y, np.random.default_rng(seed).normal(size=9) * 5).possible()

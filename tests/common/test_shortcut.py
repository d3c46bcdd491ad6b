"""Projections and rules that a request carries: read back as they were, and refused where they do not fit."""

import json

import numpy as np
import pytest

from fedescc.common.errors import Refusal
from fedescc.common.shortcut import (
    MAX_PRODUCTS,
    LinearRule,
    Projection,
    read_projection,
    read_rule,
    symmetric,
    upper_triangle,
)

RNG = np.random.default_rng(0)
CENTRE, SCALE, AXES = RNG.normal(size=4), RNG.uniform(1, 2, 4), RNG.normal(size=(2, 4))


def sent(document):
    """What arrives of it."""
    return json.loads(json.dumps(document))


def test_a_projection_arrives_as_it_was_sent():
    embeddings = RNG.normal(size=(7, 4))
    for axes in (None, AXES):
        made = Projection(CENTRE, SCALE, axes)
        read = read_projection(sent(made.task()), 4)
        assert np.array_equal(read.apply(embeddings), made.apply(embeddings))
        assert read.columns == (4 if axes is None else 2)
    by_hand = ((embeddings - CENTRE) / SCALE) @ AXES.T
    assert np.allclose(Projection(CENTRE, SCALE, AXES).apply(embeddings), by_hand)


def test_a_rule_arrives_as_it_was_sent_and_takes_the_highest_score():
    rule = LinearRule(("a", "b"), np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0.0, 0.5]))
    read = read_rule(sent(rule.task()), 2)
    columns = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 0.6], [0.5, 0.0]])
    assert read.names == ("a", "b")
    assert read.assign(columns).tolist() == [0, 1, 1, 0]  # the last is a tie, which the first takes


GOOD = Projection(CENTRE, SCALE, AXES).task()


@pytest.mark.parametrize(
    "change",
    [
        {"centre": [0.0] * 3},
        {"scale": [1.0, 1.0, 1.0, 0.0]},
        {"scale": [1.0, 1.0, 1.0, -1.0]},
        {"centre": [0.0, 0.0, 0.0, float("nan")]},
        {"centre": [0.0, 0.0, 0.0, float("inf")]},
        {"centre": "four"},
        {"centre": [[0.0] * 4]},
        {"centre": [{}, 0, 0, 0]},
        {"axes": []},
        {"axes": [[1.0, 2.0, 3.0]]},
        {"axes": [[1.0] * 4, [1.0] * 3]},
        {"axes": [[1.0] * 4] * (MAX_PRODUCTS + 1)},
        {"scale": None},
    ],
)
def test_a_projection_that_does_not_fit_is_refused(change):
    with pytest.raises(Refusal, match="malformed-message"):
        read_projection(GOOD | change, 4)


@pytest.mark.parametrize("value", [None, 3, [], "projection"])
def test_what_is_no_mapping_is_neither(value):
    with pytest.raises(Refusal, match="malformed-message"):
        read_projection(value, 4)
    with pytest.raises(Refusal, match="malformed-message"):
        read_rule(value, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"names": ["a"]},
        {"names": ["a", "a"]},
        {"names": ["a", 3]},
        {"names": None},
        {"names": [str(i) for i in range(200)]},
        {"weights": [[1.0, 2.0]]},
        {"weights": [[1.0], [2.0]]},
        {"weights": [[1.0, float("nan")], [0.0, 0.0]]},
        {"intercepts": [0.0]},
    ],
)
def test_a_rule_that_does_not_fit_is_refused(change):
    rule = {"names": ["a", "b"], "weights": [[1.0, 0.0], [0.0, 1.0]], "intercepts": [0.0, 0.0]}
    read_rule(rule, 2)
    with pytest.raises(Refusal, match="malformed-message"):
        read_rule(rule | change, 2)


def test_a_triangle_becomes_its_matrix_again():
    matrix = RNG.normal(size=(5, 3))
    matrix = matrix.T @ matrix
    assert len(upper_triangle(matrix)) == 6
    assert np.allclose(symmetric(upper_triangle(matrix), 3), matrix, rtol=0, atol=0)

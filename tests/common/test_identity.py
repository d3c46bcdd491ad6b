"""Several looks in one request: each comes out as it went in, and nothing malformed does."""

import dataclasses

import numpy as np
import pytest

from fedescc.common.errors import Refusal
from fedescc.common.identity import MAX_DECLARED, join_looks, look_digest, model_digest, split_looks
from fedescc.common.wire import Request

NETWORK = Request(
    "s" * 64,
    {"run": "r1", "federation": {"rounds": 1}, "encoding": {"covariates": []}, "edges": [0.0, 1.0], "threshold": 0.5},
    np.array([1, 2, 3], np.float32),
)
LINEAR = Request(
    "s" * 64,
    {
        "run": "r1",
        "federation": {"rounds": 1},
        "encoding": {"x": 1},
        "model": "linear",
        "edges": [0.5],
        "threshold": 0.0,
    },
    np.array([4, 5], np.float32),
)
FUSION = Request(
    "s" * 64,
    {"run": "r1", "models": [{"size": 3}, {"size": 2}], "fusion": [0.0, 1.0, 1.0], "edges": [0.1], "threshold": 0.1},
    np.array([1, 2, 3, 4, 5], np.float32),
)


def test_looks_come_apart_as_the_very_looks_that_were_joined() -> None:
    looks = [NETWORK, LINEAR, FUSION]
    joined = join_looks(looks, pooled=[1, 2, 3], plan="p")
    assert joined.task["run"] == "r1"
    assert joined.task["pooled"] == [1, 2, 3]
    found = split_looks(joined)
    assert [look_digest(one) for one in found] == [look_digest(one) for one in looks]
    assert [model_digest(one) for one in found] == [model_digest(one) for one in looks]
    assert "pooled" in found[0].task
    assert "looks" not in found[0].task


def test_a_request_without_weights_joins_no_look() -> None:
    with pytest.raises(Refusal, match="malformed-message"):
        join_looks([NETWORK, dataclasses.replace(LINEAR, weights=None)])


@pytest.mark.parametrize(
    "looks",
    [
        None,
        [],
        "looks",
        [1, 2],
        [{"size": 3, "task": {}}],
        [{"size": 3, "task": {}}, {"size": 3, "task": {}}],
        [{"size": 5.0, "task": {}}],
        [{"size": True, "task": {}}, {"size": 4, "task": {}}],
        [{"size": 6, "task": {}}, {"size": -1, "task": {}}],
        [{"size": 5}],
        [{"size": 5, "task": []}],
    ],
)
def test_looks_that_do_not_fit_their_weights_are_refused(looks: object) -> None:
    request = Request("s", {"looks": looks}, np.zeros(5, np.float32))
    with pytest.raises(Refusal, match="malformed-message"):
        split_looks(request)


def test_no_more_looks_than_may_be_declared() -> None:
    joined = join_looks([LINEAR] * MAX_DECLARED)
    assert len(split_looks(joined)) == MAX_DECLARED
    with pytest.raises(Refusal, match="malformed-message"):
        split_looks(join_looks([LINEAR] * (MAX_DECLARED + 1)))

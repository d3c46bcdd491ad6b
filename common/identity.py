"""Identities that server and site compute alike: of a run's fold, of a model, and of a look at the test set."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.common.errors import Refusal
from fedescc.common.fold import read_fold
from fedescc.common.wire import Request

MAX_DECLARED = 16  # models that one fold's test set may be opened for

# Settings and round decide, under personalisation, which of a site's own parameters answer.
_OF_A_MODEL = ("encoding", "model", "models", "fusion", "federation", "round")
_OF_A_LOOK = (*_OF_A_MODEL, "edges", "threshold")


def fold_key(request: Request) -> str:
    """The run and the fold of it that a request belongs to, however the fold is spelt.

    Raises:
        Refusal: ``unknown-fold``.

    """
    fold = read_fold(request.task)
    return json.dumps([request.task.get("run"), None if fold is None else fold.name])


def inputs_digest(request: Request) -> str:
    """What a model is beside its weights."""
    content = {key: request.task.get(key) for key in _OF_A_MODEL}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def model_digest(request: Request) -> str:
    """Identity of a model: its weights, what else it is, and the run and fold it belongs to.

    Raises:
        Refusal: the request carries no weights.

    """
    digest = hashlib.sha256(np.ascontiguousarray(received_weights(request)).data)
    digest.update(f"{inputs_digest(request)}{fold_key(request)}".encode())
    return digest.hexdigest()


def look_digest(request: Request) -> str:
    """Identity of one look at the test set: a model with its threshold and its bins."""
    look = json.dumps([model_digest(request), request.task["edges"], request.task["threshold"]])
    return hashlib.sha256(look.encode()).hexdigest()


def join_looks(requests: Sequence[Request], **task: Any) -> Request:
    """One request that carries several looks at one test set, each as its own request would describe it.

    Args:
        requests: of one run and fold, each with weights, edges and threshold.
        task: what is asked of them together.

    Raises:
        Refusal: a request without weights.

    """
    weights = [received_weights(request) for request in requests]
    looks = [
        {"size": len(flat), "task": {key: request.task[key] for key in _OF_A_LOOK if key in request.task}}
        for request, flat in zip(requests, weights, strict=True)
    ]
    common = {key: value for key, value in requests[0].task.items() if key not in _OF_A_LOOK}
    return Request(requests[0].study_sha256, {**common, **task, "looks": looks}, np.concatenate(weights))


def split_looks(request: Request) -> list[Request]:
    """The looks of a request that `join_looks` made, each as a request of its own.

    Raises:
        Refusal: "malformed-message" when sizes and weights disagree, or no or too many looks are named.

    """
    weights, looks = received_weights(request), request.task.get("looks")
    known = looks if isinstance(looks, list) and all(isinstance(look, dict) for look in looks) else []
    sizes, tasks = [look.get("size") for look in known], [look.get("task") for look in known]
    whole = all(type(size) is int and size > 0 for size in sizes) and all(isinstance(task, dict) for task in tasks)
    if not 0 < len(known) <= MAX_DECLARED or not whole or sum(sizes) != len(weights):
        raise Refusal("malformed-message", "looks do not fit their weights", "check the server's version")
    common = {key: value for key, value in request.task.items() if key not in (*_OF_A_LOOK, "looks")}
    flat = np.split(weights, np.cumsum(sizes)[:-1])
    return [
        replace(request, task={**common, **{key: task[key] for key in _OF_A_LOOK if key in task}}, weights=own)
        for task, own in zip(tasks, flat, strict=True)
    ]


def received_weights(request: Request) -> NDArray[np.float32]:
    """The flat weights of a request.

    Raises:
        Refusal: it carries none.

    """
    if request.weights is None:
        raise Refusal("malformed-message", "the request carries no weights", "check the server's version")
    return request.weights

"""Identities that server and site compute alike: of a run's fold, of a model, and of a look at the test set."""

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

from fedescc.common.errors import Refusal
from fedescc.common.wire import Request

MAX_DECLARED = 16  # models that one fold's test set may be opened for

_OF_A_MODEL = ("encoding", "model", "models", "fusion")


def fold_key(request: Request) -> str:
    """The run and the fold of it that a request belongs to."""
    return json.dumps([request.task.get("run"), request.task.get("fold")], sort_keys=True)


def inputs_digest(request: Request) -> str:
    """What a model's inputs are made from, whatever its weights."""
    content = {key: request.task.get(key) for key in _OF_A_MODEL}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def model_digest(request: Request) -> str:
    """Identity of a model: its weights, what its inputs are made from, and the run and fold it belongs to.

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


def received_weights(request: Request) -> NDArray[np.float32]:
    """The flat weights of a request.

    Raises:
        Refusal: it carries none.

    """
    if request.weights is None:
        raise Refusal("malformed-message", "the request carries no weights", "check the server's version")
    return request.weights

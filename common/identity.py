"""Identities that server and site compute alike: of a run's fold, of a model, and of a look at the test set."""

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

from fedescc.common.errors import Refusal
from fedescc.common.fold import read_fold
from fedescc.common.wire import Request

MAX_DECLARED = 16  # models that one fold's test set may be opened for

# Settings and round decide, under personalisation, which of a site's own parameters answer.
_OF_A_MODEL = ("encoding", "model", "models", "fusion", "federation", "round")


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


def received_weights(request: Request) -> NDArray[np.float32]:
    """The flat weights of a request.

    Raises:
        Refusal: it carries none.

    """
    if request.weights is None:
        raise Refusal("malformed-message", "the request carries no weights", "check the server's version")
    return request.weights

"""Late fusion: one logit out of the logits of several models, and how a request carries those models.

The request's weights are the models' flat weights one after the other; ``task["models"]`` says of each its encoding,
its kind and its size; ``task["fusion"]`` holds the intercept and one weight a model.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.common.errors import Refusal
from fedescc.common.identity import received_weights
from fedescc.common.wire import Request

MAX_FUSED = 8

Floats = NDArray[np.float64]


def join_models(requests: Sequence[Request]) -> Request:
    """One request that carries the models of several; what else they ask for is the first one's.

    Raises:
        Refusal: a request without weights.

    """
    weights = [received_weights(request) for request in requests]
    models = [
        {"encoding": request.task["encoding"], "model": request.task.get("model"), "size": len(flat)}
        for request, flat in zip(requests, weights, strict=True)
    ]
    task = {key: value for key, value in requests[0].task.items() if key not in ("encoding", "model")}
    return Request(requests[0].study_sha256, {**task, "models": models}, np.concatenate(weights))


def split_models(request: Request) -> list[Request]:
    """The models of a request that `join_models` made, each as a request of its own.

    Raises:
        Refusal: "malformed-message" when sizes and weights disagree, or no or too many models are named.

    """
    weights, models = received_weights(request), request.task["models"]
    sizes = [model.get("size") for model in models] if _mappings(models) else []
    whole = all(type(size) is int and size > 0 for size in sizes)
    if not (0 < len(sizes) <= MAX_FUSED) or not whole or sum(sizes) != len(weights):
        raise Refusal("malformed-message", "a fusion's models do not fit its weights", "check the server")
    task = {key: value for key, value in request.task.items() if key not in ("models", "fusion")}
    flat = np.split(weights, np.cumsum(sizes)[:-1])
    return [
        replace(request, task={**task, "encoding": model.get("encoding"), "model": model.get("model")}, weights=own)
        for model, own in zip(models, flat, strict=True)
    ]


def fused_logits(scores: Floats, fusion: Any) -> Floats:
    """Logits (n,) out of the models' logits (n, models) and ``[intercept, one weight a model]``.

    Raises:
        Refusal: "malformed-message" when the fusion is no list of finite numbers of that length.

    """
    numbers = isinstance(fusion, list) and all(isinstance(value, int | float) for value in fusion)
    if not numbers or len(fusion) != scores.shape[1] + 1 or not all(math.isfinite(value) for value in fusion):
        raise Refusal("malformed-message", "a fusion needs an intercept and a weight a model", "check the server")
    return np.asarray(fusion[0] + scores @ np.asarray(fusion[1:], dtype=np.float64))


def _mappings(models: Any) -> bool:
    return isinstance(models, list) and all(isinstance(model, dict) for model in models)

"""The weights that the rounds of a fold start from: the seed's, a warm start's, or those of pretraining."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedescc.common.arrays import (
    flatten_parameters,
    load_parameters,
    load_safetensors,
    parameter_layout,
    save_safetensors,
)
from fedescc.common.console import log
from fedescc.common.errors import Refusal
from fedescc.common.network.warm_start import warm_start_from
from fedescc.server.strategies.state import Weights
from fedescc.server.training.pretraining import PretrainingRecord

if TYPE_CHECKING:
    from torch import nn

_PRETRAINED = "pretrained.safetensors"
_FLAT = "flat"

Pretrain = Callable[["nn.Module"], tuple[Weights, list[PretrainingRecord]]]


@dataclass(frozen=True)
class Start:
    """Where the rounds start.

    Attributes:
        weights: flat, (size,) float32.
        warm_start: which tensors of a file were taken; None without one.
        pretraining: a row a round; empty without any.

    """

    weights: Weights
    warm_start: dict[str, Any] | None = None
    pretraining: list[dict[str, Any]] = field(default_factory=list)


def start_of(
    model: "nn.Module", warm_start: Path | None, task: dict[str, Any], folder: Path, pretrain: Pretrain
) -> Start:
    """Where the rounds start: the seed's weights, then those of a file that fit, then pretraining.

    Args:
        model: as the seed made it; takes the file's weights.
        warm_start: the file, if any.
        task: with the model's weights, whatever the pretraining depends on.
        folder: of the fold; pretraining is kept there so that a stopped run need not repeat it.
        pretrain: does it.

    Raises:
        Refusal: as `warm_start_from` and ``pretrain``.

    """
    if warm_start is None:
        return _pretrained(model, task, folder, pretrain)
    weights, report = warm_start_from(warm_start, parameter_layout(model), flatten_parameters(model))
    log(report.summary())
    load_parameters(model, weights)
    return replace(_pretrained(model, task, folder, pretrain), warm_start=report.entry())


def weights_digest(weights: Weights) -> str:
    """SHA-256 of flat weights."""
    return hashlib.sha256(np.ascontiguousarray(weights).data).hexdigest()


def _pretrained(model: "nn.Module", task: dict[str, Any], folder: Path, pretrain: Pretrain) -> Start:
    path, identity = folder / _PRETRAINED, _identity(model, task)
    kept = _read(path, identity)
    if kept is None:
        weights, records = pretrain(model)
        kept = Start(weights, pretraining=[record.entry() for record in records])
        if records:
            save_safetensors(path, {_FLAT: weights}, {"of": identity, "rounds": json.dumps(kept.pretraining)})
    return kept


def _identity(model: "nn.Module", task: dict[str, Any]) -> str:
    text = json.dumps([task, weights_digest(flatten_parameters(model))], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path, identity: str) -> Start | None:
    if not path.exists():
        return None
    try:
        arrays, metadata = load_safetensors(path)
        if metadata["of"] == identity:
            return Start(arrays[_FLAT], pretraining=json.loads(metadata["rounds"]))
    except (Refusal, KeyError, ValueError):
        pass  # damaged: it is made again
    return None

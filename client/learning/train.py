"""One site's work in one round: from the shared parameters to its own update."""

import hashlib
import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedescc.client.learning.augment import apply, draw
from fedescc.client.learning.dataset import Batch, SiteTensors
from fedescc.client.learning.losses import patient_losses, patient_weights
from fedescc.common.arrays import flatten_parameters
from fedescc.common.errors import Refusal
from fedescc.common.federation import Training


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What one round of local training gave.

    Attributes:
        delta: (size,) float32, trained minus received parameters, in the order of `flatten_parameters`.
        loss: mean weighted training loss of the updates, without the proximal term.
        n: training patients.
        updates: optimiser steps taken.

    """

    delta: NDArray[np.float32]
    loss: float
    n: int
    updates: int


def train_round(
    model: nn.Module,
    tensors: SiteTensors,
    settings: Training,
    *,
    seed: int,
    round: int,  # noqa: A002 - the field's word
    rounds: int,
    site: str,
    mu: float = 0.0,
) -> TrainResult:
    """Train ``model`` in place from its present parameters and say how they changed.

    The optimiser starts afresh. With ``mu`` > 0 the loss gains FedProx's mu/2 · ||w - w0||² (Li et al.,
    MLSys 2020). The result depends on the arguments only, bit for bit at equal thread counts, and torch's
    global random state is left as it was. Repeated calls with rising ``round`` on one model, without
    aggregation between them, train a local-only or centralised comparator.

    Args:
        model: from `build_model`; left trained, in training mode, on the device of `choose_device`.
        tensors: the site's training patients.
        settings: what to do in a round.
        seed: the federation's seed; with ``round`` and ``site`` it decides every random number.
        round: 1 .. rounds.
        rounds: planned number of rounds; the learning rate falls over all of them.
        site: the site's name (or the comparator's).
        mu: FedProx's proximal weight.

    Raises:
        Refusal: ``no-training-patients``, or ``training-diverged`` when a loss is not finite.

    """
    turn = _Turn(seed, round, rounds, site)
    if not len(tensors):
        raise Refusal("no-training-patients", "no patient to train on", "check the split and the eligibility")
    device = choose_device()
    model.to(device).train()
    before = flatten_parameters(model)
    seed = turn.derived_seed()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        losses = _updates(model, tensors, settings, turn, mu, np.random.default_rng(seed))
    delta = flatten_parameters(model) - before
    if not np.isfinite(delta).all():
        raise _diverged("the parameters", turn)
    return TrainResult(delta, float(np.mean(losses)), len(tensors), len(losses))


def choose_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def batch_plan(
    patients: int, settings: Training, rng: np.random.Generator
) -> list[tuple[NDArray[np.intp], NDArray[np.float32]]]:
    """Patients and their weights (1, or 0 for padding) of every update of a round.

    Each pass over the data is a new permutation cut into pieces of nearly equal size, at least 2 and at most
    one and a half times the batch size; a lone patient is doubled by a copy of weight 0, because a batch of
    one 3-D sample misses the fast convolution kernels.
    """
    if settings.local_updates is None:
        passes = (_one_pass(patients, settings.batch_size, rng) for _ in range(settings.local_epochs or 1))
        return [piece for each in passes for piece in each]
    plan: list[tuple[NDArray[np.intp], NDArray[np.float32]]] = []
    while len(plan) < settings.local_updates:
        plan += _one_pass(patients, settings.batch_size, rng)
    return plan[: settings.local_updates]


def learning_rate(settings: Training, progress: float) -> float:
    """The rate at ``progress`` (0 .. 1) through all rounds: constant, or half a cosine down to 0."""
    if settings.schedule == "constant":
        return settings.learning_rate
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class _Turn:
    """Which piece of work this is."""

    seed: int
    round: int
    rounds: int
    site: str

    def derived_seed(self) -> int:
        text = f"fedescc-train|{self.seed}|{self.round}|{self.site}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _one_pass(patients: int, size: int, rng: np.random.Generator) -> list[tuple[NDArray[np.intp], NDArray[np.float32]]]:
    if patients == 1:
        return [(np.zeros(2, np.intp), np.array([1, 0], np.float32))]
    pieces = max(1, min(round(patients / size), patients // 2))
    cut = np.array_split(rng.permutation(patients), pieces)
    return [(piece, np.ones(len(piece), np.float32)) for piece in cut]


def _updates(
    model: nn.Module,
    tensors: SiteTensors,
    settings: Training,
    turn: _Turn,
    mu: float,
    rng: np.random.Generator,
) -> list[float]:
    device = next(model.parameters()).device
    anchor = [parameter.detach().clone() for parameter in model.parameters()] if mu else []
    optimizer, precision = _optimizer(model, settings), _Precision(device, settings.mixed_precision)
    weights = patient_weights(tensors.labels, settings)
    plan = batch_plan(len(tensors), settings, rng)
    losses = []
    for step, (index, counted) in enumerate(plan):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, (turn.round - 1 + step / len(plan)) / turn.rounds)
        batch = _training_batch(tensors, index, settings, rng).to(device)
        share = (weights[torch.from_numpy(index)] * torch.from_numpy(counted) / float(counted.sum())).to(device)
        with precision.autocast():
            logits = model(*batch.inputs)
        loss = (patient_losses(logits.float(), batch.labels, settings.loss) * share).sum()
        losses.append(_finite(loss, turn))
        precision.step(loss + _proximal(model, anchor, mu), optimizer, model, settings.gradient_clip)
    return losses


def _training_batch(
    tensors: SiteTensors, index: NDArray[np.intp], settings: Training, rng: np.random.Generator
) -> Batch:
    batch = tensors.batch(index)
    patients, time_points = batch.present.shape
    return apply(draw(settings.augmentation, patients, time_points, rng), batch)


def _optimizer(model: nn.Module, settings: Training) -> torch.optim.Optimizer:
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    return torch.optim.SGD(
        model.parameters(), settings.learning_rate, settings.momentum, weight_decay=settings.weight_decay
    )


def _proximal(model: nn.Module, anchor: list[Tensor], mu: float) -> Tensor | float:
    pairs = zip(model.parameters(), anchor, strict=True) if mu else ()
    return mu / 2 * sum((now - then).square().sum() for now, then in pairs)


def _finite(loss: Tensor, turn: _Turn) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise _diverged("the loss", turn)
    return value


def _diverged(what: str, turn: _Turn) -> Refusal:
    return Refusal(
        "training-diverged",
        f"{what} is not finite in round {turn.round}",
        "lower training.learning_rate or set training.gradient_clip",
    )


class _Precision:
    """Mixed precision on a GPU (bfloat16, or float16 with loss scaling where it lacks that); else float32."""

    def __init__(self, device: torch.device, wanted: bool) -> None:
        self.device = device
        self.on = wanted and device.type == "cuda"
        self.dtype = torch.bfloat16 if self.on and torch.cuda.is_bf16_supported() else torch.float16
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.on and self.dtype == torch.float16)

    def autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, self.dtype) if self.on else nullcontext()

    def step(self, loss: Tensor, optimizer: torch.optim.Optimizer, model: nn.Module, clip: float | None) -> None:
        optimizer.zero_grad()
        torch.autograd.backward(self.scaler.scale(loss))
        if clip is not None:
            self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        self.scaler.step(optimizer)
        self.scaler.update()

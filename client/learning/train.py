"""One site's work in one round: from the shared parameters to its own update."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedescc.client.learning.augment import Spacing, apply, draw
from fedescc.client.learning.dataset import Batch, SiteTensors
from fedescc.client.learning.losses import patient_losses, patient_weights
from fedescc.client.learning.plan import Chosen, batch_plan, pieces
from fedescc.client.learning.precision import Precision
from fedescc.client.learning.pull import Pull, bind
from fedescc.client.learning.schedule import Turn
from fedescc.common.arrays import flatten_parameters
from fedescc.common.errors import Refusal
from fedescc.common.federation import Training

ISOTROPIC: Spacing = (1.0, 1.0, 1.0)
NO_PULL = Pull()


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What one round of local training gave.

    Attributes:
        delta: (size,) float32, trained minus received parameters, in the order of `flatten_parameters`.
        loss: mean weighted training loss of the updates, of the data alone.
        n: training patients.
        updates: batches of the round.
        rates: sum of the learning rates of the steps taken; SCAFFOLD's controls need it.

    """

    delta: NDArray[np.float32]
    loss: float
    n: int
    updates: int
    rates: float = 0.0


def train_round(
    model: nn.Module,
    tensors: SiteTensors,
    settings: Training,
    turn: Turn,
    *,
    pull: Pull = NO_PULL,
    spacing_zyx_mm: Spacing = ISOTROPIC,
) -> TrainResult:
    """Train ``model`` in place from its present parameters and say how they changed.

    The optimiser starts afresh. The result depends on the arguments only, bit for bit at equal thread counts, and
    torch's global random state is left as it was. Repeated calls with rising rounds on one model, without aggregation
    between them, train a local-only or centralised comparator.

    With ``micro_batch`` the gradients of an update gather over pieces of the batch, which is the same update but for
    the order of sums and the places where dropout falls. The pull joins before the gradient is clipped: so a clip
    bounds every step, and under SCAFFOLD, whose corrected gradients vanish at the shared optimum, it leaves that
    optimum where it is, which clipping the sites' own gradients, large there, would not.

    Args:
        model: from `build_model`; left trained, in training mode, on the device of `choose_device`.
        tensors: the site's training patients.
        settings: what to do in a round.
        turn: which round, of which site.
        pull: what draws the parameters besides the data.
        spacing_zyx_mm: of the grid; matters to rotations only.

    Raises:
        Refusal: ``no-training-patients``, or ``training-diverged`` when a loss or a parameter is not finite.

    """
    if not len(tensors):
        raise Refusal("no-training-patients", "no patient to train on", "check the split and the eligibility")
    device = choose_device()
    model.to(device).train()
    before = flatten_parameters(model)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(turn.derived_seed)
        losses, rates = _updates(model, tensors, settings, turn, pull, spacing_zyx_mm)
    delta = flatten_parameters(model) - before
    for what, values in (("a loss", losses), ("a parameter", delta)):
        if not np.isfinite(values).all():
            raise _diverged(what, turn)
    return TrainResult(delta, float(losses.mean(dtype=np.float64)), len(tensors), len(losses), rates)


def choose_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def _updates(
    model: nn.Module, tensors: SiteTensors, settings: Training, turn: Turn, pull: Pull, spacing: Spacing
) -> tuple[NDArray[np.float32], float]:
    """Take the round's steps; the loss of each, and the sum of the rates of those taken."""
    device, rng = next(model.parameters()).device, np.random.default_rng(turn.derived_seed)
    optimizer, precision = _optimizer(model, settings), Precision(device, wanted=settings.mixed_precision)
    add_pull = bind(pull, model)
    weights = patient_weights(tensors.labels, settings)
    plan = batch_plan(len(tensors), settings, rng)
    losses, rates = torch.zeros(len(plan), device=device), 0.0
    for step, chosen in enumerate(plan):
        rate = turn.rate(settings, step, len(plan))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        for batch, share in _training_pieces(tensors, chosen, weights, settings, rng, device, spacing):
            losses[step] += _gather(model, batch, share, precision, settings)
        precision.unscale(optimizer)
        add_pull()
        if settings.gradient_clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
        rates += rate * precision.step(optimizer)
    return losses.cpu().numpy(), rates


def _training_pieces(
    tensors: SiteTensors,
    chosen: Chosen,
    weights: Tensor,
    settings: Training,
    rng: np.random.Generator,
    device: torch.device,
    spacing: Spacing,
) -> Iterator[tuple[Batch, Tensor]]:
    """The pieces of one batch, changed at random, and each patient's share in the loss."""
    index, counted = chosen
    share = weights[torch.from_numpy(index)] * torch.from_numpy(counted) / float(counted.sum())
    draws = draw(settings.augmentation, len(index), tensors.present.shape[1], rng)
    for places, filled in pieces(len(index), settings.micro_batch):
        batch = tensors.batch(index[places]).to(device)
        yield apply(draws.take(places), batch, spacing), (share[places] * torch.from_numpy(filled)).to(device)


def _gather(model: nn.Module, batch: Batch, share: Tensor, precision: Precision, settings: Training) -> Tensor:
    """Add one piece's gradients to those already gathered, and return its part of the loss."""
    with precision.autocast():
        logits = model(*batch.inputs)
    loss = (patient_losses(logits.float(), batch.labels, settings.loss) * share).sum()
    precision.backward(loss)
    return loss.detach()


def _optimizer(model: nn.Module, settings: Training) -> torch.optim.Optimizer:
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    return torch.optim.SGD(
        model.parameters(), settings.learning_rate, settings.momentum, weight_decay=settings.weight_decay
    )


def _diverged(what: str, turn: Turn) -> Refusal:
    return Refusal(
        "training-diverged",
        f"{what} is not finite in round {turn.round}",
        "lower training.learning_rate or set training.gradient_clip",
    )

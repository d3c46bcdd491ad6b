"""One site's work in one round of pretraining: scans without labels, from the shared encoder to its update."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fedescc.client.cohort import SiteCohort
from fedescc.client.learning.augment import apply, draw
from fedescc.client.learning.dataset import Batch, SiteTensors
from fedescc.client.learning.plan import batch_plan, pieces
from fedescc.client.learning.precision import Precision
from fedescc.client.learning.schedule import Turn
from fedescc.client.learning.train import TrainResult, choose_device
from fedescc.common.arrays import flatten_parameters
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation, Training
from fedescc.common.imaging import Grid
from fedescc.common.network.pretext import Pretext, scan_targets
from fedescc.common.tabular.covariates import Encoding

HIDDEN_BLOCKS = 3  # of a scan, each a quarter to a half of the grid along every axis: about a seventh of it in all
FILL = 0.35  # soft tissue in a mediastinal window


@dataclass(frozen=True, eq=False)
class Scans:
    """Every scan of a fold's training and validation patients that has a ROI.

    Attributes:
        tensors: these patients, without labels and clinical columns.
        where: (scans, 2) place of the patient among them, and time point.

    """

    tensors: SiteTensors
    where: NDArray[np.intp]

    @classmethod
    def from_cohort(cls, cohort: SiteCohort, encoding: Encoding) -> "Scans":
        """Scans of the training and validation patients, harmonised if the encoding says; test patients' are not read.

        Raises:
            Refusal: ``pretraining-without-images``, or ``image-not-finite``.

        """
        rois = cohort.rois
        if cohort.images is None or rois is None:
            raise Refusal("pretraining-without-images", "a cohort without images", "set pretraining.rounds to 0")
        rows = np.union1d(cohort.rows("train"), cohort.rows("validation"))
        unlabelled = replace(cohort, labels=np.zeros(len(cohort), np.int8))
        scans_only = encoding.model_copy(update={"covariates": ()})
        tensors = SiteTensors.from_cohort(unlabelled, scans_only, rows)
        present = np.argwhere(tensors.present.numpy() > 0)
        where = [(place, point) for place, point in present if rois[rows[place], point].any()]
        return cls(tensors, np.array(where, np.intp).reshape(-1, 2))

    @property
    def patients(self) -> int:
        """Patients with at least one of the scans."""
        return len(np.unique(self.where[:, 0]))

    def __len__(self) -> int:
        return len(self.where)

    def take(self, index: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        """Images and ROIs by their place among the scans, (s, z, y, x) float32 each."""
        places, points = self.where[index].T
        batch, each = self.tensors.batch(places), torch.arange(len(index))
        chosen = torch.from_numpy(points)
        return batch.images[each, chosen], batch.rois[each, chosen]


def pretrain_round(
    model: Pretext,
    scans: Scans,
    grid: Grid,
    federation: Federation,
    *,
    round: int,  # noqa: A002 - the field's word
    site: str,
) -> TrainResult:
    """Train ``model`` in place on the pretext task and say how it changed; ``n`` counts patients.

    Rate, rounds and epochs are those of ``pretraining``, everything else is ``training``'s; the optimiser is AdamW and
    the rate falls by half a cosine. The result depends on the arguments only, bit for bit at equal thread counts.

    Args:
        model: from `build_pretext`; left trained, in training mode, on the device of `choose_device`.
        scans: the site's.
        grid: the study's.
        federation: the run's settings.
        round: 1 .. ``pretraining.rounds``.
        site: the site's name.

    Raises:
        Refusal: ``no-training-patients`` without any scan, or ``training-diverged``.

    """
    if not len(scans):
        raise Refusal("no-training-patients", "no scan with a ROI to train on", "check the split and the ROIs")
    planned = federation.pretraining
    changes = {"learning_rate": planned.learning_rate, "local_epochs": planned.local_epochs, "local_updates": None}
    settings = federation.training.model_copy(update=changes | {"schedule": "cosine"})
    turn = Turn(federation.seed, round, planned.rounds, f"pretraining|{site}")
    device = choose_device()
    model.to(device).train()
    before = flatten_parameters(model)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(turn.derived_seed)
        losses = _updates(model, scans, grid, settings, turn)
    delta = flatten_parameters(model) - before
    if not (np.isfinite(losses).all() and np.isfinite(delta).all()):
        raise Refusal(
            "training-diverged",
            f"pretraining is not finite in round {round}",
            "lower pretraining.learning_rate or set training.gradient_clip",
        )
    return TrainResult(delta, float(np.mean(losses)), scans.patients, len(losses))


def hide(images: Tensor, rng: np.random.Generator) -> Tensor:
    """The scans, (s, z, y, x), with three random blocks of each filled with one value; the ROI still tells where."""
    hidden = torch.zeros(images.shape, dtype=torch.bool)
    for _ in range(HIDDEN_BLOCKS):
        z, y, x = (_stretches(len(images), size, rng) for size in images.shape[1:])
        hidden |= z[:, :, None, None] & y[:, None, :, None] & x[:, None, None, :]
    return images.masked_fill(hidden, FILL)


def _stretches(scans: int, size: int, rng: np.random.Generator) -> Tensor:
    """One random stretch of each scan along one axis, a quarter to a half of it: (s, size) bool."""
    length = rng.integers(size // 4, size // 2, (scans, 1), endpoint=True)
    start = rng.integers(0, size - length, endpoint=True)
    place = np.arange(size)
    return torch.from_numpy((start <= place) & (place < start + length))


def _updates(model: Pretext, scans: Scans, grid: Grid, settings: Training, turn: Turn) -> list[float]:
    device, rng = next(model.parameters()).device, np.random.default_rng(turn.derived_seed)
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    precision = Precision(device, wanted=settings.mixed_precision)
    plan, losses = batch_plan(len(scans), settings, rng), []
    for step, (index, counted) in enumerate(plan):
        for group in optimizer.param_groups:
            group["lr"] = turn.rate(settings, step, len(plan))
        images, rois = scans.take(index)
        targets = scan_targets(images, rois, grid)
        views = _damaged(images, rois, settings, grid, rng)
        share = torch.from_numpy(counted / counted.sum())
        optimizer.zero_grad()
        losses.append(_gather(model, (*views, targets, share), settings, precision))
        precision.unscale(optimizer)
        if settings.gradient_clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
        precision.step(optimizer)
    return losses


def _gather(model: Pretext, batch: tuple[Tensor, ...], settings: Training, precision: Precision) -> float:
    """Gather a batch's gradients, piece by piece, and return its loss: the mean smooth L1 over targets and scans."""
    total = 0.0
    for places, counted in pieces(len(batch[0]), settings.micro_batch):
        images, rois, targets, share = (part[places].to(precision.device) for part in batch)
        with precision.autocast():
            predicted = model(images, rois)
        each = functional.smooth_l1_loss(predicted.float(), targets, reduction="none").mean(dim=1)
        loss = (each * share * torch.from_numpy(counted).to(share)).sum()
        precision.backward(loss)
        total += float(loss.detach())
    return total


def _damaged(
    images: Tensor, rois: Tensor, settings: Training, grid: Grid, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A moved, jittered and partly hidden view of each scan, and its ROI moved alike."""
    nothing = torch.zeros(len(images), 0)
    batch = Batch(images[:, None], rois[:, None], torch.ones(len(images), 1), nothing, nothing)
    z, y, x = grid.spacing_zyx_mm
    moved = apply(draw(settings.augmentation, len(images), 1, rng), batch, (z, y, x))
    return hide(moved.images[:, 0], rng), moved.rois[:, 0]

"""The shared network of a study: a paired 3-D encoder with clinical fusion, or logistic regression.

Every layer works sample by sample (GroupNorm and LayerNorm, nothing in place), so that per-sample gradients
exist: Opacus' validator passes and ``torch.func.vmap(grad)`` runs.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedescc.common.study import Model, Study

CELL = 2  # voxels along each edge of a cell; the encoder sees every cell's mean and SD
HISTOGRAM_BINS = 12
# Outside the ROI every cell still weighs this much: negligible beside the ROI's own cells, and an empty ROI is
# pooled over the whole volume instead of dividing by 0.
FLOOR = 1e-4
MAPS_START = 0.3  # the convolutional maps start quieter than the statistics: at 100 patients they add noise first
# About the mean and the SD of soft tissue's cells in a mediastinal window; inputs become of order 1.
CELL_MEAN, CELL_MEAN_SCALE, CELL_SD, CELL_SD_SCALE = 0.35, 3.0, 0.05, 10.0


def build_model(study: Study, n_clinical: int, seed: int) -> nn.Module:
    """The study's network, initialised from ``seed`` alone; torch's global random state stays as it was.

    Its ``forward`` takes images and ROIs (b, t, z, y, x), presence flags (b, t) and clinical columns
    (b, n_clinical), and returns logits (b,).
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if study.imaging is None:
            return LinearModel(n_clinical)
        return PairedCNN(study.model, len(study.imaging.time_points), n_clinical)


class LinearModel(nn.Module):
    """Logistic regression on the clinical columns; starts at 0, where the loss is convex anyway."""

    def __init__(self, n_clinical: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_clinical, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, images: Tensor, rois: Tensor, present: Tensor, clinical: Tensor) -> Tensor:  # noqa: ARG002
        """Logits (b,); images, ROIs and presence are not used."""
        return self.head(clinical.new_zeros(len(clinical), 0, 0), clinical)

    def head(self, embeddings: Tensor, clinical: Tensor) -> Tensor:  # noqa: ARG002
        """Logits (b,) from clinical columns (b, k); there are no embeddings."""
        logits: Tensor = self.linear(clinical)[:, 0]
        return logits


class PairedCNN(nn.Module):
    """One encoder for all time points; their embeddings, the change between them and clinical columns fuse.

    `encode` and `head` are apart so that explanation can keep the embeddings of an encoder pass.
    """

    def __init__(self, settings: Model, time_points: int, n_clinical: int) -> None:
        super().__init__()
        self.encoder = Encoder(settings)
        views = time_points + (time_points == 2)
        fused = views * settings.embedding + time_points + n_clinical
        self.dropout = nn.Dropout(settings.dropout)
        if settings.hidden:
            self.fusion: nn.Module = nn.Sequential(
                nn.Linear(fused, settings.hidden),
                nn.ReLU(),
                nn.Dropout(settings.dropout),
                nn.Linear(settings.hidden, 1),
            )
        else:
            self.fusion = nn.Linear(fused, 1)

    def forward(self, images: Tensor, rois: Tensor, present: Tensor, clinical: Tensor) -> Tensor:
        """Logits (b,)."""
        scans = self.encode(images.flatten(0, 1), rois.flatten(0, 1), present.flatten())
        return self.head(scans.reshape(*present.shape, -1), clinical)

    def encode(self, image: Tensor, roi: Tensor, present: Tensor) -> Tensor:
        """Scans (s, z, y, x) in [0, 1], ROIs and presence flags (s,) -> (s, embedding + 1).

        The last entry is the presence flag; a missing scan is all zeros.
        """
        if len(image) == 1:  # a batch of one 3-D sample misses oneDNN's fast convolutions
            image, roi = image.expand(2, -1, -1, -1), roi.expand(2, -1, -1, -1)
        embedding = self.encoder(image, roi)[: len(present)]
        flag = present[:, None].to(embedding.dtype)
        return torch.cat([embedding * flag, flag], dim=1)

    def head(self, embeddings: Tensor, clinical: Tensor) -> Tensor:
        """Logits (b,) from what `encode` returned, (b, t, embedding + 1), and clinical columns (b, k)."""
        scans, present = embeddings[..., :-1], embeddings[..., -1]
        views = [scans.flatten(1)]
        if scans.shape[1] == 2:
            both = present.prod(dim=1, keepdim=True)
            views.append((scans[:, 1] - scans[:, 0]) * both)
        image = self.dropout(torch.cat(views, dim=1))
        logits: Tensor = self.fusion(torch.cat([image, present, clinical], dim=1))[:, 0]
        return logits


class Encoder(nn.Module):
    """One scan and its ROI -> embedding.

    The volume is reduced to cells of 2³ voxels, each with the mean and SD of its intensities and the ROI's
    share: everything after that is 8 times cheaper, and texture finer than a cell is kept in its SD. Two
    branches are pooled over the ROI: statistics of the cells, which little data can learn from, and the mean
    and SD of convolutional maps at every depth.
    """

    centres: Tensor

    def __init__(self, settings: Model) -> None:
        super().__init__()
        widths = settings.widths
        self.blocks = nn.ModuleList(
            _block(before, after) for before, after in zip((3, *widths[:-1]), widths, strict=True)
        )
        self.statistics_norm = nn.LayerNorm(2 * HISTOGRAM_BINS)
        self.maps_norm = nn.LayerNorm(2 * sum(widths))
        nn.init.constant_(self.maps_norm.weight, MAPS_START)
        self.project = nn.Linear(2 * HISTOGRAM_BINS + 2 * sum(widths), settings.embedding)
        self.register_buffer("centres", torch.linspace(0, 1, HISTOGRAM_BINS), persistent=False)

    def forward(self, image: Tensor, roi: Tensor) -> Tensor:
        """(s, z, y, x) twice -> (s, embedding)."""
        with torch.no_grad():
            mean, deviation, share = _cells(image, roi)
            region = share + FLOOR
            statistics = self._statistics(mean, deviation, region)
            maps = torch.cat(
                [(mean - CELL_MEAN) * CELL_MEAN_SCALE, (deviation - CELL_SD) * CELL_SD_SCALE, share], dim=1
            )
        pooled = []
        for block in self.blocks:
            maps = block(maps)
            kernel = [min(2, cells) for cells in region.shape[2:]]
            region = functional.avg_pool3d(region, kernel, ceil_mode=True)
            pooled.append(_mean_and_sd(maps, region))
        branches = [self.statistics_norm(statistics), self.maps_norm(torch.cat(pooled, dim=1))]
        embedding: Tensor = self.project(torch.cat(branches, dim=1))
        return embedding

    def _statistics(self, mean: Tensor, deviation: Tensor, region: Tensor) -> Tensor:
        """How much of the ROI lies near each intensity, and the texture (SD within cells) found there."""
        near = (1 - (mean - self.centres.view(1, -1, 1, 1, 1)).abs() * (HISTOGRAM_BINS - 1)).clamp_min(0)
        share, texture = _average(near, region), _average(near * deviation, region)
        # The root spreads small shares (Hellinger); the other constants bring both parts to the same order.
        return torch.cat([share.sqrt(), 20 * texture / (share + 0.02)], dim=1)


def _block(before: int, after: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(before, after, 3, stride=2, padding=1, bias=False),
        nn.GroupNorm(math.gcd(after, 4), after),
        nn.ReLU(),
    )


def _cells(image: Tensor, roi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, SD and ROI share of cells, each (s, 1, z/2, y/2, x/2)."""
    image, roi = image[:, None], roi[:, None]
    mean, square, share = (
        functional.avg_pool3d(volume, CELL, ceil_mode=True) for volume in (image, image.square(), roi)
    )
    return mean, (square - mean.square()).clamp_min(0).sqrt(), share


def _average(maps: Tensor, region: Tensor) -> Tensor:
    """Weighted mean of every map over the region: (s, maps)."""
    weights = region.flatten(1)
    sums = torch.einsum("bcv,bv->bc", maps.flatten(2), weights)
    return sums / weights.sum(dim=1, keepdim=True)


def _mean_and_sd(maps: Tensor, region: Tensor) -> Tensor:
    mean = _average(maps, region)
    variance = (_average(maps.square(), region) - mean.square()).clamp_min(0)
    return torch.cat([mean, (variance + 1e-4).sqrt()], dim=1)

"""The pretext task that pretrains an encoder without labels: tell what the whole scan shows from a damaged view.

A scan is moved, jittered and partly hidden; from the encoder's embedding of it a linear layer predicts statistics of
the unharmed scan: how large and how bright tumour and rim are and how coarse their texture is. Predicting measured
features of hidden parts instead of their voxels follows MaskFeat (Wei et al., CVPR 2022); it needs no pairs of
negatives, so that a batch of a small hospital suffices, and asks nothing of the encoder but an embedding.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedescc.common.errors import Refusal
from fedescc.common.imaging import Grid
from fedescc.common.network.encoders import build_encoder
from fedescc.common.network.pooling import average, mean_and_sd
from fedescc.common.network.rim import rim_of
from fedescc.common.study import Study

RIM_MM = 6.0
CELL = 2  # voxels: within a cell lies the fine texture, between cells the coarse
_REGION_TARGETS = ("mean", "sd", "fine_texture", "coarse_texture")
TARGETS = (
    *(f"tumour_{name}" for name in _REGION_TARGETS),
    *(f"rim_{name}" for name in _REGION_TARGETS),
    *("log_volume", "log_extent_z", "log_extent_y", "log_extent_x"),
)
# Centre and spread of each target over thoracic tumours in a mediastinal window; only the order of magnitude matters.
_CENTRE = (0.45, 0.08, 0.05, 0.06, 0.35, 0.15, 0.07, 0.13, 2.5, 2.0, 2.0, 2.0)
_SPREAD = (0.06, 0.03, 0.02, 0.03, 0.06, 0.04, 0.02, 0.04, 0.8, 0.4, 0.4, 0.4)


class Pretext(nn.Module):
    """An encoder and the linear layer that only pretraining uses; their parameters are one flat vector."""

    def __init__(self, encoder: nn.Module, embedding: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(embedding, len(TARGETS))

    def forward(self, image: Tensor, roi: Tensor) -> Tensor:
        """(s, z, y, x) twice -> standardised targets (s, 12)."""
        predicted: Tensor = self.head(self.encoder(image, roi))
        return predicted


def build_pretext(study: Study, seed: int) -> Pretext:
    """The study's encoder with a pretext head, initialised from ``seed`` alone.

    Raises:
        Refusal: the study has no images.

    """
    if study.imaging is None:
        raise Refusal(
            "pretraining-without-images",
            "pretraining is of the image encoder, and this study has no images",
            "set pretraining.rounds to 0",
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Pretext(build_encoder(study.model, study.imaging.grid), study.model.embedding)


def scan_targets(image: Tensor, roi: Tensor, grid: Grid) -> Tensor:
    """Targets of unharmed scans (s, z, y, x) with ROIs that are not empty: (s, 12), standardised by fixed numbers.

    Of the tumour and of the rim within 6 mm: mean and SD of the voxels, mean SD within cells of 2³ voxels, SD of
    the cells' means; of the ROI: logarithm of its volume in ml and of its RMS radius in mm along z, y and x.
    """
    rim = rim_of(roi, grid.spacing_zyx_mm, RIM_MM)
    raw = torch.cat([_texture(image, roi), _texture(image, rim), _size(roi, grid.spacing_zyx_mm)], dim=1)
    return (raw - raw.new_tensor(_CENTRE)) / raw.new_tensor(_SPREAD)


def _texture(image: Tensor, region: Tensor) -> Tensor:
    """The four statistics of one region, (s, 4)."""
    volumes = (image, image.square(), region)
    mean, square, share = (functional.avg_pool3d(part[:, None], CELL, ceil_mode=True) for part in volumes)
    within = (square - mean.square()).clamp_min(0).sqrt()
    voxels, cells = mean_and_sd(image[:, None], region[:, None]), mean_and_sd(mean, share)
    return torch.cat([voxels, average(within, share), cells[:, 1:]], dim=1)


def _size(roi: Tensor, spacing_zyx_mm: tuple[float, ...]) -> Tensor:
    """Log volume and log RMS radius along each axis, (s, 4)."""
    voxels = roi.sum(dim=(1, 2, 3))
    z, y, x = spacing_zyx_mm
    columns = [(voxels * (z * y * x / 1000)).log()]
    for axis, mm in zip((1, 2, 3), spacing_zyx_mm, strict=True):
        profile = roi.sum(dim=tuple({1, 2, 3} - {axis}))
        place = torch.arange(profile.shape[1], device=roi.device, dtype=roi.dtype) * mm
        centre = (profile * place).sum(dim=1) / voxels
        spread = (profile * (place - centre[:, None]).square()).sum(dim=1) / voxels
        columns.append((spread + mm * mm / 12).sqrt().log())  # of voxels, not points
    return torch.stack(columns, dim=1)

"""fedescc's own encoder, made for a hundred patients: statistics of small cells beside convolutional maps."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedescc.common.imaging import Grid
from fedescc.common.network.distribution import STATISTICS, blood_pool, distribution
from fedescc.common.network.pooling import FLOOR, mean_and_sd
from fedescc.common.network.rim import rim_of
from fedescc.common.study import Model

CELL = 2  # voxels along each edge of a cell; the encoder sees every cell's mean and SD
MAPS_START = 0.1  # the convolutional maps start quieter than the statistics: at 100 patients they add noise first
# About the mean and the SD of soft tissue's cells in a mediastinal window; inputs become of order 1.
CELL_MEAN, CELL_MEAN_SCALE, CELL_SD, CELL_SD_SCALE = 0.35, 3.0, 0.05, 10.0


class CellEncoder(nn.Module):
    """One scan and its ROI -> embedding.

    The volume is reduced to cells of 2³ voxels, each with the mean and SD of its intensities and the ROI's
    share: everything after that is 8 times cheaper, and texture finer than a cell is kept in its SD. Two
    branches are pooled over the ROI: the distribution of the cells' intensities, which little data can learn from,
    and the mean and SD of convolutional maps at every depth. With ``rim_mm`` the rim's share is a further input
    map, and the distribution over the rim is a third branch.
    """

    def __init__(self, settings: Model, grid: Grid) -> None:
        super().__init__()
        self.rim_mm, self.spacing_zyx_mm = settings.rim_mm, grid.spacing_zyx_mm
        with_rim = settings.rim_mm > 0
        widths = settings.widths
        self.blocks = nn.ModuleList(
            _block(before, after) for before, after in zip((3 + with_rim, *widths[:-1]), widths, strict=True)
        )
        self.maps_norm = nn.LayerNorm(2 * sum(widths))
        nn.init.constant_(self.maps_norm.weight, MAPS_START)
        self.project = nn.Linear(STATISTICS * (1 + with_rim) + 1 + 2 * sum(widths), settings.embedding)

    def forward(self, image: Tensor, roi: Tensor) -> Tensor:
        """(s, z, y, x) twice -> (s, embedding)."""
        with torch.no_grad():
            cells = self.cells(image, roi)
            statistics = self.statistics(cells)
        return self.embed(cells, statistics)

    def statistics(self, cells: list[Tensor], order: Tensor | None = None) -> Tensor:
        """What the cells' intensities say without a parameter, (s, k); ``order`` as `distribution` takes it."""
        mean, deviation, share, *rim = cells
        found = [distribution(mean, deviation, part, order) for part in (share, *rim)]
        return torch.cat([*found, blood_pool(mean, share, order)], dim=1)

    def embed(self, cells: list[Tensor], statistics: Tensor) -> Tensor:
        """What `cells` and `statistics` returned -> (s, embedding)."""
        mean, deviation, share, *rim = cells
        region = share + FLOOR
        maps = torch.cat(
            [(mean - CELL_MEAN) * CELL_MEAN_SCALE, (deviation - CELL_SD) * CELL_SD_SCALE, share, *rim], dim=1
        )
        pooled = []
        for block in self.blocks:
            maps = block(maps)
            kernel = [min(2, side) for side in region.shape[2:]]
            region = functional.avg_pool3d(region, kernel, ceil_mode=True)
            pooled.append(mean_and_sd(maps, region))
        embedding: Tensor = self.project(torch.cat([statistics, self.maps_norm(torch.cat(pooled, dim=1))], dim=1))
        return embedding

    def cells(self, image: Tensor, roi: Tensor) -> list[Tensor]:
        """Mean, SD, ROI's share and, if wanted, rim's share of cells, each (s, 1, z/2, y/2, x/2)."""
        volumes = [image, image.square(), roi]
        if self.rim_mm > 0:
            volumes.append(rim_of(roi, self.spacing_zyx_mm, self.rim_mm))
        mean, square, *shares = (functional.avg_pool3d(part[:, None], CELL, ceil_mode=True) for part in volumes)
        return [mean, (square - mean.square()).clamp_min(0).sqrt(), *shares]


def _block(before: int, after: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(before, after, 3, stride=2, padding=1, bias=False),
        nn.GroupNorm(math.gcd(after, 4), after),
        nn.ReLU(),
    )

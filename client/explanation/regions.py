"""The regions of a scan that are explained apart, and what a removed region shows instead.

The ROI channel, which is also the encoder's pooling weight, goes with the tumour: without it the encoder pools over
the whole volume, as it does for a patient without ROI, and the tumour's outline is not betrayed; a rim that is an
input of the model is made from the ROI by the model itself, so it goes too. The rim as a player is found from the ROI
once, before anything is removed; it is as wide as the model's, or 6 mm where the model has none.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fedescc.common.imaging import Grid
from fedescc.common.network.cells import CELL
from fedescc.common.network.rim import rim_of

BASELINE_HU = -100.0  # mediastinal fat
RIM_MM = 6.0

Baseline = Literal["fixed", "local"]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Regions:
    """Where the regions of several scans lie, and what each shows when it is removed.

    Attributes:
        box: slices (z, y, x) outside of which every voxel belongs to the rest; they start at a cell's edge and end at
            one, or at the volume's end.
        masks: tumour, rim and rest in the box: float32 0 or 1, (3, s, z, y, x).
        fills: windowed intensity of the removed region, (3, s).

    """

    box: Box
    masks: Tensor
    fills: Tensor


def regions_of(images: Tensor, rois: Tensor, grid: Grid, rim_mm: float, baseline: Baseline) -> Regions:
    """Tumour, rim (within ``rim_mm`` of it) and rest of scans (s, z, y, x), and their fills.

    ``fixed``: one HU, the same at all sites. ``local``: the mean of the tissue around the region, so that no hole is
    left: of the rim for the tumour, of an equally wide band beyond for the rim, of the rim, its only neighbour, for the
    rest. A scan without that tissue keeps the fixed HU.
    """
    box = _box(rois, grid, rim_mm * (1 if baseline == "fixed" else 2))
    image, tumour = images[:, *box], (rois[:, *box] >= 0.5).to(torch.float32)
    rim = rim_of(tumour, grid.spacing_zyx_mm, rim_mm)
    low, high = grid.window_hu
    fixed = images.new_full((3, len(images)), (BASELINE_HU - low) / (high - low))
    masks = torch.stack([tumour, rim, 1 - tumour - rim])
    if baseline == "fixed":
        return Regions(box, masks, fixed)
    around = torch.stack([rim, rim_of(tumour + rim, grid.spacing_zyx_mm, rim_mm), rim])
    voxels = around.sum(dim=(2, 3, 4))
    mean = (around * image).sum(dim=(2, 3, 4)) / voxels.clamp_min(1)
    return Regions(box, masks, torch.where(voxels > 0, mean, fixed))


def _box(rois: Tensor, grid: Grid, margin_mm: float) -> Box:
    """The smallest box of whole cells around all ROIs and their margin; one cell where there is no ROI."""
    inside = (rois >= 0.5).any(dim=0)
    slices = []
    for axis, mm in enumerate(grid.spacing_zyx_mm):
        others = tuple(other for other in range(3) if other != axis)
        places = inside.any(dim=others[1]).any(dim=others[0]).nonzero().flatten().tolist() or [0]
        reach = math.floor(margin_mm / mm + 1e-6)
        first, last = max(0, places[0] - reach), min(inside.shape[axis], places[-1] + 1 + reach)
        slices.append(slice(first - first % CELL, min(inside.shape[axis], last + -last % CELL)))
    return slices[0], slices[1], slices[2]

"""How the intensities of a region are distributed, as numbers that a linear layer can use.

A share of voxels near an intensity (a histogram) moves in jumps when contrast medium or calibration shift all
intensities; a quantile moves with them, and the distance between two quantiles, which is heterogeneity, does not
move at all. So quantiles are what few patients can learn from. Nothing here has a parameter.
"""

import torch
from torch import Tensor

LEVELS = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
_MEDIAN = LEVELS.index(0.5)
STATISTICS = 2 * len(LEVELS) + 4
# An empty region is described by the whole volume; beside a region's own cells this weighs nothing at any level.
_FLOOR = 1e-6
# Soft tissue in a mediastinal window of 500 HU starts at about -10 HU; the gate's width is about 15 HU.
_SOFT, _SOFT_WIDTH = 0.30, 0.03
# Enhanced blood: between what soft tissue reaches and bone or the window's end.
_BLOOD_LOW, _BLOOD_HIGH, _BLOOD_LEVEL = 0.5, 0.95, 0.6
# Centres and scales bring every number to order 1 in soft tissue; they are fixed, so that all sites agree.
_CENTRE, _SCALE = 0.35, 4.0
_SOFT_CENTRE, _SOFT_SCALE, _SPREAD_SCALE = 0.45, 6.0, 8.0
_SD_CENTRE, _SD_SCALE, _WITHIN_CENTRE, _WITHIN_SCALE = 0.08, 15.0, 0.05, 20.0
_BLOOD_CENTRE, _LOG_VOLUME_CENTRE, _VOLUME_FLOOR = 0.68, 5.5, 5.0


def distribution(mean: Tensor, deviation: Tensor, share: Tensor, order: Tensor | None = None) -> Tensor:
    """Quantiles of a region, and its soft tissue apart.

    Args:
        mean: (s, 1, z, y, x), mean intensity of every cell, in [0, 1].
        deviation: the same shape, SD within the cell.
        share: the same shape, share of the cell that belongs to the region.
        order: (s, cells), the cells' places by ascending mean; None finds it.

    Returns:
        (s, STATISTICS): quantiles at `LEVELS` of the cells' means; the mean SD within cells; of the soft tissue the
        median, the other quantiles' distances from it, SD of the means, mean SD within cells and log volume.

    """
    mean, deviation, share = (part.flatten(1) for part in (mean, deviation, share))
    order = mean.argsort(dim=1) if order is None else order
    mean, deviation, share = (part.gather(1, order) for part in (mean, deviation, share + _FLOOR))
    soft = share * torch.sigmoid((mean - _SOFT) / _SOFT_WIDTH)
    everything, tissue = _quantiles(mean, share), _quantiles(mean, soft)
    median = tissue[:, _MEDIAN : _MEDIAN + 1]
    spread = torch.cat([tissue[:, :_MEDIAN], tissue[:, _MEDIAN + 1 :]], dim=1) - median
    centre = _average(mean, soft)
    parts = [
        (everything - _CENTRE) * _SCALE,
        (_average(deviation, share) - _WITHIN_CENTRE) * _WITHIN_SCALE,
        (median - _SOFT_CENTRE) * _SOFT_SCALE,
        spread * _SPREAD_SCALE,
        (_average((mean - centre).square(), soft).sqrt() - _SD_CENTRE) * _SD_SCALE,
        (_average(deviation, soft) - _WITHIN_CENTRE) * _WITHIN_SCALE,
        (soft.sum(dim=1, keepdim=True) + _VOLUME_FLOOR).log() - _LOG_VOLUME_CENTRE,
    ]
    return torch.cat(parts, dim=1)


def blood_pool(mean: Tensor, share: Tensor, order: Tensor | None = None) -> Tensor:
    """A robust intensity of enhanced blood outside the region, (s, 1): what the tumour's enhancement is relative to.

    ``order`` as `distribution` takes it.
    """
    mean, share = mean.flatten(1), share.flatten(1)
    order = mean.argsort(dim=1) if order is None else order
    mean, share = mean.gather(1, order), share.gather(1, order)
    enhanced = (mean > _BLOOD_LOW) & (mean < _BLOOD_HIGH)
    weights = enhanced.to(mean.dtype) * (1 - share) + _FLOOR
    levels = _quantiles(mean, weights, (_BLOOD_LEVEL,))
    return (levels - _BLOOD_CENTRE) * _SOFT_SCALE


def _quantiles(ascending: Tensor, weights: Tensor, levels: tuple[float, ...] = LEVELS) -> Tensor:
    """The first value at which the weights below and at it reach each level of their total: (s, levels)."""
    below = weights.cumsum(dim=1)
    wanted = torch.tensor(levels, dtype=below.dtype, device=below.device) * below[:, -1:]
    # torch.searchsorted has no rule for vmap, which per-sample gradients need; it finds the same places faster.
    searching = torch.is_inference_mode_enabled()
    place = torch.searchsorted(below, wanted) if searching else (below[:, None] < wanted[..., None]).sum(dim=2)
    return ascending.gather(1, place.clamp_max(ascending.shape[1] - 1))


def _average(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum(dim=1, keepdim=True) / weights.sum(dim=1, keepdim=True)

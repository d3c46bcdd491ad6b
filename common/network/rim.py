"""The peritumoural rim: what lies outside the ROI and within some millimetres of it.

It is found from the ROI inside the network, so that augmentation moves both alike and whoever takes the ROI away
(`fedescc.client.explanation.regions`) takes the rim away with it. The squared Euclidean distance is separable
(Felzenszwalb & Huttenlocher, Theory of Computing 2012), and a reach of a few voxels makes each axis a few shifted
minima: whole-tensor steps, which ``torch.func.vmap`` maps too.
"""

import torch
from torch import Tensor
from torch.nn import functional

# Squared distances are counted in 14,000ths of the squared width: 16-bit integers take a quarter of float32's time, and
# three roundings move the rim's edge by less than a ten-thousandth of its width.
_WIDTH = 14_000
_ROUNDING = 2
_FAR = 15_000  # _FAR + _WIDTH still fits


def rim_of(roi: Tensor, spacing_zyx_mm: tuple[float, ...], width_mm: float) -> Tensor:
    """The rim of each ROI, (s, z, y, x), of the ROI's type: 1 in the rim, up to its width and including it, else 0.

    Voxels of which the ROI holds at least half are inside. An empty ROI has no rim.
    """
    inside = roi >= 0.5
    squared = inside.logical_not().to(torch.int16) * _FAR
    for axis, mm in zip((-3, -2, -1), spacing_zyx_mm, strict=True):
        squared = _nearest_along(squared, axis, mm / width_mm)
    near = squared <= _WIDTH + _ROUNDING
    return (near & ~inside).to(roi.dtype)


def _nearest_along(squared: Tensor, axis: int, step: float) -> Tensor:
    """Minimum of the squared distance plus the squared way along one axis, whose voxels are ``step`` widths apart."""
    size = squared.shape[axis]
    reach = min(int(1 / step + 1e-6), size - 1)
    wide = functional.pad(squared, [0, 0] * (-1 - axis) + [reach, reach], value=_FAR)
    nearest = squared
    for away in range(1, reach + 1):
        sides = torch.minimum(wide.narrow(axis, reach - away, size), wide.narrow(axis, reach + away, size))
        nearest = torch.minimum(nearest, sides + round((away * step) ** 2 * _WIDTH))
    return nearest

"""Random changes of training images: flips, integer shifts and intensity, drawn first and then applied.

A batch shares its flips and its shift: at these sizes one call a patient would cost as much as the network,
and the next batch draws again.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedescc.client.learning.dataset import Batch
from fedescc.client.learning.monai_parts import flip_transform
from fedescc.common.federation import Augmentation

AXES = 3


@dataclass(frozen=True, eq=False)
class Draws:
    """What to do with one batch.

    Attributes:
        flips: axes to mirror, of z = 0, y = 1, x = 2.
        shift: voxels towards higher z, y, x; what moves in is 0, the lowest HU and no ROI.
        scale: (b, t) float32, factor of each scan's intensity.
        offset: (b, t) float32, added afterwards, as a share of the HU window.

    """

    flips: tuple[int, ...]
    shift: tuple[int, ...]
    scale: NDArray[np.float32]
    offset: NDArray[np.float32]


def draw(settings: Augmentation, patients: int, time_points: int, rng: np.random.Generator) -> Draws:
    """Random numbers for a batch; all its scans share the spatial change, none the intensity."""
    mirrored = rng.random(AXES) < 0.5
    reach = settings.shift_voxels
    shift = rng.integers(-reach, reach, AXES, endpoint=True)
    scans = (patients, time_points)
    return Draws(
        tuple(np.flatnonzero(mirrored & settings.flips).tolist()),
        tuple(shift.tolist()),
        (1 + settings.intensity * rng.standard_normal(scans)).astype(np.float32),
        (settings.intensity / 2 * rng.standard_normal(scans)).astype(np.float32),
    )


def apply(draws: Draws, batch: Batch) -> Batch:
    """The batch with its images and ROIs changed; same shapes, nothing clipped."""
    if not batch.present.shape[1]:
        return batch
    images, rois = (_move(volumes, draws) for volumes in (batch.images, batch.rois))
    scale, offset = (_per_scan(values, images) for values in (draws.scale, draws.offset))
    return batch._replace(images=torch.addcmul(offset, images, scale), rois=rois)


def _move(volumes: Tensor, draws: Draws) -> Tensor:
    """Flip, then shift, (b, t, z, y, x)."""
    scans = volumes.flatten(0, 1)
    if draws.flips:
        flipped: Tensor = flip_transform()(spatial_axis=draws.flips)(scans)
        scans = flipped.as_subclass(Tensor)
    moved = torch.zeros_like(scans)
    to = tuple(slice(max(0, step), min(0, step) or None) for step in draws.shift)
    source = tuple(slice(max(0, -step), min(0, -step) or None) for step in draws.shift)
    moved[(..., *to)] = scans[(..., *source)]
    return moved.reshape(volumes.shape)


def _per_scan(values: NDArray[np.float32], images: Tensor) -> Tensor:
    return torch.from_numpy(values).to(images).reshape(*values.shape, 1, 1, 1)

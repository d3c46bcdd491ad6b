"""Random changes of training images: flips, integer shifts, rotation with scaling, and intensity, drawn, then applied.

A batch shares its spatial change, and so do both time points of a patient: at these sizes one call a patient would
cost as much as the network, and the next batch draws again.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedescc.client.learning.dataset import Batch
from fedescc.client.learning.monai_parts import affine_transform, flip_transform, rotation_matrix
from fedescc.common.federation import Affine, Augmentation

AXES = 3

Spacing = tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Draws:
    """What to do with one batch.

    Attributes:
        flips: axes to mirror, of z = 0, y = 1, x = 2.
        shift: voxels towards higher z, y, x; what moves in is 0, the lowest HU and no ROI.
        scale: (b, t) float32, factor of each scan's intensity.
        offset: (b, t) float32, added afterwards, as a share of the HU window.
        turn: (3, 3) float64 in z, y, x and mm: a voxel of the result is read there, about the grid's centre; or None.

    """

    flips: tuple[int, ...]
    shift: tuple[int, ...]
    scale: NDArray[np.float32]
    offset: NDArray[np.float32]
    turn: NDArray[np.float64] | None = None

    def take(self, places: NDArray[np.intp]) -> "Draws":
        """The same draws for some patients of the batch."""
        return replace(self, scale=self.scale[places], offset=self.offset[places])


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
        None if settings.affine is None else _draw_turn(settings.affine, rng),
    )


def apply(draws: Draws, batch: Batch, spacing_zyx_mm: Spacing = (1.0, 1.0, 1.0)) -> Batch:
    """The batch with its images and ROIs changed; same shapes and device, intensities not clipped, ROIs in [0, 1].

    A turned ROI is interpolated like its image: the model takes a voxel's share of the ROI, which a linear
    interpolation keeps right on average, while the nearest voxel would move the edge by up to half a voxel. And
    images and ROIs then are channels of one call, which finds the places to read only once.

    Args:
        draws: for this batch's patients and time points.
        batch: left as it is.
        spacing_zyx_mm: of the grid, so that a rotation of anisotropic voxels is one in mm.

    """
    if not batch.present.shape[1]:
        return batch
    images, rois = (_move(volumes, draws) for volumes in (batch.images, batch.rois))
    if draws.turn is not None:
        images, rois = _turn(images, rois, draws.turn, spacing_zyx_mm)
    return batch._replace(images=_intensity(images, draws), rois=rois)


def _draw_turn(settings: Affine, rng: np.random.Generator) -> NDArray[np.float64] | None:
    """Rotation about each axis and one scale of all, uniform in their ranges, or None; always as many numbers."""
    wanted = rng.random() < settings.probability
    angles = np.deg2rad(rng.uniform(-settings.degrees, settings.degrees, AXES))
    scale = 1 + rng.uniform(-settings.scale, settings.scale)
    return rotation_matrix(angles) / scale if wanted else None


def _move(volumes: Tensor, draws: Draws) -> Tensor:
    """Flip, then shift, (b, t, z, y, x)."""
    scans = volumes.flatten(0, 1)
    if draws.flips:
        flipped: Tensor = flip_transform()(spatial_axis=draws.flips)(scans)
        scans = flipped.as_subclass(Tensor)
    if not any(draws.shift):
        return scans.reshape(volumes.shape)
    moved = torch.zeros_like(scans)
    to = tuple(slice(max(0, step), min(0, step) or None) for step in draws.shift)
    source = tuple(slice(max(0, -step), min(0, -step) or None) for step in draws.shift)
    moved[(..., *to)] = scans[(..., *source)]
    return moved.reshape(volumes.shape)


def _turn(images: Tensor, rois: Tensor, turn: NDArray[np.float64], spacing: Spacing) -> tuple[Tensor, Tensor]:
    """Both resampled in one call; outside the grid is 0."""
    stacked = torch.cat([images.flatten(0, 1), rois.flatten(0, 1)])[None]
    # MONAI's coordinates run from -1 to 1 along every axis, whatever its length in mm.
    length = np.asarray(spacing) * images.shape[-AXES:]
    matrix = np.eye(AXES + 1)
    matrix[:AXES, :AXES] = turn * length / length[:, None]
    theta = torch.from_numpy(matrix).to(stacked)
    resample = affine_transform()(normalized=True, padding_mode="zeros", align_corners=False, reverse_indexing=True)
    turned_images, turned_rois = resample(stacked, theta)[0].chunk(2)
    return turned_images.reshape(images.shape), turned_rois.reshape(rois.shape).clamp(0, 1)


def _intensity(images: Tensor, draws: Draws) -> Tensor:
    if (draws.scale == 1).all() and not draws.offset.any():
        return images
    scale, offset = (_per_scan(values, images) for values in (draws.scale, draws.offset))
    return torch.addcmul(offset, images, scale)


def _per_scan(values: NDArray[np.float32], images: Tensor) -> Tensor:
    return torch.from_numpy(values).to(images).reshape(*values.shape, 1, 1, 1)

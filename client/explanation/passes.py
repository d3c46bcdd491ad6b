"""Encoder passes: what the encoder makes of every scan with every subset of its regions.

A scan is encoded on its own, so the 2³ subsets of tumour, rim and rest give the image part of all coalitions. With
the fixed baseline the empty subset is the same volume for everybody and is encoded once. fedescc's own encoder sees
cells: the sums of every region's voxels in every cell give the cells of each subset, without another look at voxels;
their order, most of an encoder pass, comes from NumPy's vectorised sort, ten times as fast as torch's on a CPU.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fedescc.client.explanation.regions import Baseline, Regions, regions_of
from fedescc.client.learning.dataset import Batch, SiteTensors
from fedescc.client.learning.train import choose_device
from fedescc.common.imaging import Grid
from fedescc.common.network.cells import CELL, CellEncoder
from fedescc.common.network.model import PairedCNN
from fedescc.common.statistics.shapley import coalition_masks
from fedescc.common.study import REGIONS

_PATIENTS_AT_ONCE = 8
TUMOUR, REST = REGIONS.index("tumour"), REGIONS.index("rest")
_SUBSETS = coalition_masks(len(REGIONS))
_PLACE_BITS = 32

Rows = NDArray[np.intp]


def encode_regions(
    models: Sequence[PairedCNN], tensors: SiteTensors, rows: Rows, grid: Grid, rim_mm: float, baseline: Baseline
) -> list[Tensor]:
    """Embeddings under every subset of every scan's regions, of each model: (patients, t, 8, embedding + 1) on the CPU.

    The models share what no weight decides, so that further ones cost less than the first; they are of one kind, in
    evaluation mode. Subset ``mask`` holds region i when bit i is set. A missing scan is all zeros.

    Args:
        models: the first one, and others of the same architecture.
        tensors: of the site.
        rows: places of the patients in ``tensors``.
        grid: of the scans.
        rim_mm: width of the rim.
        baseline: what a removed region shows.

    """
    device = choose_device()
    for model in models:
        model.to(device).eval()
    pieces: list[list[Tensor]] = [[] for _ in models]
    with torch.inference_mode():
        for start in range(0, len(rows), _PATIENTS_AT_ONCE):
            batch = tensors.batch(rows[start : start + _PATIENTS_AT_ONCE]).to(device)
            for own, encoded in zip(pieces, _encode_batch(models, batch, grid, rim_mm, baseline), strict=True):
                own.append(encoded.cpu())
    return [torch.cat(own) for own in pieces]


def _encode_batch(
    models: Sequence[PairedCNN], batch: Batch, grid: Grid, rim_mm: float, baseline: Baseline
) -> Iterator[Tensor]:
    """(b, t, 8, embedding + 1) of each model."""
    flags = batch.present.flatten()
    there = flags > 0
    there[0] |= not there.any()  # no encoder takes an empty batch; the flag makes zeros of it
    images, rois = batch.images.flatten(0, 1), batch.rois.flatten(0, 1)
    if not there.all():
        images, rois = images[there], rois[there]
    regions = regions_of(images, rois, grid, rim_mm, baseline)
    for encoded in _encode_scans(models, images, rois, regions, once=baseline == "fixed"):
        whole = encoded.new_zeros(len(there), *encoded.shape[1:])
        whole[there] = encoded * flags[there][:, None, None]
        yield whole.reshape(*batch.present.shape, *encoded.shape[1:])


def _encode_scans(
    models: Sequence[PairedCNN], images: Tensor, rois: Tensor, regions: Regions, *, once: bool
) -> list[Tensor]:
    """(s, 8, embedding + 1) of each model, for scans that are there; ``once``: the empty subset is one for all."""
    subsets = _cells_of_subsets if isinstance(models[0].encoder, CellEncoder) else _volumes_of_subsets
    found: list[list[Tensor]] = [[] for _ in models]
    for encoded in subsets(models, images, rois, regions, once):
        for own, embedding in zip(found, encoded, strict=True):
            own.append(embedding.expand(len(images), -1))
    return [torch.stack(own, dim=1) for own in found]


def _volumes_of_subsets(
    models: Sequence[PairedCNN], images: Tensor, rois: Tensor, regions: Regions, once: bool
) -> Iterator[list[Tensor]]:
    """Each model's embeddings of one subset after the other, by any encoder; the empty one of the first scan alone."""
    present = images.new_ones(len(images))
    for keep in _SUBSETS:
        shown = images.clone() if keep[REST] else _level(regions, REST).expand_as(images).clone()
        shown[:, *regions.box] = _mixed(images[:, *regions.box], regions, keep)
        roi = rois if keep[TUMOUR] else torch.zeros_like(rois)
        scans = slice(0, 1) if once and not keep.any() else slice(None)
        yield [model.encode(shown[scans], roi[scans], present[scans]) for model in models]


def _cells_of_subsets(
    models: Sequence[PairedCNN], images: Tensor, rois: Tensor, regions: Regions, once: bool
) -> Iterator[list[Tensor]]:
    """The same by cells: only what the weights decide is done for every model."""
    encoders = [model.encoder for model in models if isinstance(model.encoder, CellEncoder)]
    whole = encoders[0].cells(images, rois)
    boxed = images[:, *regions.box]
    sums = [_pooled(regions.masks * part) for part in (boxed, boxed.square())]
    holes = _pooled(regions.masks)
    for keep in _SUBSETS:
        scans = slice(0, 1) if once and not keep.any() else slice(None)
        cells = [part[scans] for part in (whole if keep.all() else _cells(whole, sums, holes, regions, keep))]
        statistics = encoders[0].statistics(cells, _ascending(cells[0].flatten(1)))
        embedded = [encoder.embed(cells, statistics) for encoder in encoders]
        yield [torch.cat([one, one.new_ones(len(one), 1)], dim=1) for one in embedded]


def _mixed(boxed: Tensor, regions: Regions, keep: NDArray[np.bool_]) -> Tensor:
    """The box (s, z, y, x) with the removed regions' fills."""
    for region in _removed(keep):
        boxed = torch.where(regions.masks[region] > 0, _level(regions, region), boxed)
    return boxed


def _cells(
    whole: list[Tensor], sums: list[Tensor], holes: Tensor, regions: Regions, keep: NDArray[np.bool_]
) -> list[Tensor]:
    """Mean, SD and shares of the cells of one subset."""
    mean, deviation, *shares = whole
    if keep[REST]:
        mean, deviation = mean.clone(), deviation.clone()
    else:
        mean, deviation = _level(regions, REST)[:, None].expand_as(mean).clone(), torch.zeros_like(deviation)
    average, square = sums[0][keep].sum(dim=0), sums[1][keep].sum(dim=0)
    for region in _removed(keep):
        level = _level(regions, region)
        average, square = average + holes[region] * level, square + holes[region] * level.square()
    z, y, x = (slice(side.start // CELL, -(-side.stop // CELL)) for side in regions.box)
    mean[:, 0, z, y, x] = average
    deviation[:, 0, z, y, x] = (square - average.square()).clamp_min(0).sqrt()
    return [mean, deviation, *(shares if keep[TUMOUR] else map(torch.zeros_like, shares))]


def _removed(keep: NDArray[np.bool_]) -> list[int]:
    removed: list[int] = np.flatnonzero(~keep).tolist()
    return removed


def _level(regions: Regions, region: int) -> Tensor:
    return regions.fills[region][:, None, None, None]


def _pooled(volumes: Tensor) -> Tensor:
    """Means over cells: (3, s, z, y, x) -> (3, s, z/2, y/2, x/2)."""
    return functional.avg_pool3d(volumes, CELL, ceil_mode=True)


def _ascending(mean: Tensor) -> Tensor | None:
    """Places by ascending mean, (s, cells), ties in their order; None lets the encoder sort.

    Bits of numbers from 0 on order like the numbers do, so that value and place fit one 64-bit integer.
    """
    if mean.device.type != "cpu" or bool((mean < 0).any()):
        return None
    keys = mean.numpy().view(np.uint32).astype(np.uint64) << np.uint64(_PLACE_BITS)
    keys |= np.arange(mean.shape[1], dtype=np.uint64)
    keys.sort(axis=1)
    return torch.from_numpy((keys & np.uint64(2**_PLACE_BITS - 1)).astype(np.int64))

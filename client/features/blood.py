"""Contrast medium in the blood around the tumour bed, which enhancement is measured against."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.client.features.bed import Bools, Floats, spacing_of
from fedescc.common.imaging import Grid

# A pool of enhanced blood is even, brighter than most of what surrounds it and not set in a shell of bone; the
# thresholds are those of client/imaging/quality/enhancement.py, where they were measured.
_POOL_HU = (85.0, 500.0)
_EVEN_HU = 70.0  # range of a pool's blocks among their neighbours
_DARKER_HU = 40.0
_BRIGHTER_HU = 60.0
_BLOOD_SCORE = 0.33
_BONE_BRIGHTER = 0.25
_SHELL_BLOCKS = 3
_BLOCK_MM = 3.0
_MIN_POOL_CM3 = 0.5  # of the grid's part of the aorta, less the blocks at its edge


def blood_hu(hu: Floats, roi: Bools, grid: Grid) -> float:
    """Median HU of the brightest pool of blood outside the ROI; NaN where there is none with contrast medium.

    Args:
        hu: (z, y, x), windowed.
        roi: the same shape; a tumour that enhances is no blood.
        grid: the study's.

    """
    from scipy import ndimage

    steps = [min(n, max(1, round(_BLOCK_MM / mm))) for n, mm in zip(hu.shape, spacing_of(grid), strict=True)]
    blocks, tumour = _blocks(hu, steps).mean(axis=-1), _blocks(roi, steps).any(axis=-1)
    spread = ndimage.maximum_filter(blocks, 3) - ndimage.minimum_filter(blocks, 3)
    low, high = _POOL_HU
    # What touches the window's upper end may be anything brighter.
    high = min(high, grid.window_hu[1] - 1)
    even = (spread < _EVEN_HU) & (blocks > low) & (blocks < high) & ~ndimage.binary_dilation(tumour)
    label, _ = ndimage.label(even)
    block_cm3 = float(np.prod(spacing_of(grid))) * float(np.prod(steps)) / 1000
    found = [
        _pool_hu(blocks, label, number, box)
        for number, box in enumerate(ndimage.find_objects(label), start=1)
        if np.count_nonzero(label[box] == number) * block_cm3 >= _MIN_POOL_CM3
    ]
    pools = [value for value in found if value is not None]
    return max(pools, default=float("nan"))


def _blocks(values: NDArray[Any], steps: list[int]) -> NDArray[Any]:
    """Blocks of voxels as (z, y, x, voxels of the block); what does not fill a block at the far end is left out."""
    counts = [n // step for n, step in zip(values.shape, steps, strict=True)]
    kept = values[tuple(slice(0, n * step) for n, step in zip(counts, steps, strict=True))]
    (z, y, x), (dz, dy, dx) = counts, steps
    parts = kept.reshape(z, dz, y, dy, x, dx).transpose(0, 2, 4, 1, 3, 5)
    return parts.reshape(z, y, x, dz * dy * dx)


def _pool_hu(blocks: Floats, label: NDArray[np.int32], number: int, box: tuple[slice, ...]) -> float | None:
    """Median HU of a region, or None if what surrounds it shows that it is no blood."""
    from scipy import ndimage

    wide = tuple(slice(max(0, s.start - _SHELL_BLOCKS), s.stop + _SHELL_BLOCKS) for s in box)
    inside, hu = label[wide] == number, blocks[wide]
    median = float(np.median(hu[inside]))
    edge = ndimage.binary_dilation(inside)
    around = hu[ndimage.binary_dilation(edge, iterations=_SHELL_BLOCKS - 1) & ~edge]
    if not around.size:
        return None
    brighter = float(np.mean(around > median + _BRIGHTER_HU))
    darker = float(np.mean(around < median - _DARKER_HU))
    return median if brighter <= _BONE_BRIGHTER and darker - brighter > _BLOOD_SCORE else None

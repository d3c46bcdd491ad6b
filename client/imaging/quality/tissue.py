"""A scan in coarse blocks: what the whole-image checks look at, taken from a few of its slices."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedescc.client.imaging.volumes.volume import CtVolume

# One slice in 5 mm and blocks of about 3 mm still show every great vessel, at a fiftieth of the voxels.
SLICE_STEP_MM = 5.0
BLOCK_MM = 3.0
_MAX_SLICES = 80  # of a long scan; a compressed slice costs 30 ms to decode
# Halfway between air and soft tissue: what is darker is air, lung or gas in the bowel.
AIR_HU = -500.0
# No tissue is darker than air; what is, and has no noise, is padding around the reconstructed field.
PADDING_HU = -1100.0
# A pixel or block on the circle itself may hold some of the body.
_BEYOND_RADIUS2 = 1.1
# Aerated lung averages -700 to -900 HU; air around the patient and bowel gas are nearer -1000.
_LUNG_LOW_HU = -960.0
# Block means that differ by less than this (SD over 3 x 3 blocks) lie inside one organ. Measured: 7 to 12 in the soft
# tissue of four real series (95 % below 24), 95 and more around bone; noise of 40 HU alone makes 9 to 28, by kernel.
HOMOGENEOUS_SD_HU = 25.0

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
_Number = TypeVar("_Number", np.float32, np.int16)


@dataclass(frozen=True)
class Sample:
    """Blocks of b x b pixels of every so many-th slice; all arrays are (z, y, x).

    Attributes:
        slices: which slices of the volume.
        block: b.
        spacing_zyx_mm: from block to block.
        hu: mean of each block.
        square: mean of each block's squared HU.
        darkest, brightest: extreme pixel of each block.

    """

    slices: tuple[int, ...]
    block: int
    spacing_zyx_mm: tuple[float, float, float]
    hu: Floats
    square: Floats
    darkest: NDArray[np.int16]
    brightest: NDArray[np.int16]

    @property
    def block_cm2(self) -> float:
        """Area of a block."""
        _, y, x = self.spacing_zyx_mm
        return y * x / 100

    @property
    def block_cm3(self) -> float:
        """Volume that a block stands for."""
        return self.block_cm2 * self.spacing_zyx_mm[0] / 10

    @cached_property
    def smooth(self) -> Floats:
        """HU averaged over 3 x 3 blocks of a slice, about 9 mm."""
        return _window(self.hu)

    @cached_property
    def texture(self) -> Floats:
        """SD of the block means over 3 x 3 blocks, HU: small inside an organ, large at its edge."""
        return _root(_window(self.hu * self.hu) - self.smooth**2)

    @cached_property
    def pixel_sd(self) -> Floats:
        """SD of all pixels of 3 x 3 blocks, HU: the noise, where the texture is homogeneous."""
        return _root(_window(self.square) - self.smooth**2)

    @cached_property
    def homogeneous(self) -> Bools:
        """Blocks well inside one organ."""
        return self.texture < HOMOGENEOUS_SD_HU

    @cached_property
    def unscanned(self) -> Bools:
        """Blocks outside the reconstructed field: of one value, and darker than air or beyond a round field."""
        return np.asarray((self.darkest == self.brightest) & ((self.hu < PADDING_HU) | beyond_round_field(self.hu)))

    @cached_property
    def outside(self) -> Bools:
        """Air around the patient, and padding: dark regions that touch the image's border."""
        label, touches = self._dark
        return np.asarray(touches[label])

    @cached_property
    def lung(self) -> Bools:
        """Aerated lung: enclosed dark regions that are not as dark as air.

        A lung that the image's border cuts does not count: it cannot be told from foam or clothes.
        """
        # Both, because a smoothed edge of gas is as grey as lung, and so is a single noisy block.
        grey = [(hu > _LUNG_LOW_HU) & (hu < AIR_HU) for hu in (self.hu, self.smooth)]
        return np.asarray(grey[0] & grey[1] & ~self.outside)

    @cached_property
    def between_lungs(self) -> Bools:
        """Whatever has lung on its left and on its right in the same row: the mediastinum with the spine."""
        before = np.maximum.accumulate(self.lung, axis=2)
        after = np.maximum.accumulate(self.lung[:, :, ::-1], axis=2)[:, :, ::-1]
        return np.asarray(before & after & ~self.lung)

    @cached_property
    def _dark(self) -> tuple[NDArray[Any], Bools]:
        """Labels of the dark regions of each slice and, by label, whether it touches the image's border."""
        from scipy import ndimage

        dark = self.hu < AIR_HU
        label, count = ndimage.label(dark, IN_PLANE)
        border = np.ones(dark.shape[1:], bool)
        border[1:-1, 1:-1] = False
        touches = np.zeros(count + 1, bool)
        touches[label[:, border].ravel()] = True
        touches[0] = False  # 0 is what is not dark
        return label, touches


def beyond_round_field(hu: NDArray[np.float32] | NDArray[np.int16]) -> Bools:
    """Air beyond the inscribed circle of each slice (..., y, x); nowhere in slices that show tissue out there.

    Some vendors pad a round field with a value that air has too.
    """
    height, width = hu.shape[-2:]
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    radius2 = y * y + x * x
    square = ((hu > AIR_HU) & (radius2 > _BEYOND_RADIUS2)).any(axis=(-2, -1), keepdims=True)
    return np.asarray((hu < AIR_HU) & (radius2 > 1) & ~square)


# Neighbours in the same slice that share an edge.
IN_PLANE = np.zeros((3, 3, 3), bool)
IN_PLANE[1] = [[0, 1, 0], [1, 1, 1], [0, 1, 0]]


def sample_scan(volume: CtVolume) -> Sample:
    """Blocks of about 3 mm of every slice in 5 mm (fewer in long scans); one slice in memory at a time.

    Raises:
        Refusal: what reading the volume refuses.

    """
    depth, height, width = volume.geometry.shape_zyx
    dz, dy, dx = volume.geometry.spacing_zyx_mm
    step = max(1, round(SLICE_STEP_MM / dz), -(-depth // _MAX_SLICES))
    slices = tuple(range((depth - 1) % step // 2, depth, step))
    block = max(1, min(round(BLOCK_MM / max(dy, dx)), height, width))
    parts = [_blocks(volume.slices(k, k + 1)[0], block) for k in slices]
    hu, square, darkest, brightest = (np.stack(part) for part in zip(*parts, strict=True))
    return Sample(slices, block, (dz * step, dy * block, dx * block), hu, square, darkest, brightest)


def _blocks(hu: NDArray[np.int16], size: int) -> tuple[Floats, Floats, NDArray[np.int16], NDArray[np.int16]]:
    """Mean, mean square, least and greatest value of each whole block; what is left at the far edges is dropped."""
    height, width = (n // size * size for n in hu.shape)
    hu = hu[:height, :width]
    values, share = hu.astype(np.float32), np.float32(1 / size**2)
    return (
        _fold(values, size, np.add) * share,
        _fold(values * values, size, np.add) * share,
        _fold(hu, size, np.minimum),
        _fold(hu, size, np.maximum),
    )


def _fold(values: NDArray[_Number], size: int, combine: Callable[..., Any]) -> NDArray[_Number]:
    """Combine blocks of size x size; by whole rows, which is several times faster than a reduction over two axes."""
    for _ in range(2):
        folded = values[::size].copy()
        for i in range(1, size):
            combine(folded, values[i::size], out=folded)
        values = np.ascontiguousarray(folded.T)
    return values


def _root(variance: Floats) -> Floats:
    """SD; a variance that rounding made negative is 0."""
    sd: Floats = np.sqrt(np.maximum(variance, 0))
    return sd


def _window(values: Floats) -> Floats:
    """Mean over 3 x 3 blocks of each slice, edges repeated."""
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    mean: Floats = (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) * np.float32(1 / 9)
    return mean

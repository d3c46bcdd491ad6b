"""CT volumes in HU, read slice by slice: from DICOM files or from memory, with one interface."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from fedescc.client.imaging.headers.header import DEFLATED, NATIVE_SYNTAXES, DicomRow
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.client.imaging.volumes.pixels import stored_values
from fedescc.client.imaging.volumes.series import Series
from fedescc.common.errors import Refusal

HuArray = NDArray[np.int16]
_INT16 = np.iinfo(np.int16)
_SLICES_AT_ONCE = 16


class CtVolume(Protocol):
    """HU on a regular grid, of which any run of slices can be read."""

    @property
    def geometry(self) -> Geometry:
        """The grid; slices ascend along the normal."""

    def slices(self, lo: int, hi: int) -> HuArray:
        """HU of slices lo to hi - 1, shape (hi - lo, rows, columns)."""


@dataclass(frozen=True)
class MemoryVolume:
    """A volume whose HU (z, y, x), int16, are in memory."""

    hu: HuArray
    geometry: Geometry

    def __post_init__(self) -> None:
        """Refuse an array that is not the grid's.

        Raises:
            Refusal: shape_mismatch or not_int16.

        """
        if self.hu.shape != self.geometry.shape_zyx:
            raise Refusal(
                "shape_mismatch",
                f"array {self.hu.shape}, grid {self.geometry.shape_zyx}",
                "give the array's own grid",
            )
        if self.hu.dtype != np.int16:
            raise Refusal("not_int16", f"HU are {self.hu.dtype}", "round to the nearest integer, as int16")

    def slices(self, lo: int, hi: int) -> HuArray:
        """HU of slices lo to hi - 1, shape (hi - lo, rows, columns)."""
        return self.hu[lo:hi]


@dataclass(frozen=True)
class DicomVolume:
    """A volume whose slices are DICOM files or frames of them, ``rows`` ascending along the normal."""

    rows: tuple[DicomRow, ...]
    geometry: Geometry

    def slices(self, lo: int, hi: int) -> HuArray:
        """HU of slices lo to hi - 1, shape (hi - lo, rows, columns); only those are read.

        Raises:
            Refusal: those of ``read_slice``.

        """
        out = np.empty((hi - lo, *self.geometry.shape_zyx[1:]), dtype=np.int16)
        for k, row in enumerate(self.rows[lo:hi]):
            out[k] = read_slice(row)
        return out


def open_volume(series: Series) -> DicomVolume:
    """The volume of an accepted series.

    Raises:
        Refusal: the series' first reason.

    """
    if series.reasons or series.geometry is None:
        code = (*series.reasons, "missing_geometry")[0]
        raise Refusal(code, f"the series was refused: {', '.join(series.reasons)}", "choose another series")
    return DicomVolume(series.rows, series.geometry)


def read_slice(row: DicomRow) -> HuArray:
    """HU (y, x) of one image or frame: stored value x Rescale Slope + Rescale Intercept, rounded half to even.

    Pixel padding keeps the value it is stored with. Native little and big endian, deflated, RLE, JPEG (lossless too),
    JPEG-LS, JPEG 2000 and high-throughput JPEG 2000 are read.

    Raises:
        Refusal: missing_rescale, hu_out_of_range, or those of ``stored_values``.

    """
    if row.slope is None or row.intercept is None:
        raise Refusal("missing_rescale", f"{row.file} has no rescale to HU", "export the original series")
    hu = _rescale(stored_values(row), row.slope, row.intercept)
    low, high = hu.min(), hu.max()
    if not (_INT16.min <= low and high <= _INT16.max):
        raise Refusal("hu_out_of_range", f"{row.file}: HU from {low:.0f} to {high:.0f}", "check its rescale tags")
    return hu.astype(np.int16, copy=False)


def may_kill_its_reader(series: Series) -> bool:
    """Whether a decoder reads it: on a damaged stream OpenJPEG and GDCM may end the process instead of failing."""
    return any(row.transfer_syntax not in {*NATIVE_SYNTAXES, DEFLATED} for row in series.rows)


def hu_sha256(volume: CtVolume) -> str:
    """SHA-256 of the HU as a C-order little-endian int16 array, slices ascending along the normal."""
    return hu_summary(volume)["sha256_int16_zyx"]


class HuSummary(TypedDict):
    """A volume's HU in brief, as ``inspect --json`` gives them."""

    min: int
    max: int
    mean: float
    sha256_int16_zyx: str


def hu_summary(volume: CtVolume) -> HuSummary:
    """Extremes, mean and hash of the HU, from one pass."""
    digest = hashlib.sha256()
    low, high, total = int(_INT16.max), int(_INT16.min), 0
    for block in blocks(volume):
        digest.update(np.ascontiguousarray(block, dtype="<i2").data)
        low, high = min(low, int(block.min())), max(high, int(block.max()))
        total += int(block.sum(dtype=np.int64))
    mean = total / prod(volume.geometry.shape_zyx)
    return HuSummary(min=low, max=high, mean=mean, sha256_int16_zyx=digest.hexdigest())


def blocks(volume: CtVolume) -> Iterator[HuArray]:
    """The volume's HU in order, a few slices at a time, so that memory does not grow with the series."""
    count = volume.geometry.shape_zyx[0]
    for lo in range(0, count, _SLICES_AT_ONCE):
        yield volume.slices(lo, min(lo + _SLICES_AT_ONCE, count))


def _rescale(stored: NDArray[np.integer], slope: float, intercept: float) -> NDArray[np.int32] | NDArray[np.float64]:
    if slope == 1 and intercept == int(intercept) and abs(intercept) < _INT16.max:
        shifted: NDArray[np.int32] = np.add(stored, np.int32(intercept), dtype=np.int32)
        return shifted
    scaled: NDArray[np.float64] = np.rint(stored * np.float64(slope) + np.float64(intercept))
    return scaled

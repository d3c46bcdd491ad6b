"""A CT at lower resolution, read a slice at a time: what registration works on."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedescc.client.imaging.itk import simple_itk
from fedescc.client.imaging.registration.rigid import Box
from fedescc.client.imaging.volumes.geometry import FloatArray, Geometry
from fedescc.client.imaging.volumes.volume import CtVolume

# Air to soft tissue with contrast medium. Above lie bone, metal and dense vessels, whose HU tell nothing of the place.
RANGE_HU = (-1000, 300)


def read_reduced(volume: CtVolume, target_mm: float, box: Box | None = None) -> Any:
    """A SimpleITK image, float32 HU cut to ``RANGE_HU``, its voxels about ``target_mm`` wide.

    Pixels are averaged in blocks. Slices are skipped, not averaged: in-plane averaging has taken the noise, and every
    slice that is not read saves its decoding. Only one slice is held at full resolution.

    Args:
        volume: the CT.
        target_mm: wanted voxel size; no axis is read finer than the scan has it.
        box: first index (z, y, x) and one past the last; None takes the whole scan.

    Raises:
        Refusal: what reading the volume refuses.

    """
    lo, hi = (np.zeros(3, dtype=np.int64), np.asarray(volume.geometry.shape_zyx)) if box is None else box
    spacing = np.asarray(volume.geometry.spacing_zyx_mm)
    step = np.maximum(np.rint(target_mm / spacing), 1).astype(int)
    step[0] = max(1, int(target_mm / spacing[0]))
    step = np.minimum(step, np.maximum(hi - lo, 1))
    planes = [_block_means(_plane(volume, z, lo, hi), step[1], step[2]) for z in range(lo[0], hi[0], step[0])]
    # The middle of the first block; along z the first slice itself.
    first = volume.geometry.index_to_physical([lo[2] + (step[2] - 1) / 2, lo[1] + (step[1] - 1) / 2, lo[0]])
    return image_of(np.stack(planes), spacing * step, first, volume.geometry)


def image_of(values: NDArray[Any], spacing_zyx_mm: ArrayLike, origin_xyz_mm: FloatArray, geometry: Geometry) -> Any:
    """A SimpleITK image of an array (z, y, x) whose axes point as the geometry's do."""
    image = simple_itk().GetImageFromArray(values)
    image.SetSpacing([float(v) for v in np.asarray(spacing_zyx_mm)[::-1]])
    image.SetOrigin([float(v) for v in origin_xyz_mm])
    image.SetDirection(geometry.direction)
    return image


def resampled(image: Any, grid: Any, transform: Any = None) -> NDArray[np.float32]:
    """Values (z, y, x), linearly interpolated, where a transform brings the grid's voxels; NaN outside the image."""
    itk = simple_itk()
    resampler = itk.ResampleImageFilter()
    resampler.SetReferenceImage(grid)
    if transform is not None:
        resampler.SetTransform(transform)
    resampler.SetDefaultPixelValue(float("nan"))
    resampler.SetOutputPixelType(itk.sitkFloat32)
    # ITK cuts the output by thread; one thread keeps the bits the same on every machine.
    resampler.SetNumberOfThreads(1)
    values: NDArray[np.float32] = itk.GetArrayFromImage(resampler.Execute(image))
    return values


def _plane(volume: CtVolume, z: int, lo: NDArray[np.int64], hi: NDArray[np.int64]) -> NDArray[np.int16]:
    return np.clip(volume.slices(z, z + 1)[0, lo[1] : hi[1], lo[2] : hi[2]], *RANGE_HU)


def _block_means(plane: NDArray[np.int16], height: int, width: int) -> NDArray[np.float32]:
    """Means of whole blocks; what is left over at the far ends is dropped."""
    rows, columns = plane.shape[0] // height, plane.shape[1] // width
    whole = plane[: rows * height, : columns * width]
    total = np.zeros((rows, columns), dtype=np.int32)
    for i, j in np.ndindex(height, width):
        total += whole[i::height, j::width]
    return (total / np.float32(height * width)).astype(np.float32)

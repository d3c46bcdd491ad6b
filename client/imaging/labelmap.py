"""Label maps from image files, voxel for voxel on a CT's grid."""

import gzip
import struct
import zlib
from math import isfinite, prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.client.imaging.geometry import Geometry
from fedescc.client.imaging.itk import simple_itk
from fedescc.common.errors import Refusal

# NIfTI keeps its affine in 32-bit floats: corners of the same grid agree to far better than this part of a voxel.
GRID_REFUSE_VOXELS = 0.02
_CHUNK = 1 << 20


def read_label_map(path: Path) -> tuple[NDArray[Any], Geometry]:
    """Values (z, y, x) and grid (LPS) of a 3-D NIfTI file.

    Raises:
        Refusal: mask_truncated, mask_unreadable or mask_not_3d.

    """
    _check_whole(path)
    itk = simple_itk()
    try:
        image = itk.ReadImage(str(path))
    except RuntimeError as error:
        raise Refusal("mask_unreadable", f"{path.name} cannot be read", "save the mask again") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise Refusal("mask_not_3d", f"{path.name} has {image.GetDimension()} dimensions", "save one 3-D label map")
    shape, spacing = image.GetSize()[::-1], image.GetSpacing()[::-1]
    return itk.GetArrayFromImage(image), Geometry(shape, spacing, image.GetOrigin(), image.GetDirection())


def _check_whole(path: Path) -> None:
    """Refuse a file that lacks bytes or is damaged inside: ITK fills with 0 and ignores gzip's checksum (RFC 1952)."""
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as stream:
            head = stream.read(_CHUNK)
            size = len(head)
            while chunk := stream.read(_CHUNK):
                size += len(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        size, head = 0, b""
    except OSError as error:
        raise Refusal("mask_unreadable", f"{path.name} cannot be read", "check its permissions") from error
    if size < max(_nifti_size(head), 1):
        raise Refusal("mask_truncated", f"{path.name} is cut short or damaged", "copy or save the mask again")


def _nifti_size(head: bytes) -> int:
    """Bytes that a NIfTI-1 or NIfTI-2 file has by its header; 0 where there is no such header."""
    for order in "<>":
        if head[:4] == struct.pack(f"{order}i", 348) and len(head) >= 112:
            dim, (bitpix,) = struct.unpack_from(f"{order}8h", head, 40), struct.unpack_from(f"{order}h", head, 72)
            (offset,) = struct.unpack_from(f"{order}f", head, 108)
        elif head[:4] == struct.pack(f"{order}i", 540) and len(head) >= 176:
            dim, (bitpix,) = struct.unpack_from(f"{order}8q", head, 16), struct.unpack_from(f"{order}h", head, 14)
            (offset,) = struct.unpack_from(f"{order}q", head, 168)
        else:
            continue
        count = prod(max(n, 1) for n in dim[1 : 1 + max(dim[0], 0)])
        return int(offset) + (count * bitpix + 7) // 8 if isfinite(offset) else 0
    return 0


def on_grid(labels: NDArray[Any], grid: Geometry, target: Geometry) -> NDArray[Any]:
    """The same voxels in the target's axis order and direction.

    Raises:
        Refusal: other_geometry, where the two grids are not the same set of voxel centres.

    """
    units = np.asarray([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)])
    corners = units * (np.asarray(grid.shape_zyx[::-1]) - 1)
    mapped = target.physical_to_index(grid.index_to_physical(corners))
    # Columns: where a step along each axis of the file leads on the target grid.
    step = np.linalg.inv(target.matrix) @ grid.matrix
    signs = np.rint(step).astype(int)
    axes = np.abs(signs).argmax(axis=1)
    order_zyx = [int(2 - axes[2 - k]) for k in range(3)]
    permuted = (np.abs(signs).sum(axis=0) == 1).all() and (np.abs(signs).sum(axis=1) == 1).all()
    if permuted and np.transpose(labels, order_zyx).shape == target.shape_zyx:
        flips = signs[np.arange(3), axes]
        expected = _flipped(corners[:, axes], flips, target)
        if np.abs(mapped - expected).max() <= GRID_REFUSE_VOXELS:
            return np.transpose(labels, order_zyx)[tuple(slice(None, None, int(f)) for f in flips[::-1])]
    raise Refusal(
        "other_geometry",
        f"mask grid {grid.shape_zyx} at {grid.origin_xyz_mm} is not the CT's {target.shape_zyx}",
        "save the mask on the CT's own grid",
    )


def _flipped(index_xyz: NDArray[np.int_], flips: NDArray[np.int_], target: Geometry) -> NDArray[np.int_]:
    last = np.asarray(target.shape_zyx[::-1]) - 1
    return np.where(flips < 0, last - index_xyz, index_xyz)


def select_label(labels: NDArray[Any], name: str, label: int | None) -> NDArray[np.bool_]:
    """Voxels of one label, or of the only one there is.

    Raises:
        Refusal: mask_not_integer, several_labels or empty_roi.

    """
    if not np.isfinite(labels).all() or (labels != np.rint(labels)).any():
        raise Refusal("mask_not_integer", f"{name} holds values that are no labels", "save a binary mask")
    values = np.unique(labels)
    present = values[values != 0]
    if label is None and len(present) > 1:
        raise Refusal("several_labels", f"{name} holds {len(present)} labels", "save one ROI a file or name its label")
    mask: NDArray[np.bool_] = np.ascontiguousarray(labels != 0 if label is None else labels == label)
    if not mask.any():
        raise Refusal("empty_roi", f"{name} marks no voxel", "draw the ROI")
    return mask

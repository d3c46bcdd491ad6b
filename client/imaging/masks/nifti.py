"""What ITK passes over in silence in a NIfTI file: missing bytes, and affines that it does not follow."""

import gzip
import struct
import zlib
from io import BufferedIOBase
from math import isfinite, prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedescc.client.imaging.masks.placement import GRID_REFUSE_VOXELS
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.common.errors import Refusal

Affine = NDArray[np.float64]
_CHUNK = 1 << 20
_HEADER, _HEADER_2 = 348, 540  # bytes of a NIfTI-1 and a NIfTI-2 header, which each states first
_TO_LPS = np.diag([-1.0, -1.0, 1.0])  # NIfTI's patient axes point right, anterior, superior


def check_nifti(path: Path) -> None:
    """Refuse a file that lacks bytes or is damaged inside: ITK fills with 0 and ignores gzip's checksum (RFC 1952).

    Raises:
        Refusal: mask_truncated or mask_unreadable.

    """
    try:
        with _open(path) as stream:
            head = stream.read(_CHUNK)
            size = len(head)
            while chunk := stream.read(_CHUNK):
                size += len(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        size, head = 0, b""
    except OSError as error:
        raise Refusal("mask_unreadable", f"{path.name} cannot be read", "check its permissions") from error
    if size < max(nifti_size(head), 1):
        raise Refusal("mask_truncated", f"{path.name} is cut short or damaged", "copy or save the mask again")


def nifti_affines(path: Path) -> tuple[Affine, ...]:
    """The affines (3, 4) that a NIfTI-1 file sets, sform and qform, from index (x, y, z) to LPS in mm.

    Offsets are those of https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h.

    Raises:
        Refusal: mask_orientation_unclear where it sets none, mask_detached, mask_truncated, mask_unreadable or
            unsupported_mask_format.

    """
    try:
        with _open(path) as stream:
            head = stream.read(_HEADER)
    except (OSError, EOFError, zlib.error) as error:
        raise Refusal("mask_truncated", f"{path.name} is cut short or damaged", "copy or save it again") from error
    order = _byte_order(path, head)
    qform, sform = struct.unpack_from(f"{order}2h", head, 252)
    affines = []
    if sform > 0:
        affines.append(_TO_LPS @ np.reshape(struct.unpack_from(f"{order}12f", head, 280), (3, 4)))
    if qform > 0:
        values, pixdim = struct.unpack_from(f"{order}6f", head, 256), struct.unpack_from(f"{order}4f", head, 76)
        affines.append(_TO_LPS @ _qform(values, pixdim))
    if not affines:
        what = f"{path.name} sets neither sform nor qform: where it lies is unknown"
        raise Refusal("mask_orientation_unclear", what, "save the mask again from the CT it was drawn on")
    return tuple(affines)


def check_affines(affines: tuple[Affine, ...], grid: Geometry) -> None:
    """Refuse a file unless each affine that it sets places its voxels where ITK does.

    ITK takes one of the two by rules of its own that changed between versions, replaces a sheared sform by the
    qform, set or not, and heeds units. Other programs choose otherwise: to them the mask lies elsewhere.

    Args:
        affines: of ``nifti_affines``.
        grid: the file's grid as ITK read it.

    Raises:
        Refusal: mask_orientation_unclear.

    """
    corners = np.asarray(list(np.ndindex(2, 2, 2))) * (np.asarray(grid.shape_zyx[::-1]) - 1)
    for affine in affines:
        off = np.abs(grid.physical_to_index(corners @ affine[:, :3].T + affine[:, 3]) - corners)
        if not (off <= GRID_REFUSE_VOXELS).all():  # NaN is no agreement
            what = f"sform and qform of a mask differ by {off.max():.3g} voxels, or cannot be followed"
            raise Refusal("mask_orientation_unclear", what, "save the mask again with one orthogonal affine in mm")


def _open(path: Path) -> BufferedIOBase:
    """The file's bytes, unzipped where it is zipped."""
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    return gzip.open(path) if zipped else path.open("rb")


def _byte_order(path: Path, head: bytes) -> str:
    """The byte order of a NIfTI-1 header whose voxels lie in the same file."""
    for order in "<>":
        if head[:4] == struct.pack(f"{order}i", _HEADER_2):
            raise Refusal("unsupported_mask_format", f"{path.name} is NIfTI-2", "save it as NIfTI-1 (.nii.gz)")
        if len(head) == _HEADER and head[:4] == struct.pack(f"{order}i", _HEADER):
            if head[344:348] == b"ni1\0":
                what = f"{path.name} keeps its voxels in another file"
                raise Refusal("mask_detached", what, "save the mask as one .nii.gz")
            if head[344:348] == b"n+1\0":
                return order
    if not head:
        raise Refusal("mask_truncated", f"{path.name} is empty", "copy or save the mask again")
    raise Refusal("mask_unreadable", f"{path.name} is no NIfTI file, or ends inside its header", "save it as .nii.gz")


def _qform(values: tuple[float, ...], pixdim: tuple[float, ...]) -> Affine:
    """Method 2 of nifti1.h: a rotation as quaternion (b, c, d), an offset, and pixdim with the sign of z."""
    b, c, d = values[:3]
    a = np.sqrt(max(0.0, 1 - (b * b + c * c + d * d)))
    rotation = [
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ]
    scale = np.asarray(pixdim[1:4]) * (1, 1, -1 if pixdim[0] < 0 else 1)
    return np.column_stack([np.asarray(rotation) * scale, values[3:6]])


def nifti_size(head: bytes) -> int:
    """Bytes that a NIfTI-1 file has by its header; 0 where there is no such header."""
    for order in "<>":
        if len(head) >= _HEADER and head[:4] == struct.pack(f"{order}i", _HEADER):
            dim, (bitpix,) = struct.unpack_from(f"{order}8h", head, 40), struct.unpack_from(f"{order}h", head, 72)
            (offset,) = struct.unpack_from(f"{order}f", head, 108)
            count = prod(max(n, 1) for n in dim[1 : 1 + max(dim[0], 0)])
            return int(offset) + (count * bitpix + 7) // 8 if isfinite(offset) else 0
    return 0

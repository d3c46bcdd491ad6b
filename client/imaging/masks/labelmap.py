"""Label maps from image files (NIfTI, NRRD, MetaImage), voxel for voxel on a CT's grid."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.client.imaging.itk import simple_itk
from fedescc.client.imaging.masks.metaimage import check_metaimage, read_meta_header
from fedescc.client.imaging.masks.nifti import check_affines, check_nifti, nifti_affines
from fedescc.client.imaging.masks.nrrd import check_nrrd, nrrd_segments, read_nrrd_header
from fedescc.client.imaging.masks.placement import align_volume, paste
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.common.errors import Refusal

_ITK_READERS = {
    ".nii": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
_ENDINGS = (".nii.gz", ".seg.nrrd", *_ITK_READERS)


@dataclass(frozen=True)
class Label:
    """One ROI of a label map: a label in a layer of it, or all that is not 0 where ``label`` is None.

    ``part`` says that the file may hold a part of its CT's voxels only, as 3D Slicer crops segmentations.
    """

    path: Path = field(repr=False)
    name: str = field(repr=False)
    label: int | None = None
    layer: int = 0
    part: bool = False


def stem(file_name: str) -> str:
    """A label map's file name without its endings."""
    return next((file_name[: -len(end)] for end in _ENDINGS if file_name.lower().endswith(end)), file_name)


def read_labels(path: Path) -> tuple[Label, ...]:
    """The ROIs of a label map, from its header: the segments of 3D Slicer by name, else one named like the file.

    Raises:
        Refusal: what ``read_nrrd_header`` refuses.

    """
    if path.suffix.lower() in {".nrrd", ".nhdr"} and (segments := nrrd_segments(read_nrrd_header(path))):
        return tuple(Label(path, one.name, one.label, one.layer, part=True) for one in segments)
    return (Label(path, stem(path.name)),)


def check_grid(label: Label, geometry: Geometry) -> None:
    """Refuse a label map that does not lie on a CT's grid, from its header alone.

    Raises:
        Refusal: other_geometry, mask_not_3d, mask_unreadable, mask_truncated, mask_detached or
            mask_orientation_unclear.

    """
    align_volume(_read_grid(label), geometry, part=label.part)


def place_label(label: Label, geometry: Geometry) -> NDArray[np.bool_]:
    """Mask (z, y, x) of one ROI on a CT's grid.

    Axes may be flipped or permuted against the CT's, as dcm2niix flips rows; nothing is interpolated.

    Raises:
        Refusal: what ``check_grid`` refuses, mask_not_integer, several_labels, empty_roi, roi_truncated or
            unsupported_mask_format.

    """
    placement = align_volume(_read_grid(label), geometry, part=label.part)
    marked = select_label(_read_values(label), label.path.name, label.label)
    mask = np.zeros(geometry.shape_zyx, dtype=np.bool_)
    paste(marked, placement, mask)
    return mask


def _read_grid(label: Label) -> Geometry:
    path = label.path
    affines = None
    if _format(path) == "NiftiImageIO":
        affines = nifti_affines(path)
    elif _format(path) == "NrrdImageIO":
        read_nrrd_header(path)
    else:
        read_meta_header(path)
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        _check_whole(path)
        raise Refusal("mask_unreadable", f"{path.name} cannot be read", "save the mask again") from error
    # Layers are there for segments that overlap; a label map without segments has one.
    if reader.GetDimension() != 3 or (reader.GetNumberOfComponents() != 1 and label.label is None):
        raise Refusal("mask_not_3d", f"{path.name} has {reader.GetDimension()} dimensions", "save one 3-D label map")
    shape, spacing = reader.GetSize()[::-1], reader.GetSpacing()[::-1]
    grid = Geometry(shape, spacing, reader.GetOrigin(), reader.GetDirection())
    if affines is not None:
        check_affines(affines, grid)
    return grid


def _read_values(label: Label) -> NDArray[Any]:
    """Values (z, y, x) of the label's layer."""
    path = label.path
    _check_whole(path)
    try:
        values: NDArray[Any] = simple_itk().GetArrayFromImage(_reader(path).Execute())
    except RuntimeError as error:
        raise Refusal("mask_unreadable", f"{path.name} cannot be read", "save the mask again") from error
    if values.ndim == 3 and label.layer == 0:
        return values
    if values.ndim == 4 and label.layer < values.shape[3]:
        return values[..., label.layer]
    raise Refusal("mask_unreadable", f"{path.name} has no layer {label.layer}", "save the segmentation again")


def _check_whole(path: Path) -> None:
    {"NiftiImageIO": check_nifti, "NrrdImageIO": check_nrrd, "MetaImageIO": check_metaimage}[_format(path)](path)


def _format(path: Path) -> str:
    """ITK's reader by the file's ending: left to itself, ITK tries one after the other."""
    return _ITK_READERS[".nii" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()]


def _reader(path: Path) -> Any:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        # ITK ends the process for it.
        what = "the name of a mask file, or of its folder, is no UTF-8"
        raise Refusal("mask_unreadable", what, "rename it") from error
    reader = simple_itk().ImageFileReader()
    reader.SetImageIO(_format(path))
    reader.SetFileName(str(path))
    return reader


def select_label(labels: NDArray[Any], name: str, label: int | None) -> NDArray[np.bool_]:
    """Voxels of one label, or of the only one there is.

    Raises:
        Refusal: mask_not_integer, several_labels or empty_roi.

    """
    marked = labels[labels != 0]
    if not np.isfinite(marked).all() or (marked != np.rint(marked)).any():
        raise Refusal("mask_not_integer", f"{name} holds values that are no labels", "save a binary mask")
    if label is None and len(marked) and (marked != marked[0]).any():
        count = len(np.unique(marked))
        raise Refusal("several_labels", f"{name} holds {count} labels", "save one ROI a file or name its label")
    mask: NDArray[np.bool_] = labels != 0 if label is None else labels == label
    if not mask.any():
        raise Refusal("empty_roi", f"{name} marks no voxel", "draw the ROI")
    return mask

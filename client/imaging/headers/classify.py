"""What one file of an export is."""

from io import FileIO

from fedescc.client.imaging.headers.dicomdir import read_references
from fedescc.client.imaging.headers.found import Found, MaskFile, MaskKind, RejectedFile
from fedescc.client.imaging.headers.header import Damaged, DicomRow, printable, read_header
from fedescc.client.imaging.headers.multiframe import MULTIFRAME_CT, frame_rows
from fedescc.common.errors import Refusal

_MASK_SUFFIXES: dict[str, MaskKind] = {
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".nrrd": "nrrd",
    ".nhdr": "nrrd",
    ".mha": "metaimage",
    ".mhd": "metaimage",
}
_MASK_ENDINGS = tuple(_MASK_SUFFIXES)
_MASK_OBJECTS: dict[str, MaskKind] = {
    "1.2.840.10008.5.1.4.1.1.481.3": "rtstruct",
    "1.2.840.10008.5.1.4.1.1.66.4": "seg",
    "RTSTRUCT": "rtstruct",
    "SEG": "seg",
}
_DICOMDIR = "1.2.840.10008.1.3.10"
# What operating systems leave in folders; macOS also keeps beside any file, as ._NAME, what the disk cannot hold.
_SYSTEM_FILES = frozenset({".ds_store", "thumbs.db", "desktop.ini"})
_APPLE_DOUBLE, _APPLE_DOUBLE_START = "._", b"\0\x05\x16\x07"


def classify(root: str, name: str) -> tuple[Found, ...]:
    """One row, mask or rejected file; of a multi-frame CT a row for each frame; of a DICOMDIR also what it lists.

    Args:
        root: the indexed folder.
        name: a regular file, relative to it.

    Raises:
        OSError: it cannot be read now; what it is remains unknown.

    """
    file = printable(name)
    if _is_system_file(root, name):
        return (RejectedFile(file, "system_file"),)
    if file.lower().endswith(_MASK_ENDINGS):
        return (MaskFile(root, name, next(kind for end, kind in _MASK_SUFFIXES.items() if file.lower().endswith(end))),)
    try:
        return _classify_dicom(read_header(root, name))
    except Damaged as refusal:
        return (RejectedFile(file, refusal.code, refusal.row.patient_id, refusal.row.series_uid),)
    except Refusal as refusal:
        return (RejectedFile(file, refusal.code),)


def _is_system_file(root: str, name: str) -> bool:
    base = name.rpartition("/")[2]
    if not base.startswith(_APPLE_DOUBLE):
        return base.lower() in _SYSTEM_FILES
    with FileIO(f"{root}/{name}") as file:
        return file.read(len(_APPLE_DOUBLE_START)) == _APPLE_DOUBLE_START


def _classify_dicom(row: DicomRow) -> tuple[Found, ...]:
    kind = _MASK_OBJECTS.get(row.sop_class) or _MASK_OBJECTS.get(row.modality)
    if kind:
        return (MaskFile(row.root, row.name, kind),)
    if row.sop_class == _DICOMDIR:
        return (RejectedFile(row.file, "dicomdir"), *read_references(row.root, row.name))
    if not row.has_pixels and not row.rows:
        return (RejectedFile(row.file, "no_pixel_data"),)
    if row.sop_class not in MULTIFRAME_CT:
        return (row,)
    try:
        return frame_rows(row)
    except Refusal as refusal:
        # Unlike a file that is no image, this one was a whole volume of somebody.
        return (RejectedFile(row.file, refusal.code, row.patient_id, row.series_uid),)

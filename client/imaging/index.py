"""Index a folder: one row a DICOM image from its header alone, the masks beside them, a reason for the rest."""

import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from fedescc.client.imaging.header import DicomRow, Truncated, printable, read_header
from fedescc.client.imaging.quiet import quiet_pydicom
from fedescc.client.imaging.walk import walk
from fedescc.common.errors import Refusal

Progress = Callable[[int, int], None]
MaskKind = Literal["rtstruct", "seg", "nifti", "nrrd", "metaimage"]
_MASK_SUFFIXES: dict[str, MaskKind] = {
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".nrrd": "nrrd",
    ".nhdr": "nrrd",
    ".mha": "metaimage",
    ".mhd": "metaimage",
}
_MASK_OBJECTS: dict[str, MaskKind] = {
    "1.2.840.10008.5.1.4.1.1.481.3": "rtstruct",
    "1.2.840.10008.5.1.4.1.1.66.4": "seg",
    "RTSTRUCT": "rtstruct",
    "SEG": "seg",
}
_DICOMDIR = "1.2.840.10008.1.3.10"


class MaskFile(NamedTuple):
    """A file that holds regions of interest; ``root`` and ``name`` as in `DicomRow`."""

    root: str
    name: str
    kind: MaskKind

    def __repr__(self) -> str:
        """The kind alone: a file's name may tell whose it is."""
        return f"MaskFile({self.kind})"

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.root, self.name)

    @property
    def file(self) -> str:
        """The file relative to the indexed folder, as text that can be printed and sent as JSON."""
        return printable(self.name)


@dataclass(frozen=True)
class RejectedFile:
    """A file that is neither image nor mask, or a folder that cannot be listed, and why.

    ``file`` is relative to the indexed folder. ``patient_id`` and ``series_uid`` are what a truncated file still says
    of its owner, "" where nothing is known.
    """

    file: str = field(repr=False)
    reason: str
    patient_id: str = field(default="", repr=False)
    series_uid: str = ""


@dataclass(frozen=True)
class FolderIndex:
    """Every file under a folder, exactly once, in order of its relative name; then the unreadable folders."""

    rows: tuple[DicomRow, ...]
    masks: tuple[MaskFile, ...]
    rejected: tuple[RejectedFile, ...]


def index_folder(folder: Path, progress: Progress | None = None) -> FolderIndex:
    """Read the header of every file below a folder, whatever its layout or file names.

    Symbolic links are followed, each folder once. Pixels are not read. Names that are no UTF-8 are given with their
    bytes written out (``\\xd5``).

    Args:
        folder: a PACS export.
        progress: called with (files done, files in all) after each file.

    Raises:
        Refusal: missing-folder, unreadable_folder or empty-folder.

    """
    folder = Path(folder)
    if not folder.is_dir():
        raise Refusal("missing-folder", f"{folder} is no folder", "give the folder that holds the DICOM files")
    paths, unreadable = walk(folder)
    if not paths and not unreadable:
        raise Refusal("empty-folder", f"{folder} holds no files", "give the folder that holds the DICOM files")
    found: list[DicomRow | MaskFile | RejectedFile] = []
    with quiet_pydicom():
        for done, path in enumerate(paths, start=1):
            found.append(_classify(str(folder), str(path.relative_to(folder))))
            if progress:
                progress(done, len(paths))
    found += [RejectedFile(printable(str(path.relative_to(folder))), "unreadable_folder") for path in unreadable]
    return FolderIndex(
        tuple(f for f in found if isinstance(f, DicomRow)),
        tuple(f for f in found if isinstance(f, MaskFile)),
        tuple(f for f in found if isinstance(f, RejectedFile)),
    )


def _classify(root: str, name: str) -> DicomRow | MaskFile | RejectedFile:
    file = printable(name)
    try:
        if not stat.S_ISREG(Path(root, name).stat().st_mode):
            return RejectedFile(file, "not_regular_file")
        kind = next((k for suffix, k in _MASK_SUFFIXES.items() if file.lower().endswith(suffix)), None)
        if kind:
            return MaskFile(root, name, kind)
        return _classify_dicom(read_header(root, name))
    except OSError:
        return RejectedFile(file, "unreadable")
    except Truncated as refusal:
        return RejectedFile(file, refusal.code, refusal.row.patient_id, refusal.row.series_uid)
    except Refusal as refusal:
        return RejectedFile(file, refusal.code)


def _classify_dicom(row: DicomRow) -> DicomRow | MaskFile | RejectedFile:
    kind = _MASK_OBJECTS.get(row.sop_class) or _MASK_OBJECTS.get(row.modality)
    if kind:
        return MaskFile(row.root, row.name, kind)
    if row.sop_class == _DICOMDIR:
        return RejectedFile(row.file, "dicomdir")
    if not row.has_pixels and not row.rows:
        return RejectedFile(row.file, "no_pixel_data")
    return row

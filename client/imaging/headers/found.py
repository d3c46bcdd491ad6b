"""What an index finds in a folder: images, masks, what a DICOMDIR promises, and the rest with a reason."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from fedescc.client.imaging.headers.header import DicomRow, printable

MaskKind = Literal["rtstruct", "seg", "nifti", "nrrd", "metaimage"]


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
    of its owner, or what the DICOMDIR says of a file that is not there, "" where nothing is known.
    """

    file: str = field(repr=False)
    reason: str
    patient_id: str = field(default="", repr=False)
    series_uid: str = ""


class Reference(NamedTuple):
    """A file that a DICOMDIR lists: its name relative to the indexed folder as the DICOMDIR spells it, and whose it is.

    ``sop_uid`` is Referenced SOP Instance UID in File (0004,1511).
    """

    name: str
    patient_id: str
    series_uid: str
    sop_uid: str

    def __repr__(self) -> str:
        """Nothing that tells whose it is."""
        return "Reference()"


Found = DicomRow | MaskFile | RejectedFile | Reference


@dataclass(frozen=True)
class FolderIndex:
    """Every file under a folder, in order of its relative name.

    A file is exactly one row, mask or rejected file, except that each frame of a multi-frame CT is a row. After the
    files' ``rejected`` has the folders that cannot be listed, then what a DICOMDIR lists and is not there.
    """

    rows: tuple[DicomRow, ...]
    masks: tuple[MaskFile, ...]
    rejected: tuple[RejectedFile, ...]

"""What a DICOMDIR says should lie on its medium, and what of that does not (PS3.3 annex F)."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from fedescc.client.imaging.headers.found import Reference, RejectedFile
from fedescc.client.imaging.headers.header import DicomRow, printable
from fedescc.common.errors import Refusal

if TYPE_CHECKING:
    from pydicom import Dataset

MISSING = "missing_from_media"
_INACTIVE = 0
# ISO 9660 gives a name a version and, where it has no extension, a dot; copying programs append an extension.
_DECORATION = re.compile(r"(\.DCM)?\.?(;\d+)?$")


def read_references(root: str, name: str) -> tuple[Reference, ...]:
    """Every file that a DICOMDIR lists, with patient and series as its records are linked.

    Records that are marked inactive are left out; one that no link leads to counts, but has no owner.

    Args:
        root: the indexed folder.
        name: the DICOMDIR, relative to it.

    Raises:
        Refusal: unreadable_dicomdir.

    """
    from pydicom import dcmread

    try:
        dataset = dcmread(Path(root, name))
        records = {record.seq_item_tell: record for record in dataset.get("DirectoryRecordSequence") or ()}
        first = int(dataset.get("OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity") or 0)
        owners = dict(_linked(records, first))
        folder = PurePosixPath(name).parent
        return tuple(
            Reference(str(folder / file), *owners.get(at, ("", "")), _text(record, "ReferencedSOPInstanceUIDInFile"))
            for at, record in records.items()
            if (file := _file(record))
        )
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk or network failed, not the file
        raise Refusal("unreadable_dicomdir", f"{printable(name)}: {type(error).__name__}", "copy it again") from error


def missing_files(
    references: Iterable[Reference], names: Iterable[str], rows: Iterable[DicomRow]
) -> tuple[RejectedFile, ...]:
    """The listed files that are not there, each with the reason missing_from_media and whose it was.

    A file is there if its name is, in either case and with or without the version, dot or extension that systems add;
    or if its image is, under whatever name: an export may keep the DICOMDIR of a medium that it has laid out anew.

    Args:
        references: what the DICOMDIRs below the folder list.
        names: every file below the folder.
        rows: every image. An owner that an anonymiser changed in the images only is taken from them.

    """
    there, images = {_plain(name) for name in names}, set[str]()
    owners: dict[str, set[str]] = {}
    for row in rows:
        images.add(row.sop_uid)
        owners.setdefault(row.series_uid, set()).add(row.patient_id)
    return tuple(
        RejectedFile(printable(one.name), MISSING, patient, one.series_uid)
        for one in references
        if _plain(one.name) not in there and not (one.sop_uid and one.sop_uid in images)
        for patient in _owners(one, owners.get(one.series_uid, set()))
    )


def _owners(reference: Reference, patients: set[str]) -> list[str]:
    """Whose a missing file is: as the DICOMDIR says, unless the images of its series say otherwise."""
    return [reference.patient_id] if reference.patient_id in patients or not patients else sorted(patients)


def _linked(records: dict[int, "Dataset"], first: int) -> Iterator[tuple[int, tuple[str, str]]]:
    """Place of each record that links lead to, with the patient ID and series UID that hold for it."""
    waiting, seen = [(first, "", "")], set[int]()
    while waiting:
        at, patient, series = waiting.pop()
        if at not in records or at in seen:
            continue
        seen.add(at)
        record = records[at]
        own = _text(record, "PatientID") or patient, _text(record, "SeriesInstanceUID") or series
        yield at, own
        waiting.append((int(record.get("OffsetOfTheNextDirectoryRecord") or 0), patient, series))
        waiting.append((int(record.get("OffsetOfReferencedLowerLevelDirectoryEntity") or 0), *own))


def _file(record: "Dataset") -> PurePosixPath | None:
    """Referenced File ID (0004,1500) of an active record: the path's components, from the DICOMDIR's folder."""
    stored = record.get("ReferencedFileID")
    if not stored or record.get("RecordInUseFlag") == _INACTIVE:
        return None
    parts = [stored] if isinstance(stored, str) else list(stored)
    return PurePosixPath(*(part for part in parts if part and "/" not in part and part != ".."))


def _text(record: "Dataset", keyword: str) -> str:
    return str(record.get(keyword) or "").strip("\0 ")


def _plain(name: str) -> str:
    """A name without what differs between media and file systems."""
    return "/".join(_DECORATION.sub("", part) for part in name.upper().split("/"))

"""What a mask file holds, whatever its format: named ROIs and the images they were drawn on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True)
class RoiSet(Generic[R_co]):
    """The ROIs of one file, not yet on any CT's grid.

    Attributes:
        rois: those that can be used.
        faults: name -> code of those that cannot.
        series_uids, sop_uids: the series and images that the file names as its own CT; empty where it names none.
        patient_id: PatientID (0010,0020) of a DICOM file; "" where it has none.

    """

    rois: tuple[R_co, ...]
    faults: Mapping[str, str] = field(repr=False)
    series_uids: frozenset[str] = field(default=frozenset(), repr=False)
    sop_uids: frozenset[str] = field(default=frozenset(), repr=False)
    patient_id: str = field(default="", repr=False)

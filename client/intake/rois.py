"""The drawn ROI of a patient's CT, from whichever mask file holds it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from fedescc.client.intake.header import read_header
from fedescc.client.intake.index import MaskFile
from fedescc.client.intake.masks import Mask, rasterise, read_nifti_mask
from fedescc.client.intake.series import Series
from fedescc.client.intake.structures import StructureSet, read_structures
from fedescc.common.errors import Refusal
from fedescc.common.study import TimePoint

_MAP_KINDS = frozenset({"nifti", "nrrd", "metaimage"})


@dataclass(frozen=True)
class Drawing:
    """A structure set with the PatientID (0010,0020) it names; of its ROIs only those the study looks for."""

    patient_id: str
    structure: StructureSet


@dataclass(frozen=True)
class MaskFolder:
    """A site's mask files: structure sets, found by what they refer to, and label maps, by folder and name.

    A label map of patient P is a file below a folder named P; ``pre`` or ``post`` as its name without endings
    says the time point, and any other name leaves it to the grid.

    Attributes:
        drawings: structure sets with an ROI whose name the study looks for.
        maps: label maps.
        unusable: number of mask files that cannot be read.
        nameless: number of structure sets without such an ROI.

    """

    drawings: tuple[Drawing, ...]
    maps: tuple[MaskFile, ...]
    unusable: int
    nameless: int

    def drawn(self, patient_id: str, time_point: TimePoint, series: Series) -> bool:
        """Whether some mask was drawn on this very series."""
        if any(_refers(drawing.structure, series) for drawing in self._of_patient(series)):
            return True
        return any(_fits(path, series) for path in self._map_paths(patient_id, time_point))

    def read(self, patient_id: str, time_point: TimePoint, series: Series) -> Mask:
        """Mask (z, y, x) of the ROI on the series' grid.

        A label map wins over structure sets; a structure set that refers to the series wins over one that only
        shares its frame of reference.

        Raises:
            Refusal: no_mask, roi_ambiguous, or what the mask file is refused for.

        """
        assert series.geometry is not None
        paths = self._map_paths(patient_id, time_point)
        if len(paths) > 1:
            paths = [path for path in paths if _fits(path, series)]
        if len(paths) > 1:
            raise Refusal("roi_ambiguous", f"{len(paths)} masks fit one CT", "keep one mask a CT")
        if paths:
            return read_nifti_mask(paths[0], series.geometry)
        return self._from_structures(series)

    def _from_structures(self, series: Series) -> Mask:
        frame = series.rows[0].frame_of_reference_uid
        mine = [drawing.structure for drawing in self._of_patient(series)]
        structures = [one for one in mine if _refers(one, series)]
        if not structures and frame:
            structures = [one for one in mine if frame in {roi.frame_of_reference_uid for roi in one.rois}]
        if not structures:
            raise Refusal("no_mask", "no mask was found for a CT", "draw the ROI or correct images.masks")
        count = sum(len(one.rois) + len(one.faults) for one in structures)
        if count > 1:
            raise Refusal("roi_ambiguous", f"{count} ROIs match the study's pattern", "keep one, or rename the others")
        for code in structures[0].faults.values():
            raise Refusal(code, "the ROI's contours cannot be used", "draw or export it again")
        assert series.geometry is not None
        return rasterise(structures[0].rois[0], series.geometry, frame_of_reference_uid=frame)

    def _of_patient(self, series: Series) -> list[Drawing]:
        """Drawings of the series' patient: an anonymiser may give two patients the same UIDs."""
        return [one for one in self.drawings if one.patient_id == series.rows[0].patient_id]

    def _map_paths(self, patient_id: str, time_point: TimePoint) -> list[Path]:
        """The patient's label maps that may belong to a time point: the one of its name, or those of no name."""
        mine = [mask for mask in self.maps if patient_id in PurePosixPath(mask.file).parent.parts]
        named = [mask.path for mask in mine if _stem(mask) == time_point]
        return named or [mask.path for mask in mine if _stem(mask) not in {"pre", "post"}]


def read_mask_folder(files: Iterable[MaskFile], pattern: str) -> MaskFolder:
    """Read the structure sets among a site's mask files and list its label maps.

    Args:
        files: masks of the CT export and of the folder kept apart.
        pattern: regular expression that ROI Name (3006,0026) matches in full, letter case ignored.

    """
    drawings: list[Drawing] = []
    maps: list[MaskFile] = []
    unusable = nameless = 0
    for file in files:
        if file.kind in _MAP_KINDS:
            maps.append(file)
        elif file.kind != "rtstruct" or (drawing := _drawing(file, pattern)) is None:
            unusable += 1
        elif drawing.structure.rois or drawing.structure.faults:
            drawings.append(drawing)
        else:
            nameless += 1
    return MaskFolder(tuple(drawings), tuple(maps), unusable, nameless)


def _wanted(structure: StructureSet, pattern: str) -> StructureSet:
    """Only the ROIs that the study looks for: the other organs' contours would fill the memory."""

    def matches(name: str) -> bool:
        return re.fullmatch(pattern, name.strip(), re.IGNORECASE) is not None

    return replace(
        structure,
        rois=tuple(roi for roi in structure.rois if matches(roi.name)),
        faults={name: code for name, code in structure.faults.items() if matches(name)},
    )


def _drawing(file: MaskFile, pattern: str) -> Drawing | None:
    try:
        header = read_header(file.path, file.file)
        return Drawing(header.patient_id, _wanted(read_structures(file.path), pattern))
    except Refusal:
        return None


def _refers(structure: StructureSet, series: Series) -> bool:
    if structure.series_uids and series.uid not in structure.series_uids:
        return False
    if structure.sop_uids:
        return any(row.sop_uid in structure.sop_uids for row in series.rows)
    return bool(structure.series_uids)


def _fits(path: Path, series: Series) -> bool:
    assert series.geometry is not None
    try:
        read_nifti_mask(path, series.geometry)
    except Refusal:
        return False
    return True


def _stem(mask: MaskFile) -> str:
    return PurePosixPath(mask.file).name.split(".")[0].lower()

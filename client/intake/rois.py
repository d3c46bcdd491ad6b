"""The drawn ROI of a patient's CT, from whichever mask file holds it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from fedescc.client.imaging.header import DicomRow, read_header, top_folder
from fedescc.client.imaging.index import MaskFile
from fedescc.client.imaging.masks import Mask, rasterise, read_nifti_mask
from fedescc.client.imaging.series import Series
from fedescc.client.imaging.structures import StructureSet, read_structures
from fedescc.common.errors import Refusal
from fedescc.common.study import Roi, TimePoint


@dataclass(frozen=True)
class Drawing:
    """A structure set: only the ROIs that the study looks for, and the UIDs of series and images in the export.

    ``patient`` is `DicomRow.patient`.
    """

    patient: tuple[str, str]
    structure: StructureSet

    def refers(self, series: Series) -> bool:
        """Whether it was drawn on this series, by the images that it names or else by the series' UID."""
        if self.structure.sop_uids:
            return any(row.sop_uid in self.structure.sop_uids for row in series.rows)
        return series.uid in self.structure.series_uids

    def shares_frame(self, series: Series) -> bool:
        """Whether it may have been drawn on this series, as the export lacks what it names, by frame of reference."""
        frame = series.rows[0].frame_of_reference_uid
        named = self.structure.sop_uids or self.structure.series_uids
        return bool(frame) and not named and frame in {roi.frame_of_reference_uid for roi in self.structure.rois}


@dataclass(frozen=True)
class MaskFolder:
    """A site's mask files: structure sets, found by what they refer to, and label maps, by folder and name.

    A label map of patient P is a NIfTI file whose topmost folder is named P. Its name without endings is ``pre`` or
    ``post``, or a name that the study gives the ROI of the time point; any other file is no mask of the study.

    Attributes:
        patterns: what ROI names and names of label maps match in full, letter case ignored.
        drawings: structure sets with an ROI whose name the study looks for.
        maps: label maps.
        unusable: number of mask files that cannot be read.
        nameless: number of structure sets without such an ROI.

    """

    patterns: Mapping[TimePoint, str]
    drawings: tuple[Drawing, ...]
    maps: tuple[MaskFile, ...]
    unusable: int
    nameless: int

    def drawn(self, patient_id: str, time_point: TimePoint, series: Series) -> bool:
        """Whether some mask was drawn on this very series."""
        if any(one.refers(series) for one in self._drawings(time_point, series)):
            return True
        try:
            return bool(self._maps(patient_id, time_point, series)[0])
        except Refusal:
            return False

    def read(self, patient_id: str, time_point: TimePoint, series: Series) -> Mask:
        """Mask (z, y, x) of the ROI on the series' grid: the only one that was drawn on it.

        A structure set that refers to the series wins over one that only shares its frame of reference; the latter
        counts only where the export lacks what it was drawn on.

        Raises:
            Refusal: no_mask, roi_ambiguous, or what the mask file is refused for.

        """
        maps, elsewhere = self._maps(patient_id, time_point, series)
        drawings = self._drawings(time_point, series)
        structures = [one.structure for one in drawings if one.refers(series)]
        count = len(maps) + sum(len(one.rois) + len(one.faults) for one in structures)
        if count > 1:
            raise Refusal("roi_ambiguous", f"{count} ROIs fit one CT", "keep one a CT, or rename the others")
        if maps:
            return maps[0]
        structures = structures or [one.structure for one in drawings if one.shares_frame(series)]
        if elsewhere and not structures:
            raise elsewhere
        return _only(structures, series)

    def _drawings(self, time_point: TimePoint, series: Series) -> list[Drawing]:
        """Drawings of the series' patient, with the time point's ROIs: a UID may have been given to two patients."""
        pattern = self.patterns[time_point]
        mine = (one for one in self.drawings if one.patient == series.rows[0].patient)
        named = (replace(one, structure=_named(one.structure, pattern)) for one in mine)
        return [one for one in named if one.structure.rois or one.structure.faults]

    def _maps(self, patient_id: str, time_point: TimePoint, series: Series) -> tuple[list[Mask], Refusal | None]:
        """The patient's label maps of the time point on the series' grid, and why another lies on another grid.

        Raises:
            Refusal: what a map is refused for, but for other_geometry.

        """
        assert series.geometry is not None
        found: list[Mask] = []
        elsewhere: Refusal | None = None
        for mask in self.maps:
            if top_folder(mask.file) != patient_id or not self._is_of(time_point, mask):
                continue
            try:
                found.append(read_nifti_mask(mask.path, series.geometry))
            except Refusal as refusal:
                if refusal.code != "other_geometry":
                    raise
                elsewhere = refusal
        return found, elsewhere

    def _is_of(self, time_point: TimePoint, mask: MaskFile) -> bool:
        stem = PurePosixPath(mask.file).name.lower().split(".nii")[0]
        return stem == time_point or _matches(self.patterns[time_point], stem)


def read_mask_folder(files: Iterable[MaskFile], roi: Roi, rows: Iterable[DicomRow]) -> MaskFolder:
    """Read the structure sets among a site's mask files and list its label maps.

    Args:
        files: masks of the CT export and of the folder kept apart.
        roi: the names that the study looks for.
        rows: the images of the export.

    """
    patterns: dict[TimePoint, str] = {"pre": roi.name_pattern, "post": roi.post_name_pattern}
    present = {uid for row in rows for uid in (row.series_uid, row.sop_uid) if uid}
    drawings: list[Drawing] = []
    maps: list[MaskFile] = []
    unusable = nameless = 0
    for file in files:
        if file.kind == "nifti":
            maps.append(file)
        elif file.kind != "rtstruct" or (drawing := _drawing(file, patterns, present)) is None:
            unusable += 1
        elif drawing.structure.rois or drawing.structure.faults:
            drawings.append(drawing)
        else:
            nameless += 1
    return MaskFolder(patterns, tuple(drawings), tuple(maps), unusable, nameless)


def _drawing(file: MaskFile, patterns: Mapping[TimePoint, str], present: set[str]) -> Drawing | None:
    try:
        header, structure = read_header(file.root, file.name), read_structures(file.path)
    except Refusal:
        return None
    # The other organs' contours would fill the memory.
    wanted = _named(structure, *patterns.values())
    found = replace(wanted, series_uids=structure.series_uids & present, sop_uids=structure.sop_uids & present)
    return Drawing(header.patient, found)


def _named(structure: StructureSet, *patterns: str) -> StructureSet:
    """The structure set with the ROIs of these names alone."""

    def wanted(name: str) -> bool:
        return any(_matches(pattern, name) for pattern in patterns)

    return replace(
        structure,
        rois=tuple(roi for roi in structure.rois if wanted(roi.name)),
        faults={name: code for name, code in structure.faults.items() if wanted(name)},
    )


def _matches(pattern: str, name: str) -> bool:
    return re.fullmatch(pattern, name.strip(), re.IGNORECASE) is not None


def _only(structures: list[StructureSet], series: Series) -> Mask:
    """The one ROI of the structure sets, on the series' grid."""
    if not structures:
        raise Refusal("no_mask", "no mask was found for a CT", "draw the ROI or correct images.masks")
    count = sum(len(one.rois) + len(one.faults) for one in structures)
    if count > 1:
        raise Refusal("roi_ambiguous", f"{count} ROIs match the study's pattern", "keep one, or rename the others")
    for code in structures[0].faults.values():
        raise Refusal(code, "the ROI's contours cannot be used", "draw or export it again")
    assert series.geometry is not None
    frame = series.rows[0].frame_of_reference_uid
    return rasterise(structures[0].rois[0], series.geometry, frame_of_reference_uid=frame)

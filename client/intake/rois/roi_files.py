"""What one mask file of a site holds of the study's ROIs."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import NamedTuple

from fedescc.client.imaging.headers.header import read_header, top_folder
from fedescc.client.imaging.headers.index import MaskFile
from fedescc.client.imaging.masks.labelmap import Label, stem
from fedescc.client.imaging.masks.regions import Region, frame_of_reference, read_regions
from fedescc.client.imaging.masks.roiset import RoiSet
from fedescc.client.imaging.volumes.series import Series
from fedescc.client.intake.rois.roi_names import RoiNames, Role
from fedescc.common.errors import Refusal


class Wanted(NamedTuple):
    """Which of the study's ROIs, and whether the second reader's."""

    role: Role
    second: bool


@dataclass(frozen=True)
class Drawing:
    """A structure set or DICOM SEG.

    Attributes:
        file: the file.
        patient: whose it is, as `DicomRow.patient`.
        found: only the ROIs that the study looks for, and the UIDs that the export holds of its patient.
        sop_uid: its own.
        names_images: whether it names images or a series as its CT, there or not.

    """

    file: MaskFile
    patient: tuple[str, str] = field(repr=False)
    found: RoiSet[Region]
    sop_uid: str = field(repr=False)
    names_images: bool

    @property
    def absent(self) -> bool:
        """Whether it was drawn on images none of which is in the export."""
        return self.names_images and not (self.found.sop_uids or self.found.series_uids)

    def wanted(self, names: RoiNames, want: Wanted) -> RoiSet[Region]:
        """The ROIs of this kind."""
        return _named(self.found, names, want)

    def refers(self, series: Series) -> bool:
        """Whether it was drawn on this series, by the images that it names or else by the series' UID."""
        if self.found.sop_uids:
            return any(row.sop_uid in self.found.sop_uids for row in series.rows)
        return series.uid in self.found.series_uids

    def shares_frame(self, series: Series) -> bool:
        """Whether it may have been drawn on this series by its frame of reference, as it names no images.

        Where it does, and the export lacks them, another series of that frame is not what was drawn on: it may be the
        CT of a PET/CT, or another breathing phase.
        """
        frame = series.rows[0].frame_of_reference_uid
        return bool(frame) and not self.names_images and frame in {frame_of_reference(roi) for roi in self.found.rois}

    def lies_on(self, series: Series) -> bool:
        """Whether it refers to this series and has an ROI, or one that cannot be used, in its coordinates."""
        frame = series.rows[0].frame_of_reference_uid
        frames = {frame_of_reference(roi) for roi in self.found.rois}
        return self.refers(series) and bool(not frame or self.found.faults or frames & {"", frame})


@dataclass(frozen=True)
class LabelMap:
    """A label map and its ROIs: 3D Slicer's segments, or one named like the file. Its voxels stay in the file."""

    file: MaskFile
    rois: tuple[Label, ...]

    @property
    def patient_id(self) -> str:
        """The topmost folder, which names the patient."""
        return top_folder(self.file.file)

    def known(self, names: RoiNames) -> bool:
        """Whether the study has a name for it."""
        return any(names.of_region(one.name).roles for one in self.rois) or bool(names.of_file(_stem(self.file)).roles)

    def baseline_in_post(self, names: RoiNames) -> bool:
        """Whether a file that is named as the second CT's holds a segment that is named as the first CT's ROI."""
        whole = names.of_file(_stem(self.file))
        if "pre" in whole.roles or "post" not in whole.roles or whole.second:
            return False
        segments = (names.of_region(one.name) for one in self.rois if one.label is not None)
        return any("pre" in reading.roles and not reading.second for reading in segments)

    def wanted(self, names: RoiNames, want: Wanted) -> list[Label]:
        """The ROIs of this kind.

        A file named ``pre`` or like the tumour holds ROIs of the first CT, one named ``post`` or like the tumour bed
        those of the second; within it, segments go by their names. Where none of them has a name of the study's, the
        file's own name speaks for its only segment.
        """
        whole = names.of_file(_stem(self.file))
        segments = [(one, names.of_region(one.name)) for one in self.rois if one.label is not None]
        named = [(one, reading) for one, reading in segments if reading.roles]
        if not named:
            only = self.rois[0] if len(self.rois) == 1 else Label(self.file.path, _stem(self.file))
            return [only] if want.role in whole.roles and whole.second == want.second else []
        scan: Role = "pre" if want.role == "nodes" else want.role
        if whole.roles and not whole.roles & {want.role, scan}:
            return []
        return [
            one
            for one, reading in named
            if want.role in reading.roles and (reading.second or whole.second) == want.second
        ]


def read_drawing(file: MaskFile, names: RoiNames, present: Mapping[tuple[str, str], Set[str]]) -> Drawing | None:
    """The study's ROIs in a structure set or SEG, perhaps none; None where it cannot be read.

    Args:
        file: the file.
        names: what the study looks for.
        present: UIDs of the series and images in the export, by patient.

    """
    try:
        header, found = read_header(file.root, file.name), read_regions(file)
    except Refusal:
        return None
    # The other organs' contours would fill the memory.
    wanted = _named(found, names)
    here = present.get(header.patient, frozenset())
    there = replace(wanted, series_uids=found.series_uids & here, sop_uids=found.sop_uids & here)
    return Drawing(file, header.patient, there, header.sop_uid, bool(found.series_uids or found.sop_uids))


def read_label_map(file: MaskFile) -> LabelMap:
    """The ROIs of a label map, from its header.

    One whose header cannot be read keeps its name: it is refused when it is asked for, not passed over.
    """
    try:
        return LabelMap(file, tuple(roi for roi in read_regions(file).rois if isinstance(roi, Label)))
    except Refusal:
        return LabelMap(file, (Label(file.path, _stem(file)),))


def _stem(file: MaskFile) -> str:
    return stem(PurePosixPath(file.file).name)


def _named(found: RoiSet[Region], names: RoiNames, want: Wanted | None = None) -> RoiSet[Region]:
    """The wanted ROIs alone, or all that the study has a name for."""

    def wanted(name: str) -> bool:
        roles, second = names.of_region(name)
        return bool(roles) if want is None else want.role in roles and want.second == second

    return replace(
        found,
        rois=tuple(roi for roi in found.rois if wanted(roi.name)),
        faults={name: code for name, code in found.faults.items() if wanted(name)},
    )

"""The drawn ROIs of a patient's CT, from whichever mask file holds them."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from fedescc.client.imaging.headers.header import DicomRow
from fedescc.client.imaging.headers.index import MaskFile
from fedescc.client.imaging.masks.contours import Drawn, Mask
from fedescc.client.imaging.masks.labelmap import Label, check_grid
from fedescc.client.imaging.masks.regions import Region, frame_of_reference, place_on
from fedescc.client.imaging.masks.roiset import RoiSet
from fedescc.client.imaging.volumes.series import Series
from fedescc.client.intake.rois.mask_copies import without_copies, without_same_files
from fedescc.client.intake.rois.roi_files import Drawing, LabelMap, Wanted, read_drawing, read_label_map
from fedescc.client.intake.rois.roi_names import RoiNames
from fedescc.common.errors import Refusal
from fedescc.common.imaging import Roi, TimePoint


@dataclass(frozen=True)
class MaskFolder:
    """A site's mask files: structure sets and SEGs, found by what they refer to, and label maps, by folder and name.

    A label map (NIfTI, NRRD, MetaImage) of patient P lies below a topmost folder named P. Its name without endings is
    ``pre`` or ``post``, or a name that the study gives the ROI; a segmentation of 3D Slicer may have any name, if its
    segments have the study's. Any other file is no mask of the study. Names that match the study's pattern of the
    second reader (``pre.reader2.nii.gz``, ROI ``GTV_reader2``) are never taken for the first reader's.

    Attributes:
        names: what names of ROIs and label maps mean.
        drawings: structure sets and SEGs with an ROI whose name the study looks for.
        maps: label maps with one.
        unusable: number of structure sets and SEGs that cannot be read.
        nameless: number of those without such an ROI.
        unclaimed_drawings: number of ``drawings`` whose patient has no image in the export, as where a planning
            system has identifiers of its own.
        absent_drawings: number of the other ``drawings`` that name images or a series as their CT of which the export
            holds none of that patient.
        unknown_maps: number of label maps that are named like no ROI of the study.

    """

    names: RoiNames
    drawings: tuple[Drawing, ...]
    maps: tuple[LabelMap, ...]
    unusable: int
    nameless: int
    unclaimed_drawings: int
    absent_drawings: int
    unknown_maps: int

    @property
    def files(self) -> tuple[MaskFile, ...]:
        """The files that hold ROIs of the study."""
        return (*(one.file for one in self.drawings), *(one.file for one in self.maps))

    def unclaimed_maps(self, patient_ids: Collection[str]) -> int:
        """Number of label maps that lie in no topmost folder named like one of these patients."""
        return sum(one.patient_id not in patient_ids for one in self.maps)

    def fingerprint(self) -> list[object]:
        """All that verdicts depend on beside what the files hold, as JSON takes it: file by file, in their order."""
        drawings = [[*_summary(one.file, one.found), one.names_images] for one in self.drawings]
        maps = [[one.file.kind, one.file.file, [roi.name for roi in one.rois]] for one in self.maps]
        return [*drawings, *maps]

    def of(self, patient_id: str, series: Iterable[Series]) -> "MaskFolder":
        """The same with one patient's files alone, small enough to be sent to another process.

        Args:
            patient_id: names the folder of label maps.
            series: the patient's.

        """
        owners = {one.rows[0].patient for one in series}
        return replace(
            self,
            drawings=tuple(one for one in self.drawings if one.patient in owners),
            maps=tuple(one for one in self.maps if one.patient_id == patient_id),
        )

    def drawn(self, patient_id: str, time_point: TimePoint, series: Series) -> bool:
        """Whether some mask was drawn on this very series, as far as headers tell."""
        want = Wanted(time_point, second=False)
        if any(one.refers(series) for one in self._drawings(want, series)):
            return True
        try:
            return bool(self._maps(patient_id, want, series)[0])
        except Refusal:
            return False

    def read(self, patient_id: str, time_point: TimePoint, series: Series) -> Drawn:
        """The ROI on the series' grid: the only one that was drawn on it, and warnings by code.

        A structure set or SEG that refers to the series wins over one that only shares its frame of reference; the
        latter counts only where it names no images.

        Warning codes: those of ``place_on``.

        Raises:
            Refusal: no_mask, roi_ambiguous, baseline_roi_on_second_ct (an ROI of the first CT's name was drawn on the
                second, and no tumour bed: was it meant to be one?), or what the mask file is refused for.

        """
        found = self._only(patient_id, Wanted(time_point, second=False), series)
        if found is not None:
            return found
        if time_point == "post" and self._baseline_on(patient_id, series):
            what = "an ROI on the second CT is named like the first one's"
            raise Refusal("baseline_roi_on_second_ct", what, "draw tumour_bed, or delete what was drawn there")
        raise Refusal("no_mask", "no mask was found for a CT", "draw the ROI or correct images.masks")

    def read_second(self, patient_id: str, time_point: TimePoint, series: Series) -> Mask | None:
        """The second reader's ROI on the series' grid, for comparison alone; None where there is none.

        Raises:
            Refusal: roi_ambiguous, or what the mask file is refused for.

        """
        found = self._only(patient_id, Wanted(time_point, second=True), series)
        return None if found is None else found.voxels

    def read_nodes(self, patient_id: str, series: Series) -> Mask | None:
        """All lymph nodes drawn on the first CT, together; None where there are none or the study leaves them out.

        Raises:
            Refusal: what one of their mask files is refused for.

        """
        regions, faults = self._find(patient_id, Wanted("nodes", second=False), series)
        _refuse_faults(faults)
        union: Mask | None = None
        for region in regions:
            voxels = place_on(region, series).voxels
            union = voxels if union is None else union | voxels
        return union

    def _only(self, patient_id: str, want: Wanted, series: Series) -> Drawn | None:
        regions, faults = self._find(patient_id, want, series)
        count = len(regions) + len(faults)
        if count > 1:
            raise Refusal("roi_ambiguous", f"{count} ROIs fit one CT", "keep one a CT, or rename the others")
        _refuse_faults(faults)
        return place_on(regions[0], series) if regions else None

    def _baseline_on(self, patient_id: str, series: Series) -> bool:
        drawings = self._drawings(Wanted("pre", second=False), series)
        mine = (one for one in self.maps if one.patient_id == patient_id)
        return any(one.lies_on(series) for one in drawings) or any(one.baseline_in_post(self.names) for one in mine)

    def _find(self, patient_id: str, want: Wanted, series: Series) -> tuple[list[Region], list[str]]:
        """The ROIs that were drawn on the series, and codes of those that cannot be used."""
        maps, elsewhere = self._maps(patient_id, want, series)
        drawings = self._drawings(want, series)
        here = [one for one in drawings if one.refers(series)]
        if not here and not maps:
            here = [one for one in drawings if one.shares_frame(series)]
        if elsewhere and not here and not maps:
            raise elsewhere
        regions = [*maps, *(roi for one in here for roi in one.found.rois)]
        return regions, [code for one in here for code in one.found.faults.values()]

    def _drawings(self, want: Wanted, series: Series) -> list[Drawing]:
        """Drawings of the series' patient, with the wanted ROIs: a UID may have been given to two patients."""
        mine = (one for one in self.drawings if one.patient == series.rows[0].patient)
        named = (replace(one, found=one.wanted(self.names, want)) for one in mine)
        return [one for one in named if one.found.rois or one.found.faults]

    def _maps(self, patient_id: str, want: Wanted, series: Series) -> tuple[list[Label], Refusal | None]:
        """The patient's wanted label maps on the series' grid, and why another lies on another grid.

        Raises:
            Refusal: what a map's header is refused for, but for other_geometry.

        """
        assert series.geometry is not None
        found: list[Label] = []
        elsewhere: Refusal | None = None
        for one in self.maps:
            for label in one.wanted(self.names, want) if one.patient_id == patient_id else ():
                try:
                    check_grid(label, series.geometry)
                except Refusal as refusal:
                    if refusal.code != "other_geometry":
                        raise
                    elsewhere = refusal
                else:
                    found.append(label)
        return found, elsewhere


def read_mask_folder(files: Iterable[MaskFile], roi: Roi, rows: Iterable[DicomRow]) -> MaskFolder:
    """Read the structure sets and SEGs among a site's mask files, without voxels, and list its label maps.

    Args:
        files: masks of the CT export and of the folder kept apart.
        roi: the names that the study looks for.
        rows: the images of the export.

    """
    names = RoiNames.of(roi)
    present: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        present[row.patient] |= {row.series_uid, row.sop_uid} - {""}
    drawings: list[Drawing] = []
    maps: list[LabelMap] = []
    unusable = nameless = unknown = 0
    for file in without_same_files(files):
        if file.kind not in {"rtstruct", "seg"}:
            one = read_label_map(file)
            if one.known(names):
                maps.append(one)
            else:
                unknown += 1
        elif (drawing := read_drawing(file, names, present)) is None:
            unusable += 1
        elif drawing.found.rois or drawing.found.faults:
            drawings.append(drawing)
        else:
            nameless += 1
    drawings = without_copies(drawings)
    claimed = [one for one in drawings if one.patient in present]
    absent = sum(one.absent for one in claimed)
    counts = (unusable, nameless, len(drawings) - len(claimed), absent, unknown)
    return MaskFolder(names, tuple(drawings), tuple(maps), *counts)


def _summary(file: MaskFile, found: RoiSet[Region]) -> list[object]:
    rois = sorted((roi.name, frame_of_reference(roi)) for roi in found.rois)
    return [file.kind, rois, sorted(found.series_uids), sorted(found.sop_uids), sorted(found.faults.items())]


def _refuse_faults(codes: list[str]) -> None:
    for code in codes:
        raise Refusal(code, "the ROI's contours cannot be used", "draw or export it again")

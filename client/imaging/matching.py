"""Which series each mask belongs to, and the mask on that series' grid."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from fedescc.client.imaging.geometry import Geometry
from fedescc.client.imaging.index import MaskFile
from fedescc.client.imaging.labelmap import on_grid, read_label_map, select_label
from fedescc.client.imaging.masks import Mask, rasterise
from fedescc.client.imaging.series import Series
from fedescc.client.imaging.structures import Roi, StructureSet, read_structures
from fedescc.common.errors import Refusal


@dataclass(frozen=True)
class MatchedMask:
    """One ROI of one file: the series it belongs to and its voxels (z, y, x), or the codes why there are none."""

    file: MaskFile
    roi: str | None
    series: Series | None
    voxels: Mask | None
    reasons: tuple[str, ...]


def match_masks(files: Iterable[MaskFile], series: Sequence[Series]) -> Iterator[MatchedMask]:
    """Every ROI of every mask file on the grid of its series, one at a time.

    An RTSTRUCT belongs to the series whose images it references, else whose UID, else whose frame of reference; any
    other mask to a series on whose grid it lies. Of several that fit, the one nearest in the folders is taken, and
    none if two are equally near.

    Reason codes: those of masks.py, structures.py and labelmap.py, and unsupported_mask_format, no_series,
    series_refused, series_ambiguous.
    """
    for file in files:
        try:
            yield from _match_file(file, series)
        except Refusal as refusal:
            yield MatchedMask(file, None, None, None, (refusal.code,))


def _match_file(file: MaskFile, series: Sequence[Series]) -> Iterator[MatchedMask]:
    if file.kind == "rtstruct":
        structures = read_structures(file.path)
        for name, code in structures.faults.items():
            yield MatchedMask(file, name, None, None, (code,))
        for roi in structures.rois:
            yield _fit(file, roi.name, _drawn_on(structures, roi, series), _rasteriser(roi))
    elif file.kind == "nifti":
        labels, grid = read_label_map(file.path)
        name = PurePosixPath(file.file).name.split(".nii")[0]

        def place(_: Series, geometry: Geometry) -> Mask:
            return select_label(on_grid(labels, grid, geometry), name, None)

        yield _fit(file, name, series, place)
    else:
        yield MatchedMask(file, None, None, None, ("unsupported_mask_format",))


def _rasteriser(roi: Roi) -> Callable[[Series, Geometry], Mask]:
    def place(one: Series, geometry: Geometry) -> Mask:
        return rasterise(roi, geometry, frame_of_reference_uid=one.rows[0].frame_of_reference_uid)

    return place


def _drawn_on(structures: StructureSet, roi: Roi, series: Sequence[Series]) -> Sequence[Series]:
    frame = roi.frame_of_reference_uid
    by_image = [s for s in series if structures.sop_uids & {row.sop_uid for row in s.rows}]
    by_uid = [s for s in series if s.uid in structures.series_uids]
    by_frame = [s for s in series if frame and s.rows[0].frame_of_reference_uid == frame]
    return by_image or by_uid or by_frame or series


def _fit(
    file: MaskFile, roi: str, candidates: Sequence[Series], place: Callable[[Series, Geometry], Mask]
) -> MatchedMask:
    accepted = [(s, s.geometry) for s in candidates if s.verdict == "accepted" and s.geometry]
    if not accepted:
        only = candidates[0] if len(candidates) == 1 else None
        return MatchedMask(file, roi, only, None, ("series_refused" if candidates else "no_series",))
    fits: list[tuple[Series, Mask]] = []
    reasons: list[str] = []
    for one, geometry in accepted:
        try:
            fits.append((one, place(one, geometry)))
        except Refusal as refusal:
            reasons.append(refusal.code)
    if not fits:
        only = accepted[0][0] if len(accepted) == 1 else None
        # That the other series have other grids says nothing once one of them has this mask's.
        telling = [code for code in reasons if code != "other_geometry"] or reasons
        return MatchedMask(file, roi, only, None, tuple(dict.fromkeys(telling)))
    nearness = [_shared_folders(file.file, s.rows[0].file) for s, _ in fits]
    if nearness.count(max(nearness)) > 1:
        return MatchedMask(file, roi, None, None, ("series_ambiguous",))
    nearest, voxels = fits[nearness.index(max(nearness))]
    return MatchedMask(file, roi, nearest, voxels, ())


def _shared_folders(one: str, other: str) -> int:
    shared = 0
    for a, b in zip(PurePosixPath(one).parent.parts, PurePosixPath(other).parent.parts, strict=False):
        if a != b:
            break
        shared += 1
    return shared

"""Which series each mask belongs to, and the mask on that series' grid."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from fedescc.client.imaging.headers.index import MaskFile
from fedescc.client.imaging.masks.contours import Drawn, Mask
from fedescc.client.imaging.masks.regions import Region, frame_of_reference, place_on, read_regions
from fedescc.client.imaging.masks.roiset import RoiSet
from fedescc.client.imaging.volumes.series import Series
from fedescc.common.errors import Refusal


@dataclass(frozen=True)
class MatchedMask:
    """One ROI of one file: the series it belongs to and its voxels (z, y, x), or the codes why there are none."""

    file: MaskFile
    roi: str | None
    series: Series | None
    voxels: Mask | None
    reasons: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def match_masks(files: Iterable[MaskFile], series: Sequence[Series]) -> Iterator[MatchedMask]:
    """Every ROI of every mask file on the grid of its series, one at a time.

    An RTSTRUCT or DICOM SEG belongs to the series whose images it references, else whose UID; where it names neither,
    to one of its frame of reference. One that names images or series of which none is there has no series: others of
    the same frame of reference may be the CT of a PET/CT, or another breathing phase. Nor is a series of another
    PatientID taken, where both have one. Any other mask belongs to a series on whose grid it lies. Of several that
    fit, the one nearest in the folders is taken, and none if two are equally near.

    Reason codes: those of ``read_regions`` and ``place_on``, and no_series, series_refused, series_ambiguous. Warning
    codes: those of ``place_on``.
    """
    for file in files:
        try:
            yield from _match_file(file, series)
        except Refusal as refusal:
            yield MatchedMask(file, None, None, None, (refusal.code,))


def _match_file(file: MaskFile, series: Sequence[Series]) -> Iterator[MatchedMask]:
    found = read_regions(file)
    for name, code in found.faults.items():
        yield MatchedMask(file, name, None, None, (code,))
    for region in found.rois:
        yield _fit(file, region, _drawn_on(found, region, series))


def _drawn_on(found: RoiSet[Region], region: Region, series: Sequence[Series]) -> Sequence[Series]:
    owners = {"", found.patient_id}
    mine = [s for s in series if not found.patient_id or owners.issuperset(row.patient_id for row in s.rows)]
    if found.sop_uids or found.series_uids:
        by_image = [s for s in mine if not found.sop_uids.isdisjoint(row.sop_uid for row in s.rows)]
        return by_image or [s for s in mine if s.uid in found.series_uids]
    frame = frame_of_reference(region)
    return [s for s in mine if frame and s.rows[0].frame_of_reference_uid == frame] or mine


def _fit(file: MaskFile, region: Region, candidates: Sequence[Series]) -> MatchedMask:
    roi = region.name
    accepted = [s for s in candidates if s.verdict == "accepted"]
    if not accepted:
        only = candidates[0] if len(candidates) == 1 else None
        return MatchedMask(file, roi, only, None, ("series_refused" if candidates else "no_series",))
    fits: list[tuple[Series, Drawn]] = []
    reasons: list[str] = []
    for one in accepted:
        try:
            fits.append((one, place_on(region, one)))
        except Refusal as refusal:
            reasons.append(refusal.code)
    if not fits:
        only = accepted[0] if len(accepted) == 1 else None
        # That the other series have other grids says nothing once one of them has this mask's.
        telling = [code for code in reasons if code != "other_geometry"] or reasons
        return MatchedMask(file, roi, only, None, tuple(dict.fromkeys(telling)))
    nearness = [_shared_folders(file.file, s.rows[0].file) for s, _ in fits]
    if nearness.count(max(nearness)) > 1:
        return MatchedMask(file, roi, None, None, ("series_ambiguous",))
    nearest, (voxels, warnings) = fits[nearness.index(max(nearness))]
    return MatchedMask(file, roi, nearest, voxels, (), warnings)


def _shared_folders(one: str, other: str) -> int:
    shared = 0
    for a, b in zip(PurePosixPath(one).parent.parts, PurePosixPath(other).parent.parts, strict=False):
        if a != b:
            break
        shared += 1
    return shared

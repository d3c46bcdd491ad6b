"""How the second CT lies against the first around an ROI: a rigid motion, found without a look at the tumour.

Rigid, six degrees of freedom, on purpose. A free-form or affine transform that follows shrinking tissue shrinks the
ROI with it, and the ROI's size would then tell the response, which is the label. A rigid one keeps the ROI's volume
and shape by construction, whatever the tumour did. The last fit and the judgement look at a shell around the ROI
alone, so that neither the tumour's change nor what is left of it moves the bed. The price: bending of the esophagus
along a long ROI and breathing within the shell are not followed; docs/verification/propagation.md has figures.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fedescc.client.imaging.itk import simple_itk
from fedescc.client.imaging.masks.contours import Mask
from fedescc.client.imaging.registration.agreement import Agreement, agreement
from fedescc.client.imaging.registration.fitting import Schedule, fit
from fedescc.client.imaging.registration.reduced import image_of, read_reduced, resampled
from fedescc.client.imaging.registration.rigid import Box, Rigid, box_corners, clipped_box, move_mask, share_inside
from fedescc.client.imaging.registration.rough import rough_fit
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.client.imaging.volumes.volume import CtVolume
from fedescc.common.errors import Refusal

# Voxels, mm: of the whole scans, and of the surroundings of the ROI.
OVERVIEW_MM = 4.0
DETAIL_MM = 2.0
# The shell, mm from the ROI: beyond the rim where it shrinks, up to spine, aorta, airway and heart.
SHELL_MM = (4.0, 30.0)
# The second CT is read this far beyond where the overview puts the shell: what the overview may be off.
SLACK_MM = 15.0
# Least part of the shell within the second CT: with less, too little holds the bed in place.
MIN_COVERAGE = 0.5
# Nobody lies more crooked than this against the last time; patient axes take care of prone and feet-first.
MAX_ANGLE_DEG = 20.0
# Distance of a corner of the ROI from itself after the way there and, found independently, back. About one right pair
# of phantoms in a hundred lies above, and three of four pairs of different patients.
MAX_INCONSISTENCY_MM = 4.0

_DETAIL = Schedule("mutual_information", (-500, 300), 20_000, (1.0, 0.02), 60)
_DRAW = "draw the tumour bed on the second CT"


@dataclass(frozen=True)
class Alignment:
    """How a second CT lies against the first, and how far to trust that. Stays at the site; never a model input.

    Attributes:
        motion: from points of the first CT to points of the second.
        source: the first CT's grid.
        similarity: agreement of the two CTs around the ROI, 0 to 1 (see ``agreement``).
        inconsistency_mm: how far the ROI's corners miss themselves after the way there and back.
        shift_mm: displacement of the ROI's centre in patient coordinates; most of it is the table's.

    """

    motion: Rigid
    source: Geometry
    similarity: float
    inconsistency_mm: float
    shift_mm: float


class _Scan(NamedTuple):
    volume: CtVolume
    overview: Any


class _Fit(NamedTuple):
    motion: Rigid
    agreement: Agreement


def register(pre: CtVolume, roi: Mask, post: CtVolume) -> Alignment:
    """The rigid motion from the first CT to the second, as it is around the ROI.

    Every translation is scored at 8 mm (``find_offsets``), the best few levels are fitted to the thorax at 4 mm, and
    the best of them to the shell around the ROI at 2 mm by mutual information, which contrast phases do not mislead.
    The same from the second CT back to the first gives the inconsistency. The same inputs give the same bits.

    Args:
        pre: the first CT.
        roi: bool (z, y, x) on its grid.
        post: the second CT.

    Raises:
        Refusal: shape_mismatch, empty_roi, registration_failed, registration_implausible, registration_little_overlap,
            registration_inconsistent, propagated_roi_outside_scan, propagated_roi_empty, or what reading refuses.

    """
    if roi.shape != pre.geometry.shape_zyx:
        raise Refusal("shape_mismatch", f"ROI {roi.shape}, CT {pre.geometry.shape_zyx}", "give the ROI on its own CT")
    if not roi.any():
        raise Refusal("empty_roi", "the ROI marks no voxel", "draw the ROI")
    first, second = (_Scan(volume, read_reduced(volume, OVERVIEW_MM)) for volume in (pre, post))
    there = _fit(first, roi, second)
    back = _fit(second, whole_mask(there.motion, roi, pre.geometry, post.geometry), first)
    corners = box_corners(roi, pre.geometry)
    missed = float(np.linalg.norm(back.motion.apply(there.motion.apply(corners)) - corners, axis=1).max())
    if missed > MAX_INCONSISTENCY_MM:
        raise Refusal("registration_inconsistent", f"there and back the ROI is off by {missed:.1f} mm", _DRAW)
    centre = corners.mean(axis=0)
    shift = float(np.linalg.norm(there.motion.apply(centre) - centre))
    return Alignment(there.motion, pre.geometry, there.agreement.similarity, missed, shift)


def whole_mask(motion: Rigid, mask: Mask, source: Geometry, target: Geometry) -> Mask:
    """A mask (z, y, x) moved to the target's grid, all of it.

    Raises:
        Refusal: propagated_roi_outside_scan or propagated_roi_empty.

    """
    lost = 1 - share_inside(motion, mask, source, target)
    if lost > 0:
        raise Refusal("propagated_roi_outside_scan", f"{lost:.0%} of the ROI lie beyond the second CT", _DRAW)
    moved = move_mask(motion, mask, source, target)
    if not moved.any():
        raise Refusal("propagated_roi_empty", "the ROI falls between the second CT's voxels", _DRAW)
    return moved


def _fit(fixed: _Scan, roi: Mask, moving: _Scan) -> _Fit:
    """From the scan that has the ROI to the other one."""
    geometry, other_geometry = fixed.volume.geometry, moving.volume.geometry
    corners = box_corners(roi, geometry)
    box = clipped_box(geometry.physical_to_index(corners), geometry, SHELL_MM[1])
    try:
        rough = rough_fit(fixed.overview, corners.mean(axis=0), moving.overview)
        landed = other_geometry.physical_to_index(_motion(rough).apply(corners))
        other_box = clipped_box(landed, other_geometry, SHELL_MM[1] + SLACK_MM)
        if (other_box[0] >= other_box[1]).any():
            raise Refusal("propagated_roi_outside_scan", "the ROI lies beyond the second CT", _DRAW)
        detail = read_reduced(fixed.volume, DETAIL_MM, box)
        other = read_reduced(moving.volume, DETAIL_MM, other_box)
        shell = _shell(roi, geometry, box, detail)
        fine = fit(detail, other, rough, _DETAIL, shell)
    except RuntimeError as error:
        raise Refusal("registration_failed", "the two CTs hardly overlap or have too few slices", _DRAW) from error
    found = _Fit(_motion(fine), agreement(detail, shell, other, fine))
    if found.motion.angle_deg > MAX_ANGLE_DEG:
        raise Refusal("registration_implausible", f"a turn by {found.motion.angle_deg:.0f} degrees", _DRAW)
    if found.agreement.coverage < MIN_COVERAGE:
        what = f"{found.agreement.coverage:.0%} of the ROI's surroundings lie in both CTs"
        raise Refusal("registration_little_overlap", what, _DRAW)
    return found


def _shell(roi: Mask, geometry: Geometry, box: Box, detail: Any) -> Any:
    """The shell as a uint8 image on the grid of ``detail``, which was read from ``box``."""
    from scipy.ndimage import distance_transform_edt

    itk = simple_itk()
    lo, hi = box
    part = roi[tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))].astype(np.uint8)
    origin = geometry.index_to_physical(lo[::-1])
    marked = resampled(image_of(part, geometry.spacing_zyx_mm, origin, geometry), detail) >= 0.5
    distance = distance_transform_edt(~marked, sampling=detail.GetSpacing()[::-1])
    shell = itk.GetImageFromArray(((distance > SHELL_MM[0]) & (distance <= SHELL_MM[1])).astype(np.uint8))
    shell.CopyInformation(detail)
    return shell


def _motion(transform: Any) -> Rigid:
    """The motion of an Euler3DTransform, whose rotation is about a centre."""
    return Rigid.of(transform.GetMatrix(), transform.TransformPoint((0.0, 0.0, 0.0)))

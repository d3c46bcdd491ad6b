"""What makes a CT doubtful: findings by code, with the values measured for the site's own quality page."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedescc.client.imaging.headers.header import DicomRow
from fedescc.client.imaging.masks.contours import Mask
from fedescc.client.imaging.quality.coverage import Box, cut_edge_mm, margin_mm, metal_mm, roi_box
from fedescc.client.imaging.quality.enhancement import Enhancement, Verdict, enhancement_of
from fedescc.client.imaging.quality.hu_scale import HuScale, measure_scale
from fedescc.client.imaging.quality.kernels import KernelClass, is_sharp, kernel_class
from fedescc.client.imaging.quality.noise import measure_noise
from fedescc.client.imaging.quality.tissue import Sample, sample_scan
from fedescc.client.imaging.volumes.reasons import series_warnings
from fedescc.client.imaging.volumes.volume import CtVolume
from fedescc.common.imaging import Quality, QualityCode

# Positions are decimal strings: 5.5 mm may come out as 5.5000001.
_LENGTH_TOLERANCE_MM = 1e-3
# Streaks of clips, stents and screws reach a few centimetres.
_METAL_REACH_MM = 30.0
# A shoulder or a skin fold that grazes the edge cuts less; a trunk that does not fit cuts more.
_CUT_EDGE_MM = 50.0
# Rounded direction cosines are off a right angle by less.
_TILT_DEG = 0.01


@dataclass(frozen=True)
class ScanQuality:
    """Findings of one CT and what they rest on; None where a value could not be measured.

    Attributes:
        codes: findings, in the order of ``QualityCode``.
        slice_mm: greater of slice distance and slice thickness.
        roi_margin_mm: least distance from the ROI to where nothing was scanned; None without ROI.
        air_hu, fat_hu, soft_hu: peaks of air, fat and soft tissue.
        noise_hu: SD in soft tissue.
        metal_mm: distance from the ROI to the nearest metal.
        cut_edge_mm: length over which the edge of the field cuts the trunk.
        enhancement, blood_hu: contrast medium in heart and great vessels, and their HU.

    """

    codes: tuple[QualityCode, ...]
    slice_mm: float
    roi_margin_mm: float | None
    air_hu: float | None
    fat_hu: float | None
    soft_hu: float | None
    noise_hu: float | None
    metal_mm: float | None
    cut_edge_mm: float
    enhancement: Verdict
    blood_hu: float | None


def check_scan(volume: CtVolume, rows: Sequence[DicomRow], roi: Mask | None, quality: Quality) -> ScanQuality:
    """Findings of one CT, from its tags and a few of its slices.

    Where the numbers are no HU (hu_implausible) nothing else is concluded from them: a wrong scale is one finding.

    Args:
        volume: the CT.
        rows: its images' headers; none where it did not come from DICOM.
        roi: bool (z, y, x) on its grid; None leaves out roi_near_border and metal_near_roi.
        quality: the study's limits.

    Raises:
        Refusal: shape_mismatch, empty_roi, or what reading the volume refuses.

    """
    geometry = volume.geometry
    box = None if roi is None else roi_box(roi, geometry)
    margin = None if roi is None or box is None else margin_mm(volume, roi, box)
    sample = sample_scan(volume)
    scale = measure_scale(sample)
    slice_mm = max(geometry.spacing_zyx_mm[0], *(row.slice_thickness_mm or 0.0 for row in rows), 0.0)
    in_hu = _in_hu(sample, scale, box, volume, quality)
    checks: dict[QualityCode, bool] = {
        "thick_slices": slice_mm > quality.max_slice_mm + _LENGTH_TOLERANCE_MM,
        "roi_near_border": margin is not None and margin < quality.roi_margin_mm - _LENGTH_TOLERANCE_MM,
        "hu_implausible": bool(scale.faults),
        **in_hu.checks,
        "lossy_compression": bool(rows) and "lossy_compression" in series_warnings(rows),
        "tilt_corrected": geometry.tilt_deg > _TILT_DEG,
    }
    return ScanQuality(
        tuple(code for code, found in checks.items() if found),
        slice_mm,
        margin,
        scale.air_hu,
        scale.fat_hu,
        scale.soft_hu,
        in_hu.noise_hu,
        in_hu.metal_mm,
        in_hu.cut_mm,
        in_hu.enhancement.verdict,
        in_hu.enhancement.blood_hu,
    )


_UNKNOWN = Enhancement("unknown", None)


@dataclass(frozen=True)
class _InHu:
    """What is concluded from the HU themselves."""

    checks: dict[QualityCode, bool]
    noise_hu: float | None = None
    metal_mm: float | None = None
    cut_mm: float = 0.0
    enhancement: Enhancement = _UNKNOWN


def _in_hu(sample: Sample, scale: HuScale, box: Box | None, volume: CtVolume, quality: Quality) -> _InHu:
    if scale.faults:
        return _InHu({})
    noise = measure_noise(sample)
    metal = None if box is None else metal_mm(sample, box, volume.geometry)
    cut = cut_edge_mm(sample, box, volume.geometry.spacing_zyx_mm[0])
    blood = enhancement_of(sample)
    faint = blood.blood_hu is not None and blood.blood_hu < quality.min_enhancement_hu
    checks: dict[QualityCode, bool] = {
        "noisy": noise is not None and noise > quality.max_noise_hu,
        "metal_near_roi": metal is not None and metal < _METAL_REACH_MM,
        "body_truncated": cut > _CUT_EDGE_MM,
        "not_enhanced": blood.verdict == "plain" or faint,
        "enhancement_unknown": blood.verdict == "unknown",
    }
    return _InHu(checks, noise, metal, cut, blood)


def check_pair(
    pre: ScanQuality,
    post: ScanQuality,
    pre_rows: Sequence[DicomRow],
    post_rows: Sequence[DicomRow],
    days: int | None,
    quality: Quality,
) -> tuple[QualityCode, ...]:
    """Findings on a patient's two CTs together.

    Args:
        pre, post: their findings.
        pre_rows, post_rows: their headers.
        days: from the first CT to the second; None where a date is missing.
        quality: the study's limits.

    """
    low, high = quality.interval_days
    sharp = [is_sharp(_kernel(rows)) for rows in (pre_rows, post_rows)]
    checks: dict[QualityCode, bool] = {
        "interval_unusual": days is not None and not low <= days <= high,
        "kernel_differs": None not in sharp and sharp[0] != sharp[1],
        "enhancement_differs": _differs(pre, post, quality.max_enhancement_difference_hu),
    }
    return tuple(code for code, found in checks.items() if found)


def _kernel(rows: Sequence[DicomRow]) -> KernelClass:
    return kernel_class(rows[0].kernel, rows[0].manufacturer) if rows else "unknown"


def _differs(pre: ScanQuality, post: ScanQuality, most_hu: float) -> bool:
    if {pre.enhancement, post.enhancement} == {"enhanced", "plain"}:
        return True
    known = pre.blood_hu is not None and post.blood_hu is not None
    return known and abs((post.blood_hu or 0.0) - (pre.blood_hu or 0.0)) > most_hu

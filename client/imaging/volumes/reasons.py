"""Why images are no CT volume in HU, by codes and not by free text; and what is doubtful in one that is.

Reason codes of images, from their tags:

- modality_not_ct, not_ct_image: another modality or class of object (0008,0060), (0008,0016).
- secondary_capture, screen_save, dose_report, localizer: no cross-section. By class or Image Type (0008,0008).
- derived_reformat: a reformat, projection or rendering: MPR, MIP, volume rendering, average.
- perfusion_map, pixel_arithmetic, material_map, monoenergetic: computed values, such as blood flow, a subtraction,
  iodine, virtual non-contrast, effective atomic number, a virtual single energy.
- multi_frame: frames of an object that is no enhanced CT.
- no_pixel_data, not_monochrome (colour, and MONOCHROME1, whose values writers invert or not), not_16_bit,
  unsupported_bit_layout: pixels that hold no HU, or in a way that does not say which bits do.
- missing_geometry: position, orientation, pixel spacing or matrix is absent or no number.
- missing_rescale, invalid_rescale, rescale_type_not_hu: stored values have no stated relation to HU.

Reason codes of a series:

- bolus_tracking: one place, or very few, again and again.
- mixed_volume: an even stack of slices that differ in what a scan has once: date, contrast medium or none, kV.
- ambiguous_interleave: two even stacks between each other's slices that may be one, or one that may be two.
- separate_scans: two scans with nothing between them. volume_cut: a part of a volume was told from the rest by a tag.
- too_few_slices, duplicate_slices, missing_slices, non_uniform_gap, gantry_tilt, excessive_tilt, non_uniform_shear,
  non_axial, invalid_orientation, differing_orientation, invalid_pixel_spacing, invalid_slice_gap,
  differing_pixel_spacing, differing_matrix_size, non_finite_geometry: see ``stack_geometry``.

Reason codes of pixels, found when they are read:

- pixel_decode_failed, unsupported_compression (nothing here decodes it), fragments_ambiguous (frames in more fragments
  than one, without a table of which is whose).
- hu_out_of_range, sign_contradicted, bits_contradicted (values that need more bits than the header says, and would look
  like tissue without them).

Warning codes:

- missing_series_uid, several_volumes_in_series, damaged_files_nearby (a file is damaged or missing, which may have
  been the first or last slice), duplicate_files_dropped (an image lay in the folder twice).
- fewer_images_than_stated, instance_numbers_start_late: the headers count more images, or images before the first.
- instance_numbers_repeat, several_acquisitions: one stack, but numbered or acquired as a few that follow one another.
- scan_tags_vary: contrast medium, manufacturer, accession number or description differ, and nothing else does.
- thickness_varies: slices of one stack differ in it by more than half.
- frame_of_reference_varies: every image has one of its own, so they were taken to share one.
- lossy_compression, derived_image, mixed_transfer_syntax, rescale_varies, rescale_type_unspecified.
- padding_above_air: where the scanner saw nothing, it wrote a value that looks like tissue.
- gap_above_thickness, instance_numbers_skip: slices do not touch, or are numbered 1, 3, 5: regularly thinned?
- orientation_rounded, orientation_varies, positions_rounded, oblique, tilt_corrected: see ``stack_geometry``.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from math import cos, isfinite, radians

from fedescc.client.imaging.headers.header import CT_IMAGE, DicomRow
from fedescc.client.imaging.headers.multiframe import MULTIFRAME_CT
from fedescc.client.imaging.volumes.geometry import Geometry

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
# Words in values 3 and on of Image Type (0008,0008): the standard's (PS3.3 C.8.2.1.1.1, C.8.16.1) and vendors'.
_FLAGS = {
    "screen_save": frozenset({"SCREEN", "SCREENSAVE", "SCREEN_SAVE", "SCREENSHOT", "CAPTURE"}),
    "dose_report": frozenset({"DOSE", "DOSE_INFO", "DOSE_REPORT", "DOSEREPORT", "PROT", "PROTOCOL"}),
    "localizer": frozenset({"LOCALIZER", "SCOUT", "SURVIEW", "REF_SURVIEW", "TOPOGRAM", "TOP", "SCANOGRAM"}),
    "derived_reformat": frozenset(
        [
            *("MPR", "CPR", "REFORMATTED", "RESAMPLED", "CURVED", "OTHER_REFORMAT", "PANORAMA", "DISTORTED"),
            *("MIP", "MINIP", "MAXIP", "MAX_IP", "MIN_IP", "MEAN_IP", "MEDIAN_IP", "STD_DEV_IP", "AVERAGE", "MEAN"),
            *("VRT", "VOLREN", "VOLUME_RENDERED", "VOLUME_RENDER", "3D", "PROJECTION", "FUSION", "ENDO"),
        ]
    ),
    "perfusion_map": frozenset(["PERFUSION", "CBF", "CBV", "MTT", "TTP", "TMAX", "PERMEABILITY"]),
    "pixel_arithmetic": frozenset(
        [
            *("SUBTRACTION", "SUBTRACT", "SUBTRACTED", "ADDITION", "DIVISION", "MULTIPLICATION"),
            *("MAXIMUM", "MINIMUM", "STD_DEVIATION", "MASKED"),
        ]
    ),
    "material_map": frozenset(
        [
            *("MAT_SPECIFIC", "MAT_REMOVED", "MAT_FRACTIONAL", "MAT_MODIFIED", "MAT_VALUE_BASED", "MATERIAL"),
            *("IODINE", "IODINE_NO_WATER", "IODINE_MAP", "WATER", "CALCIUM", "URIC_ACID", "PBV", "LUNG_PBV"),
            *("VNC", "VIRTUAL_NON_CONTRAST", "VUE", "VNI"),
            *("Z_EFF", "ZEFF", "EFF_ATOMIC_NUM", "ELECTRON_DENSITY", "RHO", "RHO_Z"),
        ]
    ),
}
_MONOENERGETIC = re.compile(r"VMI|MONO(?!CHROME)")
# JPEG baseline, extended and JPEG-LS near-lossless; JPEG 2000, its multi-component part and HTJ2K, which may be either.
ALWAYS_LOSSY = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 81))
MAYBE_LOSSY = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (91, 93, 203))
_JPEG_XL = "1.2.840.10008.1.2.4.112"
_LOSSY_SYNTAXES = ALWAYS_LOSSY | MAYBE_LOSSY | {_JPEG_XL}
_INT16_MAX = 2**15 - 1
# Padding below this looks like air, which is what lies outside the field of view.
_AIR_HU = -900
# Scanners round thickness: slices are apart when their gap exceeds it by more.
_THICKNESS_FRACTION = 1.1


def image_reasons(row: DicomRow) -> list[str]:
    """Codes of why one image is no slice of a CT volume in HU."""
    words = {word.upper() for word in " ".join(row.image_type[2:]).split()}
    secondary = row.sop_class.startswith(_SECONDARY_CAPTURE)
    checks = {
        "modality_not_ct": row.modality != "CT",
        "no_pixel_data": not row.has_pixels,
        "secondary_capture": secondary,
        "not_ct_image": not secondary and row.sop_class not in {"", CT_IMAGE, *MULTIFRAME_CT},
        **{code: bool(words & flags) for code, flags in _FLAGS.items()},
        "monoenergetic": any(_MONOENERGETIC.match(word) for word in words),
        "multi_frame": not row.frame and (row.frames > 1 or row.sop_class in MULTIFRAME_CT),
        "not_monochrome": row.samples_per_pixel != 1 or row.photometric != "MONOCHROME2",
        "not_16_bit": row.bits_allocated != 16,
        "unsupported_bit_layout": not 0 < row.bits_stored <= 16 or row.high_bit != row.bits_stored - 1,
        "missing_geometry": None in {row.position, row.orientation, row.pixel_spacing} or not row.rows * row.columns,
        # PS3.3 C.8.2.1 makes both type 1: without them stored values have no stated relation to HU.
        "missing_rescale": row.slope is None or row.intercept is None,
        # A negative slope would turn air into bone.
        "invalid_rescale": not (isfinite(row.slope or 0.0) and isfinite(row.intercept or 0.0))
        or (row.slope is not None and row.slope <= 0),
        "rescale_type_not_hu": row.rescale_type.upper() not in {"", "HU", "US"},
    }
    return [code for code, fails in checks.items() if fails]


def series_warnings(rows: Sequence[DicomRow]) -> tuple[str, ...]:
    """Codes of what is doubtful in the tags of images of one series."""
    checks = {
        "missing_series_uid": not rows[0].series_uid,
        "lossy_compression": any(row.lossy or row.transfer_syntax in _LOSSY_SYNTAXES for row in rows),
        "derived_image": any(row.image_type[:1] == ("DERIVED",) for row in rows),
        "mixed_transfer_syntax": len({row.transfer_syntax for row in rows}) > 1,
        "rescale_varies": len({(row.slope, row.intercept) for row in rows}) > 1,
        "rescale_type_unspecified": any(row.rescale_type.upper() == "US" for row in rows),
        "padding_above_air": any(_AIR_HU < _padding_hu(row) <= _INT16_MAX for row in rows),
    }
    return tuple(code for code, applies in checks.items() if applies)


def spacing_warnings(rows: Sequence[DicomRow], geometry: Geometry) -> tuple[str, ...]:
    """Codes of what speaks for lost slices in a stack that is evenly spaced; rows ascend along the normal."""
    gap = geometry.spacing_zyx_mm[0] * cos(radians(geometry.tilt_deg))
    thickness = [row.slice_thickness_mm or 0.0 for row in rows]
    numbers = [row.instance_number for row in rows if row.instance_number is not None]
    steps = {following - number for number, following in pairwise(numbers)}
    checks = {
        "gap_above_thickness": min(thickness) > 0 and gap > _THICKNESS_FRACTION * max(thickness),
        "instance_numbers_skip": len(rows) == len(numbers) > 2 and len(steps) == 1 and max(map(abs, steps)) > 1,
    }
    return tuple(code for code, applies in checks.items() if applies)


def _padding_hu(row: DicomRow) -> float:
    if row.pixel_padding is None or row.slope is None or row.intercept is None:
        return -float("inf")
    return row.pixel_padding * row.slope + row.intercept

"""What can be wrong with a CT's ROI, apart from what can be wrong with the CT: the codes of docs/intake.md's table.

Who is to do what depends on it: an ROI is drawn or corrected, a carried-over tumour bed is looked at, and a CT of poor
quality is neither.
"""

NOT_DRAWN = frozenset({"no_mask", "needs_baseline_roi"})
# The baseline ROI could not be carried over to the second CT.
NOT_CARRIED = frozenset(
    {
        "low_similarity",
        "propagated_roi_empty",
        "propagated_roi_outside_scan",
        "propagated_roi_resized",
        "registration_failed",
        "registration_implausible",
        "registration_inconsistent",
        "registration_little_overlap",
    }
)
# An ROI is there and cannot be used.
FAULTY = frozenset(
    {
        "baseline_roi_on_second_ct",
        "contour_off_slice",
        "contours_overlap",
        "duplicate_frames",
        "empty_roi",
        "grid_outside_scan",
        "malformed_contour",
        "mask_detached",
        "mask_lossy",
        "mask_not_3d",
        "mask_not_integer",
        "mask_orientation_unclear",
        "mask_truncated",
        "mask_unreadable",
        "other_geometry",
        "roi_ambiguous",
        "roi_exceeds_grid",
        "roi_truncated",
        "several_labels",
        "shape_mismatch",
        "unsupported_contour_type",
        "unsupported_mask_format",
        "unsupported_segmentation_type",
        "wrong_frame_of_reference",
    }
)

"""The tumour bed on the second CT: the ROI of the first, carried over by a registration.

One rule for every patient. What is drawn on the second CT depends on what is left of the tumour, so its size, and
whether there is anything to draw, would tell the response. The bed is the baseline ROI, moved and never scaled.
"""

import numpy as np

from fedescc.client.imaging.masks.contours import Mask
from fedescc.client.imaging.registration.register import Alignment, whole_mask
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.common.errors import Refusal

# The motion keeps volumes, but the bed is counted in the second CT's voxels. A larger change than this part of the
# volume, and than this many voxels, means slices too thick for it: its size would be the scanner's.
MAX_RESIZE = 0.5
MAX_RESIZE_VOXELS = 4


def carry(alignment: Alignment, mask: Mask, target: Geometry) -> Mask:
    """A mask of the first CT, the ROI or nodes, on the second CT's grid.

    Args:
        alignment: of the two CTs, from ``register``.
        mask: bool (z, y, x) on the first CT's grid.
        target: the second CT's grid.

    Returns:
        bool (z, y, x) on the target's grid.

    Raises:
        Refusal: shape_mismatch, empty_roi, propagated_roi_outside_scan, propagated_roi_empty or
            propagated_roi_resized.

    """
    source = alignment.source
    if mask.shape != source.shape_zyx:
        raise Refusal("shape_mismatch", f"mask {mask.shape}, CT {source.shape_zyx}", "give the mask on the first CT")
    if not mask.any():
        raise Refusal("empty_roi", "the mask marks no voxel", "draw it")
    moved = whole_mask(alignment.motion, mask, source, target)
    voxel, other_voxel = (abs(float(np.linalg.det(grid.matrix))) for grid in (source, target))
    before, after = mask.sum() * voxel, moved.sum() * other_voxel
    if abs(after - before) > max(MAX_RESIZE * before, MAX_RESIZE_VOXELS * max(voxel, other_voxel)):
        raise Refusal(
            "propagated_roi_resized",
            f"{before:.0f} mm^3 became {after:.0f} mm^3 on the second CT's voxels",
            "choose a thinner series, or draw the tumour bed on the second CT",
        )
    return moved

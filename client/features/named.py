"""Named features of a site's patients: each measure before treatment, after it, and its change."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedescc.client.features.measures import measure_scan
from fedescc.common.imaging import Imaging
from fedescc.common.tabular.features import NAMED_MEASURES

Columns = dict[str, NDArray[np.float64]]

# A volume or an area (ml, cm2) of 0 has no logarithm; what is that small counts as nothing left.
_NOTHING = 0.1


def named_columns(
    images: NDArray[np.float16], rois: NDArray[np.uint8], imaging: Imaging, advance: Callable[[], None]
) -> Columns:
    """Every named feature (n,); NaN where a scan it needs is missing.

    Args:
        images: (n, time points, z, y, x) in [0, 1], windowed.
        rois: the same shape, 1 inside the tumour bed.
        imaging: the study's.
        advance: called once a patient.

    """
    scans = np.full((len(NAMED_MEASURES), 2, len(images)), math.nan)
    for row in range(len(images)):
        for place, time_point in enumerate(imaging.time_points):
            found = measure_scan(images[row, place], rois[row, place], imaging.grid)
            scans[:, int(time_point == "post"), row] = [found[name] for name in NAMED_MEASURES]
        advance()
    columns: Columns = {}
    for (name, measure), (pre, post) in zip(NAMED_MEASURES.items(), scans, strict=True):
        change = post - pre if measure.change_unit != "log ratio" else np.log((post + _NOTHING) / (pre + _NOTHING))
        columns |= {f"{name}_pre": pre, f"{name}_post": post, f"{name}_change": change}
    return columns

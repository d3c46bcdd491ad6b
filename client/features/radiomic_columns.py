"""Radiomic features of a site's patients: each measure after treatment, and its change."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedescc.client.features.named import Columns
from fedescc.client.features.radiomics import Tissue, cut_tissue, mirp_version, radiomic_values
from fedescc.client.pool import run_all
from fedescc.common.imaging import Imaging
from fedescc.common.tabular.features import RADIOMIC_MEASURES

# Patients whose tissue is in memory at a time; each lot starts its processes anew, which takes seconds.
_LOT = 256

Pair = tuple[Tissue | None, Tissue | None]


def radiomic_columns(
    images: NDArray[np.float16], rois: NDArray[np.uint8], imaging: Imaging, advance: Callable[[], None]
) -> Columns:
    """Every radiomic feature (n,), as asinh of the measure; NaN where a scan it needs is missing.

    asinh is a logarithm for large values that also takes 0 and negative ones: it keeps energies and moments, which
    span many powers of ten, within bounds.

    Args:
        images: (n, time points, z, y, x) in [0, 1], windowed.
        rois: the same shape, 1 inside the tumour bed.
        imaging: the study's.
        advance: called once a patient.

    Raises:
        Refusal: missing-extra.

    """
    mirp_version()  # refuses before any work if there is none
    values = np.full((len(images), 2, len(RADIOMIC_MEASURES)), math.nan)
    for start in range(0, len(images), _LOT):
        lot = {str(row): _pair(images[row], rois[row], imaging) for row in range(start, min(start + _LOT, len(images)))}
        for row, found in run_all(measure_pair, lot, _nothing):
            values[int(row)] = found
            advance()
    pre, post = np.arcsinh(values.transpose(1, 2, 0))
    change = post - pre
    columns = {f"{name}_post": post[place] for place, name in enumerate(RADIOMIC_MEASURES)}
    return columns | {f"{name}_change": change[place] for place, name in enumerate(RADIOMIC_MEASURES)}


def measure_pair(pair: Pair) -> NDArray[np.float64]:
    """Measures (pre and post, names) of one patient."""
    return np.stack([radiomic_values(tissue) for tissue in pair])


def _pair(images: NDArray[np.float16], rois: NDArray[np.uint8], imaging: Imaging) -> Pair:
    tissue = {
        time_point: cut_tissue(images[place], rois[place], imaging.grid)
        for place, time_point in enumerate(imaging.time_points)
    }
    return tissue.get("pre"), tissue.get("post")


def _nothing() -> NDArray[np.float64]:
    """What is known of a patient at whom a process died."""
    return np.full((2, len(RADIOMIC_MEASURES)), math.nan)

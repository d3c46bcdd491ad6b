"""How well two registered CTs agree around an ROI, on tissue that treatment leaves as it is."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedescc.client.imaging.itk import simple_itk
from fedescc.client.imaging.registration.reduced import resampled

# Structures of this size are compared; the mean and contrast of each neighbourhood are free.
WINDOW_MM = 15.0
# Fat, muscle, wall and vessel; below all is air, above all is bright, be it bone or contrast medium.
RANGE_HU = (-200.0, 200.0)

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


class Agreement(NamedTuple):
    """``similarity``, 0 (none) to 1; ``coverage``: part of the compared tissue that lies within the second CT."""

    similarity: float
    coverage: float


def agreement(fixed: Any, shell: Any, moving: Any, transform: Any) -> Agreement:
    """Local correlation of two CTs within a shell.

    In a window around each voxel take covariance and variances over the shell's voxels, then divide the sum of
    covariances by the sum of the geometric mean variances: a local normalised cross-correlation (Cachier et al., CVIU
    2003, doi:10.1016/S1077-3142(03)00002-X) in which a neighbourhood counts as much as it has structure. Brightness
    and contrast may differ from place to place, as contrast phases do.

    Args:
        fixed: SimpleITK image, HU.
        shell: SimpleITK image, uint8, on its grid: not 0 where to compare.
        moving: SimpleITK image, HU.
        transform: SimpleITK transform from points of ``fixed`` to points of ``moving``.

    """
    one, inside = (simple_itk().GetArrayViewFromImage(image) for image in (fixed, shell))
    other = resampled(moving, fixed, transform)
    seen = (inside != 0) & np.isfinite(other)
    if not seen.any():
        return Agreement(0.0, 0.0)
    window = [max(3, round(WINDOW_MM / s) | 1) for s in fixed.GetSpacing()[::-1]]
    similarity = max(0.0, min(1.0, _local_correlation(one, other, seen, window)))
    return Agreement(similarity, float(seen.sum() / (inside != 0).sum()))


def _local_correlation(one: Floats, other: Floats, seen: NDArray[np.bool_], window: list[int]) -> float:
    from scipy.ndimage import uniform_filter

    def summed(values: Doubles) -> Doubles:
        around: Doubles = uniform_filter(np.where(seen, values, 0), window, mode="constant")[seen]
        return around

    a, b = (np.clip(hu, *RANGE_HU).astype(np.float64) for hu in (one, other))
    weight = summed(np.ones(a.shape))
    mean_a, mean_b = summed(a) / weight, summed(b) / weight
    covariance = summed(a * b) / weight - mean_a * mean_b
    variance_a = np.maximum(summed(a * a) / weight - mean_a**2, 0)
    variance_b = np.maximum(summed(b * b) / weight - mean_b**2, 0)
    spread = float(np.sqrt(variance_a * variance_b).sum())
    return float(covariance.sum()) / spread if spread > 0 else 0.0

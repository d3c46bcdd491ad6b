"""Where in one CT a part of another lies: every translation at once, by masked cross-correlation.

Origins of two scans of one patient differ by hundreds of millimetres (table, landmark, scanner), so that no local
optimiser can start from them, and vertebrae and ribs repeat every 25 mm, so that it would stop one level off.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedescc.client.imaging.itk import simple_itk
from fedescc.client.imaging.registration.reduced import resampled
from fedescc.client.imaging.volumes.geometry import FloatArray

STEP_MM = 8.0
# Half-size (x, y, z) of the part that is searched for: the whole cross-section, 16 cm along the patient.
REACH_MM = (140.0, 140.0, 80.0)
# A position where less of the part meets the scan is no candidate: a sliver agrees with anything.
MIN_SHARE = 0.3
# Less information than this (a correlation of 0.14) is none; rounding makes some.
MIN_SCORE = 0.01
# Perfect correlation would be infinite information.
MAX_R = 0.999
# Soft tissue is all one here: contrast medium must not matter, and lungs, airway and outline show the place.
_WINDOW_HU = (-1000.0, 200.0)
_SIGMA_MM = STEP_MM / (2 * np.sqrt(2 * np.log(2)))

Floats = NDArray[np.float32]


class Offset(NamedTuple):
    """A translation (xyz, mm) from the first CT to the second, and its score (nats a voxel of the part)."""

    translation_mm: tuple[float, float, float]
    score: float


def find_offsets(fixed: Any, centre_xyz_mm: FloatArray, moving: Any, count: int) -> list[Offset]:
    """The best translations that bring the part of ``fixed`` around ``centre_xyz_mm`` onto ``moving``, best first.

    Each belongs to another level along z. The score is ``information``: correlation alone would favour positions
    where the scans hardly overlap. r is the masked normalised cross-correlation of Padfield (IEEE Trans
    Image Process 2012, doi:10.1109/TIP.2011.2181402), here without anti-correlation.

    Args:
        fixed: SimpleITK image, HU.
        centre_xyz_mm: where the part lies, in LPS.
        moving: SimpleITK image, HU.
        count: how many at most; fewer where the scans hardly meet, none where they do not.

    """
    low, high = _bounds(fixed)
    reach = np.asarray(REACH_MM)
    low, high = np.maximum(low, centre_xyz_mm - reach), np.minimum(high, centre_xyz_mm + reach)
    start, end = _bounds(moving)
    part, scan = _axis_aligned(fixed, low, high), _axis_aligned(moving, start, end)
    score = _score(part, scan)
    found = []
    for _ in range(count):
        peak = np.unravel_index(int(score.argmax()), score.shape)
        if score[peak] < MIN_SCORE:
            break
        steps = np.asarray(peak) - (np.asarray(part.shape) - 1)
        x, y, z = (float(v) for v in steps[::-1] * STEP_MM + start - low)
        found.append(Offset((x, y, z), float(score[peak])))
        score[max(0, int(peak[0]) - 1) : int(peak[0]) + 2] = 0
    return found


def information(r: ArrayLike, share: ArrayLike) -> NDArray[np.float64]:
    """Nats a voxel that two Gaussian variables of correlation r share, times the part that is seen of both.

    No anti-correlation: two CTs of one body have none.
    """
    nats: NDArray[np.float64] = -0.5 * np.log1p(-(np.clip(r, 0, MAX_R) ** 2)) * np.asarray(share)
    return nats


def _bounds(image: Any) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest coordinates (xyz, mm) of an image's voxel centres."""
    last = [size - 1 for size in image.GetSize()]
    corners = [[i * last[0], j * last[1], k * last[2]] for i, j, k in np.ndindex(2, 2, 2)]
    points = np.array([image.TransformIndexToPhysicalPoint(corner) for corner in corners])
    return points.min(axis=0), points.max(axis=0)


def _axis_aligned(image: Any, low: FloatArray, high: FloatArray) -> Floats:
    """HU (z, y, x) every ``STEP_MM`` in patient axes between two corners, smoothed; NaN outside the image."""
    from scipy.ndimage import gaussian_filter

    itk = simple_itk()
    sigma = _SIGMA_MM / np.asarray(image.GetSpacing())[::-1]
    smooth = itk.GetImageFromArray(gaussian_filter(itk.GetArrayViewFromImage(image), sigma, mode="nearest"))
    smooth.CopyInformation(image)
    grid = itk.Image([int(n) + 1 for n in np.maximum(np.floor((high - low) / STEP_MM), 0)], itk.sitkUInt8)
    grid.SetOrigin(low.tolist())
    grid.SetSpacing([STEP_MM] * 3)
    return resampled(smooth, grid)


def _score(part: Floats, scan: Floats) -> Floats:
    """Score of every shift; index part.shape - 1 means that first voxels coincide."""
    from scipy.fft import irfftn, next_fast_len, rfftn

    full = [a + b - 1 for a, b in zip(part.shape, scan.shape, strict=True)]
    padded = [next_fast_len(n, real=True) for n in full]
    f, f_in = _scaled(part[::-1, ::-1, ::-1])
    m, m_in = _scaled(scan)
    F, FF, F1, M, MM, M1 = (rfftn(a, padded) for a in (f, f * f, f_in, m, m * m, m_in))
    count = np.maximum(irfftn(F1 * M1, padded), 1)
    sum_f, sum_m = irfftn(F * M1, padded), irfftn(F1 * M, padded)
    covariance = irfftn(F * M, padded) - sum_f * sum_m / count
    variance_f = irfftn(FF * M1, padded) - sum_f**2 / count
    variance_m = irfftn(F1 * MM, padded) - sum_m**2 / count
    # Flat regions have no correlation; rounding would give them any.
    spread = np.sqrt(np.maximum(variance_f, 1e-3 * count) * np.maximum(variance_m, 1e-3 * count))
    share = count / max(float(f_in.sum()), 1)
    score = np.where(share >= MIN_SHARE, information(covariance / spread, share), 0)
    cut: Floats = score[tuple(slice(0, n) for n in full)].astype(np.float32)
    return cut


def _scaled(hu: Floats) -> tuple[Floats, Floats]:
    """Values of order 1 around 0, for exact float32 sums, and where there are any."""
    low, high = _WINDOW_HU
    inside = np.isfinite(hu)
    values = (np.clip(np.where(inside, hu, low), low, high) - (low + high) / 2) / ((high - low) / 2)
    return (values * inside).astype(np.float32), inside.astype(np.float32)

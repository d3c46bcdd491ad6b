"""The rigid fit of two whole CTs that a finer one can start from."""

from typing import Any

import numpy as np

from fedescc.client.imaging.itk import simple_itk
from fedescc.client.imaging.registration.fitting import Schedule, fit
from fedescc.client.imaging.registration.reduced import resampled
from fedescc.client.imaging.registration.search import MIN_SHARE, find_offsets, information
from fedescc.client.imaging.volumes.geometry import FloatArray

# Levels along the patient that are tried.
LEVELS = 3
# ... unless they score worse than this part of the best.
LEAST_SCORE = 0.7
# Half-size (x, y, z), mm, of the part that is fitted: the thorax without the arms.
PART_MM = (110.0, 110.0, 70.0)
# Soft tissue and what contrast medium makes of it are one here.
_SCHEDULE = Schedule("correlation", (-800, 200), 8_000, (4.0, 0.1), 40)


def rough_fit(fixed: Any, centre_xyz_mm: FloatArray, moving: Any) -> Any:
    """Euler3DTransform, about ``centre_xyz_mm``, that brings the thorax around that point onto the other scan.

    From the best few offsets one fit each; the one whose images share most information is kept. A fit at the wrong
    level often has the best correlation of what little overlaps, so overlap counts too.

    Args:
        fixed: SimpleITK image, float32 HU, a few mm a voxel.
        centre_xyz_mm: in LPS.
        moving: SimpleITK image, float32 HU.

    Raises:
        RuntimeError: the scans hardly overlap wherever they are put, or ITK's.

    """
    itk = simple_itk()
    part = _around(fixed, centre_xyz_mm)
    fits = []
    offsets = find_offsets(fixed, centre_xyz_mm, moving, LEVELS)
    for offset in (one for one in offsets if one.score >= LEAST_SCORE * offsets[0].score):
        start = itk.Euler3DTransform()
        start.SetCenter([float(v) for v in centre_xyz_mm])
        start.SetTranslation(offset.translation_mm)
        fits.append(fit(part, moving, start, _SCHEDULE))
    if not fits:
        raise RuntimeError("no offset at which the scans overlap")
    return max(fits, key=lambda transform: _shared(part, moving, transform))


def _around(image: Any, centre: FloatArray) -> Any:
    """The part of an image within ``PART_MM`` of a point."""
    ends = [np.asarray(centre) - PART_MM, np.asarray(centre) + PART_MM]
    index = np.array([image.TransformPhysicalPointToContinuousIndex(end.tolist()) for end in ends])
    last = np.asarray(image.GetSize()) - 1
    lo = np.clip(np.floor(index.min(axis=0)), 0, last).astype(int)
    hi = np.clip(np.ceil(index.max(axis=0)), lo, last).astype(int)
    return image[tuple(slice(int(a), int(b) + 1) for a, b in zip(lo, hi, strict=True))]


def _shared(fixed: Any, moving: Any, transform: Any) -> float:
    one, other = simple_itk().GetArrayViewFromImage(fixed), resampled(moving, fixed, transform)
    both = np.isfinite(other)
    if both.mean() < MIN_SHARE:
        return 0.0
    a, b = (np.clip(hu[both].astype(np.float64), *_SCHEDULE.window_hu) for hu in (one, other))
    spread = a.std() * b.std()
    r = float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 0 else 0.0
    return float(information(r, both.mean()))

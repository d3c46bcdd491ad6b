"""Whether a scan's numbers are HU: air, fat and soft tissue lie where they must."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedescc.client.imaging.quality.tissue import AIR_HU, Bools, Floats, Sample

Fault = Literal[
    "air_shifted", "darker_than_air", "tissue_too_dark", "tissue_too_dense", "nothing_dark", "no_soft_tissue"
]

# By definition of the HU air has -1000 and water 0. Calibration, clipping at -1024, clothes and foam move the air
# around a patient a little: its peak is at -1000 to -990 on four real series.
_AIR_HU = -1000.0
_AIR_TOLERANCE_HU = 75.0
# What touches the border may be a lung that a small field of view cuts. It is air if it fills all corners of a slice
# and, where it is as grey as lung, if there is lung apart from it.
_MIN_LUNG_CM3 = 100.0
_LUNG_HIGH_HU = -600.0
# Below what noise and clipping make of air nothing exists but padding, which has no noise.
_DARKEST_HU = -1080.0
_DARKEST_SHARE = 0.02
# Homogeneous tissue is fat (-130 to -60 HU), soft tissue, blood with contrast medium (to 500 HU) or, in small parts,
# bone; only edges and lung lie between air and fat. Twice the HU put fat at -200, a missing intercept all tissue at
# 900 to 1100. On four real series and 30 phantoms 0.01 % or less lies elsewhere.
_BODY_HU = -450.0
_FAT_LOW_HU = -170.0
_DENSE_HU = 500.0
_MISPLACED_SHARE = 0.1
# Every trunk, limb or head has fat, lung or air around it (42 % of the picture or more on those scans), and every
# body soft tissue (25 % of it or more).
_DARK_HU = -50.0
_DARK_SHARE = 0.005
_SOFT_HU = (-20.0, 150.0)
_SOFT_SHARE = 0.05
_MIN_BODY_SHARE = 0.005
_MIN_FIELD_CM3 = 50.0  # of a smaller picture nothing is said
_PEAK_BIN_HU = 5.0
_MIN_PEAK_CM3 = 20.0


class HuScale(NamedTuple):
    """Most frequent HU of the air around the patient, of fat and of soft tissue (None: too little), and faults.

    A missing peak is no fault by itself: small fields of view hold no air, lean patients no fat.
    """

    air_hu: float | None
    fat_hu: float | None
    soft_hu: float | None
    faults: tuple[Fault, ...]


def measure_scale(sample: Sample) -> HuScale:
    """Peaks of air, fat and soft tissue, and what speaks against the rescale to HU.

    Finds a missing or doubled intercept, a wrong slope, and images that show no body; not an error of a few tens of
    HU where no air is in the picture. Heuristic; the limits lie far from what right scans show (see the constants).
    """
    field = _away_from(sample.unscanned)
    inside = sample.homogeneous & field
    air = _peak(sample, inside & sample.outside & _framed(sample)[:, None, None], (-np.inf, np.inf))
    fat = _peak(sample, inside, (-160.0, -40.0))
    soft = _peak(sample, inside, (0.0, 100.0))
    if float(field.sum()) * sample.block_cm3 < _MIN_FIELD_CM3:
        return HuScale(air, fat, soft, ())
    faults = _faults(sample.smooth[field], sample.smooth[inside])
    return HuScale(air, fat, soft, ("air_shifted", *faults) if _is_shifted(air, sample) else faults)


def _framed(sample: Sample) -> Bools:
    """Slices (z) whose four corners lie outside the patient."""
    return np.asarray(sample.outside[:, [0, 0, -1, -1], [0, -1, 0, -1]].all(axis=1))


def _is_shifted(air: float | None, sample: Sample) -> bool:
    if air is None or abs(air - _AIR_HU) <= _AIR_TOLERANCE_HU:
        return False
    like_lung = _AIR_HU < air < _LUNG_HIGH_HU
    return not like_lung or float(sample.lung.sum()) * sample.block_cm3 >= _MIN_LUNG_CM3


def _faults(smooth: Floats, homogeneous: Floats) -> tuple[Fault, ...]:
    tissue = homogeneous[homogeneous > _BODY_HU]
    body = smooth[smooth > AIR_HU]
    low, high = _SOFT_HU
    soft = _share((body > low) & (body < high))
    checks: dict[Fault, bool] = {
        "darker_than_air": _share(smooth < _DARKEST_HU) > _DARKEST_SHARE,
        "tissue_too_dark": _share(tissue < _FAT_LOW_HU) > _MISPLACED_SHARE,
        "tissue_too_dense": _share(tissue > _DENSE_HU) > _MISPLACED_SHARE,
        "nothing_dark": _share(smooth < _DARK_HU) < _DARK_SHARE,
        "no_soft_tissue": soft < _SOFT_SHARE or len(body) < _MIN_BODY_SHARE * len(smooth),
    }
    return tuple(fault for fault, found in checks.items() if found)


def _share(of: NDArray[np.bool_]) -> float:
    return float(of.mean()) if of.size else 0.0


def _away_from(unscanned: Bools) -> Bools:
    """Blocks whose 3 x 3 neighbourhood holds no padding, nor a block that is partly padding.

    The outermost two go as well: where a round field touches the border, every block there may be mixed.
    """
    from scipy import ndimage

    away = np.asarray(~ndimage.binary_dilation(unscanned, np.ones((1, 3, 3), bool), 2))
    inner = np.zeros_like(away)
    inner[:, 2:-2, 2:-2] = away[:, 2:-2, 2:-2]
    return inner


def _peak(sample: Sample, where: Bools, between: tuple[float, float]) -> float | None:
    """Most frequent smoothed HU; None below 20 cm3."""
    hu = sample.smooth[where]
    hu = hu[(hu > between[0]) & (hu < between[1])]
    if hu.size * sample.block_cm3 < _MIN_PEAK_CM3:
        return None
    bins = np.rint(hu / _PEAK_BIN_HU).astype(np.int64)
    count = np.bincount(bins - bins.min())
    return float((count.argmax() + bins.min()) * _PEAK_BIN_HU)

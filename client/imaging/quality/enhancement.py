"""Contrast medium in the heart and great vessels, measured in the image."""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedescc.client.imaging.quality.tissue import Bools, Sample, sample_scan
from fedescc.client.imaging.volumes.volume import CtVolume

Verdict = Literal["enhanced", "plain", "unknown"]

# Blood has 30 to 60 HU without contrast medium, up to 80 at a high haematocrit, and 100 to 400 in the phases that
# are read; undiluted medium in an arm's vein or in the superior vena cava lies above 500.
_POOL_HU = (85.0, 500.0)
_PLAIN_HIGH_HU = 80.0
# A pool of blood is brighter than most of what surrounds it (fat, lung, myocardium) and touches little that is
# brighter still; cancellous bone lies in a brighter shell. The score is the part of the surrounding 9 mm that is
# darker than the pool, less the part that is brighter, by these: it was 0.51 or more in hearts, vessels and enhanced
# tumours and 0.19 or less in spines, with nothing between (85 regions of three real series and 30 phantoms).
_DARKER_HU = 40.0
_BRIGHTER_HU = 60.0
_BLOOD_SCORE = 0.33
_BONE_BRIGHTER = 0.25
_SHELL_BLOCKS = 3
_MIN_POOL_CM3 = 2.0
_MIN_BONE_CM3 = 0.3
# Blood runs through every slice of the chest; contrast medium in the gut, a goitre or a barium swallow do not.
_VESSEL_CM2 = 0.2  # what is left of a descending aorta of 19 mm without the blocks at its edge
_ENHANCED_SHARE = 0.6
_PLAIN_SHARE = 0.1
_MIN_ENHANCED_MM = 20.0
# Calling a CT plain may cost a patient, so it takes a length of chest with soft tissue between the lungs.
_MIN_PLAIN_MM = 30.0
_MIN_PLAIN_CM3 = 5.0
_MIN_PLAIN_COVER = 0.8
_PLAIN_PERCENTILE = 95
# Slices with much lung show the mediastinum rather than the neck or the upper abdomen.
_MIN_LUNG_CM2 = 20.0
_CHEST_SHARE = 0.4
# Of a pool that belongs to the mediastinum at least this part lies between the lungs.
_CENTRAL_SHARE = 0.25


class Enhancement(NamedTuple):
    """Whether blood is enhanced, and its HU where that could be measured.

    ``blood_hu``: of the brightest pool in each slice, the median over the chest; of a plain CT the median of the soft
    tissue between the lungs, of which blood is the greater part.
    """

    verdict: Verdict
    blood_hu: float | None


class _Pools(NamedTuple):
    """Homogeneous bright regions: labels (z, y, x) and, by label, whether blood or bone, and the median HU."""

    label: NDArray[np.int32]
    blood: Bools
    bone: Bools
    hu: NDArray[np.float64]


def measure_enhancement(volume: CtVolume) -> Enhancement:
    """Whether the heart and great vessels hold contrast medium, from the image alone.

    Heuristic, by thresholds measured on real series and phantoms: ``enhanced`` takes a pool of blood above 85 HU in
    most slices of the chest, or of the whole scan if it shows no lungs; ``plain`` takes both lungs, soft tissue
    between them in most slices and nearly none of it above 80 HU; all else (head, legs, a few slices, much noise, a
    lung that is cut off, faint enhancement) is ``unknown``.

    Raises:
        Refusal: what reading the volume refuses.

    """
    return enhancement_of(sample_scan(volume))


def enhancement_of(sample: Sample) -> Enhancement:
    """As ``measure_enhancement``, of a scan that has been sampled."""
    chest, has_lungs = _chest(sample)
    length_mm = float(chest.sum()) * sample.spacing_zyx_mm[0]
    pools = _pools(sample)
    brightest = _brightest(sample, pools)[chest]
    share = float(np.isfinite(brightest).mean())
    if share >= _ENHANCED_SHARE and length_mm >= _MIN_ENHANCED_MM:
        return Enhancement("enhanced", float(np.nanmedian(brightest)))
    if has_lungs and share <= _PLAIN_SHARE and length_mm >= _MIN_PLAIN_MM:
        return _plain(sample, chest, pools)
    return Enhancement("unknown", None)


def _chest(sample: Sample) -> tuple[Bools, bool]:
    """Slices (z) that show the chest, or all where there is no lung; and whether there is."""
    lung_cm2 = sample.lung.sum(axis=(1, 2)) * sample.block_cm2
    chest = np.asarray(lung_cm2 >= max(_MIN_LUNG_CM2, _CHEST_SHARE * float(lung_cm2.max())))
    return (chest, True) if chest.any() else (~chest, False)


def _pools(sample: Sample) -> _Pools:
    from scipy import ndimage

    low, high = _POOL_HU
    label, count = ndimage.label(sample.homogeneous & (sample.smooth > low) & (sample.smooth < high))
    volume = _sums(label, count, None) * sample.block_cm3
    central = _sums(label, count, sample.between_lungs) * sample.block_cm3 >= _CENTRAL_SHARE * volume
    blood, bone, hu = np.zeros(count + 1, bool), np.zeros(count + 1, bool), np.zeros(count + 1)
    for i, box in enumerate(ndimage.find_objects(label), start=1):
        if volume[i] < _MIN_BONE_CM3:
            continue
        wide = (box[0], *(slice(max(0, s.start - _SHELL_BLOCKS), s.stop + _SHELL_BLOCKS) for s in box[1:]))
        inside = label[wide] == i
        hu[i] = np.median(sample.smooth[wide][inside])
        shell = sample.hu[wide][_shell(inside)]
        if not shell.size:
            continue
        brighter = float(np.mean(shell > hu[i] + _BRIGHTER_HU))
        darker = float(np.mean(shell < hu[i] - _DARKER_HU))
        bone[i] = brighter > _BONE_BRIGHTER
        blood[i] = volume[i] >= _MIN_POOL_CM3 and darker - brighter > _BLOOD_SCORE
    if (blood & central).any():
        blood &= central
    return _Pools(label, blood, bone, hu)


def _sums(label: NDArray[np.int32], count: int, weights: NDArray[Any] | None) -> NDArray[Any]:
    """Sum of the weights by label; number of blocks without weights."""
    flat = None if weights is None else weights.ravel()
    return np.bincount(label.ravel(), weights=flat, minlength=count + 1)


def _shell(inside: Bools) -> Bools:
    """What surrounds a region within each slice, from the second block out; the first lies on its edge."""
    from scipy import ndimage

    square = np.ones((1, 3, 3), bool)
    edge = ndimage.binary_dilation(inside, square)
    return np.asarray(ndimage.binary_dilation(edge, square, _SHELL_BLOCKS - 1) & ~edge)


def _brightest(sample: Sample, pools: _Pools) -> NDArray[np.float64]:
    """HU (z) of the brightest pool of blood in each slice; NaN where there is none."""
    brightest = np.full(len(pools.label), np.nan)
    for k, plane in enumerate(pools.label):
        area_cm2 = _sums(plane, len(pools.blood) - 1, None) * sample.block_cm2
        present = pools.blood & (area_cm2 >= _VESSEL_CM2)
        if present.any():
            brightest[k] = pools.hu[present].max()
    return brightest


def _plain(sample: Sample, chest: Bools, pools: _Pools) -> Enhancement:
    """``plain`` if there is enough soft tissue between the lungs and next to none of it is bright."""
    tissue = sample.between_lungs & chest[:, None, None] & sample.homogeneous & ~pools.bone[pools.label]
    tissue &= (sample.smooth > 0) & (sample.smooth < _POOL_HU[1])
    cover = float(np.mean(tissue[chest].sum(axis=(1, 2)) * sample.block_cm2 >= _VESSEL_CM2))
    if float(tissue.sum()) * sample.block_cm3 < _MIN_PLAIN_CM3 or cover < _MIN_PLAIN_COVER:
        return Enhancement("unknown", None)
    hu = sample.smooth[tissue]
    if np.percentile(hu, _PLAIN_PERCENTILE) > _PLAIN_HIGH_HU:
        return Enhancement("unknown", None)
    return Enhancement("plain", float(np.median(hu)))

"""The measure that judges a registration, recomputed window by window."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from fedescc.client.imaging.itk import simple_itk
from fedescc.client.imaging.registration.agreement import RANGE_HU, WINDOW_MM, agreement
from fedescc.client.imaging.registration.reduced import image_of
from fedescc.client.imaging.volumes.geometry import Geometry

SHAPE = (12, 14, 16)
GRID = Geometry(SHAPE, (5.0, 3.0, 3.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))


def tissue(seed: int, mean: float = 0.0, sd: float = 60.0) -> np.ndarray:
    field = gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 1.0)
    return (mean + sd * field / field.std()).astype(np.float32)


def compare(one: np.ndarray, other: np.ndarray, shell: np.ndarray | None = None, move=(0.0, 0.0, 0.0)):
    everywhere = np.ones(SHAPE, np.uint8) if shell is None else shell.astype(np.uint8)
    images = [image_of(values, GRID.spacing_zyx_mm, np.zeros(3), GRID) for values in (one, everywhere, other)]
    return agreement(*images, simple_itk().TranslationTransform(3, move))


def recomputed(one: np.ndarray, other: np.ndarray, shell: np.ndarray) -> float:
    half = [max(3, round(WINDOW_MM / s) | 1) // 2 for s in GRID.spacing_zyx_mm]
    a, b = (np.clip(v.astype(np.float64), *RANGE_HU) for v in (one, other))
    above = below = 0.0
    for index in np.argwhere(shell):
        window = tuple(slice(max(0, i - h), i + h + 1) for i, h in zip(index, half, strict=True))
        u, v = a[window][shell[window]], b[window][shell[window]]
        above += np.cov(u, v, bias=True)[0, 1] if len(u) > 1 else 0
        below += u.std() * v.std()
    return above / below


def test_equals_a_loop_over_windows() -> None:
    shell = np.random.default_rng(8).random(SHAPE) < 0.4
    one = tissue(0, sd=150)
    other = one + tissue(1, sd=80)
    found = compare(one, other, shell)
    assert found.similarity == pytest.approx(recomputed(one, other, shell), abs=1e-6)
    assert 0.7 < found.similarity < 0.95
    assert found.coverage == 1


def test_the_same_tissue_agrees_wholly_whatever_its_brightness() -> None:
    one = tissue(0, sd=30)
    assert compare(one, one).similarity == pytest.approx(1)
    assert compare(one, 0.5 * one + 40).similarity == pytest.approx(1)


def test_other_tissue_and_the_negative_do_not_agree() -> None:
    assert compare(tissue(0), tissue(1)).similarity < 0.15
    assert compare(tissue(0), -tissue(0)).similarity == 0


def test_bone_and_contrast_medium_are_alike() -> None:
    one = np.where(tissue(2) > 0, np.float32(250), np.float32(0))
    assert compare(one, np.where(one > 0, np.float32(900), np.float32(0))).similarity == pytest.approx(1)


def test_what_lies_outside_the_shell_does_not_matter() -> None:
    shell = np.zeros(SHAPE, bool)
    shell[:, :, :8] = True
    one, other = tissue(0), tissue(0)
    other[:, :, 8:] = -other[:, :, 8:]
    assert compare(one, other, shell).similarity == pytest.approx(1)
    assert compare(one, other).similarity < 0.5


def test_coverage_is_the_part_of_the_shell_in_the_second_scan() -> None:
    found = compare(tissue(0), tissue(0), move=(0.0, 0.0, 5.0 * 9))
    assert found.coverage == pytest.approx(3 / 12)
    assert compare(tissue(0), tissue(0), move=(0.0, 0.0, 900.0)) == (0.0, 0.0)


def test_flat_images_agree_in_nothing() -> None:
    flat = np.full(SHAPE, 40, np.float32)
    assert compare(flat, flat).similarity == 0

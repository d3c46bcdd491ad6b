"""Rigid fits: a known motion is found, the same bits come back, ITK's settings are left as they were."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from fedescc.client.imaging.registration.fitting import Schedule, fit
from fedescc.client.imaging.registration.reduced import image_of, resampled
from fedescc.client.imaging.volumes.geometry import Geometry

SHAPE = (30, 36, 40)
GRID = Geometry(SHAPE, (3.0, 2.5, 2.5), (10.0, 20.0, -60.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
MIDDLE = GRID.index_to_physical([19.5, 17.5, 14.5])
SCHEDULES = [
    Schedule("correlation", (-800, 200), 20_000, (4.0, 0.02), 80),
    Schedule("mutual_information", (-500, 300), 20_000, (2.0, 0.02), 80),
]


def tissue(seed: int = 0) -> sitk.Image:
    field = gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 3)
    values = np.where(field > 0.3 * field.std(), 40, -300).astype(np.float32)
    return image_of(gaussian_filter(values, 0.7), GRID.spacing_zyx_mm, np.asarray(GRID.origin_xyz_mm), GRID)


def motion(turn: tuple[float, ...] = (0.0, 0.0, 0.0), move: tuple[float, ...] = (0.0, 0.0, 0.0)):
    transform = sitk.Euler3DTransform()
    transform.SetCenter(MIDDLE.tolist())
    transform.SetRotation(*turn)
    transform.SetTranslation(move)
    return transform


def moved(image: sitk.Image, truth: sitk.Transform) -> sitk.Image:
    """What ``truth`` maps points of the image to."""
    values = np.nan_to_num(resampled(image, image, truth.GetInverse()), nan=-300)
    return image_of(values, GRID.spacing_zyx_mm, np.asarray(GRID.origin_xyz_mm), GRID)


def inner() -> sitk.Image:
    mask = np.zeros(SHAPE, np.uint8)
    mask[6:-6, 6:-6, 6:-6] = 1
    return image_of(mask, GRID.spacing_zyx_mm, np.asarray(GRID.origin_xyz_mm), GRID)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.metric)
@pytest.mark.parametrize("masked", [False, True])
def test_a_known_motion_is_found(schedule: Schedule, masked: bool) -> None:
    truth = motion((0.05, -0.04, 0.06), (4.0, -3.0, 5.0))
    image = tissue()
    found = fit(image, moved(image, truth), motion(), schedule, inner() if masked else None)
    for point in ((40.0, 40.0, -30.0), (80.0, 90.0, 10.0), MIDDLE.tolist()):
        gap = np.subtract(found.TransformPoint(point), truth.TransformPoint(point))
        assert np.linalg.norm(gap) < 0.5


def test_mutual_information_does_not_mind_another_contrast() -> None:
    truth = motion((0.0, 0.03, 0.0), (3.0, 2.0, -3.0))
    image = tissue()
    other = moved(image, truth) * -0.4 - 60.0
    found = fit(image, sitk.Cast(other, sitk.sitkFloat32), motion(), SCHEDULES[1], inner())
    gap = np.subtract(found.TransformPoint(MIDDLE.tolist()), truth.TransformPoint(MIDDLE.tolist()))
    assert np.linalg.norm(gap) < 0.5


def test_only_the_mask_is_looked_at() -> None:
    """Everything outside it moves elsewhere."""
    mask, image = inner(), tissue()
    truth = motion(move=(2.0, -2.0, 3.0))
    inside = sitk.GetArrayFromImage(moved(image, truth))
    keep = resampled(sitk.Cast(mask, sitk.sitkFloat32), mask, truth.GetInverse()) > 0.01
    values = np.where(keep, inside, sitk.GetArrayFromImage(tissue(9)))
    other = image_of(values, GRID.spacing_zyx_mm, np.asarray(GRID.origin_xyz_mm), GRID)
    found = fit(image, other, motion(), SCHEDULES[1], mask)
    assert np.linalg.norm(np.subtract(found.GetTranslation(), (2.0, -2.0, 3.0))) < 0.5


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.metric)
def test_the_same_bits_every_time_and_settings_as_before(schedule: Schedule) -> None:
    image = tissue()
    other = moved(image, motion(move=(3.0, 1.0, 2.0)))
    few = schedule._replace(samples=4000)
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    results = set()
    try:
        for threads in (1, 2, 3, 3):
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
            results.add(fit(image, other, motion(), few).GetParameters())
            assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == threads
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert len(results) == 1


def test_the_start_is_not_changed_and_a_failure_leaves_settings_alone() -> None:
    image, start = tissue(), motion(move=(2000.0, 0.0, 0.0))
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    with pytest.raises(RuntimeError, match="samples"):
        fit(image, image, start, SCHEDULES[1])
    assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == before
    near = motion(move=(3.0, 0.0, 0.0))
    fit(image, image, near, SCHEDULES[0])
    assert near.GetTranslation() == (3.0, 0.0, 0.0)

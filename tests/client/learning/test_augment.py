"""Flips and shifts are exact, shared by image and ROI, and driven by the generator alone."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fedescc.client.learning.augment import Draws, apply, draw
from fedescc.client.learning.dataset import Batch, SiteTensors
from fedescc.common.federation import Augmentation
from fedescc.common.study import Study

NO_CHANGE = np.ones((2, 2), np.float32), np.zeros((2, 2), np.float32)


@pytest.fixture
def batch(imaging_study: Study, make_tensors: Callable[..., SiteTensors]) -> Batch:
    return make_tensors(imaging_study, 2).batch(np.arange(2))


def test_no_flip_shift_or_jitter_changes_nothing(batch: Batch) -> None:
    assert all(map(torch.equal, apply(Draws((), (0, 0, 0), *NO_CHANGE), batch), batch))


def test_flips_mirror_the_axes_named(batch: Batch) -> None:
    changed = apply(Draws((0, 2), (0, 0, 0), *NO_CHANGE), batch)
    assert torch.equal(changed.images, batch.images.flip(2, 4))
    assert torch.equal(changed.rois, batch.rois.flip(2, 4))


def test_shift_moves_towards_higher_indices_and_fills_with_zero(batch: Batch) -> None:
    changed = apply(Draws((), (2, -3, 0), *NO_CHANGE), batch)
    for before, after in ((batch.images, changed.images), (batch.rois, changed.rois)):
        assert torch.equal(after[:, :, 2:, :-3], before[:, :, :-2, 3:])
        assert not after[:, :, :2].any()
        assert not after[:, :, :, -3:].any()


def test_intensity_is_per_scan_and_spares_the_roi(batch: Batch) -> None:
    scale, offset = np.array([[1, 2], [3, 4]], np.float32), np.array([[0, 0.5], [0, 0]], np.float32)
    changed = apply(Draws((), (0, 0, 0), scale, offset), batch)
    assert torch.allclose(changed.images[0, 1], 2 * batch.images[0, 1] + 0.5)
    assert torch.allclose(changed.images[1, 0], 3 * batch.images[1, 0])
    assert torch.equal(changed.rois, batch.rois)
    assert changed.clinical is batch.clinical
    assert changed.labels is batch.labels


def test_the_batch_given_is_left_alone(batch: Batch) -> None:
    kept = batch.images.clone()
    apply(draw(Augmentation(), 2, 2, np.random.default_rng(1)), batch)
    assert torch.equal(batch.images, kept)


def test_draws_repeat_with_the_generator_and_stay_in_reach() -> None:
    first, again = (draw(Augmentation(shift_voxels=4), 8, 2, np.random.default_rng(7)) for _ in range(2))
    assert (first.flips, first.shift) == (again.flips, again.shift)
    assert np.array_equal(first.scale, again.scale)
    rng = np.random.default_rng(0)
    shifts = np.array([draw(Augmentation(shift_voxels=2), 2, 2, rng).shift for _ in range(300)])
    assert set(shifts.ravel().tolist()) == {-2, -1, 0, 1, 2}


def test_moments_of_the_draws() -> None:
    rng = np.random.default_rng(3)
    draws = [draw(Augmentation(intensity=0.1), 50, 2, rng) for _ in range(400)]
    scale, offset = (np.concatenate([getattr(d, name) for d in draws]) for name in ("scale", "offset"))
    assert scale.mean() == pytest.approx(1, abs=0.002)  # 40,000 draws: 4 standard errors
    assert scale.std() == pytest.approx(0.1, rel=0.02)
    assert offset.std() == pytest.approx(0.05, rel=0.02)
    flipped = np.array([[axis in d.flips for axis in range(3)] for d in draws])
    assert flipped.mean() == pytest.approx(0.5, abs=0.06)


def test_everything_off_draws_the_identity() -> None:
    settings = Augmentation(flips=False, shift_voxels=0, intensity=0)
    draws = draw(settings, 3, 2, np.random.default_rng(0))
    assert (draws.flips, draws.shift) == ((), (0, 0, 0))
    assert (draws.scale == 1).all()
    assert not draws.offset.any()


def test_a_study_without_images_passes_through(clinical_study: Study, make_tensors: Callable[..., SiteTensors]) -> None:
    batch = make_tensors(clinical_study, 2).batch(np.arange(2))
    assert apply(draw(Augmentation(), 2, 0, np.random.default_rng(0)), batch) is batch

"""Flips and shifts are exact, shared by image and ROI, and driven by the generator alone."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from fedescc.client.learning.augment import Draws, apply, draw
from fedescc.client.learning.dataset import Batch, SiteTensors
from fedescc.common.federation import Affine, Augmentation
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


def turned(batch: Batch, turn: NDArray[np.float64], *spacing: float) -> Batch:
    return apply(Draws((), (0, 0, 0), *NO_CHANGE, turn), batch, spacing or (1.0, 1.0, 1.0))


def about_the_centre(volume: torch.Tensor, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """SciPy's linear interpolation at matrix · (place - centre) + centre, 0 outside."""
    centre = (np.array(volume.shape) - 1) / 2
    values = volume.numpy().astype(np.float64)
    return affine_transform(values, matrix, centre - matrix @ centre, order=1, mode="grid-constant")


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 1.5)])
def test_a_rotation_with_scaling_is_scipys_in_mm(batch: Batch, spacing: tuple[float, ...]) -> None:
    turn = Rotation.from_euler("xyz", [0.2, -0.1, 0.3]).as_matrix() / 1.1
    changed = turned(batch, turn, *spacing)
    mm = np.diag(spacing)
    in_voxels = np.linalg.inv(mm) @ turn @ mm
    for before, after in ((batch.images, changed.images), (batch.rois, changed.rois)):
        for patient, point in np.ndindex(2, 2):
            expected = about_the_centre(before[patient, point], in_voxels)
            assert after[patient, point].numpy() == pytest.approx(expected, abs=1e-4)
    assert ((changed.rois > 0) & (changed.rois < 1)).any()
    assert 0 <= float(changed.rois.min()) <= float(changed.rois.max()) <= 1


def test_a_quarter_turn_about_the_first_axis_is_exact(batch: Batch) -> None:
    changed = turned(batch, np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]))
    assert torch.allclose(changed.images, batch.images.rot90(1, (4, 3)), atol=1e-5)
    assert torch.allclose(changed.rois, batch.rois.rot90(1, (4, 3)), atol=1e-5)


def test_a_larger_scale_makes_the_roi_larger_and_keeps_its_volume_right(batch: Batch) -> None:
    changed = turned(batch, np.eye(3) / 1.2)
    volumes = changed.rois.sum(dim=(2, 3, 4)) / batch.rois.sum(dim=(2, 3, 4))
    assert volumes.numpy() == pytest.approx(np.full((2, 2), 1.2**3), rel=0.02)


def test_affine_draws_come_last_and_leave_the_others_as_they_are() -> None:
    with_affine, without = Augmentation(affine=Affine(probability=1.0)), Augmentation()
    first, second = (draw(settings, 4, 2, np.random.default_rng(5)) for settings in (with_affine, without))
    assert (first.flips, first.shift) == (second.flips, second.shift)
    assert np.array_equal(first.scale, second.scale)
    assert np.array_equal(first.offset, second.offset)
    assert first.turn is not None
    assert second.turn is None


def test_affine_draws_keep_to_their_ranges_and_probability() -> None:
    rng, settings = np.random.default_rng(2), Augmentation(affine=Affine(degrees=10, scale=0.1, probability=0.3))
    draws = [draw(settings, 2, 2, rng).turn for _ in range(1000)]
    turns = [turn for turn in draws if turn is not None]
    assert len(turns) / 1000 == pytest.approx(0.3, abs=0.06)  # 4 standard errors
    scales = np.array([np.linalg.det(turn) ** (-1 / 3) for turn in turns])
    assert 0.9 <= scales.min() < 0.91
    assert 1.09 < scales.max() <= 1.1
    for turn, scale in zip(turns, scales, strict=True):
        rotation = turn * scale
        assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-6)
        angles = np.rad2deg(np.abs(Rotation.from_matrix(rotation).as_euler("XYZ")))
        assert angles.max() <= 10 + 1e-6


def test_affine_off_by_chance_uses_as_many_random_numbers() -> None:
    after = []
    for probability in (0.0, 1.0):
        rng = np.random.default_rng(1)
        draw(Augmentation(affine=Affine(probability=probability)), 2, 2, rng)
        after.append(rng.random())
    assert after[0] == after[1]


def test_part_of_a_batch_is_changed_as_the_whole_would_be(batch: Batch) -> None:
    draws = draw(Augmentation(intensity=0.2, affine=Affine(probability=1.0)), 2, 2, np.random.default_rng(4))
    whole, places = apply(draws, batch), np.array([1])
    part = apply(draws.take(places), Batch(*(tensor[places] for tensor in batch)))
    assert torch.allclose(part.images, whole.images[1:], atol=1e-6)
    assert torch.allclose(part.rois, whole.rois[1:], atol=1e-6)


def test_what_changes_nothing_copies_nothing(batch: Batch) -> None:
    changed = apply(Draws((), (0, 0, 0), *NO_CHANGE), batch)
    assert changed.images.data_ptr() == batch.images.data_ptr()
    assert changed.rois.data_ptr() == batch.rois.data_ptr()

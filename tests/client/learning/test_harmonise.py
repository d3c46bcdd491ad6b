"""A scan is brought to the federation's scale by what it shows itself: fat and contrast medium outside the ROI."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedescc.client.cohort import SiteCohort
from fedescc.client.learning.dataset import SiteTensors
from fedescc.client.learning.harmonise import (
    Maps,
    cohort_landmarks,
    harmonised_sums,
    landmark_sums,
    maps_for,
    scan_landmarks,
)
from fedescc.common.errors import Refusal
from fedescc.common.study import Study
from fedescc.common.tabular.covariates import Encoding, column_sums
from fedescc.common.tabular.harmonisation import Harmonisation

WINDOW = (-160.0, 340.0)
SIZE = 24
MakeCohort = Callable[..., SiteCohort]
REFERENCE = Harmonisation(window_hu=WINDOW, fat=0.12, bright=0.7)


def body(seed: int) -> np.ndarray:
    """HU of lung, fat, blood, bone and a tumour of 75 HU in random shares, (24, 24, 24)."""
    rng = np.random.default_rng(seed)
    hu = np.full((SIZE, SIZE, SIZE), -100.0)
    hu[: rng.integers(2, 9)] = -850
    hu[:, : rng.integers(3, 8), 12:] = 190
    hu[:, -rng.integers(1, 4) :] = 600
    hu[12:20, 10:16, 4:12] = 75
    return hu + rng.normal(0, 8, hu.shape)


def roi() -> np.ndarray:
    region = np.zeros((SIZE, SIZE, SIZE), np.uint8)
    region[12:20, 10:16, 4:12] = 1
    return region


def windowed(hu: np.ndarray) -> np.ndarray:
    return ((hu + 160) / 500).clip(0, 1).astype(np.float16)


def scanned(hu: np.ndarray, offset: float, gain: float) -> np.ndarray:
    """The same body on a scanner off by ``offset`` HU, with ``gain`` times the contrast medium (above 40 HU)."""
    return windowed(np.where(hu > 40, 40 + (hu - 40) * gain, hu) + offset)


def stack(*images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One patient a scan, one time point."""
    return np.stack(images)[:, None], np.stack([roi()] * len(images))[:, None]


def on_scale(reference: Harmonisation, images: np.ndarray, rois: np.ndarray) -> np.ndarray:
    rows = np.arange(len(images))
    maps = Maps.of(reference, cohort_landmarks(images, rois, rows, WINDOW))
    return maps.apply(rows, images)


def reference_of(*images: np.ndarray) -> Harmonisation:
    stacked = stack(*images)
    sums = landmark_sums(cohort_landmarks(*stacked, np.arange(len(images)), WINDOW))
    found = Harmonisation.from_sums(sums, WINDOW)
    assert found is not None
    return found


def test_landmarks_are_the_medians_of_fat_and_of_what_is_bright() -> None:
    fat, bright = scan_landmarks(windowed(body(0)), roi(), WINDOW) * 500 - 160
    assert fat == pytest.approx(-100, abs=1)
    assert bright == pytest.approx(190, abs=1)


def test_the_shares_of_lung_fat_and_bone_do_not_move_the_landmarks() -> None:
    found = np.array([scan_landmarks(windowed(body(seed)), roi(), WINDOW) for seed in range(12)]) * 500
    assert (found.std(axis=0) < 1).all()


def test_what_lies_in_the_roi_does_not_count() -> None:
    image = windowed(body(1))
    changed = np.where(roi() > 0, np.float16(0.9), image)
    assert np.array_equal(scan_landmarks(changed, roi(), WINDOW), scan_landmarks(image, roi(), WINDOW))


def test_medians_equal_numpys() -> None:
    image = windowed(body(2))
    outside = image[(roi() == 0) & (image > 0) & (image < 1)].astype(np.float64)
    for found, low, high in zip(scan_landmarks(image, roi(), WINDOW), (-150, 90), (-30, 400), strict=True):
        zone = outside[(outside >= (low + 160) / 500) & (outside < (high + 160) / 500)]
        assert found == np.quantile(zone, 0.5, method="inverted_cdf")


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((SIZE,) * 3, np.float16),  # a missing scan
        np.ones((SIZE,) * 3, np.float16),
        np.full((SIZE,) * 3, 0.12, np.float16),  # fat alone
        np.full((SIZE,) * 3, 0.4, np.float16),  # no landmark
    ],
)
def test_a_scan_without_both_tissues_has_no_landmarks_and_stays(image: np.ndarray) -> None:
    assert np.isnan(scan_landmarks(image, roi(), WINDOW)).all()
    images, rois = stack(image)
    assert np.array_equal(on_scale(reference_of(windowed(body(0))), images, rois), images.astype(np.float32))


@settings(max_examples=15, deadline=None)
@given(st.floats(-12, 12), st.floats(0.75, 1.3), st.integers(0, 9))
def test_offset_and_contrast_are_undone(offset: float, gain: float, seed: int) -> None:
    hu = body(seed)
    true, distorted = windowed(hu), scanned(hu, offset, gain)
    back = on_scale(reference_of(true), *stack(distorted))[0, 0] * 500 - 160
    tumour = (roi() > 0) & (true > 0) & (true < 1)
    wanted, got = (true.astype(np.float64) * 500 - 160)[tumour], back[tumour]
    assert abs(got.mean() - wanted.mean()) < 2
    assert np.abs(got - wanted).mean() < 3
    fat = np.abs(hu + 100) < 16
    assert abs(back[fat].mean() - hu[fat].mean()) < 2


def test_a_site_unseen_in_training_is_brought_to_the_same_scale() -> None:
    training = [scanned(body(seed), offset, 1.0) for seed, offset in ((0, -4), (1, 5), (2, 2))]
    reference = reference_of(*training)
    home = tumour_hu(np.stack(training)[:, None].astype(np.float64)).mean()
    unseen, unseen_rois = stack(*[scanned(body(seed), 9, 1.25) for seed in (7, 8)])
    assert (tumour_hu(unseen.astype(np.float64)) - home > 14).all()
    assert (np.abs(tumour_hu(on_scale(reference, unseen, unseen_rois)) - home) < 2).all()


def tumour_hu(images: np.ndarray) -> np.ndarray:
    """Mean HU of the tumour in each of (n, 1, z, y, x) scans."""
    return images[:, 0][:, roi() > 0].mean(axis=1) * 500 - 160


def test_the_ends_of_the_window_stay_exactly_and_nothing_leaves_it() -> None:
    image = scanned(body(3), 10, 1.2)
    back = on_scale(reference_of(windowed(body(0))), *stack(image))[0, 0]
    assert (back[image == 0] == 0).all()
    assert (back[image == 1] == 1).all()
    assert back.min() == 0
    assert back.max() == 1
    order = np.argsort(image, axis=None)
    assert (np.diff(back.ravel()[order]) >= -1e-6).all()


def test_a_map_is_numpys_interpolation() -> None:
    images, rois = stack(scanned(body(4), -7, 1.15), scanned(body(5), 3, 0.9))
    landmarks = cohort_landmarks(images, rois, np.arange(2), WINDOW)
    maps = Maps.of(REFERENCE, landmarks)
    got = maps.apply(np.array([1, 0]), images[[1, 0]])
    assert got.dtype == np.float32
    for place, scan in ((0, 1), (1, 0)):
        nodes = [part[0] for part in REFERENCE.nodes(landmarks[scan])]
        assert np.array_equal(got[place], np.interp(images[scan].astype(float), *nodes).astype(np.float32))


def test_the_federated_reference_equals_the_pooled_one_exactly() -> None:
    images, rois = stack(*[scanned(body(seed), seed - 4, 0.9 + seed / 40) for seed in range(9)])
    landmarks = cohort_landmarks(images, rois, np.arange(9), WINDOW)
    pooled = landmark_sums(landmarks)
    for split in ([2, 5], [8], [1, 2, 3, 4]):
        parts = [landmark_sums(part) for part in np.split(landmarks, split)]
        for order in (parts, parts[::-1]):
            total = order[0]
            for part in order[1:]:
                total = total + part
            assert Harmonisation.from_sums(total, WINDOW) == Harmonisation.from_sums(pooled, WINDOW)
    found = Harmonisation.from_sums(pooled, WINDOW)
    assert found is not None
    assert [found.fat, found.bright] == pytest.approx(landmarks[:, 0].mean(axis=0), abs=1e-15)


def test_scans_are_counted_by_time_point_and_missing_ones_are_not() -> None:
    full = windowed(body(0))
    images = np.stack([[full, full], [full, np.zeros_like(full)], [full, full]])
    rois = np.broadcast_to(roi(), images.shape)
    sums = landmark_sums(cohort_landmarks(images, rois, np.array([0, 1]), WINDOW))
    assert sums.scans.tolist() == [2, 1]
    assert sums.totals[0].tolist() == (2 * sums.totals[1]).tolist()


@pytest.fixture
def cohort(make_cohort: MakeCohort) -> SiteCohort:
    scans = [[scanned(body(row), 3, 1.1), scanned(body(row), -3, 0.9)] for row in range(6)]
    return replace(make_cohort(6), images=np.array(scans), rois=np.broadcast_to(roi(), np.shape(scans)).copy())


@pytest.fixture
def study(imaging_study: Study) -> Study:
    document = imaging_study.model_dump(mode="json")
    document["imaging"]["harmonisation"] = "landmarks"
    document["imaging"]["grid"]["size_zyx"] = [SIZE] * 3
    return Study.model_validate(document)


def encoding_of(study: Study, cohort: SiteCohort) -> Encoding:
    rows = np.arange(len(cohort))
    landmarks = harmonised_sums(study.imaging, cohort, rows)
    return Encoding.from_sums(study, column_sums(study, cohort.numeric, rows, landmarks=landmarks))


def test_batches_hold_harmonised_scans_by_the_encoding_alone(study: Study, cohort: SiteCohort) -> None:
    encoding = encoding_of(study, cohort)
    assert encoding.harmonisation is not None
    rows = np.array([4, 1, 2])
    batch = SiteTensors.from_cohort(cohort, encoding, rows).batch(np.array([2, 0]))
    assert cohort.images is not None
    assert cohort.rois is not None
    expected = on_scale(encoding.harmonisation, cohort.images[[2, 4]], cohort.rois[[2, 4]])
    assert np.array_equal(batch.images.numpy(), expected)
    before, after = (np.ptp([v[0].mean(), v[1].mean()]) for v in (_tumour(cohort.images[4]), _tumour(expected[1])))
    assert after < before / 4


def _tumour(scans: np.ndarray) -> list[np.ndarray]:
    return [scan[roi() > 0].astype(float) for scan in scans]


def test_without_harmonisation_scans_stay_as_cached(imaging_study: Study, cohort: SiteCohort) -> None:
    assert harmonised_sums(imaging_study.imaging, cohort, np.arange(6)) is None
    encoding = encoding_of(imaging_study, cohort)
    tensors = SiteTensors.from_cohort(cohort, encoding, np.arange(6))
    assert tensors.maps is None
    assert cohort.images is not None
    assert np.array_equal(tensors.batch(np.arange(6)).images.numpy(), cohort.images.astype(np.float32))


def test_labels_and_other_patients_do_not_enter(study: Study, cohort: SiteCohort) -> None:
    encoding = encoding_of(study, cohort)
    turned = replace(cohort, labels=(1 - cohort.labels).astype(np.int8))
    assert encoding_of(study, turned) == encoding
    alone, together = (
        SiteTensors.from_cohort(cohort, encoding, rows).batch(np.array([0])).images
        for rows in (np.array([3]), np.arange(3, 6))
    )
    assert torch.equal(alone, together)


def test_a_missing_scan_stays_missing(study: Study, cohort: SiteCohort) -> None:
    assert cohort.images is not None
    cohort.images[2, 1] = 0
    tensors = SiteTensors.from_cohort(cohort, encoding_of(study, cohort), np.arange(6))
    assert tensors.present[2].tolist() == [1, 0]
    assert not tensors.batch(np.array([2])).images[0, 1].any()


def test_no_landmarks_anywhere_is_refused(study: Study, cohort: SiteCohort) -> None:
    empty = replace(cohort, images=np.zeros_like(cohort.images))
    with pytest.raises(Refusal) as refusal:
        encoding_of(study, empty)
    assert refusal.value.code == "no-landmarks"


def test_a_cohort_without_images_has_no_landmarks(study: Study, make_cohort: MakeCohort, cohort: SiteCohort) -> None:
    without = make_cohort(3, 0, 0)
    with pytest.raises(Refusal) as refusal:
        harmonised_sums(study.imaging, without, np.arange(3))
    assert refusal.value.code == "no-images"
    assert maps_for(encoding_of(study, cohort).harmonisation, without, np.arange(3)) is None

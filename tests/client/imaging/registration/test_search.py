"""Masked cross-correlation of every shift, against one that loops over them, and on phantoms far apart."""

import numpy as np
import pytest
from two_cts import rendered_pair

from fedescc.client.imaging.registration.reduced import image_of, read_reduced
from fedescc.client.imaging.registration.search import MIN_SHARE, STEP_MM, find_offsets, information
from fedescc.client.imaging.volumes.geometry import Geometry

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
FLIPPED = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)


def blobs(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Smooth HU without any period."""
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.0)
    return (-400 + 150 * field / field.std()).clip(-1000, 200).astype(np.float32)


def image(hu: np.ndarray, origin: tuple[float, ...] = (0.0, 0.0, 0.0), spacing: float = STEP_MM, direction=IDENTITY):
    grid = Geometry(hu.shape, (spacing,) * 3, origin, direction)
    return image_of(hu, grid.spacing_zyx_mm, np.asarray(origin), grid)


def test_information_by_hand() -> None:
    np.testing.assert_allclose(information([0.0, 0.6, 0.6], [1.0, 1.0, 0.5]), [0.0, 0.22314, 0.11157], atol=1e-5)
    assert information(-0.9, 1.0) == 0
    assert np.isfinite(information(1.0, 1.0))


def test_a_part_is_found_where_it_was_cut_out() -> None:
    hu = blobs((24, 20, 22))
    part, scan = image(hu[6:18, 4:15, 5:16]), image(hu, (300.0, -200.0, 900.0))
    best = find_offsets(part, np.array([40.0, 40.0, 44.0]), scan, 3)
    np.testing.assert_allclose(best[0].translation_mm, (300 + 5 * 8, -200 + 4 * 8, 900 + 6 * 8))
    assert best[0].score > 2 * best[1].score
    levels = [offset.translation_mm[2] for offset in best]
    assert min(abs(a - b) for i, a in enumerate(levels) for b in levels[:i]) > STEP_MM


def test_score_equals_a_loop_over_shifts() -> None:
    """Every score, recomputed over the voxels that overlap."""
    from fedescc.client.imaging.registration import search

    part, scan = blobs((4, 5, 6), 1), blobs((6, 7, 5), 2)
    part[0, 0, :2] = np.nan
    scan[:, 6, :] = np.nan
    found = search._score(part, scan)
    assert found.shape == (9, 11, 10)
    for shift in np.ndindex(found.shape):
        start = np.asarray(shift) - (np.asarray(part.shape) - 1)
        index = np.argwhere(np.isfinite(part))
        there = index + start
        inside = ((there >= 0) & (there < scan.shape)).all(axis=1)
        a, b = part[tuple(index[inside].T)], scan[tuple(there[inside].T)]
        a, b = a[np.isfinite(b)], b[np.isfinite(b)]
        share = len(a) / np.isfinite(part).sum()
        expected = float(information(np.corrcoef(a, b)[0, 1], share)) if share >= MIN_SHARE else 0
        assert found[shift] == pytest.approx(expected, abs=1e-4), shift


def test_axes_that_point_elsewhere_make_no_difference() -> None:
    hu = blobs((20, 20, 22))
    scan = image(hu, (100.0, 50.0, 0.0))
    corner = (100.0 + 21 * 8, 50.0 + 19 * 8, 0.0)
    turned = image(np.ascontiguousarray(hu[:, ::-1, ::-1]), corner, direction=FLIPPED)
    part = image(hu[4:14, 4:15, 5:16])
    centre = np.array([40.0, 40.0, 40.0])
    assert find_offsets(part, centre, scan, 1) == find_offsets(part, centre, turned, 1)


def test_nothing_is_found_where_nothing_can_be() -> None:
    part, centre = image(blobs((12, 12, 12))), np.array([44.0, 44.0, 44.0])
    assert find_offsets(part, centre, image(np.full((12, 12, 12), -1000, np.float32)), 3) == []
    assert find_offsets(part, centre, image(blobs((2, 12, 12), 4)), 3) == []


@pytest.mark.parametrize(("site", "other"), [(0, 2), (3, 1)])
def test_phantoms_far_apart_are_brought_within_two_steps(site: int, other: int) -> None:
    pair = rendered_pair(1, site, 0, other)
    first, second = (read_reduced(volume, 4.0) for volume in (pair.pre, pair.post))
    centres = [
        volume.geometry.index_to_physical(np.argwhere(mask).mean(axis=0)[::-1])
        for volume, mask in ((pair.pre, pair.roi), (pair.post, pair.bed))
    ]
    assert np.linalg.norm(centres[1] - centres[0]) > 100
    (best,) = find_offsets(first, centres[0], second, 1)
    assert np.linalg.norm(centres[0] + best.translation_mm - centres[1]) < 2 * STEP_MM

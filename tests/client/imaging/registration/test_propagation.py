"""Carrying masks over: the bed keeps its size and place, whatever grid the second CT has."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from two_cts import ellipsoid, rendered_pair

from fedescc.client.imaging.registration.propagation import MAX_RESIZE, carry
from fedescc.client.imaging.registration.register import Alignment, register
from fedescc.client.imaging.registration.rigid import Rigid, move_mask
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.common.errors import Refusal

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
SOURCE = Geometry((40, 64, 60), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0), IDENTITY)
TURN = Rotation.from_euler("xyz", (3, -2, 4), degrees=True).as_matrix()


def alignment(move: tuple[float, ...] = (10.0, -5.0, 20.0), turn: np.ndarray = TURN) -> Alignment:
    return Alignment(Rigid.of(turn, move), SOURCE, similarity=0.9, inconsistency_mm=0.5, shift_mm=20.0)


def target(slice_mm: float, pixel_mm: float) -> Geometry:
    shape = (int(120 / slice_mm), int(100 / pixel_mm), int(100 / pixel_mm))
    return Geometry(shape, (slice_mm, pixel_mm, pixel_mm), (-10.0, -25.0, 0.0), IDENTITY)


def refusal(aligned: Alignment, mask: np.ndarray, grid: Geometry) -> str:
    with pytest.raises(Refusal) as caught:
        carry(aligned, mask, grid)
    return caught.value.code


@pytest.mark.parametrize(("slice_mm", "pixel_mm"), [(1.0, 0.7), (2.0, 1.0), (3.0, 0.9), (5.0, 0.8)])
def test_the_bed_keeps_its_volume_on_any_scanner(slice_mm: float, pixel_mm: float) -> None:
    roi = ellipsoid(SOURCE, (20, 32, 30), (24, 11, 12))
    bed = carry(alignment(), roi, target(slice_mm, pixel_mm))
    assert bed.sum() * slice_mm * pixel_mm**2 == pytest.approx(roi.sum() * 2.0, rel=0.04)
    middle = alignment().motion.apply(SOURCE.index_to_physical((30.0, 32.0, 20.0)))
    found = target(slice_mm, pixel_mm).index_to_physical(np.argwhere(bed).mean(axis=0)[::-1])
    assert np.linalg.norm(found - middle) < 0.5


def test_it_is_the_moved_mask() -> None:
    roi = ellipsoid(SOURCE, (20, 32, 30), (24, 11, 12))
    grid = target(3.0, 0.9)
    np.testing.assert_array_equal(carry(alignment(), roi, grid), move_mask(alignment().motion, roi, SOURCE, grid))


def test_nodes_go_the_same_way_as_the_tumour() -> None:
    roi, node = ellipsoid(SOURCE, (20, 32, 30), (16, 10, 10)), ellipsoid(SOURCE, (24, 50, 30), (5, 5, 5))
    grid = target(1.0, 0.7)
    apart = [
        geometry.index_to_physical(np.argwhere(b).mean(axis=0)[::-1])
        - geometry.index_to_physical(np.argwhere(a).mean(axis=0)[::-1])
        for a, b, geometry in (
            (roi, node, SOURCE),
            (carry(alignment(), roi, grid), carry(alignment(), node, grid), grid),
        )
    ]
    np.testing.assert_allclose(TURN @ apart[0], apart[1], atol=0.3)


def test_a_part_beyond_the_second_scan_is_refused() -> None:
    roi = ellipsoid(SOURCE, (20, 32, 30), (24, 11, 12))
    assert refusal(alignment((10.0, -5.0, 70.0)), roi, target(2.0, 1.0)) == "propagated_roi_outside_scan"
    assert refusal(alignment((900.0, 0.0, 0.0)), roi, target(2.0, 1.0)) == "propagated_roi_outside_scan"


def test_a_single_voxel_beyond_is_refused_as_well() -> None:
    still = alignment((0.0, 0.0, 0.0), np.eye(3))
    roi = ellipsoid(SOURCE, (20, 32, 30), (10, 10, 10))
    ends_above = replace(SOURCE, shape_zyx=(25, 64, 60))
    assert carry(still, roi, ends_above).sum() == roi.sum()
    roi[25, 32, 30] = True
    assert refusal(still, roi, ends_above) == "propagated_roi_outside_scan"


def test_masks_that_are_none_are_refused() -> None:
    roi = ellipsoid(SOURCE, (20, 32, 30), (10, 10, 10))
    assert refusal(alignment(), roi[:-1], target(2.0, 1.0)) == "shape_mismatch"
    assert refusal(alignment(), np.zeros_like(roi), target(2.0, 1.0)) == "empty_roi"


def test_slices_too_thick_for_the_mask_are_refused() -> None:
    """A plate of 2 mm on slices 5 mm apart is nothing, or a plate of 5 mm, as its place has it."""
    still = alignment((0.0, 0.0, 0.0), np.eye(3))
    plate = np.zeros(SOURCE.shape_zyx, bool)
    plate[10, 20:40, 20:40] = True
    hit = Geometry((16, 64, 60), (5.0, 1.0, 1.0), (0.0, 0.0, 0.0), IDENTITY)
    missed = replace(hit, origin_xyz_mm=(0.0, 0.0, 2.5))
    assert plate.sum() * (5.0 - 2.0) > MAX_RESIZE * plate.sum() * 2.0
    assert refusal(still, plate, hit) == "propagated_roi_resized"
    assert refusal(still, plate, missed) == "propagated_roi_empty"


def test_a_node_of_a_few_voxels_may_gain_or_lose_one() -> None:
    still = alignment((0.0, 0.0, 0.0), np.eye(3))
    node = np.zeros(SOURCE.shape_zyx, bool)
    node[10, 20, 20:22] = True
    coarse = Geometry((16, 64, 60), (5.0, 1.0, 1.0), (0.0, 0.0, 0.0), IDENTITY)
    assert carry(still, node, coarse).sum() == 2


@pytest.mark.parametrize(("site", "other"), [(0, 3), (4, 1)])
def test_registration_and_carrying_put_the_bed_where_it_truly_is(site: int, other: int) -> None:
    pair = rendered_pair(6, site, 2, other)
    bed = carry(register(pair.pre, pair.roi, pair.post), pair.roi, pair.post.geometry)
    dice = 2 * (bed & pair.bed).sum() / (bed.sum() + pair.bed.sum())
    assert dice > 0.88

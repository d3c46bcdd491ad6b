"""How far a plane may lie off the slice that it belongs to."""

import pytest

from fedescc.client.imaging.masks.placement import plane_tolerance
from fedescc.client.imaging.volumes.geometry import POSITION_REFUSE_MM, Geometry


@pytest.mark.parametrize(
    ("gap", "expected"), [(5.0, 0.1), (2.0, 0.1), (1.0, 0.101), (0.625, 0.1616), (0.5, 0.202), (0.2, 0.4), (0.1, 0.4)]
)
def test_a_tenth_of_the_gap_or_what_a_ct_s_own_slices_may_be_off_by(gap: float, expected: float) -> None:
    grid = Geometry((9, 4, 4), (gap, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    found = plane_tolerance(grid)
    assert found == pytest.approx(expected)
    assert found < 0.5, "the next slice is never the nearer one"
    assert found * gap >= POSITION_REFUSE_MM or found == 0.4

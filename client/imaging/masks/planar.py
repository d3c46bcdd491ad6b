"""Which contours of one plane count: copies do not, and those that overlap in part contradict each other."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedescc.common.errors import Refusal

# Outlines nowhere farther apart than this are one outline: coordinates are rounded to 0.1 mm at the coarsest, and
# contours that share an edge may then seem to cross by as much.
TOUCH_MM = 0.1
# One outline within another that comes this near all along is the same organ drawn or stored twice, with fewer
# vertices or shrunk; the wall around a real hole is wider somewhere (that of the oesophagus 2 to 3 mm).
NEAR_COPY_MM = 1.0
# Outlines are compared at their vertices and at points between them no farther apart than this, less than a pixel.
_STEP_MM = 0.5
_BLOCK = 1 << 18  # pairs of a point and an edge that are compared at a time: bounds memory

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Outline:
    """A closed contour in its plane.

    Attributes:
        polygon: (n, xy) vertices along the image's axes, mm; repeating the first at the end makes no difference.
        pixels: (y, x) those whose centre lies inside.
        xor: whether its file says that contours of one plane are combined by exclusive or (CLOSEDPLANAR_XOR).

    """

    polygon: FloatArray = field(repr=False)
    pixels: NDArray[np.bool_] = field(repr=False)
    xor: bool = False


def distinct_outlines(outlines: Sequence[Outline]) -> list[Outline]:
    """The outlines of one plane without copies, fit to be combined by exclusive or.

    A copy runs along an earlier outline, whatever its start, direction, rounding and vertices; combined by exclusive
    or the two would be nothing. Of other outlines that share a pixel one must lie within the other, as a hole or an
    island, unless both say CLOSEDPLANAR_XOR (PS3.3 C.8.8.6.3): whether plain contours that overlap in part add up or
    exclude each other no file says. A near-copy is no hole either: by exclusive or only a thin rim of the ROI would be
    left. It lies within the other and keeps within NEAR_COPY_MM of it, or has all its vertices on it.

    Raises:
        Refusal: contours_overlap.

    """
    kept: list[Outline] = []
    for one in outlines:
        rivals = (other for other in kept if (one.pixels & other.pixels).any())
        if not any(_is_copy(one, other) for other in rivals):
            kept.append(one)
    return kept


def _is_copy(one: Outline, other: Outline) -> bool:
    """Whether two outlines that share pixels are one.

    Raises:
        Refusal: contours_overlap, where neither lies within the other, or one does and is nearly a copy.

    """
    depth, depth_of_other = _depth(_along(one.polygon), other.polygon), _depth(_along(other.polygon), one.polygon)
    one_inside, one_outside = _strays(depth)
    other_inside, other_outside = _strays(depth_of_other)
    if not (one_inside or one_outside or other_inside or other_outside):
        return True
    within = not (one_outside or other_inside) or not (other_outside or one_inside)
    if within and (_farthest(depth, depth_of_other) <= NEAR_COPY_MM or _inscribed(one, other)):
        raise _overlap("two contours of one slice are nearly one")
    apart = not (one_inside or other_inside)
    if not (within or apart or (one.xor and other.xor)):
        raise _overlap("two contours of one slice overlap in part")
    return False


def _strays(depth: FloatArray) -> tuple[bool, bool]:
    """Whether edges at these depths run inside another polygon, and whether outside it, by more than a touch."""
    return bool(depth.max() > TOUCH_MM), bool(depth.min() < -TOUCH_MM)


def _farthest(*depths: FloatArray) -> float:
    """The widest gap between two outlines, mm, from the depths of each in the other (Hausdorff distance)."""
    return max(float(np.abs(depth).max()) for depth in depths)


def _inscribed(one: Outline, other: Outline) -> bool:
    """Whether every vertex of either lies on the other: what thinning out the vertices leaves of an outline."""
    pairs = ((one.polygon, other.polygon), (other.polygon, one.polygon))
    return any(_farthest(_depth(vertices, edges)) <= TOUCH_MM for vertices, edges in pairs)


def _overlap(what: str) -> Refusal:
    return Refusal("contours_overlap", what, "draw the ROI on that slice again, as one contour")


def _along(polygon: FloatArray) -> FloatArray:
    """Points (m, xy) along a polygon's edges, its vertices among them."""
    way = np.roll(polygon, -1, axis=0) - polygon
    pieces = np.maximum(np.ceil(np.linalg.norm(way, axis=1) / _STEP_MM), 1).astype(np.int64)
    edge = np.repeat(np.arange(len(polygon)), pieces)
    piece = np.arange(len(edge)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    points: FloatArray = polygon[edge] + (piece / pieces[edge])[:, None] * way[edge]
    return points


def _depth(points: FloatArray, polygon: FloatArray) -> FloatArray:
    """Distance (m,) of points from a polygon's edges, mm; negative for those outside, by the crossing number."""
    way = np.roll(polygon, -1, axis=0) - polygon
    squared = (way**2).sum(axis=1)
    squared[squared == 0] = 1.0  # the edge is a point
    block = max(1, _BLOCK // len(polygon))
    found = []
    for part in (points[first : first + block] for first in range(0, len(points), block)):
        offset = part[:, None] - polygon
        nearest = np.clip((offset * way).sum(axis=2) / squared, 0.0, 1.0)
        distance = np.linalg.norm(offset - nearest[..., None] * way, axis=2).min(axis=1)
        above = part[:, None, 1] >= polygon[:, 1]
        crossed = above != np.roll(above, -1, axis=1)
        # Left of the edge, seen along the direction in which y grows.
        left = offset[..., 0] * np.abs(way[:, 1]) < offset[..., 1] * way[:, 0] * np.sign(way[:, 1])
        inside = (crossed & left).sum(axis=1) % 2 == 1
        found.append(np.where(inside, distance, -distance))
    return np.concatenate(found)

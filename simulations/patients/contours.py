"""Outlines of a voxel mask along pixel edges."""

import numpy as np
from numpy.typing import NDArray

Point = tuple[int, int]


def outlines(plane: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Closed polygons around the true pixels of one slice.

    Edges run between pixels, never through a centre, so that "pixel centre inside, XOR of the polygons"
    gives back exactly the mask, holes and touching corners included.

    Args:
        plane: (rows, columns) bool.

    Returns:
        Polygons of (n, 2) vertices (row, column) in pixel units, pixel centres at integers, corners only.

    """
    ahead = _edges(plane)
    polygons = []
    while ahead:
        polygons.append(_corners(_walk(ahead)) - 0.5)
    return polygons


def _edges(plane: NDArray[np.bool_]) -> dict[Point, list[Point]]:
    """Unit edges between a true and a false pixel, from start to end, the true pixel on the right hand."""
    padded = np.pad(plane, 1).astype(np.int8)
    ahead: dict[Point, list[Point]] = {}
    across = padded[1:, 1:-1] - padded[:-1, 1:-1]  # +1: the region begins below this horizontal edge
    for row, column in np.argwhere(across).tolist():
        _add(ahead, (row, column), (row, column + 1), forward=across[row, column] > 0)
    along = padded[1:-1, 1:] - padded[1:-1, :-1]
    for row, column in np.argwhere(along).tolist():
        _add(ahead, (row, column), (row + 1, column), forward=along[row, column] < 0)
    return ahead


def _add(ahead: dict[Point, list[Point]], start: Point, end: Point, *, forward: bool) -> None:
    first, last = (start, end) if forward else (end, start)
    ahead.setdefault(first, []).append(last)


def _walk(ahead: dict[Point, list[Point]]) -> list[Point]:
    """One closed walk; its edges are used up. Every vertex has as many edges in as out, so it must close."""
    start = place = next(iter(ahead))
    path = []
    while True:
        path.append(place)
        ends = ahead[place]
        following = ends.pop()
        if not ends:
            del ahead[place]
        place = following
        if place == start:
            return path


def _corners(path: list[Point]) -> NDArray[np.float64]:
    points = np.array(path, dtype=np.float64)
    before, after = points - np.roll(points, 1, 0), np.roll(points, -1, 0) - points
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    corners: NDArray[np.float64] = points[turns]
    return corners

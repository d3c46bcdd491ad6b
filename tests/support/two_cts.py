"""Two CTs of one patient with a known way from one to the other: rendered, or one real CT moved and bent."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

from fedescc.client.imaging.headers.index import index_folder
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.client.imaging.volumes.series import group_series
from fedescc.client.imaging.volumes.volume import MemoryVolume, open_volume
from fedescc.simulations.patients.anatomy import draw_anatomy, draw_visits
from fedescc.simulations.patients.outcome import draw_outcome
from fedescc.simulations.patients.phantom import AXIAL, Scan
from fedescc.simulations.patients.render import Grid, Pose, render
from fedescc.simulations.patients.scanners import scanner

Points = NDArray[np.float64]
Mask = NDArray[np.bool_]
_KNOT_MM = 40.0


class Pair(NamedTuple):
    """Two CTs, the first one's ROI and the true bed on the second's grid."""

    pre: MemoryVolume
    roi: Mask
    post: MemoryVolume
    bed: Mask


class Warped(NamedTuple):
    """A second CT made of a first, and where points (n, xyz; mm) of the first truly lie in it."""

    post: MemoryVolume
    truth: Callable[[Points], Points]


def scan_volume(scan: Scan) -> MemoryVolume:
    """A phantom's CT as a volume."""
    grid = scan.grid
    return MemoryVolume(scan.hu, Geometry(grid.shape_zyx, grid.spacing_zyx_mm, grid.origin_xyz_mm, scan.direction))


def rendered_pair(seed: int, site: int, index: int, second_site: int) -> Pair:
    """A phantom patient on two scanners: lying otherwise than the phantom's own, the bed without a reader's error.

    Against ``phantom_case``: origins differ by up to hundreds of mm in all directions, turns have an SD of 4 degrees
    about each axis, the tumour lies up to 12 mm off the middle of the scan.
    """
    rng = np.random.default_rng([seed, site, index, second_site])
    outcome = draw_outcome(seed, site, index)
    body = np.random.default_rng([seed, site, index, 1])
    anatomy = draw_anatomy(body, outcome.latents["stage"])
    visits = draw_visits(body, anatomy, outcome.latents)
    scans = []
    for visit, protocol in zip(visits, (scanner(site), scanner(second_site)), strict=True):
        shape = (protocol.slices, protocol.matrix, protocol.matrix)
        origin = tuple(float(np.round(v)) for v in rng.uniform((-200, -300, -900), (0, 0, 400)))
        grid = Grid(shape, (protocol.slice_mm, protocol.pixel_mm, protocol.pixel_mm), origin)
        middle = np.array([axis.mean() for axis in grid.axes()]) + np.array([0, 14, 0])
        centre = middle + rng.uniform(-1, 1, 3) * (12, 5, 5)
        pose = Pose(centre, np.deg2rad(rng.normal(0, 4, 3)), np.zeros(3))
        hu, roi = render(anatomy, visit, visits[0], protocol, grid, pose, rng)
        scans.append((MemoryVolume(hu, Geometry(shape, grid.spacing_zyx_mm, origin, AXIAL)), roi))
    return Pair(*scans[0], *scans[1])


def real_volume(folder: Path) -> MemoryVolume:
    """The one CT series of a folder, in memory."""
    (series,) = group_series(index_folder(folder).rows)
    files = open_volume(series)
    return MemoryVolume(files.slices(0, files.geometry.shape_zyx[0]), files.geometry)


def ellipsoid(geometry: Geometry, centre_zyx: tuple[float, ...], radii_zyx_mm: tuple[float, ...]) -> Mask:
    """An ellipsoid around a voxel."""
    axes = np.meshgrid(*(np.arange(n) for n in geometry.shape_zyx), indexing="ij", sparse=True)
    parts = zip(axes, centre_zyx, geometry.spacing_zyx_mm, radii_zyx_mm, strict=True)
    return sum(((axis - c) * s / r) ** 2 for axis, c, s, r in parts) < 1


def warp(
    volume: MemoryVolume,
    seed: int,
    *,
    bend_mm: float = 4.0,
    spacing_zyx_mm: tuple[float, float, float] = (2.5, 0.9, 0.9),
    noise_hu: float = 15.0,
    crop_top_mm: float = 0.0,
) -> Warped:
    """The CT moved by hundreds of mm, turned (SD 4 degrees about each axis), bent, on another grid, less enhanced.

    Bending is a smooth random field of RMS length ``bend_mm`` with knots 40 mm apart: breathing, and another posture.
    HU from 60 to 400 are compressed towards 60: another contrast phase, which bone follows here. Noise is correlated
    in the plane. ``crop_top_mm`` of the head end are missing.
    """
    rng = np.random.default_rng(seed)
    grid = volume.geometry
    middle = grid.index_to_physical((np.asarray(grid.shape_zyx[::-1]) - 1) / 2)
    turn = Rotation.from_euler("xyz", rng.normal(0, 4, 3), degrees=True).as_matrix()
    away = middle + rng.uniform(-300, 300, 3)
    extent = np.asarray(grid.shape_zyx) * grid.spacing_zyx_mm
    corner = away - extent[::-1] / 2
    shape = tuple(int(n) for n in (extent - (crop_top_mm, 0, 0)) / spacing_zyx_mm)
    knots = [int(n / _KNOT_MM) + 4 for n in extent]
    field = [gaussian_filter(rng.normal(size=knots), 0.7) for _ in range(3)]
    field = [part / part.std() * bend_mm / np.sqrt(3) for part in field]

    def back(points: Points) -> Points:
        places = np.moveaxis((points - corner) / _KNOT_MM + 1.5, -1, 0)[::-1]
        bend = np.stack([map_coordinates(part, places, order=3, mode="nearest") for part in field], axis=-1)
        return (points - away) @ turn + middle + bend

    def truth(points: Points) -> Points:
        moved = (points - middle) @ turn.T + away
        for _ in range(30):
            moved = moved - (back(moved) - points) @ turn.T
        return moved

    target = Geometry(shape, spacing_zyx_mm, tuple(float(v) for v in corner), AXIAL)
    z, y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    index = grid.physical_to_index(back(target.index_to_physical(np.stack([x, y, z], axis=-1))))
    hu = map_coordinates(volume.hu.astype(np.float32), np.moveaxis(index[..., ::-1], -1, 0), order=1, cval=-1000)
    hu = np.where((hu > 60) & (hu < 400), 60 + (hu - 60) * rng.uniform(0.3, 0.8), hu)
    hu = hu + 2 * noise_hu * gaussian_filter(rng.normal(size=shape), (0, 0.7, 0.7))
    return Warped(MemoryVolume(np.clip(np.rint(hu), -1024, 3071).astype(np.int16), target), truth)

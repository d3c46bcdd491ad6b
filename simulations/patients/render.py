"""A synthetic thorax as CT numbers on any axial grid.

Everything is drawn in millimetres with edges about a millimetre wide (partial volume); fine structure only
in a box around the tumour, the rest from broadcast waves, so that a volume costs tens of milliseconds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates

from fedescc.simulations.patients.anatomy import Anatomy, Rng, Visit
from fedescc.simulations.patients.scanners import Scanner

Floats: TypeAlias = NDArray[np.float32]
Box: TypeAlias = tuple[slice, slice, slice]
_Draw: TypeAlias = Callable[[Box, Floats, float | Floats], None]

_EDGE_MM = 1.2
_TUMOUR_BOX_MM = (42.0, 36.0, 36.0)
_TEXTURE_STEP_MM = 2.0
_TEXTURE_SD_STEPS = 1.6
_REFERENCE_AORTA_HU = 210.0
_UNENHANCED_BLOOD_HU = 40.0
_LEAST_ENHANCED_HU = 90.0


@dataclass(frozen=True)
class Grid:
    """An axial grid in patient LPS axes: shape and spacing (z, y, x), mm; position of voxel 0 (x, y, z), mm."""

    shape_zyx: tuple[int, int, int]
    spacing_zyx_mm: tuple[float, float, float]
    origin_xyz_mm: tuple[float, float, float]

    def axes(self) -> list[NDArray[np.float64]]:
        """Voxel centres along z, y and x, mm."""
        parts = zip(self.shape_zyx, self.spacing_zyx_mm, self.origin_xyz_mm[::-1], strict=True)
        return [first + step * np.arange(n, dtype=np.float64) for n, step, first in parts]


@dataclass(frozen=True)
class Pose:
    """How the patient lay: tumour centre (z, y, x), rotations about x, y and z, and error of the carried-over ROI."""

    centre_zyx_mm: NDArray[np.float64]
    tilt_rad: NDArray[np.float64]
    roi_error_zyx_mm: NDArray[np.float64]


def render(
    anatomy: Anatomy, visit: Visit, baseline: Visit, protocol: Scanner, grid: Grid, pose: Pose, rng: Rng
) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """One CT and its ROI.

    The ROI encloses the baseline tumour whatever the visit (rule "tumour bed"), displaced by the pose's error.

    Returns:
        HU, int16, and ROI, bool, both of the grid's shape (z, y, x), slices towards the head.

    """
    space = _Space(anatomy, grid, pose)
    # A scanner whose protocol gives contrast medium never misses the aorta; one below that gives none.
    least_hu = min(_LEAST_ENHANCED_HU, protocol.aorta_hu)
    aorta_hu = max(least_hu, rng.normal(protocol.aorta_hu, protocol.phase_sd_hu))
    hu = _trunk(anatomy, space)
    box = space.box(*((-half, half) for half in _TUMOUR_BOX_MM))
    _draw_esophagus(hu[box], anatomy, visit, aorta_hu, space.inside(box), rng)
    organs = np.zeros_like(hu)
    _draw_organs(hu, organs, anatomy, aorta_hu, space)
    roi = np.zeros(hu.shape, bool)
    shifted = [axis - np.float32(e) for axis, e in zip(space.inside(box), pose.roi_error_zyx_mm, strict=True)]
    roi[box] = _bed(anatomy, baseline, shifted) & (organs[box] < 0.5)
    return _acquire(hu, protocol, rng), roi


class _Space:
    """Anatomical coordinates (z, y, x), mm, of every voxel, with the slow waves that bend this body."""

    def __init__(self, anatomy: Anatomy, grid: Grid, pose: Pose) -> None:
        axes = [axis - c for axis, c in zip(grid.axes(), pose.centre_zyx_mm, strict=True)]
        self.z1, self.y1, self.x1 = (axis.astype(np.float32) for axis in axes)
        p = anatomy.phases
        bend_y = 1.5 * np.sin(self.z1 / 14 + p[0])[:, None, None] + 0.8 * np.sin(self.x1 / 9 + p[1])
        bend_x = 1.5 * np.sin(self.z1 / 12 + p[2])[:, None, None] + 0.8 * np.sin(self.y1 / 8 + p[3])[:, None]
        turn = _rotation(pose.tilt_rad)
        self.z, self.y, self.x = (self._turned(turn[k]) for k in range(3))
        self.y += bend_y.astype(np.float32)
        self.x += bend_x.astype(np.float32)

    def _turned(self, row: NDArray[np.float64]) -> Floats:
        a, b, c = (np.float32(v) for v in row)
        turned: Floats = (a * self.z1)[:, None, None] + ((b * self.y1)[:, None] + c * self.x1)
        return turned

    def box(self, *ranges: tuple[float, float]) -> Box:
        """Slices that hold the given (z, y, x) ranges, mm."""
        z, y, x = (
            slice(int(np.searchsorted(axis, low)), int(np.searchsorted(axis, high)))
            for axis, (low, high) in zip((self.z1, self.y1, self.x1), ranges, strict=True)
        )
        return z, y, x

    def around(self, centre_yx: tuple[float, float], radius: float) -> Box:
        """Slices that hold an upright cylinder; 8 mm more for bends and tilt."""
        reach = radius + 8
        (y, x) = centre_yx
        return self.box((-1e4, 1e4), (y - reach, y + reach), (x - reach, x + reach))

    def inside(self, box: Box) -> list[Floats]:
        """Coordinates (z, y, x) in a box."""
        return [self.z[box], self.y[box], self.x[box]]


def _trunk(anatomy: Anatomy, space: _Space) -> Floats:
    by, bx = anatomy.body
    y, x = space.y, space.x
    depth = np.float32(80) * (1 - np.sqrt(((y + 15) / np.float32(by)) ** 2 + (x / np.float32(bx)) ** 2))
    hu = -1000 + (anatomy.fat_hu + 1000) * _cover(depth)
    _put(hu, _cover(depth - 7) * _cover(20 - depth), anatomy.muscle_hu)
    ribs = np.sin(space.z1 / 4.5)[:, None, None] + np.sin(space.x1 / 17 + anatomy.phases[4])
    _put(hu, _cover(depth - 10) * _cover(16 - depth) * (ribs > 0.6), 330)
    _put(hu, _lungs(anatomy, space) * _cover(depth - 20), -840)
    return hu


def _lungs(anatomy: Anatomy, space: _Space) -> Floats:
    p, (right, left) = anatomy.phases, anatomy.mediastinum
    wave = (
        4 * np.sin(space.z1 / 13 + p[5])[:, None, None]
        + (4 * np.sin(space.y1 / 10 + p[6]) - 0.006 * space.y1**2)[:, None]
    ).astype(np.float32)
    sides = np.maximum(_cover(space.x - wave - left), _cover(-space.x - wave - right))
    grain = [np.sin(axis / step) for axis, step in ((space.z1, 4), (space.y1, 3.4), (space.x1, 3.7))]
    vessels = np.clip((grain[0][:, None, None] * (grain[1][:, None] * grain[2]) - 0.55) * 2, 0, 0.7)
    air: Floats = sides * (1 - vessels.astype(np.float32))
    return air


def _draw_esophagus(
    hu: Floats, anatomy: Anatomy, visit: Visit, aorta_hu: float, coordinates: list[Floats], rng: Rng
) -> None:
    z, y, x = coordinates
    for node in anatomy.nodes:
        distance = np.sqrt((z - node[0]) ** 2 + (y - node[1] - 8) ** 2 + (x - node[2]) ** 2)
        _put(hu, _cover(node[3] - distance), anatomy.muscle_hu + 15)
    r, angle = _polar(anatomy, z, y, x)
    texture = _texture(rng, coordinates)
    bulge = visit.thickness * _bulge(anatomy, z, angle)
    thick = bulge + visit.extra_wall * np.exp(-0.5 * (z / (1.4 * anatomy.half_length)) ** 2)
    outer = visit.lumen + anatomy.wall + thick
    hu += visit.stranding_hu * np.abs(texture) * np.exp(-np.clip(r - outer, 0, 20) / 5) * (hu > -140)
    phase = (aorta_hu - _UNENHANCED_BLOOD_HU) / (_REFERENCE_AORTA_HU - _UNENHANCED_BLOOD_HU)
    tumour = anatomy.tumour_hu + visit.enhancement_hu * phase + visit.texture_hu * texture
    healthy = anatomy.tumour_hu + 0.6 * anatomy.enhancement_hu * phase
    share = np.clip(thick / 1.5, 0, 1)
    _put(hu, _cover(outer - r), share * tumour + (1 - share) * healthy)
    _put(hu, _cover(visit.lumen - r), -900 if visit.air else visit.fluid_hu)


def _draw_organs(hu: Floats, organs: Floats, anatomy: Anatomy, aorta_hu: float, space: _Space) -> None:
    """What the tumour displaces but never overlaps; ``organs`` gathers their share of every voxel."""

    def draw(box: Box, cover: Floats, value: float | Floats) -> None:
        _put(hu[box], cover, value)
        np.maximum(organs[box], cover, out=organs[box])

    box = space.around(anatomy.spine, anatomy.spine_radius)
    inside = anatomy.spine_radius - _distance(space, box, anatomy.spine)
    draw(box, _cover(inside), 180 + 250 * _cover(3 - inside))
    for centre, radius, value in (
        (anatomy.aorta, anatomy.aorta_radius, aorta_hu),
        ((18.0, -14.0), 3.5, 0.8 * aorta_hu),
    ):
        box = space.around(centre, radius)
        draw(box, _cover(radius - _distance(space, box, centre)), value)
    _draw_front(draw, anatomy, aorta_hu, space)


def _draw_front(draw: _Draw, anatomy: Anatomy, aorta_hu: float, space: _Space) -> None:
    if anatomy.upper:
        centre = (anatomy.front - 3, 0.0)
        box = space.around(centre, 10)
        inside = 10 - _distance(space, box, centre)
        draw(box, _cover(inside), anatomy.muscle_hu)
        draw(box, _cover(inside - 2), -950)
        return
    box = space.box((-1e4, 1e4), (-90, anatomy.front + 12), (-45, 55))
    _, y, x = space.inside(box)
    surface = anatomy.front + 3 * np.sin(x / 11 + anatomy.phases[7]) - y
    heart = 34 * (1 - np.sqrt(((y + 48) / 32) ** 2 + ((x - 6) / 40) ** 2))
    draw(box, _cover(np.minimum(surface, heart)), 0.85 * aorta_hu)


def _bed(anatomy: Anatomy, baseline: Visit, coordinates: list[Floats]) -> NDArray[np.bool_]:
    z, y, x = coordinates
    r, angle = _polar(anatomy, z, y, x)
    w = anatomy.roi_waves
    hand = 0.7 * np.cos(2 * angle + w[0]) + 0.7 * np.cos(z / 6 + w[1]) + anatomy.roi_margin
    outer = baseline.lumen + anatomy.wall + baseline.thickness * _bulge(anatomy, z, angle)
    bed: NDArray[np.bool_] = (np.abs(z) < anatomy.roi_stretch * anatomy.half_length) & (r < outer + hand)
    return bed


def _bulge(anatomy: Anatomy, z: Floats, angle: Floats) -> Floats:
    around = 1 + anatomy.eccentricity * np.cos(angle - anatomy.angle)
    for k, size in enumerate(anatomy.lobes):
        around = around + size * np.cos((k + 2) * (angle - anatomy.phases[k]))
    bulge: Floats = np.exp(-0.5 * (z / anatomy.half_length) ** 2) * np.clip(around, 0.2, 2)
    return bulge


def _polar(anatomy: Anatomy, z: Floats, y: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Distance (mm) and angle (rad) from the lumen's axis."""
    y = y - anatomy.curve * np.sin(z / 20 + anatomy.phases[7])
    x = x - anatomy.curve * np.cos(z / 24 + anatomy.phases[0])
    return np.sqrt(y * y + x * x), np.arctan2(y, x)


def _texture(rng: Rng, coordinates: list[Floats]) -> Floats:
    """Smooth Gaussian field of unit SD, correlated over about 5 mm, at the given points."""
    half = [int(reach / _TEXTURE_STEP_MM) + 4 for reach in _TUMOUR_BOX_MM]
    white = rng.standard_normal([2 * n + 1 for n in half], dtype=np.float32)
    field = gaussian_filter(white, _TEXTURE_SD_STEPS, mode="wrap")
    places = [axis / np.float32(_TEXTURE_STEP_MM) + n for axis, n in zip(coordinates, half, strict=True)]
    values: Floats = map_coordinates(field, places, order=1, mode="nearest")
    values /= field.std()
    return values


def _acquire(hu: Floats, protocol: Scanner, rng: Rng) -> NDArray[np.int16]:
    """In-plane kernel, noise, calibration error; 12-bit range as on a scanner."""
    sd = protocol.kernel_mm * np.exp(rng.normal(0, 0.06)) / protocol.pixel_mm
    impulse = np.zeros(33)
    impulse[16] = 1
    gain = float((gaussian_filter1d(impulse, sd) ** 2).sum())
    amplitude = protocol.noise_hu * np.exp(rng.normal(0, 0.1)) / gain
    hu = hu + np.float32(amplitude) * rng.standard_normal(hu.shape, dtype=np.float32)
    hu = gaussian_filter(hu, (0, sd, sd), truncate=3)
    finished: Floats = np.clip(np.rint(hu + np.float32(protocol.offset_hu + rng.normal(0, 3))), -1024, 3071)
    return finished.astype(np.int16)


def _rotation(tilt_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    (cz, cy, cx), (sz, sy, sx) = np.cos(tilt_rad), np.sin(tilt_rad)
    about_z = np.array([[1, 0, 0], [0, cz, -sz], [0, sz, cz]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[cx, -sx, 0], [sx, cx, 0], [0, 0, 1]])
    turn: NDArray[np.float64] = about_z @ about_y @ about_x
    return turn


def _distance(space: _Space, box: Box, centre_yx: tuple[float, float]) -> Floats:
    _, y, x = space.inside(box)
    distance: Floats = np.sqrt((y - np.float32(centre_yx[0])) ** 2 + (x - np.float32(centre_yx[1])) ** 2)
    return distance


def _cover(inside_mm: Floats) -> Floats:
    """Share of a voxel that lies inside a surface, from the signed distance (mm, positive inside)."""
    share: Floats = np.clip(inside_mm / np.float32(_EDGE_MM) + np.float32(0.5), 0, 1)
    return share


def _put(hu: Floats, cover: Floats, value: float | Floats) -> None:
    hu += cover * (np.float32(value) - hu)

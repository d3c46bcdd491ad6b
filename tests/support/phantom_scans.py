"""Phantom CTs for the whole-image checks: any contrast, noise, slice distance and coverage."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

import numpy as np

from fedescc.client.imaging.headers.header import DicomRow
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.client.imaging.volumes.volume import MemoryVolume
from fedescc.simulations.patients import phantom
from fedescc.simulations.patients.phantom import PhantomCase, Scan, phantom_case

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def volume(hu: np.ndarray, spacing: tuple[float, float, float] = (5.0, 3.0, 3.0)) -> MemoryVolume:
    """Any HU (z, y, x) as a CT."""
    return MemoryVolume(hu.astype(np.int16), Geometry(hu.shape, spacing, (0.0, 0.0, 0.0), AXIAL))


def volume_of(scan: Scan) -> MemoryVolume:
    geometry = Geometry(scan.grid.shape_zyx, scan.grid.spacing_zyx_mm, scan.grid.origin_xyz_mm, scan.direction)
    return MemoryVolume(scan.hu, geometry)


def case_with(seed: int, site: int, index: int, **protocol: float) -> PhantomCase:
    """A phantom patient on a scanner of which some settings differ; ``aorta_hu`` then holds exactly, below 90 too."""
    with _scanner(**protocol):
        return phantom_case(seed, site, index)


@contextmanager
def _scanner(**protocol: float) -> Iterator[None]:
    if "aorta_hu" in protocol:
        protocol.setdefault("phase_sd_hu", 0.0)
    known = phantom.scanner
    with mock.patch.object(phantom, "scanner", lambda site: replace(known(site), **protocol)):
        yield


def with_hu(volume: MemoryVolume, hu: np.ndarray) -> MemoryVolume:
    """Other HU on the same grid, rounded and kept within int16."""
    return MemoryVolume(np.clip(np.rint(hu), -32768, 32767).astype(np.int16), volume.geometry)


def part_of(volume: MemoryVolume, *, step: int = 1, z: slice = slice(None), y: slice = slice(None)) -> MemoryVolume:
    """Every ``step``-th of some slices, and some rows."""
    hu = volume.hu[z][::step, y]
    dz, dy, dx = volume.geometry.spacing_zyx_mm
    return MemoryVolume(hu, replace(volume.geometry, shape_zyx=hu.shape, spacing_zyx_mm=(dz * step, dy, dx)))


def row(**values: object) -> DicomRow:
    """A header with these values and nothing else."""
    empty = {
        name: {str: "", bool: False, int: 0}.get(kind)  # what a file without the element gives
        for name, kind in DicomRow.__annotations__.items()
    }
    return DicomRow(**(empty | {"image_type": ("ORIGINAL", "PRIMARY", "AXIAL"), "series_uid": "1.2"} | values))

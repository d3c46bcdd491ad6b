"""A synthetic patient as arrays: two CT volumes, their ROIs and the clinical record.

Nothing here is patient data. Every patient is a deterministic function of (seed, site, index); sites
``100 + k`` hold test patients of site ``k``, who never coincide with the patients of site ``k`` itself.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from fedescc.simulations.patients.anatomy import Anatomy, Rng, Visit, draw_anatomy, draw_visits
from fedescc.simulations.patients.outcome import Value, draw_outcome
from fedescc.simulations.patients.render import Grid, Pose, render
from fedescc.simulations.patients.scanners import Scanner, patient_id, scanner

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Scan:
    """One CT and its ROI.

    Attributes:
        hu: (z, y, x) int16, HU, slices towards the head.
        roi: (z, y, x) bool; GTV before treatment, the same shape carried over (tumour bed) after it.
        grid: geometry; every number survives a DICOM decimal string exactly.
        direction: 3 x 3 direction cosines in SimpleITK's order (row-major, columns are the x, y, z axes).
        study_date: of the CT.

    """

    hu: NDArray[np.int16]
    roi: NDArray[np.bool_]
    grid: Grid
    direction: tuple[float, ...]
    study_date: date


@dataclass(frozen=True)
class PhantomCase:
    """One synthetic patient; see `Outcome` for the meaning of the last five."""

    site: int
    index: int
    patient_id: str
    pre: Scan
    post: Scan
    clinical: dict[str, Value]
    label: int
    probability: float
    latents: dict[str, float]
    ineligible: str | None


def phantom_case(seed: int, site: int, index: int, protocol: Scanner | None = None) -> PhantomCase:
    """Patient ``index`` of ``site``: about 0.1 s of one core.

    With ``protocol``, the same patient scanned by it instead of the site's own.

    Raises:
        Refusal: unknown site.

    """
    protocol = protocol or scanner(site)
    outcome = draw_outcome(seed, site, index, protocol)
    rng = np.random.default_rng([seed, site, index, 1])
    anatomy = draw_anatomy(rng, outcome.latents["stage"])
    before, after = draw_visits(rng, anatomy, outcome.latents)
    pre, post = (
        _scan(np.random.default_rng([seed, site, index, 2 + k]), anatomy, visit, before, protocol, k, day)
        for k, (visit, day) in enumerate(zip((before, after), outcome.ct_dates, strict=True))
    )
    return PhantomCase(
        site, index, patient_id(site, index), pre, post, outcome.clinical,
        outcome.label, outcome.probability, outcome.latents, outcome.ineligible,
    )  # fmt: skip


def _scan(rng: Rng, anatomy: Anatomy, visit: Visit, baseline: Visit, protocol: Scanner, number: int, day: date) -> Scan:
    grid = _field_of_view(rng, protocol)
    middle = np.array([axis.mean() for axis in grid.axes()]) + np.array([0, 14, 0])
    pose = Pose(
        centre_zyx_mm=middle + rng.normal(0, 1, 3) * (2.0, 2.5, 2.5),
        tilt_rad=np.deg2rad(rng.normal(0, 2.5, 3)),
        roi_error_zyx_mm=number * rng.normal(0, 1.0, 3),
    )
    hu, roi = render(anatomy, visit, baseline, protocol, grid, pose, rng)
    return Scan(hu, roi, grid, AXIAL, day)


def _field_of_view(rng: Rng, protocol: Scanner) -> Grid:
    """The scanner's grid; the corner lies on multiples of 0.5 mm, which binary and decimal numbers share."""
    shape = (protocol.slices, protocol.matrix, protocol.matrix)
    spacing = (protocol.slice_mm, protocol.pixel_mm, protocol.pixel_mm)
    half = 0.5 * protocol.matrix * protocol.pixel_mm
    corner = (-half + rng.normal(0, 6), -half + rng.normal(-150, 6), rng.uniform(-900, -200))
    x, y, z = (float(np.round(2 * v) / 2) for v in corner)
    return Grid(shape, spacing, (x, y, z))

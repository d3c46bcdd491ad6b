"""What a synthetic patient's thorax looks like, in millimetres around the tumour.

Frame: patient LPS axes (x to the left, y to the back, z to the head), origin in the esophageal lumen at the
middle of the tumour. Sizes are of a small adult, so that a 112-128 matrix of 1.5-1.8 mm pixels holds them.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Rng: TypeAlias = np.random.Generator


@dataclass(frozen=True)
class Anatomy:
    """A patient's body, the same at both visits. Lengths in mm, (y, x) pairs in LPS, HU where named so."""

    thickness: float  # of the tumour's bulge at baseline
    half_length: float  # SD of its craniocaudal profile
    eccentricity: float
    angle: float  # where the bulge points
    lobes: NDArray[np.float64]
    phases: NDArray[np.float64]  # (8,) of the slow waves that make every body differ
    wall: float  # healthy esophageal wall
    aorta: tuple[float, float]
    aorta_radius: float
    spine: tuple[float, float]
    spine_radius: float
    mediastinum: tuple[float, float]  # half-widths, right and left
    upper: bool  # trachea in front of the tumour, else the left atrium
    front: float  # y of that structure
    curve: float  # amplitude of the esophagus' bends
    body: tuple[float, float]  # half-axes of the trunk
    fat_hu: float
    muscle_hu: float
    tumour_hu: float  # before contrast
    enhancement_hu: float  # of the tumour at baseline, at an aortic enhancement of 210 HU
    nodes: NDArray[np.float64]  # (n, 4): z, y, x, radius
    roi_margin: float  # the reader's
    roi_stretch: float
    roi_waves: NDArray[np.float64]  # (4,) of the reader's contour


@dataclass(frozen=True)
class Visit:
    """State of the tumour and its bed at one CT."""

    thickness: float  # mm
    extra_wall: float  # mm, circumferential
    enhancement_hu: float
    texture_hu: float  # SD of the heterogeneity inside the tumour
    stranding_hu: float  # in the fat around it
    lumen: float  # mm
    air: bool  # in the lumen, else fluid
    fluid_hu: float


def draw_anatomy(rng: Rng, stage: float) -> Anatomy:
    """A random body; tumours of a higher latent ``stage`` are slightly thicker."""
    u, g = rng.uniform, rng.normal
    return Anatomy(
        thickness=float(np.clip(np.exp(g(np.log(10.8), 0.12) + 0.04 * stage), 6, 14)),
        half_length=u(10, 18),
        eccentricity=u(0.1, 0.45),
        angle=u(-np.pi, np.pi),
        lobes=g(0, 0.06, 3),
        phases=u(0, 2 * np.pi, 8),
        wall=u(2.8, 3.8),
        aorta=(u(13, 18), u(21, 27)),
        aorta_radius=u(9.5, 12.5),
        spine=(u(33, 38), u(-5, 4)),
        spine_radius=u(14, 17),
        mediastinum=(u(28, 38), u(34, 44)),
        upper=bool(rng.random() < 0.4),
        front=u(-30, -23),
        curve=u(0, 4),
        body=(u(68, 75), u(88, 97)),
        fat_hu=g(-98, 6),
        muscle_hu=g(45, 5),
        tumour_hu=g(38, 4),
        enhancement_hu=g(68, 6),
        nodes=_nodes(rng),
        roi_margin=u(0.5, 1.5),
        roi_stretch=u(1.2, 1.5),
        roi_waves=u(0, 2 * np.pi, 4),
    )


def draw_visits(rng: Rng, anatomy: Anatomy, latents: dict[str, float]) -> tuple[Visit, Visit]:
    """The tumour before and after treatment; only the second visit depends on the response latents."""
    shrink = float(np.clip(0.44 + 0.24 * latents["shrinkage"], -0.1, 0.95))
    enhance = float(np.clip(0.95 + 0.60 * latents["enhancement"], -0.3, 2.2))
    before = _visit(rng, anatomy.thickness, 0.0, anatomy.enhancement_hu, abs(rng.normal(22, 5)))
    after = _visit(
        rng,
        anatomy.thickness * (1 - shrink),
        float(np.clip(2.2 + 1.3 * latents["wall"], 0, 5.5)),
        anatomy.enhancement_hu * enhance,
        float(np.clip(46 + 25 * latents["texture"], 3, 115)),
    )
    return before, after


def _visit(rng: Rng, thickness: float, extra_wall: float, enhancement: float, texture: float) -> Visit:
    air = bool(rng.random() < 0.5)
    return Visit(
        thickness=thickness,
        extra_wall=extra_wall,
        enhancement_hu=enhancement,
        texture_hu=texture,
        stranding_hu=rng.uniform(0, 25),
        lumen=rng.uniform(2.0, 4.5) if air else rng.uniform(1.0, 2.5),
        air=air,
        fluid_hu=rng.uniform(0, 25),
    )


def _nodes(rng: Rng) -> NDArray[np.float64]:
    low, high = (-25, -22, -20, 2), (25, 22, 20, 4.5)
    return rng.uniform(low, high, (int(rng.integers(0, 4)), 4))

"""Simulated patients at uneven sites whose figures are known in closed form: binormal scores.

Of a patient with outcome y a model sees x ~ N(d·(y - 1/2), 1). With prevalence p the true log odds are d·x + logit p,
so that a model of slope 1 is calibrated; AUC within a site is Φ(d/√2).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from scipy.stats import norm

Floats = NDArray[np.float64]

SIZES = (120, 70, 50, 35, 25)  # test patients; as many train, and half as many validate
SEPARATION = 1.2
PREVALENCE = 0.3
PREVALENCES = (0.35, 0.2, 0.3, 0.45, 0.25)  # with a shift between sites
OFFSETS = (-0.6, 0.7, 0.1, 1.2, -1.0)  # of the model's logits there, SD .8
LINES = {  # intercept and slope of the logits
    "calibrated": (0.0, 1.0),
    "compressed": (-0.5, 0.1),
    "overconfident": (0.0, 8.0),
    "overfitted": (0.0, 8.0),
}
MEMORY = 4.0  # by which an overfitted model pulls its training patients' logits apart, to a training AUC of .999


@dataclass(frozen=True)
class Setting:
    """How a model scores, and whether sites differ in prevalence and in the model's logits."""

    kind: str
    shifted: bool

    @property
    def name(self) -> str:
        return f"{self.kind}, {'sites shifted' if self.shifted else 'sites alike'}"

    @property
    def prevalences(self) -> Floats:
        return np.array(PREVALENCES if self.shifted else [PREVALENCE] * len(SIZES))

    @property
    def offsets(self) -> Floats:
        return np.array(OFFSETS if self.shifted else [0.0] * len(SIZES))


SETTINGS = tuple(Setting(kind, shifted) for shifted in (False, True) for kind in LINES if kind != "overfitted")
HARDER = tuple(Setting("overfitted", shifted) for shifted in (False, True))


@dataclass(frozen=True, eq=False)
class Site:
    """One site's patients: outcomes (n,) and logits (n,)."""

    y: NDArray[np.int8]
    score: Floats


def draw(rng: np.random.Generator, setting: Setting, share: float = 1.0, *, training: bool = False) -> list[Site]:
    """Patients of every site; ``share`` of `SIZES`."""
    sizes = [round(size * share) for size in SIZES]
    return [
        draw_site(rng, setting, n, p, b, training=training)
        for n, p, b in zip(sizes, setting.prevalences, setting.offsets, strict=True)
    ]


def draw_site(
    rng: np.random.Generator, setting: Setting, n: int, prevalence: float, offset: float, *, training: bool
) -> Site:
    y = (rng.random(n) < prevalence).astype(np.int8)
    honest = SEPARATION * rng.normal(SEPARATION * (y - 0.5)) + logit(PREVALENCE) + offset
    if training and setting.kind == "overfitted":
        honest = honest + MEMORY * (y - 0.5)
    start, slope = LINES[setting.kind]
    return Site(y, start + slope * honest)


def true_auc(setting: Setting) -> float:
    """Of a random positive and a random negative patient, from whatever sites."""
    sizes, p = np.array(SIZES), setting.prevalences
    positives, negatives = sizes * p / (sizes * p).sum(), sizes * (1 - p) / (sizes * (1 - p)).sum()
    distance = SEPARATION**2 + setting.offsets[:, None] - setting.offsets[None, :]
    won = norm.cdf(distance / (SEPARATION * np.sqrt(2)))
    return float(positives @ won @ negatives)


def true_shares(setting: Setting, threshold: float) -> dict[str, float]:
    """Sensitivity and the rest where scores at and above a logit are called positive."""
    start, slope = LINES[setting.kind]
    honest = (threshold - start) / slope - logit(PREVALENCE) - setting.offsets
    weights, p = np.array(SIZES) / sum(SIZES), setting.prevalences
    hit, alarm = (norm.sf(honest / SEPARATION - sign * SEPARATION / 2) for sign in (1, -1))
    tp, fn = weights @ (p * hit), weights @ (p * (1 - hit))
    fp, tn = weights @ ((1 - p) * alarm), weights @ ((1 - p) * (1 - alarm))
    return {
        "accuracy": float(tp + tn),
        "sensitivity": float(tp / (tp + fn)),
        "specificity": float(tn / (tn + fp)),
        "ppv": float(tp / (tp + fp)),
        "npv": float(tn / (tn + fn)),
    }

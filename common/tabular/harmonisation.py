"""Intensities of all scanners on one scale, by two landmarks that every contrast chest CT has in itself.

After Nyúl & Udupa (Magn Reson Med 1999; Nyúl, Udupa & Zhang, IEEE TMI 2000): each scan is mapped piecewise linearly,
so that its own landmarks come to lie where the federation's training scans have theirs on average. Nothing of a
site enters, so a site unseen in training is served like any other, and no label does.

Percentiles of the whole scan are no landmarks here: around an esophageal tumour the shares of lung, fat and bone
differ more between patients than scanners do. Fat and what contrast medium brightens are told apart by HU first,
and of each the median is taken. Between them stands soft tissue without contrast medium, which no scan shows by
itself: the scanner's error moves it as it moves fat, and what lies above it is contrast medium, which is stretched.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from fedescc.common.yamlfile import Strict

# Where each landmark is sought: fat, and blood and marrow as contrast medium brightens them.
ZONES_HU = ((-150.0, -30.0), (90.0, 400.0))
UNENHANCED_HU = 40.0  # blood and muscle without contrast medium, 30 to 60
# Fat further than this off its place is no scanner's error; it also keeps the three landmarks in order.
MAX_OFFSET_HU = 45.0
LANDMARKS = len(ZONES_HU)
# A landmark in the window, 0 to 1, becomes this many steps; a cached (float16) intensity is a whole number of them.
LANDMARK_STEPS = 1 << 20

Window = tuple[float, float]


@dataclass(frozen=True, eq=False)
class LandmarkSums:
    """Exact sums over scans; integers, so a total does not depend on the order in which sites answer.

    Attributes:
        scans: (t,) int64, scans by time point; a patient has at most one of each.
        totals: (t, 2) int64, landmarks in 2^-20 of the window.

    """

    scans: NDArray[np.int64]
    totals: NDArray[np.int64]

    def __add__(self, other: "LandmarkSums") -> "LandmarkSums":
        return LandmarkSums(self.scans + other.scans, self.totals + other.totals)

    @property
    def possible(self) -> bool:
        """Whether landmarks in the window can add up to these totals."""
        return bool(((self.totals >= 0) & (self.totals <= self.scans[:, None] * LANDMARK_STEPS)).all())


class Harmonisation(Strict):
    """The scale that all scans are brought to; JSON-able, frozen with the model.

    Attributes:
        window_hu: HU of the intensities 0 and 1.
        fat, bright: where the landmarks come to lie, 0 to 1.

    """

    window_hu: Window
    fat: float
    bright: float

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        low, high = self.window_hu
        if not low < high:
            msg = "window_hu must be [low, high] in HU with low < high"
            raise ValueError(msg)
        darkest, brightest = in_window(self.window_hu, UNENHANCED_HU - MAX_OFFSET_HU, UNENHANCED_HU + MAX_OFFSET_HU)
        if not 0 < self.fat < darkest < brightest < self.bright < 1:
            msg = "fat, soft tissue and bright tissue must follow one another"
            raise ValueError(msg)
        return self

    @classmethod
    def from_sums(cls, sums: LandmarkSums, window_hu: Window) -> Self | None:
        """The mean landmarks of all scans, whatever their time point; None of no scan."""
        scans = int(sums.scans.sum())
        if not scans:
            return None
        fat, bright = (int(total) / (scans * LANDMARK_STEPS) for total in sums.totals.sum(axis=0))
        return cls(window_hu=window_hu, fat=fat, bright=bright)

    def nodes(self, landmarks: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where the map of each scan bends: (s, 5) intensities and what they become; the window's ends stay.

        Args:
            landmarks: (s, 2) of each scan; NaN where a scan lacks one, whose map is then the identity.

        """
        fat, bright = landmarks.T
        known = np.asarray(~np.isnan(landmarks).any(axis=1))[:, None]
        width = self.window_hu[1] - self.window_hu[0]
        (unenhanced,) = in_window(self.window_hu, UNENHANCED_HU)
        offset = (fat - self.fat).clip(-MAX_OFFSET_HU / width, MAX_OFFSET_HU / width)
        target = np.tile([0.0, self.fat, unenhanced, self.bright, 1.0], (len(landmarks), 1))
        source = target.copy()
        source[:, 1:4] = np.where(known, np.stack([fat, unenhanced + offset, bright], axis=1), target[:, 1:4])
        return source, target


def in_window(window_hu: Window, *hu: float) -> tuple[float, ...]:
    """HU as intensities, 0 at the window's low end and 1 at its high end."""
    low, high = window_hu
    return tuple((value - low) / (high - low) for value in hu)

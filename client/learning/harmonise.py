"""The landmarks of scans, and scans brought to the federation's scale by them.

See `fedescc.common.tabular.harmonisation`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedescc.client.cohort import SiteCohort
from fedescc.common.errors import Refusal
from fedescc.common.imaging import Imaging
from fedescc.common.tabular.harmonisation import (
    LANDMARK_STEPS,
    LANDMARKS,
    ZONES_HU,
    Harmonisation,
    LandmarkSums,
    Window,
    in_window,
)

# Of a grid of 48³ voxels it is 221: fewer are an edge, not a tissue.
_LEAST_SHARE = 0.002
_HALVES = 0x3C01  # patterns of a float16 from 0 to 1; they order as the numbers do
_FLOATS = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)  # of every pattern
_VALUES = _FLOATS[:_HALVES].astype(np.float64)

Images = NDArray[np.float16]
Rois = NDArray[np.uint8]


def scan_landmarks(image: Images, roi: Rois, window_hu: Window) -> NDArray[np.float64]:
    """Median intensity of fat and of bright tissue outside the ROI, (2,); NaN both where one is too scarce.

    What lies at the window's ends is not counted: air and dense bone, whose HU are cut off, and a missing scan.

    Args:
        image: (z, y, x) in [0, 1], the window.
        roi: the same shape, not 0 inside the ROI, which may be the very thing that changed.
        window_hu: HU of 0 and 1.

    """
    outside = image.view(np.uint16)[roi == 0]
    counts = np.bincount(outside[outside < _HALVES], minlength=_HALVES)
    counts[[0, -1]] = 0
    found = np.full(LANDMARKS, np.nan)
    for place, zone in enumerate(ZONES_HU):
        first, last = np.searchsorted(_VALUES, in_window(window_hu, *zone))
        below = np.cumsum(counts[first:last])
        if not below.size or below[-1] < _LEAST_SHARE * image.size:
            return np.full(LANDMARKS, np.nan)
        found[place] = _VALUES[first + np.searchsorted(below, below[-1] / 2)]
    return found


def cohort_landmarks(images: Images, rois: Rois, rows: NDArray[np.intp], window_hu: Window) -> NDArray[np.float64]:
    """Landmarks of some rows of a cohort's images (patients, t, z, y, x): (n, t, 2), NaN where there are none."""
    found = np.empty((len(rows), images.shape[1], LANDMARKS))
    for place, row in enumerate(rows):
        for point in range(images.shape[1]):
            found[place, point] = scan_landmarks(images[row, point], rois[row, point], window_hu)
    return found


def harmonised_sums(imaging: Imaging | None, cohort: SiteCohort, rows: NDArray[np.intp]) -> LandmarkSums | None:
    """Exact sums of the landmarks of some rows' scans; None unless the study harmonises intensities.

    Raises:
        Refusal: as `harmonised_landmarks`.

    """
    landmarks = harmonised_landmarks(imaging, cohort, rows)
    return None if landmarks is None else landmark_sums(landmarks)


def harmonised_landmarks(
    imaging: Imaging | None, cohort: SiteCohort, rows: NDArray[np.intp]
) -> NDArray[np.float64] | None:
    """Landmarks of some rows' scans, (n, t, 2), as `cohort_landmarks`; None unless the study harmonises intensities.

    Raises:
        Refusal: ``no-images`` when it does and the cohort has none.

    """
    if imaging is None or imaging.harmonisation == "none":
        return None
    images, rois = _images(cohort)
    return cohort_landmarks(images, rois, rows, imaging.grid.window_hu)


def maps_for(harmonisation: Harmonisation | None, cohort: SiteCohort, rows: NDArray[np.intp]) -> "Maps | None":
    """The map of each row's scans to the reference; None without one, or where no image is used."""
    if harmonisation is None or cohort.images is None or cohort.rois is None:
        return None
    return Maps.of(harmonisation, cohort_landmarks(cohort.images, cohort.rois, rows, harmonisation.window_hu))


def landmark_sums(landmarks: NDArray[np.float64]) -> LandmarkSums:
    """Exact sums over the scans, (n, t, 2), that have landmarks."""
    known = np.asarray(~np.isnan(landmarks).any(axis=2))
    steps = np.rint(np.where(known[..., None], landmarks, 0) * LANDMARK_STEPS).astype(np.int64)
    return LandmarkSums(known.sum(axis=0), steps.sum(axis=0))


@dataclass(frozen=True, eq=False)
class Maps:
    """The map of each scan to the federation's intensities, linear between its nodes.

    Attributes:
        source: (n, t, 5) intensities.
        target: (n, t, 5) what they become.

    """

    source: NDArray[np.float64]
    target: NDArray[np.float64]

    @classmethod
    def of(cls, reference: Harmonisation, landmarks: NDArray[np.float64]) -> "Maps":
        """Maps that bring scans with these landmarks, (n, t, 2), to the reference."""
        nodes = reference.nodes(landmarks.reshape(-1, LANDMARKS))
        return cls(*(part.reshape(*landmarks.shape[:2], -1) for part in nodes))

    def apply(self, where: NDArray[np.intp], images: Images) -> NDArray[np.float32]:
        """Scans (b, t, z, y, x) of patients ``where`` (b,) on the reference's scale; 0 and 1 stay exactly.

        A float16 has few values from 0 to 1: each scan's map is computed once for each of them and looked up.
        """
        mapped = np.empty(images.shape, np.float32)
        for place, patient in enumerate(where):
            for point in range(images.shape[1]):
                table = _FLOATS.copy()
                table[:_HALVES] = np.interp(_VALUES, self.source[patient, point], self.target[patient, point])
                np.take(table, images[place, point].view(np.uint16), out=mapped[place, point])
        return mapped


def _images(cohort: SiteCohort) -> tuple[Images, Rois]:
    if cohort.images is None or cohort.rois is None:
        raise Refusal("no-images", "a cohort without images has no landmarks", "run intake with this study")
    return cohort.images, cohort.rois

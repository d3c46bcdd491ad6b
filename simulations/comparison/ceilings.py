"""What a model could at best, and what a trivial cue already does, on the synthetic cohort.

Two ceilings frame a model's AUC: that of the true probability (Bayes), and that of a logistic regression which
sees the true causes but only as many patients as the model was trained on. Both need latents that no hospital has.
"""

import numpy as np
from numpy.typing import NDArray

from fedescc.client.cohort import SiteCohort
from fedescc.common.errors import Refusal

_WEAK_PENALTY_C = 10.0


def latent_regression(
    training_latents: NDArray[np.float64],
    training_labels: NDArray[np.int8],
    test_latents: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Finite-sample ceiling: scores of a logistic regression on the true latents.

    Args:
        training_latents: (n, k) standardised causes of the training patients.
        training_labels: (n,) 0 or 1, both present.
        test_latents: (m, k), columns in the same order.

    Returns:
        (m,) log odds.

    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=_WEAK_PENALTY_C, max_iter=2000).fit(training_latents, training_labels)
    scores: NDArray[np.float64] = model.decision_function(test_latents)
    return scores


def trivial_cues(cohort: SiteCohort) -> dict[str, NDArray[np.float64]]:
    """Scores that need no learning: mean intensity in the ROI, the ROI's size and its change.

    Higher means less soft tissue after treatment or a smaller ROI, the direction in which response lies;
    an AUC far from .5 on either side would mean that the cohort can be solved without looking at it.

    Args:
        cohort: with images and ROIs of two time points.

    Returns:
        Name of the cue -> (n,) scores; intensities are windowed HU in [0, 1], sizes voxels of the model grid.

    Raises:
        Refusal: the cohort has no images.

    """
    if cohort.images is None or cohort.rois is None:
        raise Refusal("no-images", "a cohort without images has no trivial cues", "use a study with imaging")
    pairs = zip(cohort.images, cohort.rois, strict=True)
    mean, size = (np.array(v) for v in zip(*(_summary(image, roi) for image, roi in pairs), strict=True))
    return {
        "mean_hu_pre": -mean[:, 0],
        "mean_hu_post": -mean[:, 1],
        "mean_hu_change": mean[:, 0] - mean[:, 1],
        "roi_volume_pre": -size[:, 0],
        "roi_volume_post": -size[:, 1],
        "roi_volume_ratio": -size[:, 1] / size[:, 0],
    }


def _summary(image: NDArray[np.float16], roi: NDArray[np.uint8]) -> tuple[list[float], list[float]]:
    inside = [points[mask > 0] for points, mask in zip(image, roi, strict=True)]
    return [float(v.mean(dtype=np.float64)) for v in inside], [float(v.size) for v in inside]

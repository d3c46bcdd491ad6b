"""Ceilings and trivial cues of the synthetic cohort."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fedescc.client.cohort import SiteCohort
from fedescc.common.errors import Refusal
from fedescc.simulations.comparison.ceilings import latent_regression, trivial_cues
from fedescc.simulations.patients.cohort import held_out, site_sizes
from fedescc.simulations.patients.outcome import COEFFICIENTS, LATENTS, Outcome, draw_outcome


def table(outcomes: list[Outcome]) -> tuple[np.ndarray, np.ndarray]:
    latents = np.array([[o.latents[name] for name in LATENTS] for o in outcomes])
    return latents, np.array([o.label for o in outcomes], dtype=np.int8)


@pytest.fixture(scope="module")
def training() -> tuple[np.ndarray, np.ndarray]:
    sizes = site_sizes(4, 40)
    return table([draw_outcome(0, site, index) for site, n in enumerate(sizes) for index in range(n)])


@pytest.fixture(scope="module")
def test_set() -> list[Outcome]:
    return [draw_outcome(0, site, index) for site, index in held_out(site_sizes(4, 40), 3000)]


def cohort(images: np.ndarray, rois: np.ndarray) -> SiteCohort:
    n = len(images)
    return SiteCohort(
        tuple(f"{i:02d}" for i in range(n)),
        np.zeros(n, np.int8),
        {},
        {},
        np.full(n, "test"),
        images,
        rois,
        {},
    )


def test_latent_ceiling_lies_just_below_bayes(training, test_set: list[Outcome]) -> None:
    latents, labels = table(test_set)
    ceiling = roc_auc_score(labels, latent_regression(*training, latents))
    bayes = roc_auc_score(labels, [o.probability for o in test_set])
    assert 0.87 <= ceiling < bayes <= 0.935


def test_latent_ceiling_finds_the_true_directions(test_set: list[Outcome]) -> None:
    latents, labels = table(test_set)
    unit = np.vstack([np.zeros(len(LATENTS)), np.eye(len(LATENTS))])
    scores = latent_regression(latents, labels, unit)
    for name, weight in zip(LATENTS, scores[1:] - scores[0], strict=True):
        assert weight == pytest.approx(COEFFICIENTS[name], abs=0.35), name


def test_trivial_cues_by_hand() -> None:
    images = np.zeros((2, 2, 3, 3, 3), np.float16)
    rois = np.zeros((2, 2, 3, 3, 3), np.uint8)
    rois[0, :, 0, 0, :2] = 1
    rois[1, :, 0] = 1
    images[0, 0, 0, 0, :2] = (0.25, 0.75)
    images[0, 1, 0, 0, 0] = 0.5
    images[1, 1] = 1.0
    cues = trivial_cues(cohort(images, rois))
    assert cues["mean_hu_pre"].tolist() == [-0.5, 0.0]
    assert cues["mean_hu_post"].tolist() == [-0.25, -1.0]
    assert cues["mean_hu_change"].tolist() == [0.25, -1.0]
    assert cues["roi_volume_pre"].tolist() == [-2, -9]
    assert cues["roi_volume_post"].tolist() == [-2, -9]
    assert cues["roi_volume_ratio"].tolist() == [-1, -1]


def test_trivial_cues_need_images() -> None:
    blind = SiteCohort(("k",), np.zeros(1, np.int8), {}, {}, np.array(["test"]), None, None, {})
    with pytest.raises(Refusal, match="without images"):
        trivial_cues(blind)

"""A small study and cohorts of blobs, as fixtures for the tests of learning and of explanation."""

from collections.abc import Callable

import numpy as np
import pytest

from fedescc.client.cohort import SiteCohort
from fedescc.client.learning.dataset import SiteTensors
from fedescc.common.study import Study
from fedescc.common.tabular.covariates import Encoding, column_sums

SIZE = 16


@pytest.fixture(scope="session")
def imaging_study() -> Study:
    """Two CTs of 16³ voxels at 3 mm, one number and one category."""
    return Study.model_validate({**_clinical(), **_imaging(["pre", "post"])})


@pytest.fixture(scope="session")
def clinical_study() -> Study:
    """The same covariates without images."""
    return Study.model_validate({**_clinical(), "model": {"kind": "linear"}})


@pytest.fixture(scope="session")
def make_cohort() -> Callable[..., SiteCohort]:
    """Factory: number of patients, seed, time points -> cohort whose positives have darker tumours on CT 2."""
    return cohort


@pytest.fixture(scope="session")
def make_tensors(make_cohort: Callable[..., SiteCohort]) -> Callable[..., SiteTensors]:
    """Factory: study, number of patients, seed -> all of them as tensors, encoded by their own moments."""

    def build(study: Study, patients: int, seed: int = 0) -> SiteTensors:
        made = make_cohort(patients, seed, len(study.imaging.time_points) if study.imaging else 0)
        return SiteTensors.from_cohort(made, encoding_of(study, made), np.arange(patients))

    return build


@pytest.fixture(scope="session")
def make_encoding() -> Callable[[Study, SiteCohort], Encoding]:
    """Factory: study, cohort -> encoding by the cohort's own moments."""
    return encoding_of


def encoding_of(study: Study, made: SiteCohort) -> Encoding:
    return Encoding.from_sums(study, column_sums(study, made.numeric, np.arange(len(made))))


def cohort(patients: int, seed: int = 0, time_points: int = 2) -> SiteCohort:
    rng = np.random.default_rng(seed)
    labels = (np.arange(patients) % 3 == 0).astype(np.int8)
    shape = (patients, time_points, SIZE, SIZE, SIZE)
    images, rois = rng.normal(0.3, 0.05, shape), np.zeros(shape, np.uint8)
    rois[:, :, 5:11, 5:11, 5:11] = 1
    images += 0.3 * rois
    if time_points == 2:
        images[:, 1] -= 0.25 * (labels[:, None, None, None] * rois[:, 1])
    return SiteCohort(
        keys=tuple(f"{row:04x}" for row in range(patients)),
        labels=labels,
        numeric={"age": rng.normal(60, 8, patients)},
        categorical={"sex": rng.integers(-1, 2, patients).astype(np.int16)},
        split=np.array(["train", "test"])[np.arange(patients) % 2],
        images=images.clip(0, 1).astype(np.float16) if time_points else None,
        rois=rois if time_points else None,
        flow={},
    )


def _clinical() -> dict[str, object]:
    return {
        "format": 1,
        "name": "small-study",
        "title": "Small",
        "endpoint": {"name": "y", "text": "y", "positive_when": {"grade": {"minimum": 1}}},
        "prediction_time": "second_ct",
        "covariates": {
            "age": {"type": "numeric", "unit": "years", "range": [0, 120], "available_at": "baseline"},
            "sex": {"type": "categorical", "categories": ["female", "male"], "available_at": "baseline"},
        },
        "recorded": {"grade": {"type": "numeric", "unit": "grade", "range": [0, 4], "available_at": "pathology"}},
    }


def _imaging(points: list[str]) -> dict[str, object]:
    grid = {"size_zyx": [SIZE] * 3, "spacing_zyx_mm": [3.0] * 3, "window_hu": [-160, 340]}
    model = {"kind": "paired_cnn", "widths": [4, 8], "embedding": 6, "hidden": 8, "dropout": 0.2}
    return {"imaging": {"time_points": points, "grid": grid}, "model": model}

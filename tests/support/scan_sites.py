"""Small hospitals with CTs in memory: boxes of random size, brightness and texture on a grid of 16³ voxels."""

import numpy as np

from fedescc.client.cohort import SiteCohort
from fedescc.client.local_site import LocalSite
from fedescc.client.site import ReleasePolicy
from fedescc.common.study import Study

SIZE = 16
STUDY = {
    "format": 1,
    "name": "small-scans",
    "title": "Small",
    "endpoint": {"name": "y", "text": "y", "positive_when": {"grade": {"minimum": 1}}},
    "prediction_time": "second_ct",
    "covariates": {"age": {"type": "numeric", "unit": "years", "range": [0, 120], "available_at": "baseline"}},
    "recorded": {"grade": {"type": "numeric", "unit": "grade", "range": [0, 4], "available_at": "pathology"}},
    "imaging": {
        "time_points": ["pre", "post"],
        "grid": {"size_zyx": [SIZE] * 3, "spacing_zyx_mm": [3.0] * 3, "window_hu": [-160, 340]},
    },
    "model": {"kind": "paired_cnn", "widths": [4, 8], "embedding": 6, "hidden": 4, "dropout": 0.0},
    "disclosure": {"min_class_count": 3},
}


def scan_study(**changes):
    return Study.model_validate(STUDY | changes)


def scan_cohort(seed, patients):
    """Of every six patients three train, one validates and two are tested."""
    rng = np.random.default_rng(seed)
    images = np.full((patients, 2, SIZE, SIZE, SIZE), 0.3)
    rois = np.zeros(images.shape, np.uint8)
    for scan in np.ndindex(images.shape[:2]):
        rois[scan][tuple(slice(8 - half, 8 + half) for half in rng.integers(2, 6, 3))] = 1
        noise = rng.uniform(0.01, 0.1) * rng.normal(size=(SIZE,) * 3)
        images[scan] += rng.uniform(0, 0.4) * rois[scan] + noise
    return SiteCohort(
        keys=tuple(f"{seed:02x}{row:04x}" for row in range(patients)),
        labels=(np.arange(patients) % 2).astype(np.int8),
        numeric={"age": rng.normal(60, 8, patients)},
        categorical={},
        split=np.resize(["train", "train", "train", "validation", "test", "test"], patients),
        images=images.clip(0, 1).astype(np.float16),
        rois=rois,
        flow={"included": patients},
    )


def scan_site(name, study, cohort, minimum=3):
    return LocalSite(name, study, ReleasePolicy(min_class_count=minimum, score_histogram="plain"), cohort)

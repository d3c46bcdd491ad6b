"""A real CT with its real RTSTRUCT through the whole intake."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fedescc.client.imaging.headers.index import index_folder
from fedescc.client.intake.intake import IntakeResult, run_intake
from fedescc.client.site import read_site
from fedescc.common.study import Study, read_study

pytestmark = pytest.mark.real_data

# The drawn mass as shared_masks.json has it: 5564 voxels of 3.27 x .9766 x .9766 mm, mean 12.78 HU.
VOXELS, VOXEL_MM3, MEAN_HU = 5564, 3.27 * 0.9765625**2, 12.78
WINDOW = (-200.0, 300.0)
# Much finer than the CT: near its own spacing each voxel would be taken once whatever its size.
SIZE, SPACING = [128, 144, 144], [0.5, 0.31, 0.31]


def study() -> Study:
    data: dict[str, Any] = yaml.safe_load(read_study("heart-disease").to_yaml())
    data["imaging"] = {
        "time_points": ["pre"],
        "roi": {"name_pattern": "GTV.*"},
        "grid": {"size_zyx": SIZE, "spacing_zyx_mm": SPACING, "window_hu": WINDOW},
    }
    data["model"] = {"kind": "paired_cnn"}
    return Study.model_validate(data)


@contextmanager
def quiet(_description: str, _total: int) -> Iterator[Callable[[], None]]:
    yield lambda: None


def intake(real_data: Path, folder: Path, protocol: Study) -> IntakeResult:
    export = real_data / "sts_019_ct_rtstruct"
    patient = index_folder(export).rows[0].patient_id
    (folder / "clinical.csv").write_text(f"patient_id,age,sex,num\n{patient},60,male,2\nnobody,50,female,0\n")
    settings = {"site": "a", "clinical": {"path": "clinical.csv"}, "images": {"dicom": str(export)}}
    (folder / "site.yaml").write_text(yaml.safe_dump(settings))
    return run_intake(read_site(folder / "site.yaml"), protocol, quiet)


def test_a_real_structure_set_arrives_on_the_models_grid(real_data: Path, tmp_path: Path) -> None:
    result = intake(real_data, tmp_path, study())
    assert result.flow == {"included": 1, "no_ct_pre": 1}
    assert result.cohort.images is not None
    assert result.cohort.rois is not None
    image, roi = result.cohort.images[0, 0].astype(np.float64), result.cohort.rois[0, 0]
    assert roi.sum() * np.prod(SPACING) == pytest.approx(VOXELS * VOXEL_MM3, rel=0.02)
    hu = image[roi == 1].mean() * (WINDOW[1] - WINDOW[0]) + WINDOW[0]
    assert hu == pytest.approx(MEAN_HU, abs=6)
    extent = [np.flatnonzero(roi.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    for where, size, spacing in zip(extent, SIZE, SPACING, strict=True):
        assert where[0] > 0
        assert where[-1] < size - 1
        off_mm = ((where[0] + where[-1]) / 2 - (size - 1) / 2) * spacing
        assert abs(off_mm) <= 0.5, "the ROI's bounding box is in the middle of the grid"

"""Named features of patients: which scan each is of, and how a change is told."""

import math

import numpy as np
import pytest
from bed_scans import GRID, ball_scene, cohort, imaging

from fedescc.client.features.measures import measure_scan
from fedescc.client.features.named import Columns, named_columns
from fedescc.common.tabular.features import NAMED_FEATURES, NAMED_MEASURES


def columns(patients, *time_points: str) -> Columns:
    site = cohort(patients)
    done = []
    found = named_columns(site.images, site.rois, imaging(*time_points), lambda: done.append(1))
    assert len(done) == len(patients)
    return found


def test_every_feature_is_measured() -> None:
    found = columns([(ball_scene(10), ball_scene(6))] * 2)
    assert found.keys() == NAMED_FEATURES.keys()
    assert all(column.shape == (2,) and column.dtype == np.float64 for column in found.values())


def test_each_scans_values_are_its_own() -> None:
    scenes = [(ball_scene(10), ball_scene(6)), (ball_scene(8), ball_scene(8, tumour_hu=90))]
    found = columns(scenes)
    for row, pair in enumerate(scenes):
        for scene, when in zip(pair, ("pre", "post"), strict=True):
            one = measure_scan(scene.image, scene.roi, GRID)
            for name in NAMED_MEASURES:
                assert found[f"{name}_{when}"][row] == pytest.approx(one[name], nan_ok=True)


def test_a_change_is_post_less_pre_and_of_sizes_the_log_ratio() -> None:
    found = columns([(ball_scene(10), ball_scene(6, tumour_hu=90))])
    assert found["tumour_hu_change"][0] == pytest.approx(30, abs=1)
    pre, post = found["tumour_volume_pre"][0], found["tumour_volume_post"][0]
    assert found["tumour_volume_change"][0] == pytest.approx(math.log((post + 0.1) / (pre + 0.1)))
    # Of balls: (0.6)^3, but for the 0.1 ml.
    assert found["tumour_volume_change"][0] == pytest.approx(3 * math.log(0.6), abs=0.15)


def test_no_change_is_zero() -> None:
    found = columns([(ball_scene(9), ball_scene(9))])
    changes = [found[f"{name}_change"][0] for name in NAMED_MEASURES if name != "tumour_enhancement"]
    assert changes == [0] * len(changes)


def test_a_tumour_that_is_gone_has_changed_by_a_finite_amount() -> None:
    found = columns([(ball_scene(10), ball_scene(0))])
    assert found["tumour_volume_post"][0] < 0.01
    assert -4 < found["tumour_volume_change"][0] < -3
    assert np.isnan(found["tumour_hu_change"][0])


@pytest.mark.parametrize(("time_point", "other"), [("pre", "post"), ("post", "pre")])
def test_a_study_of_one_scan_knows_nothing_of_the_other(time_point: str, other: str) -> None:
    found = columns([(ball_scene(10),)], time_point)
    for name in ("tumour_volume", "tumour_hu", "fat_stranding"):
        assert np.isfinite(found[f"{name}_{time_point}"]).all()
        assert np.isnan(found[f"{name}_{other}"]).all()
        assert np.isnan(found[f"{name}_change"]).all()


def test_a_missing_scan_leaves_its_patients_row_empty_and_no_other() -> None:
    gone = ball_scene(9)
    gone.hu[:] = -1000
    found = columns([(ball_scene(10), gone), (ball_scene(10), ball_scene(9))])
    assert np.isfinite(found["tumour_volume_pre"]).tolist() == [True, True]
    assert np.isfinite(found["tumour_volume_post"]).tolist() == [False, True]
    assert np.isfinite(found["tumour_volume_change"]).tolist() == [False, True]

"""Radiomic features of patients: post and change, in asinh, in this process or in others."""

import numpy as np
import pytest
from bed_scans import GRID, ball_scene, cohort, imaging

from fedescc.client.features import radiomic_columns as module
from fedescc.client.features.named import Columns
from fedescc.client.features.radiomic_columns import measure_pair, radiomic_columns
from fedescc.client.features.radiomics import cut_tissue, radiomic_values
from fedescc.common.tabular.features import RADIOMIC_FEATURES, RADIOMIC_MEASURES


def columns(patients, *time_points: str) -> Columns:
    site = cohort(patients)
    done = []
    found = radiomic_columns(site.images, site.rois, imaging(*time_points), lambda: done.append(1))
    assert len(done) == len(patients)
    return found


def textured(radius: float, seed: int):
    scene = ball_scene(radius)
    scene.hu += 15 * np.random.default_rng(seed).standard_normal(scene.hu.shape)
    return scene


def test_each_feature_is_the_asinh_of_its_scans_measure_and_their_difference() -> None:
    patients = [(textured(9, 1), textured(6, 2)), (textured(7, 3), textured(7, 4))]
    found = columns(patients)
    assert found.keys() == RADIOMIC_FEATURES.keys()
    for row, pair in enumerate(patients):
        pre, post = (np.arcsinh(radiomic_values(cut_tissue(one.image, one.roi, GRID))) for one in pair)
        np.testing.assert_array_equal([found[f"{name}_post"][row] for name in RADIOMIC_MEASURES], post)
        np.testing.assert_array_equal([found[f"{name}_change"][row] for name in RADIOMIC_MEASURES], post - pre)


def test_the_change_of_a_large_measure_is_its_log_ratio() -> None:
    found = columns([(ball_scene(10), ball_scene(5))])
    assert found["morph_volume_change"][0] == pytest.approx(3 * np.log(0.5), abs=0.1)


def test_a_missing_scan_leaves_its_patients_row_empty_and_no_other() -> None:
    gone = ball_scene(9)
    gone.hu[:] = -1000
    found = columns([(ball_scene(9), gone), (gone, ball_scene(9))])
    assert np.isnan(found["morph_volume_post"]).tolist() == [True, False]
    assert np.isnan(found["morph_volume_change"]).tolist() == [True, True]


def test_a_study_of_one_scan_has_no_change() -> None:
    assert np.isfinite(columns([(ball_scene(9),)], "post")["stat_mean_post"]).all()
    only_pre = columns([(ball_scene(9),)], "pre")
    assert all(np.isnan(column).all() for column in only_pre.values())


def test_a_patient_at_whom_the_process_died_has_no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_dies(function, inputs, died):
        assert function is measure_pair
        yield from ((key, died() if key == "1" else function(one)) for key, one in reversed(inputs.items()))

    monkeypatch.setattr(module, "run_all", one_dies)
    patients = [(ball_scene(radius), ball_scene(6)) for radius in (9, 8, 7)]
    found = columns(patients)["morph_volume_change"]
    assert np.isnan(found).tolist() == [False, True, False]
    assert found[0] < found[2] < 0


def test_lots_of_patients_are_measured_as_one_lot(monkeypatch: pytest.MonkeyPatch) -> None:
    patients = [(ball_scene(9), ball_scene(radius)) for radius in (8, 7, 6)]
    whole = columns(patients)
    monkeypatch.setattr(module, "_LOT", 2)
    np.testing.assert_equal(columns(patients), whole)


@pytest.mark.slow
def test_other_processes_find_the_same() -> None:
    patients = [(textured(8, seed), textured(6, seed + 100)) for seed in range(9)]
    many = columns(patients)
    np.testing.assert_equal(columns(patients[:2]), {name: column[:2] for name, column in many.items()})

"""The same patients under every kind of difference, rendered once."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from fedescc.common.errors import Refusal
from fedescc.simulations.patients.outcome import draw_outcome
from fedescc.simulations.patients.phantom import phantom_case
from fedescc.simulations.patients.scanners import scanner
from fedescc.simulations.patients.tensor_path import phantom_set
from fedescc.simulations.scenarios.heterogeneity import HETEROGENEITIES
from fedescc.simulations.scenarios.patients import _split, load_cohorts, missing_patients, render_missing


@pytest.fixture(scope="module")
def rendered(make_sweep, tmp_path_factory):
    sweep = make_sweep(tmp_path_factory.mktemp("sweep"), heterogeneity=tuple(HETEROGENEITIES), test_patients=5)
    render_missing(sweep, missing_patients(sweep), lambda: None)
    return sweep, {kind: load_cohorts(sweep, kind, 0) for kind in sweep.heterogeneity}


def test_a_patient_is_rendered_once_for_all_kinds_that_show_the_same(make_sweep):
    one = missing_patients(make_sweep(heterogeneity=("none",)))
    assert len(one) == 2 * 6 + 25
    shared = make_sweep(heterogeneity=("none", "label_shift", "missing_modality"))
    assert len(missing_patients(shared)) == len(one)
    scanners = make_sweep(heterogeneity=("none", "scanner_shift"))
    assert len(missing_patients(scanners)) == len(one) + 6 + 12  # the first hospital keeps its scanner


def test_what_is_on_disk_is_not_rendered_again(rendered):
    sweep, _ = rendered
    assert missing_patients(sweep) == []
    assert not list(sweep.out.rglob("*.partial"))
    assert len(missing_patients(replace(sweep, seeds=(0, 1)))) > 0


def test_a_damaged_patient_is_named(rendered, tmp_path):
    sweep, _ = rendered
    shutil.copytree(sweep.out / "patients", tmp_path / "patients")
    damaged = next((tmp_path / "patients").rglob("3.npz"))
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(Refusal, match="damaged-patient") as refusal:
        load_cohorts(replace(sweep, out=tmp_path), "none", 0)
    assert "3.npz" in refusal.value.what


def test_the_same_patients_are_at_every_hospital_whatever_differs(rendered):
    _, cohorts = rendered
    for kind in ("label_shift", "scanner_shift", "missing_modality"):
        for name, cohort in cohorts["none"].sites.items():
            assert np.array_equal(cohort.numeric["age"], cohorts[kind].sites[name].numeric["age"])
            assert np.array_equal(cohort.split, cohorts[kind].sites[name].split)
    images = {kind: cohorts[kind].sites["site-b"].images for kind in cohorts}
    assert np.array_equal(images["none"], images["label_shift"])
    assert not np.array_equal(images["none"], images["scanner_shift"])
    large = cohorts["size_imbalance"].sites["site-a"]
    assert np.array_equal(large.images[:6], cohorts["none"].sites["site-a"].images)


def test_labels_follow_the_hospitals_own_rate(rendered):
    _, cohorts = rendered
    for name, sign in (("site-a", -1), ("site-b", 1)):
        shifted, equal = cohorts["label_shift"].sites[name].labels, cohorts["none"].sites[name].labels
        assert (sign * (shifted - equal) >= 0).all()


def test_a_missing_second_ct_is_missing_in_training_and_in_test(rendered):
    _, cohorts = rendered
    for group in (cohorts["missing_modality"].sites, cohorts["missing_modality"].tests):
        assert not group["site-b"].images[:, 1].any()
        assert not group["site-b"].rois[:, 1].any()
        assert group["site-b"].images[:, 0].any()
        assert group["site-a"].images[:, 1].any()


def test_nobody_is_ineligible_or_both_trained_and_tested_on(rendered):
    _, cohorts = rendered
    for kind, found in cohorts.items():
        trained = {tuple(c.numeric["sii"]) for c in found.sites.values()}
        tested = {tuple(c.numeric["sii"]) for c in found.tests.values()}
        assert len(trained | tested) == 4, kind
        assert [len(cohort) for cohort in found.tests.values()] == [3, 2]
        assert found.tests["site-a"].rows("test").size == 3


def test_images_are_those_of_the_tensor_path(rendered):
    sweep, cohorts = rendered
    direct = phantom_set(0, [(0, index) for index in (0, 1, 2, 3, 4, 6)], sweep.study, workers=1, advance=lambda: None)
    assert np.array_equal(direct.cohort.images, cohorts["none"].sites["site-a"].images)
    assert np.array_equal(direct.cohort.labels, cohorts["none"].sites["site-a"].labels)


@pytest.mark.parametrize("patients", [5, 8, 40, 137])
def test_validation_patients_are_the_study_s_share_and_never_nobody(patients, small_study):
    split = _split(patients, small_study)
    assert set(split) == {"train", "validation"}
    assert (split == "validation").sum() == int(0.15 * patients + 0.5)


def test_a_replaced_scanner_changes_nobody_s_patients_by_default():
    own = draw_outcome(3, 1, 7)
    assert draw_outcome(3, 1, 7, scanner(1)) == own
    assert draw_outcome(3, 1, 7, replace(scanner(1), aorta_hu=300.0)) == own
    shifted = draw_outcome(3, 1, 7, replace(scanner(1), rate_shift=9.0))
    assert shifted.latents == own.latents
    assert shifted.label == 1
    assert np.array_equal(phantom_case(3, 1, 7).pre.hu, phantom_case(3, 1, 7, scanner(1)).pre.hu)

"""The tensor path is the DICOM path without the files: equal bit for bit, through every site's scanner."""

import numpy as np
import pytest

from fedescc.client.intake.intake import run_intake
from fedescc.client.intake.keys import patient_keys, read_salt
from fedescc.client.site import read_site
from fedescc.common.study import read_study
from fedescc.simulations.patients.cohort import held_out, site_sizes, write_cohort
from fedescc.simulations.patients.outcome import draw_outcome
from fedescc.simulations.patients.scanners import patient_id, scanner
from fedescc.simulations.patients.tensor_path import latent_table, phantom_cohort, phantom_set

SITES, PATIENTS, SEED = 4, 4, 3


@pytest.fixture(scope="module")
def study():
    return read_study("escc-pcr")


@pytest.fixture(scope="module")
def cohort(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("cohort") / "c"
    write_cohort(out, site_sizes(SITES, PATIENTS), SEED, study, workers=2)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("site", range(SITES))
def test_dicom_and_tensor_path_give_the_same_bits(site, cohort, study):
    file = read_site(sorted(cohort.glob("*/site.yaml"))[site])
    from_dicom = run_intake(file, study).cohort
    salt = read_salt(file.work)
    number = {patient_keys([patient_id(site, index)], salt)[0]: index for index in range(40)}
    patients = [(site, number[key]) for key in from_dicom.keys]
    direct = phantom_set(SEED, patients, study, workers=1, advance=lambda: None).cohort
    assert len(direct) == len(from_dicom) > 0
    assert np.array_equal(np.asarray(from_dicom.images), direct.images)
    assert np.array_equal(np.asarray(from_dicom.rois), direct.rois)
    assert np.array_equal(from_dicom.labels, direct.labels)
    for name, values in direct.numeric.items():
        assert np.allclose(values, from_dicom.numeric[name], equal_nan=True, rtol=0, atol=1e-9), name
    for name, codes in direct.categorical.items():
        assert np.array_equal(codes, from_dicom.categorical[name]), name
    for name in ("vendor", "kernel", "slice_mm"):
        assert np.allclose(direct.acquisition[name], from_dicom.acquisition[name], atol=1e-6), name


def test_two_workers_give_what_one_gives(study):
    patients = held_out(site_sizes(2, 10), 4)
    one = phantom_set(SEED, patients, study, workers=1, advance=lambda: None)
    two = phantom_set(SEED, patients, study, workers=2, advance=lambda: None)
    assert np.array_equal(one.cohort.images, two.cohort.images)
    assert np.array_equal(one.probability, two.probability)


def test_held_out_patients_are_nobodys_training_patients(study):
    test = held_out(site_sizes(SITES, PATIENTS), 50)
    assert len(test) == len(set(test)) == 50
    assert min(site for site, _ in test) >= 100
    outcomes = [draw_outcome(SEED, site, index) for site, index in test]
    training = [draw_outcome(SEED, site, index) for site in range(SITES) for index in range(50)]
    assert not {tuple(row) for row in latent_table(outcomes)} & {tuple(row) for row in latent_table(training)}
    assert all(outcome.ineligible is None for outcome in outcomes)


@pytest.mark.parametrize("point", ["pre", "post"])
def test_a_study_with_one_time_point_gets_that_scan(study, point):
    imaging = study.imaging.model_copy(update={"time_points": (point,)})
    patients = held_out(site_sizes(2, 10), 2)
    both = phantom_set(SEED, patients, study, workers=1, advance=lambda: None).cohort.images
    alone = study.model_copy(update={"imaging": imaging})
    one = phantom_set(SEED, patients, alone, workers=1, advance=lambda: None).cohort.images
    assert np.array_equal(one[:, 0], both[:, ("pre", "post").index(point)])
    assert one.shape[1] == 1


def test_a_scan_that_was_not_taken_has_no_vendor(study):
    patients = held_out(site_sizes(2, 10), 4)
    known = phantom_set(SEED, patients, study, workers=1, advance=lambda: None).cohort
    images = known.images.copy()
    images[1, 1] = 0
    outcomes = [draw_outcome(SEED, site, index) for site, index in patients]
    scanners = [scanner(site) for site, _ in patients]
    vendors = phantom_cohort(study, outcomes, images, known.rois, scanners).acquisition["vendor"]
    assert (known.acquisition["vendor"] >= 0).all()
    assert vendors[1].tolist() == [known.acquisition["vendor"][1, 0], -1]
    assert phantom_cohort(study, outcomes, images, known.rois).acquisition == {}

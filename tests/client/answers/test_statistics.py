"""What a site tells before training: sums, never of few patients, and never what could be subtracted to few."""

import dataclasses

import numpy as np
import pytest

from fedescc.client.answers.dispatch import answer
from fedescc.client.answers.statistics import covariate_values, landmark_values
from fedescc.client.local_site import LocalSite
from fedescc.common import wire
from fedescc.common.disclosure.groups import Rule
from fedescc.common.errors import Refusal
from fedescc.common.imaging import Grid, Imaging
from fedescc.common.schema import check_reply
from fedescc.common.study import Study
from fedescc.common.tabular.covariates import column_sums
from fedescc.common.wire import Request
from fedescc.server.covariate_replies import covariate_sums


def ranked(study):
    document = study.model_dump(mode="json")
    document["covariates"]["marker"]["transform"] = "quantile"
    return Study.model_validate(document)


@pytest.fixture
def site(toy):
    policy = toy.policy("site-a").model_copy(update={"small_changes": "plain"})  # tests change a patient or two
    return LocalSite("site-a", ranked(toy.study), policy, toy.cohorts["site-a"])


def ask(site, **task):
    reply = answer(site, wire.STATISTICS, Request(site.study.sha256, task))
    check_reply(wire.STATISTICS, reply)
    return reply.sums


def with_training_patients(site, patients, **columns):
    """The site with so many training patients, some columns replaced."""
    cohort = site.cohort
    split = np.where(np.arange(len(cohort)) < patients, "train", "test")
    categorical = {**cohort.categorical, **{k: np.array(v, np.int16) for k, v in columns.items() if k == "sex"}}
    numeric = {**cohort.numeric, **{k: np.array(v, float) for k, v in columns.items() if k != "sex"}}
    site.cohort = dataclasses.replace(cohort, split=split, categorical=categorical, numeric=numeric)
    return site


def padded(values, patients=160, fill=np.nan):
    return [*values, *[fill] * (patients - len(values))]


def test_moments_categories_and_cells_are_those_of_the_training_patients(site):
    rows = site.cohort.rows("train")
    site.policy = site.policy.model_copy(update={"small_newton": "plain"})
    sums = ask(site)
    exact = column_sums(site.study, site.cohort.numeric, rows)
    assert [sums["covariate_counts"], sums["covariate_totals"], sums["covariate_squares"]] == exact.table.tolist()
    assert sums["level_counts"] == np.bincount(site.cohort.categorical["sex"][rows]).tolist()
    assert sum(sums["quantile_counts"]) == sums["covariate_counts"][1]
    assert len(sums["quantile_counts"]) == 256


def test_no_cell_that_leaves_is_below_the_minimum(site):
    for patients in range(12):
        sums = ask(with_training_patients(site, patients))
        cells = [sums[key] for key in ("covariate_counts", "level_counts", "quantile_counts")]
        assert all(cell == 0 or cell >= 3 for row in cells for cell in row)


def test_a_site_with_too_few_values_sends_nothing_of_the_covariate(site):
    site.cohort = dataclasses.replace(site.cohort, labels=(np.arange(len(site.cohort)) >= 25).astype(np.int8))
    sums = ask(with_training_patients(site, 50, marker=padded([400, 500])))
    assert sums["covariate_counts"] == [50, 0]
    assert not any(sums["quantile_counts"])
    assert sums["covariate_totals"][1] == 0
    sums = ask(with_training_patients(site, 50, marker=padded([400, 500, 600])))
    assert sums["quantile_counts"] == [*[0] * 255, 3]


def test_where_a_few_lack_a_value_as_many_more_as_make_up_the_minimum_are_not_counted(site):
    """Of two classes one patient each lacks the marker: three of each are left out, of 50."""
    site.cohort = dataclasses.replace(site.cohort, labels=(np.arange(len(site.cohort)) >= 25).astype(np.int8))
    marker = np.full(160, 300.0)
    marker[[3, 30]] = np.nan
    marker[[0, 1]] = 500.0  # the first in the order of keys, so those left out with it
    sums = ask(with_training_patients(site, 50, marker=marker))
    assert sums["covariate_counts"] == [50, 44]
    assert sums["covariate_totals"][1] == 44 * round(0.3 * (1 << 20))
    assert sums["quantile_counts"] == [*[0] * 255, 44]


def test_a_few_without_a_category_cannot_be_counted(site):
    sex = padded([0] * 20 + [1] * 19 + [-1], fill=0)
    assert ask(with_training_patients(site, 40, sex=sex))["level_counts"] == [3, 19]


def test_a_small_category_hides_so_that_the_rest_does_not_tell_it(site):
    sex = padded([0] * 38 + [1] * 2, fill=0)
    assert ask(with_training_patients(site, 40, sex=sex))["level_counts"] == [3, 0]
    assert ask(with_training_patients(site, 38, sex=sex))["level_counts"] == [38, 0]


def test_what_a_site_sends_is_what_the_server_accepts(site):
    for patients in (0, 2, 3, 5, 40, 160):
        sums = ask(with_training_patients(site, patients))
        parsed = covariate_sums(site.study, sums, [])
        assert parsed.names == ("age", "marker")
        assert parsed.runs["marker"].total() == sums["covariate_counts"][1]


def test_values_and_sums_are_of_whole_numbers(site):
    assert all(
        type(number) is int for row in ask(site).values() for number in (row if isinstance(row, list) else [row])
    )


@pytest.mark.parametrize("features", ["age", [3], {}])
def test_features_that_are_no_list_of_names_are_refused(site, features):
    with pytest.raises(Refusal, match="malformed-message"):
        ask(site, features=features)


def test_image_features_of_a_study_without_images_are_refused(site):
    with pytest.raises(Refusal, match="no-images"):
        ask(site, features=["tumour_hu_post"])


def test_features_asked_for_are_columns_like_the_others(site):
    rng = np.random.default_rng(0)
    volume = rng.uniform(1, 90, len(site.cohort))
    volume[:20] = np.nan
    cohort = dataclasses.replace(site.cohort, numeric={**site.cohort.numeric, "tumour_volume_pre": volume})
    rows = cohort.rows("train")
    sums = covariate_values(site.study, cohort, rows, ["tumour_volume_pre"], Rule(3, rest=False))
    assert sums["covariate_counts"][2] == np.isfinite(volume[rows]).sum()
    parsed = covariate_sums(site.study, {**sums, "n_train": len(rows)}, ["tumour_volume_pre"])
    assert np.array_equal(
        parsed.table, column_sums(site.study, cohort.numeric, rows, features=["tumour_volume_pre"]).table
    )


def scans(patients, missing=0):
    """Fat, blood and air in one scan a patient."""
    image = np.zeros((8, 8, 8), np.float16)
    image[:4], image[4:6] = 0.12, 0.7
    images = np.repeat(image[None, None], patients, axis=0)
    images[:missing] = 0
    return images


def test_landmarks_leave_as_sums_over_enough_scans_or_not_at_all(site):
    grid = Grid(size_zyx=(8, 8, 8), spacing_zyx_mm=(3, 3, 3), window_hu=(-160, 340))
    imaging = Imaging(time_points=("pre",), grid=grid, harmonisation="landmarks")
    unit = 1 << 20
    steps = [int(float(np.float16(value)) * unit) for value in (0.12, 0.7)]
    for patients, missing, expected in ((6, 0, 6), (6, 3, 3), (6, 4, 0), (2, 0, 0)):
        images = scans(len(site.cohort), missing)
        cohort = dataclasses.replace(site.cohort, images=images, rois=np.zeros(images.shape, np.uint8))
        sums = landmark_values(imaging, cohort, np.arange(patients), Rule(3))
        assert sums == {"landmark_counts": [expected], "landmark_totals": [expected * step for step in steps]}
    plain = imaging.model_copy(update={"harmonisation": "none"})
    assert landmark_values(plain, cohort, np.arange(6), Rule(3)) == {}
    assert landmark_values(None, cohort, np.arange(6), Rule(3)) == {}


def test_a_harmonised_study_goes_from_landmarks_to_scans_on_one_scale(site):
    from fedescc.common.arrays import flatten_parameters
    from fedescc.common.network.model import build_model
    from fedescc.common.tabular.covariates import Encoding

    document = site.study.model_dump(mode="json") | {"prediction_time": "second_ct"}
    document["model"] = {"kind": "paired_cnn", "widths": [4], "embedding": 2, "hidden": 0}
    grid = {"size_zyx": [8, 8, 8], "spacing_zyx_mm": [3, 3, 3], "window_hu": [-160, 340]}
    document["imaging"] = {"time_points": ["pre"], "grid": grid, "harmonisation": "landmarks"}
    study = Study.model_validate(document)
    images = scans(len(site.cohort))
    images[::2] += np.where(images[::2] > 0, np.float16(0.02), np.float16(0))  # every other patient: 10 HU too bright
    cohort = dataclasses.replace(site.cohort, images=images, rois=np.zeros(images.shape, np.uint8))
    imaging = LocalSite("site-a", study, site.policy, cohort)
    encoding = Encoding.from_sums(study, covariate_sums(study, ask(imaging), []))
    weights = flatten_parameters(build_model(study, len(encoding.columns), 0))
    request = Request(study.sha256, {"encoding": encoding.model_dump(mode="json")}, weights)
    _, tensors, _ = imaging.prepared(request, "test")
    batch = tensors.batch(np.arange(2)).images
    assert encoding.harmonisation is not None
    assert batch[0].unique().tolist() == batch[1].unique().tolist()
    expected = [0, encoding.harmonisation.fat, encoding.harmonisation.bright]
    assert batch[0].unique().tolist() == pytest.approx(expected, abs=1e-6)

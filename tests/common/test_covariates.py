"""Covariates become columns by federated moments that no order of sites can change."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedescc.common.covariates import STEPS, CovariateSums, Encoding, column_sums
from fedescc.common.errors import Refusal
from fedescc.common.study import Analysis, Study, read_study

STUDY = Study.model_validate(
    {
        "format": 1,
        "name": "small-study",
        "title": "Small",
        "endpoint": {"name": "y", "text": "y", "positive_when": {"grade": {"minimum": 1}}},
        "prediction_time": "baseline",
        "covariates": {
            "age": {"type": "numeric", "unit": "years", "range": [0, 128], "available_at": "baseline"},
            "sex": {"type": "categorical", "categories": ["female", "male"], "available_at": "baseline"},
            "nlr": {"type": "numeric", "unit": "ratio", "range": [0, 64], "available_at": "baseline"},
        },
        "recorded": {"grade": {"type": "numeric", "unit": "grade", "range": [0, 4], "available_at": "pathology"}},
        "model": {"kind": "linear"},
    }
)


def sums(age: list[float], nlr: list[float]) -> CovariateSums:
    numeric = {"age": np.array(age, float), "nlr": np.array(nlr, float)}
    return column_sums(STUDY, numeric, np.arange(len(age)))


def test_two_sites_give_the_pooled_mean_and_population_sd() -> None:
    encoding = Encoding.from_sums(STUDY, sums([40, 60], [1, np.nan]) + sums([80, 100], [3, 5]))
    age, _, nlr = encoding.covariates
    assert (age.mean, nlr.mean) == (70, 3)
    assert age.sd == pytest.approx(np.std([40, 60, 80, 100]), rel=1e-12)
    assert nlr.sd == pytest.approx(np.std([1, 3, 5]), rel=1e-12)


@given(st.lists(st.lists(st.floats(0, 64), min_size=1, max_size=6), min_size=2, max_size=4))
def test_totals_do_not_depend_on_the_order_of_sites(sites: list[list[float]]) -> None:
    parts = [sums(values, values) for values in sites]
    tables = []
    for order in itertools.permutations(parts):
        total = order[0]
        for part in order[1:]:
            total = total + part
        tables.append(total.table)
    assert all(np.array_equal(tables[0], table) for table in tables)
    together = [value for values in sites for value in values]
    assert np.array_equal(tables[0], sums(together, together).table)


@given(st.lists(st.floats(0, 128), min_size=2, max_size=30))
def test_mean_and_sd_agree_with_numpy_to_a_step(values: list[float]) -> None:
    age = Encoding.from_sums(STUDY, sums(values, [1.0] * len(values))).covariates[0]
    step = 128 / STEPS
    assert age.mean == pytest.approx(np.mean(values), abs=step)
    if np.std(values) > 100 * step:
        assert age.sd == pytest.approx(np.std(values), abs=step)


def test_sums_fit_int64_at_eight_million_patients_at_the_end_of_the_range() -> None:
    assert np.iinfo(np.int64).max >= ((1 << 23) - 1) * STEPS**2


def test_constant_and_absent_covariates_get_sd_one() -> None:
    age, _, nlr = Encoding.from_sums(STUDY, sums([33.3] * 3, [np.nan] * 3)).covariates
    assert age.sd == 1
    assert age.mean == pytest.approx(33.3, abs=128 / STEPS)
    assert (nlr.mean, nlr.sd) == (0, 1)


def test_encoding_by_hand() -> None:
    encoding = Encoding.from_sums(STUDY, sums([40, 60], [0, 8]))
    numeric = {"age": np.array([50, 60, np.nan]), "nlr": np.array([4.0, np.nan, 12.0])}
    categorical = {"sex": np.array([1, -1, 0], np.int16)}
    expected = [[0, 0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 1, 0, 1], [0, 1, 1, 0, 0, 2, 0]]
    encoded = encoding.encode(numeric, categorical)
    assert encoded.dtype == np.float32
    assert encoded.tolist() == expected
    assert encoding.encode(numeric, categorical, np.array([2, 0])).tolist() == [expected[2], expected[0]]


def test_column_names_and_groups_follow_the_columns() -> None:
    grouped = STUDY.model_copy(
        update={"analysis": Analysis(explanation_groups={"person": ("age", "sex"), "blood": ("nlr",)})}
    )
    encoding = Encoding.from_sums(grouped, sums([40, 60], [0, 8]))
    names = ("age", "age_missing", "sex=female", "sex=male", "sex_missing", "nlr", "nlr_missing")
    assert encoding.columns == names
    assert encoding.column_groups == ("person",) * 5 + ("blood",) * 2
    assert encoding.column_covariates == ("age",) * 2 + ("sex",) * 3 + ("nlr",) * 2
    alone = Encoding.from_sums(STUDY, sums([40, 60], [0, 8]))
    assert alone.column_groups == alone.column_covariates


def test_json_with_sorted_keys_gives_the_same_encoding_back() -> None:
    encoding = Encoding.from_sums(STUDY, sums([40, 61], [0.1, 8]))
    text = json.dumps(json.loads(encoding.model_dump_json()), sort_keys=True)
    assert Encoding.model_validate_json(text) == encoding
    assert Encoding.model_validate_json(text).columns == encoding.columns


def test_shipped_study_has_nine_groups_and_finite_columns_when_everything_is_missing() -> None:
    study = read_study("escc-pcr")
    numeric = {name: np.full(2, np.nan) for name, v in study.covariates.items() if v.type == "numeric"}
    categorical = {name: np.full(2, -1, np.int16) for name, v in study.covariates.items() if v.type == "categorical"}
    encoding = Encoding.from_sums(study, column_sums(study, numeric, np.arange(2)))
    encoded = encoding.encode(numeric, categorical)
    assert encoded.shape == (2, len(encoding.columns))
    assert encoded.sum(axis=1).tolist() == [len(study.covariates)] * 2  # one missing flag each, nothing else
    assert set(encoding.column_groups) == set(study.analysis.explanation_groups)


def test_a_study_without_covariates_has_no_columns() -> None:
    assert Encoding(covariates=()).encode({}, {}, np.arange(3)).shape == (3, 0)
    assert Encoding(covariates=()).encode({}, {}).shape == (0, 0)


@pytest.mark.parametrize("value", [-0.5, 128.5, np.inf])
def test_values_outside_the_declared_range_are_refused(value: float) -> None:
    with pytest.raises(Refusal, match="age") as refusal:
        sums([50, value], [1, 1])
    assert refusal.value.code == "value-out-of-range"


@pytest.mark.parametrize("code", [-2, 2])
def test_category_numbers_outside_the_list_are_refused(code: int) -> None:
    encoding = Encoding.from_sums(STUDY, sums([40], [1]))
    numeric = {"age": np.array([50.0]), "nlr": np.array([4.0])}
    with pytest.raises(Refusal, match="sex") as refusal:
        encoding.encode(numeric, {"sex": np.array([code], np.int16)})
    assert refusal.value.code == "unknown-category"


def test_sums_of_other_covariates_do_not_add() -> None:
    with pytest.raises(Refusal) as refusal:
        sums([40], [1]) + CovariateSums(("age",), np.zeros((3, 1), np.int64))
    assert refusal.value.code == "covariate-mismatch"

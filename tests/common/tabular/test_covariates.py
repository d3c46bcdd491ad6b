"""Covariates become columns by federated moments that no order of sites can change."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fedescc.common.errors import Refusal
from fedescc.common.study import Analysis, Study, read_study
from fedescc.common.tabular.covariate_sums import asked_features, numeric_columns
from fedescc.common.tabular.covariates import (
    STEPS,
    CategoricalColumns,
    CovariateSums,
    Encoding,
    QuantileColumn,
    column_sums,
    read_encoding,
)
from fedescc.common.tabular.harmonisation import Harmonisation

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


def test_of_a_constant_covariate_no_later_value_means_anything() -> None:
    encoding = Encoding.from_sums(STUDY, sums([33.3] * 3, [1, 2, 3])).only(["age"])
    encoded = encoding.encode({"age": np.array([33.3, 90.0, np.nan])}, {})
    assert encoded.tolist() == [[0, 0], [0, 0], [0, 1]]


def test_a_covariate_that_nobody_has_gets_no_column_and_a_later_value_no_weight() -> None:
    encoding = Encoding.from_sums(STUDY, sums([40, 60], [np.nan] * 2))
    assert encoding.columns == ("age", "age_missing", "sex=female", "sex=male", "sex_missing")
    numeric = {"age": np.array([50.0, 50.0]), "nlr": np.array([60.0, np.nan])}
    first, second = encoding.encode(numeric, {"sex": np.array([0, 0], np.int16)}).tolist()
    assert first == second


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
    typical = {name: np.mean(study.covariates[name].range)[None] for name in numeric}
    encoding = Encoding.from_sums(study, column_sums(study, typical, np.arange(1)))
    encoded = encoding.encode(numeric, categorical)
    assert encoded.shape == (2, len(encoding.columns))
    assert encoded.sum(axis=1).tolist() == [len(study.covariates)] * 2  # one missing flag each, nothing else
    assert set(encoding.column_groups) == set(study.analysis.explanation_groups)


def test_a_study_without_covariates_has_no_columns() -> None:
    assert Encoding(covariates=()).encode({}, {}, np.arange(3)).shape == (3, 0)
    assert Encoding(covariates=()).encode({}, {}).shape == (0, 0)


@pytest.mark.parametrize("code", [-2, 2])
def test_category_numbers_outside_the_list_are_refused(code: int) -> None:
    encoding = Encoding.from_sums(STUDY, sums([40], [1]))
    numeric = {"age": np.array([50.0]), "nlr": np.array([4.0])}
    with pytest.raises(Refusal, match="sex") as refusal:
        encoding.encode(numeric, {"sex": np.array([code], np.int16)})
    assert refusal.value.code == "unknown-category"


def test_sums_of_other_covariates_do_not_add() -> None:
    others = [CovariateSums(("age",), np.zeros((3, 1), np.int64)), with_levels([1, 2]), ranked([1.0] * 5)]
    for other in others:
        with pytest.raises(Refusal) as refusal:
            sums([40], [1]) + other
        assert refusal.value.code == "covariate-mismatch"


def with_levels(counts: list[int]) -> CovariateSums:
    made = sums([40, 60], [0, 8])
    return CovariateSums(made.names, made.table, {"sex": np.array(counts)})


def test_categories_that_training_hardly_saw_count_as_missing() -> None:
    assert STUDY.disclosure.min_class_count == 5
    encoding = Encoding.from_sums(STUDY, with_levels([5, 4])).only(["sex"])
    assert encoding.columns == ("sex=female", "sex_missing")
    encoded = encoding.encode({}, {"sex": np.array([0, 1, -1], np.int16)})
    assert encoded.tolist() == [[1, 0], [0, 1], [0, 1]]


def test_a_middle_category_can_be_the_rare_one() -> None:
    column = CategoricalColumns(name="t", group="t", categories=("a", "b", "c"), kept=("a", "c"))
    encoded = column.encode({}, {"t": np.array([2, 1, 0, -1], np.int16)})
    assert encoded.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 1]]
    with pytest.raises(Refusal, match="unknown-category"):
        column.encode({}, {"t": np.array([3], np.int16)})


def test_a_covariate_without_any_frequent_category_has_no_column() -> None:
    assert "sex" not in Encoding.from_sums(STUDY, with_levels([4, 4])).column_covariates


def test_categories_that_were_not_counted_are_all_kept() -> None:
    assert "sex=male" in Encoding.from_sums(STUDY, sums([40], [1])).columns


def test_counts_of_categories_add_up_over_sites() -> None:
    total = with_levels([3, 1]) + with_levels([2, 1])
    assert Encoding.from_sums(STUDY, total).only(["sex"]).columns == ("sex=female", "sex_missing")


RANKED = STUDY.model_copy(
    update={
        "covariates": {**STUDY.covariates, "nlr": STUDY.covariates["nlr"].model_copy(update={"transform": "quantile"})}
    }
)


def ranked(nlr: list[float]) -> CovariateSums:
    numeric = {"age": np.full(len(nlr), 50.0), "nlr": np.array(nlr, float)}
    return column_sums(RANKED, numeric, np.arange(len(nlr)))


def test_a_ranked_covariate_is_monotone_bounded_and_standardised() -> None:
    values = np.exp(np.random.default_rng(0).normal(1, 0.6, 400)).clip(0, 64)
    column = Encoding.from_sums(RANKED, ranked(values.tolist())).only(["nlr"])
    assert column.columns == ("nlr", "nlr_missing")
    encoded = column.encode({"nlr": np.sort(values)}, {})[:, 0]
    assert (np.diff(encoded) >= 0).all()
    assert np.abs(encoded).max() < 3
    assert (encoded.mean(), encoded.std()) == (pytest.approx(0, abs=0.03), pytest.approx(1, abs=0.03))
    # In SDs of the value itself the largest would be further out and the smallest nearer.
    plain = Encoding.from_sums(STUDY, sums([50] * 400, values.tolist())).only(["nlr"]).encode({"nlr": values}, {})[:, 0]
    assert plain.max() > encoded.max() > -encoded.min() - 0.5 > -plain.min() - 0.5


def test_a_missing_ranked_value_is_the_mean_and_a_flag() -> None:
    column = Encoding.from_sums(RANKED, ranked([1.0, 2.0, 3.0, 8.0, np.nan])).only(["nlr"])
    assert column.encode({"nlr": np.array([np.nan])}, {}).tolist() == [[0, 1]]
    # Below the least value seen the score stays that of the least.
    lowest, below = column.encode({"nlr": np.array([0.9, 0.0])}, {}).tolist()
    assert lowest == below


def test_ranks_of_two_sites_do_not_depend_on_their_order() -> None:
    parts = ranked([1, 2, 3, 4, 5, 9]), ranked([2.5, 2.5, 7, 30, 40]), ranked([np.nan])
    made = {Encoding.from_sums(RANKED, a + b + c).model_dump_json() for a, b, c in itertools.permutations(parts)}
    assert len(made) == 1


@pytest.mark.parametrize(
    ("knots", "scores"), [((1, 1), (0, 1)), ((2, 1), (0, 1)), ((1, 2), (1, 0)), ((1, 2), (0,)), ((), ())]
)
def test_a_broken_rank_map_is_refused(knots: tuple[float, ...], scores: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        QuantileColumn(name="nlr", group="nlr", knots=knots, scores=scores)


@pytest.mark.parametrize("kept", [(), ("c",), ("b", "a"), ("a", "a")])
def test_kept_categories_are_some_of_the_categories(kept: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError):
        CategoricalColumns(name="x", group="x", categories=("a", "b"), kept=kept)


FEATURES = ["tumour_volume_post", "stat_mean_change"]


def with_features(volume: list[float], mean: list[float]) -> CovariateSums:
    n = len(volume)
    numeric = {"age": np.full(n, 50.0), "nlr": np.ones(n)}
    numeric |= {"tumour_volume_post": np.array(volume), "stat_mean_change": np.array(mean)}
    return column_sums(STUDY, numeric, np.arange(n), features=FEATURES)


def test_image_features_follow_the_covariates_in_a_group_of_their_own() -> None:
    encoding = Encoding.from_sums(STUDY, with_features([10, 30], [-1, 5]))
    assert encoding.features == tuple(FEATURES)
    assert encoding.columns[-4:] == (
        "tumour_volume_post", "tumour_volume_post_missing", "stat_mean_change", "stat_mean_change_missing",
    )  # fmt: skip
    assert encoding.column_groups[-4:] == ("image_features",) * 4
    volume = encoding.covariates[-2]
    assert (volume.mean, volume.sd) == (pytest.approx(20, abs=1e-3), pytest.approx(10, abs=1e-3))


def test_a_choice_of_columns_keeps_the_order_and_the_numbers() -> None:
    encoding = Encoding.from_sums(STUDY, with_features([10, 30], [-1, 5]))
    clinical, images = encoding.only(["nlr", "age"]), encoding.only(encoding.features)
    assert clinical.columns == ("age", "age_missing", "nlr", "nlr_missing")
    assert images.features == tuple(FEATURES)
    assert clinical.covariates + images.covariates == tuple(c for c in encoding.covariates if c.name != "sex")
    assert encoding.only([]).columns == ()


@pytest.mark.parametrize("features", [["no_such_feature"], ["tumour_hu_pre", "tumour_hu_pre"], ["age"]])
def test_unknown_features_are_refused(features: list[str]) -> None:
    with pytest.raises(Refusal) as refusal:
        numeric_columns(STUDY, features)
    assert refusal.value.code == "unknown-feature"


@pytest.mark.parametrize("features", ["tumour_hu_pre", [1], {"a": 1}])
def test_features_of_a_task_are_a_list_of_names(features: object) -> None:
    with pytest.raises(Refusal) as refusal:
        asked_features(STUDY, {"features": features})
    assert refusal.value.code == "malformed-message"
    assert asked_features(STUDY, {}) == []


def test_every_kind_of_column_comes_back_from_json() -> None:
    made = ranked([1, 2, 3, 4, 9.5])
    total = CovariateSums(made.names, made.table, {"sex": np.array([9, 1])}, made.runs)
    landmarks = Harmonisation(window_hu=(-160, 340), fat=0.13, bright=0.7)
    encoding = Encoding.from_sums(RANKED, total).model_copy(update={"harmonisation": landmarks})
    assert {covariate.type for covariate in encoding.covariates} == {"numeric", "quantile", "categorical"}
    text = json.dumps(json.loads(encoding.model_dump_json()), sort_keys=True)
    assert read_encoding(text) == encoding
    assert Encoding.model_validate(encoding.model_dump(mode="json")) == encoding


@pytest.mark.parametrize(
    ("text", "code"),
    [
        # As fedescc wrote it before rare categories and ranks.
        ('{"covariates": [{"type": "numeric", "name": "a", "group": "a", "mean": 0, "sd": 1}]}', "old-encoding"),
        ('{"format": 3, "covariates": []}', "old-encoding"),
        ("", "old-encoding"),
        ("[]", "old-encoding"),
        ('{"format": 2, "covariates": [{"type": "numeric"}]}', "invalid-settings"),
        ('{"format": 2, "covariates": [], "site": "a"}', "invalid-settings"),
    ],
)
def test_a_model_with_another_description_of_its_inputs_is_refused(text: str, code: str) -> None:
    with pytest.raises(Refusal) as refusal:
        read_encoding(text)
    assert refusal.value.code == code
    assert refusal.value.todo

"""A site takes an encoding that its own code could have built from honest sums, and no other."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scan_sites import scan_study
from toy_federation import STUDY as TOY

from fedescc.common.errors import Refusal
from fedescc.common.study import Study
from fedescc.common.tabular.covariates import CovariateSums, Encoding, column_sums
from fedescc.common.tabular.harmonisation import Harmonisation, LandmarkSums
from fedescc.common.tabular.moments import STEPS
from fedescc.common.tabular.received import received_encoding
from fedescc.common.yamlfile import parse_model

STUDY = parse_model(TOY, Study, "toy")
SKEWED = STUDY.model_copy(
    update={
        "covariates": STUDY.covariates
        | {"marker": STUDY.covariates["marker"].model_copy(update={"transform": "quantile"})}
    }
)
HARMONISED = scan_study(imaging=scan_study().imaging.model_dump(mode="json") | {"harmonisation": "landmarks"})
Values = dict[str, Any]


def sums(study: Study, rows: int, seed: int = 0) -> CovariateSums:
    rng = np.random.default_rng(seed)
    numeric = {"age": rng.uniform(0, 120, rows), "marker": rng.uniform(0, 1000, rows)}
    numeric["marker"][rng.random(rows) < 0.2] = np.nan
    categorical = {"sex": rng.integers(-1, 2, rows).astype(np.int16)}
    return column_sums(study, numeric, np.arange(rows), categorical=categorical)


def task(encoding: Encoding) -> Values:
    return {"encoding": encoding.model_dump(mode="json")}


def built(study: Study = STUDY) -> Values:
    """An honest encoding as a request carries it."""
    return task(Encoding.from_sums(study, sums(study, 60)))


def column(sent: Values, name: str) -> Values:
    return next(one for one in sent["encoding"]["covariates"] if one["name"] == name)


def refused(sent: Values, code: str = "wrong-encoding", study: Study = STUDY) -> Refusal:
    with pytest.raises(Refusal) as caught:
        received_encoding(sent, study)
    assert caught.value.code == code
    return caught.value


@pytest.mark.parametrize("study", [STUDY, SKEWED])
@given(rows=st.integers(1, 80), seed=st.integers(0, 10**6))
def test_whatever_sites_can_sum_up_is_taken(study: Study, rows: int, seed: int) -> None:
    encoding = Encoding.from_sums(study, sums(study, rows, seed))
    assert received_encoding(task(encoding), study) == encoding


@pytest.mark.parametrize(
    ("values", "mean", "sd"),
    [([0.0] * 9, 0, 0), ([120.0] * 9, 120, 0), ([0.0, 120.0], 60, 60), ([30.0] * 9 + [30.0 + 120 / STEPS], 30, 3.4e-5)],
)
def test_values_at_the_ends_of_the_range_and_least_spreads_are_taken(
    values: list[float], mean: float, sd: float
) -> None:
    numeric = {"age": np.array(values), "marker": np.full(len(values), np.nan)}
    encoding = Encoding.from_sums(STUDY, column_sums(STUDY, numeric, np.arange(len(values))))
    found = received_encoding(task(encoding), STUDY).covariates[0]
    assert (found.mean, found.sd) == (pytest.approx(mean, abs=1e-4), pytest.approx(sd, abs=1e-5))


def test_the_least_spread_of_millions_of_patients_is_taken_and_a_smaller_one_is_not() -> None:
    n = 8_000_000
    sent, step = built(), 120 / STEPS
    column(sent, "age")["sd"] = step * (n - 1) ** 0.5 / n
    assert received_encoding(sent, STUDY)
    column(sent, "age")["sd"] = step * 2.0**-13
    refused(sent)


@pytest.mark.parametrize("names", [["age"], ["age", "sex"], ["marker", "sex"]])
def test_covariates_without_values_may_be_missing(names: list[str]) -> None:
    encoding = Encoding.from_sums(STUDY, sums(STUDY, 60)).only(names)
    assert received_encoding(task(encoding), STUDY) == encoding


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("age", {"mean": -0.1}),
        ("age", {"mean": 120.1}),
        ("age", {"mean": 1e300}),
        ("age", {"sd": 60.1}),
        ("age", {"sd": 1e-300}),
        ("age", {"sd": 1e300}),
        ("age", {"group": "other"}),
        ("age", {"name": "outcome"}),
        ("age", {"name": "weight"}),
        ("age", {"name": "marker"}),
        ("age", {"name": "tumour_volume_pre"}),
        ("age", {"type": "quantile", "knots": [1.0, 2.0], "scores": [0.0, 1.0]}),
        ("age", {"type": "categorical", "categories": ["young", "old"], "kept": ["old"]}),
        ("sex", {"categories": ["male", "female"], "kept": ["male", "female"]}),
        ("sex", {"categories": ["female", "male", "other"]}),
        ("sex", {"categories": ["female"], "kept": ["female"]}),
        ("sex", {"type": "numeric", "mean": 0.5, "sd": 0.5}),
    ],
)
def test_a_column_that_this_study_does_not_encode_so_is_refused(name: str, change: Values) -> None:
    sent = built()
    one = column(sent, name)
    if "type" in change:
        one.clear()
        one |= {"name": name, "group": name}
    one |= change
    refused(sent)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"knots": [-1.0, 500.0], "scores": [-1.0, 1.0]}, "wrong-encoding"),
        ({"knots": [1.0, 1000.1], "scores": [-1.0, 1.0]}, "wrong-encoding"),
        ({"knots": [1.0, 500.0], "scores": [-1.0, 5000.0]}, "wrong-encoding"),
        ({"knots": [1.0, 500.0], "scores": [1.0, -1.0]}, "invalid-settings"),
        ({"knots": [500.0, 1.0], "scores": [-1.0, 1.0]}, "invalid-settings"),
        ({"knots": [1.0, 500.0], "scores": [1.0]}, "invalid-settings"),
    ],
)
def test_ranks_outside_the_range_and_scores_of_no_rank_are_refused(change: Values, code: str) -> None:
    sent = built(SKEWED)
    assert column(sent, "marker")["type"] == "quantile"
    column(sent, "marker").update(change)
    refused(sent, code, SKEWED)


def test_a_skewed_covariate_of_which_no_ranks_are_known_may_be_standardised() -> None:
    sent = built()
    assert received_encoding(sent, SKEWED)
    refused(built(SKEWED), study=STUDY)


def test_only_a_model_with_images_may_have_no_column_at_all() -> None:
    nothing = {"encoding": {"covariates": []}}
    assert received_encoding(nothing, scan_study()).columns == ()
    refused(nothing)
    refused(nothing | {"model": "linear"}, study=scan_study())


def test_columns_in_another_order_or_twice_are_refused() -> None:
    sent = built()
    sent["encoding"]["covariates"].reverse()
    refused(sent)
    sent = built()
    sent["encoding"]["covariates"].append(dict(column(sent, "age")))
    refused(sent)


def test_known_image_features_follow_the_covariates_of_a_study_with_images() -> None:
    study = scan_study()
    age = {"type": "numeric", "name": "age", "group": "age", "mean": 60.0, "sd": 8.0}
    feature = {"type": "numeric", "name": "tumour_volume_post", "group": "image_features", "mean": 20.0, "sd": 8.0}
    other = feature | {"name": "stat_mean_post", "mean": -20.0}
    for columns in ([age, feature], [age, other, feature], [feature]):
        assert received_encoding({"encoding": {"covariates": columns}}, study)
    for columns in (
        [feature, age],
        [age, feature, feature],
        [age, feature | {"name": "tumour_colour_post"}],
        [age, feature | {"group": "tumour_volume_post"}],
        [age, feature | {"mean": 2001.0}],
        [age, feature | {"type": "quantile", "knots": [1.0], "scores": [0.0]}],
    ):
        refused({"encoding": {"covariates": [_without_moments(one) for one in columns]}}, study=study)
    refused({"encoding": {"covariates": [feature]}}, study=STUDY)


def _without_moments(one: Values) -> Values:
    """Of ranks: they have none."""
    return {key: one[key] for key in one if one["type"] == "numeric" or key not in ("mean", "sd")}


def test_scans_are_harmonised_as_the_study_says() -> None:
    landmarks = LandmarkSums(np.array([4, 4]), np.array([[4, 4], [4, 4]]) * np.array([STEPS // 8, STEPS * 3 // 4]))
    found = Harmonisation.from_sums(landmarks, HARMONISED.imaging.grid.window_hu)
    assert found is not None
    sent = {"encoding": {"covariates": [], "harmonisation": found.model_dump(mode="json")}}
    assert received_encoding(sent, HARMONISED).harmonisation == found
    assert received_encoding({"encoding": {"covariates": []}}, HARMONISED).harmonisation is None
    refused(sent, study=scan_study())
    refused(sent, study=STUDY)
    sent["encoding"]["harmonisation"]["window_hu"] = [-200.0, 400.0]
    refused(sent, study=HARMONISED)


@pytest.mark.parametrize(
    "encoding",
    [
        None, 1, "text", [], {}, {"covariates": None}, {"covariates": [1]}, {"covariates": [{}]},
        {"covariates": [{"type": "numeric", "name": "age", "group": "age", "mean": 1.0, "sd": -1.0}]},
        {"covariates": [{"type": "numeric", "name": "age", "group": "age", "mean": float("nan"), "sd": 1.0}]},
        {"covariates": [{"type": "numeric", "name": "age", "group": "age", "mean": 10**400, "sd": 1.0}]},
        {"covariates": [{"type": ["numeric"], "name": "age"}]},
        {"covariates": [], "format": 1}, {"covariates": [], "more": 1},
        {"covariates": [0] * 100_000},
        {"covariates": [{"type": "categorical", "name": "sex", "group": "sex", "categories": ["a"], "kept": []}]},
    ],
)  # fmt: skip
def test_what_is_no_encoding_is_refused(encoding: Any) -> None:
    refused({"encoding": encoding}, "invalid-settings")
    refused({}, "invalid-settings")


def test_the_refusal_repeats_no_name_that_the_server_made_up() -> None:
    sent = built()
    column(sent, "age")["name"] = "Jane Doe"
    assert "Doe" not in str(refused(sent))

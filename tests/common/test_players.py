"""Players of the explanation: regions of each scan, groups of covariates, and all image features as one."""

from typing import Any

import pytest
from pydantic import ValidationError

from fedescc.common.players import covariate_groups, player_names
from fedescc.common.study import FEATURE_GROUP, Study, read_study
from fedescc.common.tabular.features import NAMED_FEATURES, RADIOMIC_FEATURES

REGIONS = ("pre_tumour", "pre_rim", "pre_rest", "post_tumour", "post_rim", "post_rest")


def study(features: tuple[str, ...], name: str = "escc-pcr", **changes: Any) -> Study:
    shipped = read_study(name).model_dump(mode="json")
    shipped["model"]["image_features"] = features
    return Study.model_validate({**shipped, **changes})


def with_groups(count: int, features: tuple[str, ...]) -> Study:
    covariates = list(read_study("escc-pcr").covariates)
    names = [f"group{number}" for number in range(count)]
    groups = {name: [covariates[number]] for number, name in enumerate(names)}
    groups[names[-1]] += covariates[count:]
    return study(features, analysis={"explanation_groups": groups})


def test_image_features_are_one_player_after_the_covariates_groups() -> None:
    features = ("tumour_volume_change", "tumour_hu_post", *list(RADIOMIC_FEATURES)[:1])
    plain, more = player_names(study(())), player_names(study(features))
    assert plain[:6] == REGIONS
    assert plain[6:] == tuple(read_study("escc-pcr").analysis.explanation_groups)
    assert more == (*plain, FEATURE_GROUP)
    assert covariate_groups(study(features))[FEATURE_GROUP] == features


def test_covariates_without_groups_stay_players_of_their_own_beside_the_features() -> None:
    few = {"age": read_study("escc-pcr").covariates["age"].model_dump(mode="json")}
    changes: dict[str, Any] = {"covariates": few, "analysis": {}, "eligibility": {}}
    assert player_names(study(("tumour_hu_pre",), **changes)) == (*REGIONS, "age", FEATURE_GROUP)


@pytest.mark.parametrize(("groups", "features", "fits"), [(10, 0, True), (10, 1, False), (9, 3, True)])
def test_the_features_take_one_of_sixteen_places(groups: int, features: int, fits: bool) -> None:
    names = tuple(NAMED_FEATURES)[:features]
    if fits:
        assert len(player_names(with_groups(groups, names))) == 16 - (10 - groups) + bool(features)
    else:
        with pytest.raises(ValidationError, match="17 players, where exact Shapley values allow 16"):
            with_groups(groups, names)


def test_every_declared_feature_can_be_named() -> None:
    names = tuple(NAMED_FEATURES) + tuple(RADIOMIC_FEATURES)
    assert study(names).model.image_features == names


@pytest.mark.parametrize(
    ("features", "part"),
    [
        (("tumour_volume",), "no feature named 'tumour_volume'"),
        (("tumour_volume_post", "age"), "no feature named 'age'"),
        (("tumour_hu_post", "tumour_hu_post"), "'tumour_hu_post' names two inputs"),
    ],
)
def test_unknown_and_doubled_features_are_refused(features: tuple[str, ...], part: str) -> None:
    with pytest.raises(ValidationError, match=part):
        study(features)


def test_a_feature_named_like_a_variable_is_refused() -> None:
    taken = {"type": "numeric", "unit": "ml", "range": [0, 500], "available_at": "baseline"}
    recorded = read_study("escc-pcr").model_dump(mode="json")["recorded"]
    with pytest.raises(ValidationError, match="'tumour_volume_pre' names two inputs"):
        study(("tumour_volume_pre",), recorded={**recorded, "tumour_volume_pre": taken})


def test_the_groups_name_is_reserved_where_features_are_used() -> None:
    shipped = read_study("escc-pcr").model_dump(mode="json")
    groups = shipped["analysis"]["explanation_groups"]
    groups[FEATURE_GROUP] = groups.pop("nutrition")
    assert FEATURE_GROUP in covariate_groups(study((), analysis=shipped["analysis"]))
    with pytest.raises(ValidationError, match="image_features is their group's name"):
        study(("tumour_hu_post",), analysis=shipped["analysis"])


def test_a_feature_needs_the_scans_it_is_measured_in() -> None:
    imaging = read_study("escc-pcr").model_dump(mode="json")["imaging"]
    imaging["time_points"] = ["pre"]
    changes: dict[str, Any] = {"imaging": imaging, "eligibility": {}}
    assert study(("tumour_hu_pre",), **changes).model.image_features == ("tumour_hu_pre",)
    for name, needed in (("tumour_hu_post", "post"), ("tumour_hu_change", "post, pre")):
        with pytest.raises(ValidationError, match=f"'{name}' needs the time points {needed}"):
            study((name,), **changes)
    with pytest.raises(ValidationError, match="needs the time points pre"):
        study(("tumour_hu_pre",), name="heart-disease")

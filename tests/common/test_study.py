"""The study file: shipped studies, identity by hash, and what is refused."""

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedescc.common.errors import Refusal
from fedescc.common.protocol import Condition
from fedescc.common.study import Study, read_study, shipped_studies
from fedescc.common.yamlfile import parse_model

MINIMAL: dict[str, Any] = {
    "format": 1,
    "name": "tiny",
    "title": "Tiny",
    "endpoint": {"name": "cure", "text": "cured", "positive_when": {"outcome": {"one_of": ["cured"]}}},
    "prediction_time": "baseline",
    "covariates": {"age": {"type": "numeric", "unit": "years", "range": [0, 110], "available_at": "baseline"}},
    "recorded": {
        "outcome": {"type": "categorical", "categories": ["cured", "ill"], "available_at": "pathology"},
        "visit": {"type": "date", "available_at": "surgery"},
    },
    "model": {"kind": "linear"},
}
IMAGING = {
    "time_points": ["pre", "post"],
    "grid": {"size_zyx": [8, 8, 8], "spacing_zyx_mm": [2, 2, 2], "window_hu": [-160, 340]},
}


def study(**changes: Any) -> Study:
    return parse_model(yaml.safe_dump({**MINIMAL, **changes}, sort_keys=False), Study, "study")


def test_shipped_studies_are_valid_and_repeat_through_yaml() -> None:
    assert shipped_studies() == ["escc-pcr", "heart-disease"]
    for name in shipped_studies():
        shipped = read_study(name)
        again = parse_model(shipped.to_yaml(), Study, "again")
        assert shipped.name == name
        assert again == shipped
        assert again.sha256 == shipped.sha256


def test_default_study_is_the_protocol() -> None:
    escc = read_study("escc-pcr")
    assert escc.registration == "NCT07088354"
    assert set(escc.endpoint.positive_when) == {"ypT", "ypN"}
    assert escc.imaging is not None
    assert escc.imaging.time_points == ("pre", "post")
    assert len(escc.eligibility.inclusion) == 8
    assert len(escc.eligibility.exclusion) == 4
    period = next(rule for rule in escc.eligibility.inclusion if rule.code == "surgery_in_period")
    assert period.when["surgery_date"].holds(date(2019, 1, 1))
    assert period.when["surgery_date"].holds(date(2025, 7, 31))
    assert not period.when["surgery_date"].holds(date(2025, 8, 1))
    assert "interval_to_surgery" not in escc.covariates


def test_hash_is_of_the_meaning_not_the_text() -> None:
    reordered = dict(reversed(MINIMAL.items()))
    text = "# comment\n" + yaml.safe_dump(reordered, sort_keys=False)
    assert parse_model(text, Study, "x").sha256 == study().sha256
    assert study(analysis={"histogram_bins": 50}).sha256 == study().sha256
    assert re.fullmatch("[0-9a-f]{64}", study().sha256)


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "Other"},
        {"disclosure": {"min_class_count": 6}},
        {"prediction_time": "treatment"},
        {"analysis": {"split": {"train": 0.61}}},
    ],
)
def test_any_change_changes_the_hash(changes: dict[str, Any]) -> None:
    assert study(**changes).sha256 != study().sha256


def test_the_order_of_covariates_is_part_of_the_identity() -> None:
    names = ("age", "albumin")
    one, other = ({name: variable() for name in order} for order in (names, names[::-1]))
    assert study(covariates=one).sha256 != study(covariates=other).sha256


def variable(**changes: Any) -> dict[str, Any]:
    return {"type": "numeric", "unit": "d", "range": [0, 1], "available_at": "baseline", **changes}


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"covariats": {}}, "covariats: unknown key"),
        ({"format": 2}, "format"),
        ({"name": "Bad Name"}, "name"),
        ({"covariates": {"late": variable(available_at="pathology")}}, "would leak the outcome"),
        ({"covariates": {"late": variable(available_at="surgery")}, "prediction_time": "second_ct"}, "leak"),
        (
            {"covariates": {"day": {"type": "date", "available_at": "baseline"}}},
            "a date cannot be a predictor",
        ),
        ({"covariates": {"x": variable(range=[1, 1])}}, "low < high"),
        ({"covariates": {"x": variable(type="text")}}, "covariates.x"),
        ({"covariates": {"x y": variable()}}, "covariates"),
        ({"covariates": {}}, "needs at least one"),
        ({"endpoint": {"name": "e", "text": "", "positive_when": {}}}, "positive_when"),
        (
            {"endpoint": {"name": "e", "text": "", "positive_when": {"age": {"minimum": 3}}}},
            "it cannot predict it",
        ),
        (
            {"endpoint": {"name": "e", "text": "", "positive_when": {"outcom": {"one_of": ["cured"]}}}},
            "no variable of this name",
        ),
        (
            {"endpoint": {"name": "e", "text": "", "positive_when": {"outcome": {"one_of": ["well"]}}}},
            "out of cured, ill",
        ),
        (
            {"endpoint": {"name": "e", "text": "", "positive_when": {"visit": {"minimum": 3}}}},
            "as a date",
        ),
        ({"model": {"kind": "paired_cnn"}}, "needs an imaging section"),
        ({"imaging": IMAGING, "prediction_time": "second_ct"}, "no use for images"),
        ({"imaging": IMAGING, "model": {"kind": "paired_cnn"}}, "no post CT yet"),
        ({"analysis": {"explanation_groups": {"a": ["age", "age"]}}}, "exactly one group"),
        ({"analysis": {"split": {"train": 0.8, "validation": 0.2}}}, "must leave a test set"),
        (
            {"eligibility": {"inclusion": [{"code": "both", "text": "", "built_in": "roi"}]}},
            "need an imaging section",
        ),
        ({"eligibility": {"inclusion": [{"code": "none", "text": ""}]}}, "either when"),
        (
            {"eligibility": {"inclusion": [{"code": "included", "text": "", "when": {"age": {"minimum": 3}}}]}},
            "a code of intake's own",
        ),
        (
            {"eligibility": {"inclusion": [{"code": "aaa", "text": "", "built_in": "chronology"}] * 2}},
            "codes must differ",
        ),
        ({"recorded": {**MINIMAL["recorded"], "age": variable()}}, "both a covariate and recorded"),
        ({"covariates": {f"x{number}": variable() for number in range(17)}}, "17 players"),
    ],
)
def test_faults_are_refused(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(Refusal, match="invalid-settings") as caught:
        study(**changes)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("imaging", "part"),
    [
        ({"time_points": ["pre", "pre"]}, "time points must differ"),
        ({"time_points": ["post", "pre"]}, "in order of time"),
        ({"roi": {"name_pattern": "(gtv"}}, "not a regular expression"),
        ({"grid": {**IMAGING["grid"], "size_zyx": [8, 8]}}, "three values"),  # type: ignore[dict-item]
        ({"grid": {**IMAGING["grid"], "window_hu": [340, -160]}}, "low < high"),  # type: ignore[dict-item]
        ({"grid": {**IMAGING["grid"], "margin_mm": 40}}, "leaves nothing of the grid"),  # type: ignore[dict-item]
        ({"quality": {"interval_days": [365, 14]}}, "low < high"),
        ({"quality": {"refuse": ["ugly"]}}, "quality.refuse"),
        ({"tilt": "ignore"}, "tilt"),
    ],
)
def test_imaging_faults_are_refused(imaging: dict[str, Any], part: str) -> None:
    with pytest.raises(Refusal) as caught:
        study(imaging={**IMAGING, **imaging}, model={"kind": "paired_cnn"})
    assert part in str(caught.value)


def test_a_study_of_the_second_ct_alone_has_nothing_to_propagate() -> None:
    late = {**IMAGING, "time_points": ["post"]}
    settings: dict[str, Any] = {"model": {"kind": "paired_cnn"}, "prediction_time": "second_ct"}
    with pytest.raises(Refusal, match="no ROI to propagate"):
        study(imaging=late, **settings)
    assert study(imaging={**late, "roi": {"post_rule": "drawn"}}, **settings).imaging is not None


@pytest.mark.parametrize(
    ("rules", "part"),
    [
        ([{"code": "twice", "text": "", "when": {"outcome": {"one_of": ["ill"]}}}] * 2, "a code of its own"),
        ([{"code": "built_in", "text": "", "built_in": "roi"}], "a code of its own"),
        ([{"code": "stranger", "text": "", "when": {"nobody": {"one_of": ["ill"]}}}], "no variable of this name"),
        ([{"code": "category", "text": "", "when": {"outcome": {"one_of": ["well"]}}}], "out of cured, ill"),
    ],
)
def test_contradictions_are_checked_like_rules(rules: list[dict[str, Any]], part: str) -> None:
    with pytest.raises(Refusal) as caught:
        study(endpoint={**MINIMAL["endpoint"], "contradictions": rules})
    assert part in str(caught.value)


def test_a_ct_rule_needs_its_time_point() -> None:
    rule = {"inclusion": [{"code": "second", "text": "", "built_in": "ct_post"}]}
    with pytest.raises(Refusal, match="time_points lacks it"):
        study(imaging={**IMAGING, "time_points": ["pre"]}, model={"kind": "paired_cnn"}, eligibility=rule)


@pytest.mark.parametrize(
    "condition",
    [
        {},
        {"one_of": []},
        {"one_of": ["a"], "minimum": 1},
        {"minimum": 2, "maximum": 1},
        {"minimum": float("nan")},
    ],
)
def test_empty_conditions_are_refused(condition: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Condition.model_validate(condition)


def test_conditions_hold_at_their_bounds() -> None:
    between = Condition(minimum=1.0, maximum=2.0)
    assert [between.holds(value) for value in (0.99, 1.0, 2.0, 2.01)] == [False, True, True, False]
    assert Condition(one_of=("a", "b")).holds("b")
    assert not Condition(one_of=("a", "b")).holds("c")


def test_unknown_study_names_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="unknown-study") as caught:
        read_study("escc")
    assert "escc-pcr, heart-disease" in str(caught.value)
    with pytest.raises(Refusal, match="unreadable-settings"):
        read_study(tmp_path / "absent.yaml")


def test_a_folder_named_like_a_study_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "escc-pcr").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read_study("escc-pcr").name == "escc-pcr"


def test_a_name_too_long_for_a_file_is_just_unknown() -> None:
    with pytest.raises(Refusal, match="unknown-study"):
        read_study("s" * 400)

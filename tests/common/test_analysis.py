"""The analysis plan: what it fixes, its digest, and what is refused in one line."""

import re
from typing import Any

import pytest
import yaml

from fedescc.common.analysis import (
    MAX_LEVELS,
    MISSING,
    Analysis,
    AtSensitivity,
    LeastCost,
    all_levels,
    kept_variables,
    subgroup_levels,
)
from fedescc.common.errors import Refusal
from fedescc.common.study import Study, read_study
from fedescc.common.yamlfile import parse_model

STUDY: dict[str, Any] = {
    "format": 1,
    "name": "tiny",
    "title": "Tiny",
    "endpoint": {"name": "cure", "text": "cured", "positive_when": {"outcome": {"one_of": ["cured"]}}},
    "prediction_time": "baseline",
    "covariates": {
        "age": {"type": "numeric", "unit": "years", "range": [0, 110], "available_at": "baseline"},
        "sex": {"type": "categorical", "categories": ["female", "male"], "available_at": "baseline"},
    },
    "recorded": {
        "outcome": {"type": "categorical", "categories": ["cured", "ill"], "available_at": "pathology"},
        "centre": {"type": "categorical", "categories": ["east", "west"], "available_at": "baseline"},
        "known": {"type": "categorical", "categories": ["yes", "missing"], "available_at": "baseline"},
        "visit": {"type": "date", "available_at": "surgery"},
    },
    "model": {"kind": "linear"},
}
SUBGROUPS = {
    "by_age": {"variable": "age", "cuts": [50, 65.5]},
    "sex": {"variable": "sex"},
    "centre": {"variable": "centre"},
}


def study(**analysis: Any) -> Study:
    return parse_model(yaml.safe_dump({**STUDY, "analysis": analysis}, sort_keys=False), Study, "study")


def test_levels_stand_in_order_and_patients_without_a_value_come_last_on_the_wire() -> None:
    found = study(subgroups=SUBGROUPS)
    assert subgroup_levels(found) == {
        "by_age": ("<50", "50 to <65.5", ">=65.5"),
        "sex": ("female", "male"),
        "centre": ("east", "west"),
    }
    assert all_levels(found)[:4] == [
        ("by_age", "<50"), ("by_age", "50 to <65.5"), ("by_age", ">=65.5"), ("by_age", MISSING),
    ]  # fmt: skip
    assert [level for _, level in all_levels(found)].count(MISSING) == 3


def test_scanner_vendors_are_levels_without_a_variable() -> None:
    escc = read_study("escc-pcr")
    assert subgroup_levels(escc)["scanner_vendor"][:2] == ("siemens", "ge")
    assert {"sex", "age", "regimen", "stage", "scanner_vendor"} == set(escc.analysis.subgroups)
    assert subgroup_levels(escc)["age"] == ("<65", ">=65")


def test_a_cohort_keeps_what_subgroups_go_by_beside_the_covariates() -> None:
    assert list(kept_variables(study())) == ["age", "sex"]
    assert list(kept_variables(study(subgroups=SUBGROUPS))) == ["age", "sex", "centre"]
    assert kept_variables(read_study("escc-pcr")).keys() == read_study("escc-pcr").covariates.keys()


def test_the_plans_digest_is_part_of_the_study_and_of_nothing_else() -> None:
    one, other = study(), study(threshold={"rule": "sensitivity", "at": 0.9})
    assert re.fullmatch("[0-9a-f]{64}", one.analysis.sha256)
    assert one.analysis.sha256 != other.analysis.sha256
    assert one.sha256 != other.sha256
    renamed = parse_model(yaml.safe_dump({**STUDY, "title": "Another"}), Study, "study")
    assert renamed.analysis.sha256 == one.analysis.sha256
    assert renamed.sha256 != one.sha256


@pytest.mark.parametrize(
    "change",
    [
        {"primary_metric": "mean_site_auc"},
        {"threshold": {"rule": "cost", "false_negative": 5, "false_positive": 1}},
        {"comparators": ["clinical"]},
        {"partial_auc": 0.2},
        {"decision_thresholds": [0.2]},
        {"subgroups": {"sex": {"variable": "sex"}}},
        {"histogram_bins": 51},
        {"split": {"train": 0.5}},
    ],
)
def test_any_change_of_the_plan_changes_both_hashes(change: dict[str, Any]) -> None:
    changed = study(**change)
    assert changed.analysis.sha256 != study().analysis.sha256
    assert changed.sha256 != study().sha256


def test_the_order_of_subgroups_is_part_of_the_digest_because_sums_are_sent_in_it() -> None:
    one, other = study(subgroups=SUBGROUPS), study(subgroups=dict(reversed(SUBGROUPS.items())))
    assert one.analysis.sha256 != other.analysis.sha256
    assert one.sha256 != other.sha256


def test_threshold_rules_are_read_and_named() -> None:
    assert study().analysis.threshold_label == "youden"
    found = study(threshold={"rule": "sensitivity", "at": 0.9}).analysis
    assert found.threshold == AtSensitivity(rule="sensitivity", at=0.9)
    assert found.threshold_label == "sensitivity-0.9"
    assert study(threshold={"rule": "specificity", "at": 0.85}).analysis.threshold_label == "specificity-0.85"
    cost = study(threshold={"rule": "cost", "false_negative": 5, "false_positive": 1.5}).analysis
    assert isinstance(cost.threshold, LeastCost)
    assert cost.threshold_label == "cost-5-1.5"


def test_a_plan_repeats_through_yaml() -> None:
    for found in (
        study(subgroups=SUBGROUPS, threshold={"rule": "specificity", "at": 0.9}, decision_thresholds=[0.1, 0.2]),
        read_study("escc-pcr"),
    ):
        again = parse_model(found.to_yaml(), Study, "again")
        assert again == found
        assert again.analysis.sha256 == found.analysis.sha256
    assert Analysis.model_validate(found.analysis.model_dump()) == found.analysis


@pytest.mark.parametrize(
    ("analysis", "part"),
    [
        ({"primary_metric": "accuracy"}, "primary_metric"),
        ({"threshold": "best"}, "give youden, or a mapping with rule: sensitivity, specificity or cost"),
        ({"threshold": {"rule": "youden2"}}, "give youden, or a mapping"),
        ({"threshold": {"at": 0.9}}, "give youden, or a mapping"),
        ({"threshold": 0.5}, "give youden, or a mapping"),
        ({"threshold": {"rule": "sensitivity", "at": 1.0}}, "less than 1"),
        ({"threshold": {"rule": "sensitivity"}}, "at: Field required"),
        ({"threshold": {"rule": "cost", "false_negative": 0, "false_positive": 1}}, "greater than 0"),
        ({"comparators": ["clincal"]}, "comparators: no comparator 'clincal'; give clinical, "),
        ({"comparators": ["clinical", "clinical"]}, "'clinical' is named twice"),
        ({"comparators": ["fusion"]}, "analysis.comparators: fusion needs images"),
        ({"compared_with": "clinical"}, "compared_with: 'clinical' is not among the comparators"),
        ({"partial_auc": 1.0}, "partial_auc: Input should be less than 1"),
        ({"decision_thresholds": [0.0]}, "greater than 0"),
        ({"decision_thresholds": [0.2, 1.0]}, "less than 1"),
        ({"decision_thresholds": [0.3, 0.2]}, "decision_thresholds must ascend"),
        ({"decision_thresholds": [0.2, 0.2]}, "decision_thresholds must ascend"),
        ({"subgroups": {"x": {"variable": "weight"}}}, "analysis.subgroups.x: no variable named 'weight'"),
        ({"subgroups": {"x": {"variable": "age"}}}, "'age' is a number and needs cuts"),
        ({"subgroups": {"x": {"variable": "age", "cuts": [65, 50]}}}, "cuts must ascend"),
        (
            {"subgroups": {"x": {"variable": "age", "cuts": [50, 110]}}},
            "cut 110 lies outside the range of 'age', 0 to 110",
        ),
        ({"subgroups": {"x": {"variable": "sex", "cuts": [1]}}}, "cuts belong to a number, and 'sex' has categories"),
        ({"subgroups": {"x": {"variable": "visit"}}}, "'visit' is a date"),
        ({"subgroups": {"x": {"variable": "known"}}}, "has a category 'missing'"),
        ({"subgroups": {"x": {"variable": "outcome"}}}, "'outcome' is part of the endpoint"),
        ({"subgroups": {"x": {"variable": "scanner_vendor"}}}, "scanner_vendor needs an imaging section"),
        ({"subgroups": {"x": {"variable": "scanner_vendor", "cuts": [1]}}}, "scanner_vendor has no order to cut"),
        ({"subgroups": {f"g{i}": {"variable": "age", "cuts": range(1, 11)} for i in range(9)}}, "108 levels"),
    ],
)
def test_faults_are_refused_in_one_line(analysis: dict[str, Any], part: str) -> None:
    analysis = {k: {n: v | {"cuts": list(v["cuts"])} if "cuts" in v else v for n, v in value.items()}
                if k == "subgroups" else value for k, value in analysis.items()}  # fmt: skip
    with pytest.raises(Refusal, match="invalid-settings") as caught:
        study(**analysis)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_variable_cannot_be_called_as_the_built_in_one_is() -> None:
    covariates = STUDY["covariates"] | {"scanner_vendor": STUDY["covariates"]["sex"]}
    with pytest.raises(Refusal, match="give the variable another name"):
        parse_model(yaml.safe_dump({**STUDY, "covariates": covariates}), Study, "study")


def test_levels_fit_the_wire() -> None:
    assert len(all_levels(read_study("escc-pcr"))) <= MAX_LEVELS


def test_cuts_that_differ_in_their_last_digits_name_different_levels() -> None:
    names = subgroup_levels(study(subgroups={"x": {"variable": "age", "cuts": [50.000001, 50.000002, 60]}}))["x"]
    assert names == ("<50.000001", "50.000001 to <50.000002", "50.000002 to <60", ">=60")


@pytest.mark.parametrize(
    ("comparators", "asked", "planned"),
    [
        (("clinical", "fusion"), ("clinical", "fusion"), {"clinical", "fusion"}),
        (("clinical", "fusion"), ("clinical", "radiomics_clinical", "fusion"), {"clinical"}),
        (("clinical", "fusion"), ("fusion",), {"clinical"}),
        (("fusion",), ("fusion",), {"fusion"}),
        (("fusion",), ("features_clinical", "fusion"), {"fusion"}),
        (("clinical",), ("clinical", "fusion"), {"clinical"}),
    ],
)
def test_a_fusion_of_other_models_than_the_plans_is_not_planned(
    comparators: tuple[str, ...], asked: tuple[str, ...], planned: set[str]
) -> None:
    assert set(Analysis(comparators=comparators).planned(asked)) == planned

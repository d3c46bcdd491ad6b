"""What a task may hold: every key declared, of one kind, bounded; anything else is malformed."""

from typing import Any

import pytest

from fedescc.client.answers.dispatch import HANDLERS
from fedescc.client.answers.shapes import SHAPES, require_shape
from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.statistics.logistic import MAX_COLUMNS
from fedescc.common.statistics.relevance import MAX_CANDIDATES, MAX_SCREENED
from fedescc.common.statistics.score_bins import fine_logit_edges
from fedescc.common.tabular.moments import STEPS

RUN = {"run": "ab" * 8, "fold": {"mode": "kfold", "index": 0, "of": 5}}
ENCODING: dict[str, Any] = {"format": 2, "covariates": [], "harmonisation": None}
SETTINGS = {"rounds": 3}
MODEL = RUN | {"federation": SETTINGS, "encoding": ENCODING}
FUSED = RUN | {
    "federation": SETTINGS,
    "models": [{"encoding": ENCODING, "model": None, "size": 9}, {"encoding": ENCODING, "model": "linear", "size": 5}],
}
BINS = {"edges": [-1.0, 0, 1.5], "threshold": 0.0}
PLAN = {"plan": "a" * 64}
FIT = {"coefficients": [0.0, 1, -2.5], "class_weights": [1.0, 2.0]}
PROJECTION = {"centre": [0.0, 0.5], "scale": [1.0, 2.0], "axes": [[1.0, 0.0]]}
RULE = {"names": ["site-a", "site-b"], "weights": [[1.0], [0.0]], "intercepts": [0.0, 0.1]}
POOLED = {"negatives": [3, 0, 2, 1], "positives": [0, 1, 1, 4]}
LOOK = {"task": {"encoding": ENCODING, "federation": SETTINGS, **BINS}, "size": 9}

HONEST: list[tuple[str, dict[str, Any]]] = [
    (wire.STATISTICS, {}),
    (wire.STATISTICS, RUN),
    (wire.STATISTICS, RUN | {"features": ["tumour_volume_pre"]}),
    (wire.COUNTS, RUN),
    (wire.ACQUISITION, MODEL),
    (wire.SCREENING, MODEL | {"features": ["age", "marker"]}),
    (wire.SCREENING, MODEL | {"features": ["age", "marker"], "centres": [0, STEPS]}),
    (wire.LOGISTIC, MODEL | {"model": "linear"} | FIT),
    (wire.LOGISTIC, FUSED | FIT),
    (wire.REFERENCE, MODEL),
    (wire.TRAIN, MODEL | BINS | {"round": 2, "counted": {"site-a": 1}}),
    (wire.TRAIN, MODEL | BINS | {"round": 1, "counted": {}}),
    (wire.PRETRAIN, MODEL | {"round": 1}),
    (wire.TRAINING_SCORES, MODEL | {"edges": fine_logit_edges().tolist()}),
    (wire.TRAINING_SCORES, FUSED | {"fusion": [0.5, 1.0, 2.0], "edges": [0.0]}),
    (wire.VALIDATION, MODEL | BINS),
    (wire.VALIDATION, FUSED | {"fusion": [0.5, 1.0, 2.0]} | BINS),
    (wire.TEST, MODEL | BINS | PLAN | {"declared": ["0" * 64, "f" * 64]}),
    (wire.RECALIBRATION, MODEL | PLAN | {"large": [0.1], "slope": [0.0, 1.0]}),
    (wire.SUBGROUPS, MODEL | BINS | PLAN),
    (wire.COMPARISON, RUN | PLAN | {"looks": [LOOK, LOOK], "pooled": [POOLED, POOLED]}),
    (wire.EXPLANATION, MODEL | PLAN),
    (wire.SHORTCUT, MODEL),
    (wire.SHORTCUT, MODEL | {"projection": PROJECTION}),
    (wire.SHORTCUT, MODEL | {"projection": PROJECTION | {"axes": None}, "rules": {"site": RULE, "vendor": RULE}}),
]


def refused(kind: str, task: dict[str, Any]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        require_shape(kind, task)
    assert caught.value.code == "malformed-message"
    return caught.value


@pytest.mark.parametrize(("kind", "task"), HONEST)
def test_what_the_server_sends_has_the_shape(kind: str, task: dict[str, Any]) -> None:
    require_shape(kind, task)


def test_every_message_type_that_is_answered_has_a_shape() -> None:
    assert set(SHAPES) == set(HANDLERS) == {kind for kind, _ in HONEST}
    assert "no task of this type" in refused("query.patients", {}).what


@pytest.mark.parametrize(("kind", "task"), HONEST)
def test_an_unknown_key_is_refused_and_not_repeated(kind: str, task: dict[str, Any]) -> None:
    refusal = refused(kind, task | {"Jane Doe": 1})
    assert "the task: extra_forbidden" in refusal.what
    assert "Doe" not in str(refusal)


REQUIRED = [
    (wire.SCREENING, "features"), (wire.LOGISTIC, "coefficients"), (wire.REFERENCE, "encoding"),
    *((wire.TRAIN, key) for key in ("federation", "encoding", "edges", "threshold", "round")),
    *((wire.PRETRAIN, key) for key in ("federation", "encoding", "round")),
    *((wire.TRAINING_SCORES, key) for key in ("encoding", "edges")),
    *((kind, key) for kind in (wire.VALIDATION, wire.TEST, wire.SUBGROUPS) for key in ("encoding", *BINS)),
    *((wire.RECALIBRATION, key) for key in ("encoding", "large", "slope")),
    *((wire.COMPARISON, key) for key in ("looks", "pooled")),
    (wire.EXPLANATION, "encoding"), (wire.SHORTCUT, "encoding"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "key"), REQUIRED)
def test_a_needed_key_may_not_be_missing(kind: str, key: str) -> None:
    task = next(task for name, task in HONEST if name == kind)
    refused(kind, {name: value for name, value in task.items() if name != key})


def test_only_needed_keys_are_needed() -> None:
    for kind, task in HONEST:
        needed = {key for name, key in REQUIRED if name == kind} | {"models", "encoding"}
        require_shape(kind, {key: value for key, value in task.items() if key in needed})


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        *((wire.STATISTICS, "run", value) for value in (None, 1, "", "x" * 65, "../x", "A", ["ab"], "ab\n")),
        *((wire.STATISTICS, "features", value) for value in (None, "age", [1], [""], ["age", "age"], ["x" * 61])),
        (wire.STATISTICS, "features", [f"f{i}" for i in range(MAX_SCREENED + 1)]),
        *((wire.SCREENING, "features", value) for value in ([], None, {"age": 1})),
        *((wire.SCREENING, "centres", value) for value in (None, [0.0], [True], [-1], [STEPS + 1], ["0"], 0)),
        (wire.SCREENING, "centres", [0] * (MAX_CANDIDATES + 1)),
        *((wire.LOGISTIC, "coefficients", value) for value in (None, [], 0.0, ["0"], [True], [None], [[0.0]], [1e13])),
        *((wire.LOGISTIC, "coefficients", [value]) for value in (float("nan"), float("inf"), 10**400)),
        (wire.LOGISTIC, "coefficients", [0.0] * (MAX_COLUMNS + 2)),
        *((wire.LOGISTIC, "class_weights", value) for value in (None, [1.0], [1.0, 1.0, 1.0], ["a", "b"])),
        *((wire.LOGISTIC, "encoding", value) for value in (None, [], "x", 1)),
        *((wire.LOGISTIC, "model", value) for value in (1, "", "x" * 61, ["linear"])),
        *((wire.TRAIN, "round", value) for value in (None, 0, -1, 1.0, True, "1", 100_001)),
        *((wire.TRAIN, "counted", value) for value in ([], {"A": 1}, {"a": 0}, {"a": 1.0}, {"a": True}, {"a": None})),
        (wire.TRAIN, "counted", {f"s{i}": 1 for i in range(1001)}),
        *((wire.TRAIN, "federation", value) for value in (None, [], "x")),
        *((wire.VALIDATION, "edges", value) for value in (None, [], [1.0, 0.0], [0.0, 0.0], ["0"], [None], "01")),
        *((wire.VALIDATION, "edges", [0.0, value]) for value in (float("nan"), float("inf"), 1e13, True)),
        (wire.VALIDATION, "edges", list(range(1001))),
        (wire.TRAINING_SCORES, "edges", list(range(4001))),
        *((wire.VALIDATION, "threshold", value) for value in (None, "0", True, [0.0], float("nan"), float("-inf"))),
        *((wire.TEST, "declared", value) for value in (None, [], ["x"], ["A" * 64], ["0" * 63], "0" * 64)),
        (wire.TEST, "declared", ["0" * 64] * 101),
        *((wire.TEST, "plan", value) for value in (None, "", "x", 1)),
        *((wire.RECALIBRATION, "large", value) for value in (None, [], [0.0, 1.0], ["0"])),
        *((wire.RECALIBRATION, "slope", value) for value in (None, [0.0], [0.0, 1.0, 2.0], [0.0, float("nan")])),
        *((wire.COMPARISON, "looks", value) for value in (None, [], [{}], [LOOK] * 17, [LOOK | {"size": 0}])),
        (wire.COMPARISON, "looks", [LOOK | {"task": LOOK["task"] | {"run": "ab"}}]),
        (wire.COMPARISON, "looks", [LOOK | {"task": {"encoding": ENCODING}}]),
        *((wire.COMPARISON, "pooled", [POOLED | {"negatives": value}]) for value in ([], [-1], [1.0], [True], None)),
        (wire.COMPARISON, "pooled", [POOLED | {"positives": [0] * 1002}]),
        *((wire.SHORTCUT, "projection", PROJECTION | {"axes": value}) for value in ([], [[float("nan")]], [["x"]])),
        (wire.SHORTCUT, "projection", {"centre": [0.0]}),
        (wire.SHORTCUT, "rules", {"patient": RULE}),
        (wire.SHORTCUT, "rules", {"site": RULE | {"names": ["a", "a"]}}),
    ],
)
def test_a_value_of_another_kind_or_out_of_bounds_is_refused_by_its_key(kind: str, key: str, value: Any) -> None:
    task = next(task for name, task in HONEST if name == kind)
    refusal = refused(kind, task | {key: value})
    assert f"{kind}: {key}: " in refusal.what


@pytest.mark.parametrize("kind", [wire.VALIDATION, wire.TEST])
def test_a_model_is_one_or_several_and_not_both(kind: str) -> None:
    refused(kind, MODEL | FUSED | BINS)
    refused(kind, RUN | BINS)
    refused(kind, FUSED | BINS | {"model": "linear"})
    refused(kind, FUSED | BINS | {"models": []})
    refused(kind, FUSED | BINS | {"models": FUSED["models"] * 5})
    refused(kind, FUSED | BINS | {"models": [{"encoding": ENCODING, "size": 0}]})
    refused(kind, FUSED | BINS | {"models": [{"encoding": ENCODING, "size": True}]})
    refused(kind, FUSED | BINS | {"fusion": [0.0]})


def test_training_explanation_and_shortcut_are_of_one_model() -> None:
    for kind, more in ((wire.TRAIN, BINS | {"round": 1}), (wire.EXPLANATION, {}), (wire.SHORTCUT, {})):
        refused(kind, FUSED | more)


@pytest.mark.parametrize("key", ["federation", "encoding"])
def test_settings_and_encodings_are_bounded_in_all_their_parts(key: str) -> None:
    """Each unknown key would become an error of its own where they are read."""
    for junk in (
        dict.fromkeys(map(str, range(60_000)), 0),
        {"covariates": [0] * 60_000},
        {"covariates": [dict.fromkeys(map(str, range(300)), 0) for _ in range(300)]},
    ):
        assert f"{key}: value_error" in refused(wire.VALIDATION, MODEL | BINS | {key: junk}).what
    require_shape(wire.VALIDATION, MODEL | BINS | {key: {"covariates": [dict.fromkeys("abcdef", 0)] * 1000}})

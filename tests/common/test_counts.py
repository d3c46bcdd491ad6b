"""Files of counts: what a site would send, read strictly; whatever is hostile or contradicts itself is refused."""

import json
from pathlib import Path

import pytest
from site_counts import document, reply, told
from toy_federation import STUDY

from fedescc.common.counts import HIDDEN, Cell, counts_document, read_counts
from fedescc.common.errors import Refusal
from fedescc.common.study import Study
from fedescc.common.yamlfile import parse_model

SPLITS = [(60, 20), (15, 5), (25, 9)]
LEVELS = {("sex", "female"): (25, 8), ("sex", "male"): (35, 12), ("sex", "missing"): (0, 0)}


@pytest.fixture(scope="module")
def study():
    plan = "analysis: {subgroups: {sex: {variable: sex}}}\ndisclosure:"
    return parse_model(STUDY.replace("disclosure:", plan), Study, "toy")


@pytest.fixture
def file(tmp_path):
    def write(content) -> Path:
        path = tmp_path / "counts.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


def changed(study, key, value):
    content = document(study, "site-a", SPLITS, LEVELS)
    content["sums"] = {**content["sums"], key: value}
    return content


def test_a_file_says_what_the_reply_said(study, file):
    content = counts_document(reply(study, "site-a", SPLITS, LEVELS))
    assert content == document(study, "site-a", SPLITS, LEVELS)
    name, found = read_counts(file(content), study)
    assert name == "site-a"
    assert found.whole == Cell(100, 34)
    assert found.splits == {"train": Cell(60, 20), "validation": Cell(15, 5), "test": Cell(25, 9)}
    assert found.levels == {"sex": {"female": Cell(25, 8), "male": Cell(35, 12), "missing": Cell(0, 0)}}
    assert found.missing == {"age": 0, "marker": 0, "sex": 0}


def test_what_a_site_keeps_is_none_and_never_a_number(study):
    found = told(study, "site-a", [(60, 20), None, None], missing=[HIDDEN, 10, 0], included=100)
    assert found.splits["test"] == Cell(None, None)
    assert found.splits["test"].classes is None
    assert found.whole == Cell(100, None)
    assert found.missing == {"age": None, "marker": 10, "sex": 0}
    assert Cell(9, 4).classes == (4, 5)


HOSTILE = {
    "negative": ("included", -5),
    "fraction": ("included", 100.5),
    "text": ("included", "100"),
    "true": ("included", True),
    "huge": ("included", 10**12),
    "list for one": ("included", [100]),
    "one for list": ("split_patients", 100),
    "short": ("split_patients", [60, 40]),
    "long": ("split_patients", [60, 15, 25, 0]),
    "below hidden": ("split_patients", [60, 15, -2]),
    "below the minimum": ("split_positives", [20, 2, 12]),
    "rest below the minimum": ("split_positives", [58, 5, 9]),
    "more positives than patients": ("split_positives", [20, 5, 26]),
    "positives of nobody known": ("split_patients", [60, 15, HIDDEN]),
    "splits beyond the whole": ("split_patients", [70, 15, 25]),
    "splits short of the whole": ("split_patients", [50, 15, 25]),
    "positives short of the whole": ("split_positives", [19, 5, 9]),
    "levels beyond the whole": ("level_patients", [30, 35, 0]),
    "levels of another study": ("level_patients", [25, 35]),
    "positives of levels": ("level_positives", [8, 13, 0]),
    "missing beyond the whole": ("missing", [0, 101, 0]),
    "missing below the minimum": ("missing", [0, 2, 0]),
    "present below the minimum": ("missing", [0, 98, 0]),
    "missing of nobody known": ("included", None),
    "unknown key": ("patient_ids", [1, 2, 3]),
}


@pytest.mark.parametrize(("key", "value"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_by_name(study, file, key, value):
    content = changed(study, key, value)
    if value is None:
        del content["sums"][key]
    path = file(content)
    with pytest.raises(Refusal) as refused:
        read_counts(path, study)
    assert str(path) in refused.value.what
    assert refused.value.code in {"malformed-message", "invalid-settings", "unreadable-counts"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "unreadable-counts"),
        ("{", "unreadable-counts"),
        ("[]", "unreadable-counts"),
        ("3", "unreadable-counts"),
        ('{"a": NaN}', "unreadable-counts"),
        ('{"a": Infinity}', "unreadable-counts"),
        ('{"a": 1e400}', "unreadable-counts"),
        ('{"site": "a", "site": "b"}', "unreadable-counts"),
        ("[" * 100_000, "unreadable-counts"),
        (" " * 2_000_000, "unreadable-counts"),
        ("{}", "invalid-settings"),
    ],
)
def test_what_is_no_file_of_counts_is_refused(study, file, text, code):
    with pytest.raises(Refusal, match=code):
        read_counts(file(text), study)


def test_no_file_and_no_text_are_refused(study, tmp_path):
    with pytest.raises(Refusal, match="unreadable-counts"):
        read_counts(tmp_path / "absent.json", study)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Refusal, match="unreadable-counts"):
        read_counts(tmp_path / "bytes", study)


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("study_sha256", "0" * 64, "study-mismatch"),
        ("study_sha256", "short", "invalid-settings"),
        ("version", "0.0.0", "version-mismatch"),
        ("format", "fedescc-counts-2", "invalid-settings"),
        ("site", "Site A", "invalid-settings"),
        ("site", "pooled", "malformed-message"),
        ("more", 1, "invalid-settings"),
        ("reasons", {"included": "Jane Doe"}, "malformed-message"),
        ("reasons", {"jane-doe": "few"}, "malformed-message"),
        ("sums", {}, "malformed-message"),
    ],
)
def test_a_file_of_somebody_else_is_refused(study, file, key, value, code):
    with pytest.raises(Refusal, match=code):
        read_counts(file(document(study, "site-a", SPLITS, LEVELS) | {key: value}), study)


def test_the_minimum_is_the_studys(study):
    assert study.disclosure.min_class_count == 3
    assert told(study, "site-a", [(60, 20), (15, 3), (25, 9)]).splits["validation"].positives == 3
    with pytest.raises(Refusal, match="minimum"):
        told(study, "site-a", [(60, 20), (15, 2), (25, 9)])

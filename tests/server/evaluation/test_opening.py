"""The opening on record: declared once, read back after a stop, and under one plan."""

import json

import numpy as np
import pytest
from toy_comparators import Sites

from fedescc.client import app
from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.identity import MAX_DECLARED
from fedescc.server.evaluation.evaluate import evaluate_all
from fedescc.server.evaluation.lock import Lock
from fedescc.server.evaluation.opening import Opening

PLAN = "p" * 64


def lock(name="m", threshold=0.0):
    return Lock(name * 64, name * 32, [-1.0, 0.0], threshold, "youden-on-validation")


@pytest.fixture
def models(toy):
    sites = Sites(toy)
    encoding = sites.encoding()
    task = {"encoding": encoding.model_dump(mode="json"), "model": "linear"}
    weights = np.r_[0.0, np.linspace(0.5, 1.0, len(encoding.columns))].astype(np.float32)
    return {name: sites.evaluator(weights * scale, **task) for name, scale in (("one", 1), ("two", 2))}


def plan_of(models):
    return next(iter(models.values())).study.analysis.sha256


def test_what_is_declared_is_written_before_and_not_changed_after(tmp_path):
    path = tmp_path / "opening.json"
    opening = Opening(PLAN, path)
    assert opening.looks == []
    opening.declare({"federated": lock("a"), "clinical": lock("b", threshold=1.0)})
    first = json.loads(path.read_text())
    assert first["looks"] == ["a" * 32, "b" * 32]
    assert first["thresholds"] == {"federated": 0.5, "clinical": pytest.approx(0.7310585786)}
    opening.declare({"federated": lock("c")})
    assert json.loads(path.read_text()) == first
    opening.note({"site-b": 2, "site-a": None})
    assert opening.entry()["sites"] == {"site-a": None, "site-b": 2}
    assert json.loads(path.read_text())["sites"] == {"site-a": None, "site-b": 2}
    assert set(opening.entry()) == {"plan_sha256", "opened_at", "looks", "thresholds", "sites"}
    assert opening.entry()["opened_at"].endswith("+00:00")


def test_another_plan_does_not_go_on_with_it(tmp_path):
    path = tmp_path / "opening.json"
    Opening(PLAN, path).declare({"m": lock()})
    with pytest.raises(Refusal, match="another-plan"):
        Opening("q" * 64, path)


def test_a_damaged_record_is_refused_because_the_test_set_may_be_open(tmp_path):
    path = tmp_path / "opening.json"
    path.write_text("{")
    with pytest.raises(Refusal, match="no-results"):
        Opening(PLAN, path)


def test_too_many_looks_are_not_declared(tmp_path):
    path = tmp_path / "opening.json"
    with pytest.raises(Refusal, match="too-many-models"):
        Opening(PLAN, path).declare({str(i): lock() for i in range(MAX_DECLARED + 1)})
    assert not path.exists()


def test_a_stopped_run_looks_again_with_what_it_declared(models, tmp_path):
    path = tmp_path / "opening.json"
    first = evaluate_all(models, Opening(plan_of(models), path))
    again = Opening(plan_of(models), path)
    second = evaluate_all(models, again)
    assert again.undeclared == []
    for name in models:
        assert second[name].pooled == first[name].pooled
        assert (second[name].edges, second[name].threshold_source) == (first[name].edges, first[name].threshold_source)
        assert second[name].validation.keys() == first[name].validation.keys()


def test_a_model_that_comes_after_the_opening_does_not_look(models, tmp_path):
    path = tmp_path / "opening.json"
    evaluate_all({"one": models["one"]}, Opening(plan_of(models), path))
    again = Opening(plan_of(models), path)
    assert set(evaluate_all(models, again)) == {"one"}
    assert again.undeclared == ["two"]
    with pytest.raises(Refusal, match="test-already-opened"):
        evaluate_all({"two": models["two"]}, Opening(plan_of(models), path))


def test_a_model_without_a_quorum_to_lock_it_is_not_declared(models, monkeypatch, tmp_path):
    """The second model's validation fails: the first goes on alone, and only its look is on record."""
    honest, seen = app.release, []

    def release(reply, message, request, minimum):
        if message.metadata.message_type == wire.VALIDATION:
            seen.append(reply.site)
            if len(seen) > 4:
                raise Refusal("no-power", "x", "y")
        return honest(reply, message, request, minimum)

    monkeypatch.setattr(app, "release", release)
    opening = Opening(plan_of(models), tmp_path / "opening.json")
    assert set(evaluate_all(models, opening)) == {"one"}
    assert len(opening.looks) == 1

"""A whole run that also asks what each site gives: models without one site, stops in between, and sites lost."""

import dataclasses
import json

import numpy as np
import pytest
from comparable import without_times
from toy_federation import Toy

from fedescc.client import app
from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.identity import MAX_DECLARED
from fedescc.common.study import Study
from fedescc.common.yamlfile import parse_model
from fedescc.server.report.page import write_report
from fedescc.server.results import read_json

ASKED = {"contribution": True}
NAMES = ["site-a", "site-b", "site-c", "site-d"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of two rounds that nothing disturbs."""
    return without_times(Toy(tmp_path_factory.mktemp("whole") / "out").run(plan=ASKED, rounds=2))


def split_folder(toy):
    return toy.out / "folds" / "split"


def watch(monkeypatch, seen):
    """Every message that a site answers: its name, the message's type, and the site held out."""
    honest = app.answer

    def answer(site, message_type, request):
        reply = honest(site, message_type, request)
        seen.append((site.name, message_type, (request.task.get("fold") or {}).get("held_out")))
        return reply

    monkeypatch.setattr(app, "answer", answer)


def refuse(monkeypatch, refused):
    """Let sites refuse what ``refused`` (site, message type, site held out, how often before) says."""
    honest, counts = app.answer, {}

    def answer(site, message_type, request):
        held_out = (request.task.get("fold") or {}).get("held_out")
        key = (site.name, message_type, held_out)
        counts[key] = counts.get(key, -1) + 1
        if refused(*key, counts[key]):
            raise Refusal("no-power", "x", "y")
        return honest(site, message_type, request)

    monkeypatch.setattr(app, "answer", answer)


def test_a_run_trains_without_each_site_and_judges_all_models_at_one_opening(toy, monkeypatch):
    seen = []
    watch(monkeypatch, seen)
    results = toy.run(plan=ASKED, rounds=2)
    found = results["contribution"]
    assert list(found["sites"]) == NAMES
    assert found["unavailable"] == {}
    opening = read_json(split_folder(toy) / "opening.json")
    assert list(opening["models"]) == ["federated", *(f"without_{name}" for name in NAMES)]
    assert len(results["opening"]["looks"]) == len(set(results["opening"]["looks"])) == 5
    asked_of_test = [place for place, (_, kind, _) in enumerate(seen) if kind in wire.OF_TEST_PATIENTS]
    trained = [place for place, (_, kind, _) in enumerate(seen) if kind in {wire.TRAIN, wire.VALIDATION}]
    assert max(trained) < min(asked_of_test)  # nothing is chosen once the test set is open
    assert not [entry for entry in seen if entry[0] == entry[2]]
    json.dumps(results, allow_nan=False)
    write_report(results, toy.out / "report.html")


def test_asking_for_contributions_changes_no_other_figure(toy, whole):
    plain = without_times(toy.run(rounds=2))
    assert [plain[key] for key in ("final", "rounds", "explanation")] == [
        whole[key] for key in ("final", "rounds", "explanation")
    ]
    assert plain["contribution"] is None
    assert whole["contribution"]["sites"]


@pytest.mark.parametrize("rounds_done", [2, 5])
def test_a_run_stopped_in_a_model_without_a_site_goes_on_to_the_same_results(toy, whole, monkeypatch, rounds_done):
    """Two rounds of the run's own model, then two of each without a site: before the first, and within the second."""
    done = []
    honest = app.answer

    def stop_at(most):
        done.clear()

        def answer(site, message_type, request):
            if message_type == wire.TRAIN and site.name == "site-d":
                if len(done) == most:
                    raise KeyboardInterrupt
                done.append((request.task.get("fold") or {}).get("held_out"))
            return honest(site, message_type, request)

        monkeypatch.setattr(app, "answer", answer)

    stop_at(rounds_done)
    with pytest.raises(KeyboardInterrupt):
        toy.run(plan=ASKED, rounds=2)
    assert not (split_folder(toy) / "opening.json").exists()
    first = list(done)
    stop_at(None)
    assert without_times(toy.run(plan=ASKED, rounds=2, resume=True)) == whole
    assert first + done == [held_out for held_out in (None, *NAMES) for _ in range(2)]


def test_a_run_stopped_after_the_opening_looks_again_with_the_same_models(toy, whole, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("fedescc.server.fold.contributions", stop)
        with pytest.raises(KeyboardInterrupt):
            toy.run(plan=ASKED, rounds=2)
    looks = read_json(split_folder(toy) / "opening.json")["looks"]
    results = toy.run(plan=ASKED, rounds=2, resume=True)
    assert results["opening"]["looks"] == looks
    assert without_times(results) == whole


def stop(*_):
    raise KeyboardInterrupt


def test_a_model_that_comes_after_the_opening_does_not_look(toy, monkeypatch):
    """Without enough sites at first there is no model without site-a; gone on with, it would come too late."""
    with monkeypatch.context() as patch:
        refuse(patch, lambda site, kind, held_out, _: held_out == "site-a" and kind == wire.TRAIN)
        patch.setattr("fedescc.server.fold.contributions", stop)
        with pytest.raises(KeyboardInterrupt):
            toy.run(plan=ASKED, rounds=1)
    found = toy.run(plan=ASKED, rounds=1, resume=True)["contribution"]
    assert found["unavailable"] == {"site-a": "not-declared"}
    assert list(found["sites"]) == NAMES[1:]


@pytest.mark.parametrize("mode", ["kfold", "loso", "temporal"])
def test_other_modes_refuse_before_anybody_is_asked(toy, monkeypatch, mode):
    seen = []
    watch(monkeypatch, seen)
    with pytest.raises(Refusal, match=rf"contributions of sites in mode {mode}.*wrong-mode"):
        toy.run(plan=ASKED | {"mode": mode})
    assert seen == []


def test_a_run_without_contributions_is_another_run(toy):
    toy.run(rounds=1)
    with pytest.raises(Refusal, match=r"contribution.*other-run"):
        toy.run(rounds=1, plan=ASKED, resume=True)


def test_where_not_every_model_may_look_none_is_trained(toy, monkeypatch):
    monkeypatch.setattr("fedescc.server.fold.MAX_DECLARED", 4)
    seen = []
    watch(monkeypatch, seen)
    results = toy.run(plan=ASKED, rounds=1)
    assert MAX_DECLARED > 4
    assert results["contribution"]["unavailable"] == dict.fromkeys(NAMES, "too-many-models")
    assert {held_out for _, _, held_out in seen} == {None}


def test_a_site_lost_while_another_is_left_out_makes_no_gain_of_both(toy, monkeypatch):
    """Trained without site-b as well, a model does not tell what site-a gives."""
    refuse(monkeypatch, lambda site, kind, held_out, _: (site, kind, held_out) == ("site-b", wire.TRAIN, "site-a"))
    found = toy.run(plan=ASKED, rounds=2)["contribution"]
    assert found["unavailable"] == {"site-a": "contributors-changed"}
    assert list(found["sites"]) == NAMES[1:]


def test_a_round_that_another_site_missed_is_told_beside_the_gain(toy, monkeypatch):
    lost = ("site-b", wire.TRAIN, "site-a")
    refuse(monkeypatch, lambda site, kind, held_out, before: (site, kind, held_out) == lost and before == 0)
    results = toy.run(plan=ASKED, rounds=2)
    sites = results["contribution"]["sites"]
    assert sites["site-a"]["refused"] == {wire.TRAIN: {"site-b": "no-power"}}
    assert sites["site-c"]["refused"] == {}
    assert results["sites_lost"] == []  # the run's own model had it throughout


def test_a_site_that_trained_nothing_has_no_contribution(toy, monkeypatch):
    refuse(monkeypatch, lambda site, kind, held_out, _: site == "site-d" and kind == wire.TRAIN)
    found = toy.run(plan=ASKED, rounds=1)["contribution"]
    assert list(found["sites"]) == NAMES[:3]
    assert "site-d" not in found["unavailable"]


@pytest.mark.parametrize("mode", ["split", "temporal"])
def test_shortcuts_are_examined_where_one_model_was_trained(toy, mode):
    for name, cohort in toy.cohorts.items():
        toy.cohorts[name] = dataclasses.replace(cohort, order=np.arange(len(cohort), dtype=np.int32))
    text = toy.study.to_yaml().replace("recorded:\n", "recorded:\n  seen: {type: date, available_at: treatment}\n")
    toy.study = parse_model(text, Study, "dated")
    results = toy.run(rounds=1, plan={"mode": mode})
    none = {"accuracy": None, "suppressed": "no-images"}
    expected = {"drift": {"suppressed": "no-images"}, "embeddings": {"site": none, "vendor": none}}
    assert results["shortcuts"] == expected


@pytest.mark.parametrize("plan", [{"mode": "kfold", "folds": 2}, {"mode": "loso"}])
def test_over_folds_there_are_neither_shortcuts_nor_contributions(toy, plan):
    results = toy.run(rounds=1, plan=plan)
    assert results["shortcuts"] is None
    assert results["contribution"] is None

"""Run modes on the toy federation, against recomputation from the folds' models; and runs that are stopped."""

import dataclasses

import numpy as np
import pytest
from comparable import without_times

from fedescc.client import app
from fedescc.client.folds import divide
from fedescc.client.site import ReleasePolicy
from fedescc.common import wire
from fedescc.common.arrays import load_safetensors
from fedescc.common.errors import Refusal
from fedescc.common.fold import KFold, Loso, Temporal
from fedescc.common.study import Study
from fedescc.common.tabular.covariates import Encoding
from fedescc.common.yamlfile import parse_model
from fedescc.server.report.page import write_report

KFOLD = {"mode": "kfold", "folds": 3}
LOSO = {"mode": "loso"}


def fold_logits(toy, fold, split):
    """Site -> labels and logits under a fold's saved model, computed here with numpy; and the model's threshold."""
    arrays, metadata = load_safetensors(toy.out / "folds" / fold.name / "model.safetensors")
    encoding = Encoding.model_validate_json(metadata["encoding"])
    found = {}
    for name, cohort in toy.cohorts.items():
        rows = divide(cohort, fold, toy.study.analysis.split, site=name, minimum=1).rows(split)
        x = encoding.encode(cohort.numeric, cohort.categorical, rows)
        found[name] = cohort.labels[rows], x @ arrays["linear.weight"][0] + arrays["linear.bias"][0]
    return found, float(metadata["threshold_logit"])


def watch(monkeypatch):
    """Every message that a site answers, as (site, type, fold, refusal's code or None)."""
    seen = []
    honest = app.answer

    def answer(site, message_type, request):
        entry = [site.name, message_type, request.task.get("fold"), None]
        seen.append(entry)
        try:
            return honest(site, message_type, request)
        except Refusal as refusal:
            entry[3] = refusal.code
            raise

    monkeypatch.setattr(app, "answer", answer)
    return seen


def test_k_folds_test_every_patient_once_and_pool_to_what_their_models_say(toy):
    results = toy.run(plan=KFOLD, rounds=3)
    pooled = results["final"]["pooled"]
    y, called, squares = [], [], []
    for index in range(3):
        scored, threshold = fold_logits(toy, KFold(index=index, of=3), "test")
        for labels, logit in scored.values():
            y.append(labels)
            called.append(logit >= threshold)
            squares.append((1 / (1 + np.exp(-logit)) - labels) ** 2)
    y, called, squares = np.concatenate(y), np.concatenate(called), np.concatenate(squares)
    assert pooled["n"] == len(y) == sum(len(cohort) for cohort in toy.cohorts.values())
    assert pooled["n_pos"] == y.sum()
    assert pooled["accuracy"] == pytest.approx((called == y).mean(), abs=1e-9)
    assert pooled["sensitivity"] == pytest.approx(called[y == 1].mean(), abs=1e-9)
    assert pooled["brier"] == pytest.approx(squares.mean(), abs=1e-6)
    weights = [fold["final"]["pooled"]["n"] for fold in results["folds"]]
    areas = [fold["final"]["pooled"]["auc"] for fold in results["folds"]]
    assert pooled["auc"] == pytest.approx(np.average(areas, weights=weights))
    assert {name: site["n"] for name, site in results["final"]["sites"].items()} == {
        name: len(cohort) for name, cohort in toy.cohorts.items()
    }
    assert "weighted by their patients" in results["final"]["auc_method"]


def test_results_of_several_folds_say_which_model_is_which(toy):
    results = toy.run(plan=KFOLD, rounds=2)
    assert (results["mode"], results["model"]) == ("kfold", None)
    assert not (toy.out / "model.safetensors").exists()
    for index, fold in enumerate(results["folds"]):
        assert fold["fold"] == f"fold-{index + 1}-of-3"
        assert (toy.out / fold["model"]).exists()
        assert len(fold["rounds"]) == fold["kept_round"] == 2
        assert fold["sites_lost"] == []
    write_report(results, toy.out / "report.html")


def test_one_fold_has_the_same_results_as_ever_and_its_model_in_place(toy):
    results = toy.run(rounds=2)
    assert (results["mode"], results["model"], results["folds"]) == ("split", "model.safetensors", [])
    own, copy = toy.out / "folds" / "split" / "model.safetensors", toy.out / "model.safetensors"
    assert own.read_bytes() == copy.read_bytes()
    assert "place" not in results
    assert results["selection"]["reason"] == "last-round"


def test_a_site_held_out_has_no_part_in_the_model_that_is_tested_on_it(toy):
    """Its outcomes turned round and its covariates mixed up, weights, encoding and threshold are the same bits."""
    first = toy.run(plan=LOSO, rounds=2)
    names = sorted(toy.cohorts)
    models = {n: (toy.out / "folds" / f"without-{n}" / "model.safetensors").read_bytes() for n in names}
    cohort = toy.cohorts["site-a"]
    mixed = {name: values[::-1].copy() for name, values in cohort.numeric.items()}
    toy.cohorts["site-a"] = dataclasses.replace(cohort, labels=(1 - cohort.labels).astype(np.int8), numeric=mixed)
    second = toy.run(plan=LOSO, rounds=2)
    again = {n: (toy.out / "folds" / f"without-{n}" / "model.safetensors").read_bytes() for n in names}
    assert {n for n in names if models[n] == again[n]} == {"site-a"}
    changed = [r["final"]["sites"]["site-a"]["n_pos"] for r in (first, second)]
    assert sum(changed) == len(cohort)


def test_each_site_is_tested_whole_by_a_model_that_never_saw_it(toy, monkeypatch):
    seen = watch(monkeypatch)
    results = toy.run(plan=LOSO, rounds=2)
    assert [fold["held_out"] for fold in results["folds"]] == sorted(toy.cohorts)
    assert results["sites_lost"] == []
    for fold in results["folds"]:
        held_out = fold["held_out"]
        record = fold["final"]["sites"][held_out]
        assert record["n"] == len(toy.cohorts[held_out])
        assert list(fold["final"]["sites"]) == [held_out]
        assert held_out not in fold["rounds"][0]["sites"]
        assert fold["rounds"][0]["refused"] == {}
        assert fold["rounds"][0]["invited"] == 3
        assert results["final"]["sites"][held_out] == record
        scored, _ = fold_logits(toy, Loso(held_out=held_out), "test")
        assert record["n_pos"] == scored[held_out][0].sum()
    answered = {(s, t, f["held_out"]) for s, t, f, code in seen if f is not None and code is None}
    tests = {entry for entry in answered if entry[1] in {wire.TEST, wire.RECALIBRATION, wire.EXPLANATION}}
    assert all(site == held_out for site, _, held_out in tests)
    assert all(site != held_out for site, _, held_out in answered - tests)


def test_a_site_that_fails_while_held_out_costs_its_own_fold(toy, monkeypatch):
    honest = app.release

    def release(reply, message, request, minimum):
        if reply.site == "site-b" and message.metadata.message_type == wire.TEST:
            raise Refusal("no-power", "x", "y")
        return honest(reply, message, request, minimum)

    monkeypatch.setattr(app, "release", release)
    results = toy.run(plan=LOSO, rounds=1)
    assert [fold.get("failed") for fold in results["folds"]] == [None, "no-quorum", None, None]
    assert results["sites_lost"] == ["site-b"]
    assert sorted(results["final"]["sites"]) == ["site-a", "site-c", "site-d"]
    monkeypatch.setattr(app, "release", honest)
    mended = toy.run(plan=LOSO, rounds=1, resume=True)
    assert sorted(mended["final"]["sites"]) == sorted(toy.cohorts)
    assert mended["sites_lost"] == []


def test_a_site_that_excuses_itself_without_being_held_out_is_lost(toy):
    toy.failing["site-b"] = Refusal("held-out", "x", "y")
    assert toy.run(rounds=1)["sites_lost"] == ["unnamed-101"]


@pytest.mark.parametrize("phase", [wire.TRAIN, wire.STATISTICS])
def test_a_site_that_will_not_train_because_it_is_not_held_out_is_lost(toy, monkeypatch, phase):
    """Not held out is the reason for not being tested, and for nothing else."""
    honest = app.release

    def release(reply, message, request, minimum):
        fold = request.task.get("fold")
        if reply.site == "site-b" and fold is not None and message.metadata.message_type == phase:
            raise Refusal("not-held-out", "x", "y")
        return honest(reply, message, request, minimum)

    monkeypatch.setattr(app, "release", release)
    results = toy.run(plan=LOSO, rounds=1)
    assert results["sites_lost"] == ["site-b"]
    first = results["folds"][0]
    refused = first["rounds"][0]["refused"] if phase == wire.TRAIN else first["refused_before_training"]
    assert refused == {"site-b": "not-held-out"}


def test_a_held_out_site_that_will_not_be_tested_is_lost(toy, monkeypatch):
    honest = app.release

    def release(reply, message, request, minimum):
        if reply.site == "site-b" and message.metadata.message_type == wire.TEST:
            raise Refusal("held-out", "x", "y")
        return honest(reply, message, request, minimum)

    monkeypatch.setattr(app, "release", release)
    results = toy.run(plan=LOSO, rounds=1)
    assert results["sites_lost"] == ["site-b"]
    assert [fold.get("failed") for fold in results["folds"]] == [None, "no-quorum", None, None]


def test_holding_out_must_leave_a_quorum(toy):
    with pytest.raises(Refusal, match=r"with one held out, 3 train.*no-quorum"):
        toy.run(plan=LOSO, rounds=1, min_sites=4)


def test_the_latest_patients_are_tested(toy):
    for name, cohort in toy.cohorts.items():
        order = np.random.default_rng(len(cohort)).permutation(len(cohort)).astype(np.int32)
        toy.cohorts[name] = dataclasses.replace(cohort, order=order)
    text = toy.study.to_yaml().replace("recorded:\n", "recorded:\n  seen: {type: date, available_at: treatment}\n")
    toy.study = parse_model(text, Study, "dated")
    results = toy.run(plan={"mode": "temporal"}, rounds=2)
    assert results["mode"] == "temporal"
    scored, _ = fold_logits(toy, Temporal(), "test")
    latest = {n: c.labels[c.order / len(c) >= 0.75] for n, c in toy.cohorts.items()}
    assert {n: r["n"] for n, r in results["final"]["sites"].items()} == {n: len(y) for n, y in latest.items()}
    assert results["final"]["pooled"]["n_pos"] == sum(y.sum() for y, _ in scored.values())


def test_a_study_without_dates_refuses_the_temporal_mode_before_asking_anybody(toy, monkeypatch):
    seen = watch(monkeypatch)
    with pytest.raises(Refusal, match="no-dates"):
        toy.run(plan={"mode": "temporal"})
    assert seen == []


def test_a_site_too_small_for_its_folds_is_lost_by_code_and_the_others_go_on(toy):
    toy.policies["site-d"] = ReleasePolicy(min_class_count=30, score_histogram="plain")
    results = toy.run(plan=KFOLD, rounds=1)
    assert results["refused_before_training"] == {"unnamed-103": "fold-too-small"}
    assert sorted(results["final"]["sites"]) == ["site-a", "site-b", "site-c"]


@pytest.mark.parametrize("plan", [KFOLD, LOSO])
def test_the_order_of_answers_changes_no_bit_of_any_fold(toy, plan):
    runs = []
    for shuffle in (None, 3):
        results = without_times(toy.run(shuffle=shuffle, plan=plan, rounds=2))
        runs.append((results, [(toy.out / fold["model"]).read_bytes() for fold in results["folds"]]))
    assert runs[0] == runs[1]


class StopError(Exception):
    pass


def stop_after(toy, rounds):
    """Let the run die after its n-th round, as by a kill, and count the rounds that a later one does."""
    done = []

    def append(record):
        done.append(record.round)
        if len(done) == rounds:
            raise StopError

    toy.records = type("Records", (), {"append": staticmethod(append)})
    return done


def test_a_run_stopped_in_a_fold_goes_on_to_the_same_results(toy):
    settings = {"plan": KFOLD, "rounds": 3, "strategy": {"name": "fedadam"}}
    whole = without_times(toy.run(**settings))
    models = [(toy.out / fold["model"]).read_bytes() for fold in whole["folds"]]
    stop_after(toy, 5)
    with pytest.raises(StopError):
        toy.run(**settings)
    done = stop_after(toy, 0)
    assert without_times(toy.run(**settings, resume=True)) == whole
    assert done == [3, 1, 2, 3]
    assert [(toy.out / fold["model"]).read_bytes() for fold in whole["folds"]] == models


def test_a_finished_run_asks_nobody_again(toy, monkeypatch):
    first = toy.run(plan=LOSO, rounds=1)
    seen = watch(monkeypatch)
    assert toy.run(plan=LOSO, rounds=1, resume=True) == first
    assert seen == []


def test_other_settings_are_refused_where_a_run_lies(toy):
    toy.run(rounds=1)
    before = (toy.out / "results.json").read_bytes()
    with pytest.raises(Refusal, match=r"federation.*other-run"):
        toy.run(rounds=2, resume=True)
    with pytest.raises(Refusal, match=r"patients.*other-run"):
        toy.run(rounds=1, plan={"patients": "f" * 64}, resume=True)
    assert (toy.out / "results.json").read_bytes() == before


def test_a_site_with_other_patients_than_in_the_folds_before_ends_the_run(toy):
    stop_after(toy, 3)
    with pytest.raises(StopError):
        toy.run(plan=KFOLD, rounds=2)
    toy.records = []
    toy.cohorts["site-a"] = toy.make_cohort("site-a", 150)
    with pytest.raises(Refusal, match=r"site-a has other patients.*patients-changed"):
        toy.run(plan=KFOLD, rounds=2, resume=True)


def test_comparators_over_the_wire_are_judged_in_every_fold(toy):
    results = toy.run(plan=KFOLD | {"comparators": "clinical"}, rounds=1)
    entry = results["comparators"]["clinical"]
    assert entry["pooled"]["n"] == results["final"]["pooled"]["n"]
    fits = [fold["comparators"]["clinical"] for fold in results["folds"]]
    # Two folds differ by about ten patients of the smallest site, by too few of a class.
    assert [fit["fitted_on"] for fit in fits] == [["site-a", "site-b", "site-c"]] * 3
    assert [fit["refused"] for fit in fits] == [{"site-d": "fold-too-small"}] * 3
    assert entry["pooled"]["auc"] > 0.75


def test_a_comparator_that_cannot_be_fitted_says_why_and_costs_nothing_else(toy):
    results = toy.run(plan={"comparators": "clinical,features_clinical,fusion"}, rounds=1)
    assert list(results["comparators"]) == ["clinical", "fusion"]
    assert set(results["comparators_unavailable"]) == {"features_clinical"}
    assert results["comparators"]["fusion"]["of"] == ["federated", "clinical"]  # not all that it was to join
    assert "of" not in results["comparators"]["clinical"]
    assert results["final"]["pooled"]["auc"] is not None

"""A run asks for counts first and keeps its plan; a site that lies about them costs itself nothing else."""

import dataclasses
import json

from flwr.app import Message

from fedescc.client import app
from fedescc.common import wire
from fedescc.common.wire import pack_reply


def test_results_hold_the_plan_and_what_was_observed_lies_beside_it(toy):
    results = toy.run(rounds=2)
    plan = results["planning"]
    assert plan["refused"] == {}
    assert sorted(plan["sites"]) == ["site-a", "site-b", "site-c", "site-d"]
    pooled = results["final"]["pooled"]
    assert (plan["precision"]["n"], plan["precision"]["n_pos"]) == (pooled["n"], pooled["n_pos"])
    near = min(plan["precision"]["at"], key=lambda one: abs(one["auc"] - pooled["auc"]))
    low, high = pooled["auc_ci95"]
    assert abs(near["pooled"]["width"] - (high - low)) < 0.05


def test_a_run_that_goes_on_keeps_its_plan_and_asks_nobody_again(toy, monkeypatch):
    first = toy.run(rounds=2)["planning"]
    (toy.out / "results.json").unlink()
    monkeypatch.setattr("fedescc.server.planning.in_run.collect_counts", None)
    assert toy.run(rounds=2, resume=True)["planning"] == first


def test_the_order_in_which_sites_answer_changes_nothing(toy):
    plans = [toy.run(rounds=1, shuffle=seed)["planning"] for seed in (None, 1)]
    assert plans[0] == plans[1]


def test_a_site_whose_counts_cannot_be_is_named_and_still_trains(toy, monkeypatch):
    honest = app.release

    def release(reply, message, request, minimum):
        if reply.site != "site-b" or message.metadata.message_type != wire.COUNTS:
            return honest(reply, message, request, minimum)
        false = dataclasses.replace(reply, sums={**reply.sums, "included": 3})
        return Message(pack_reply(false), reply_to=message)

    monkeypatch.setattr(app, "release", release)
    results = toy.run(rounds=1)
    assert results["planning"]["refused"] == {"site-b": "malformed-message"}
    assert "site-b" not in results["planning"]["sites"]
    assert "site-b" in results["rounds"][0]["sites"]


def test_a_run_in_k_folds_is_told_no_outcomes_of_the_fixed_split(toy):
    plan = toy.run(rounds=1, plan={"mode": "kfold", "folds": 2})["planning"]
    assert plan["precision"]["reason"] == "counts-not-told"
    assert {one["role"] for one in plan["sites"].values()} == {"not_told"}
    assert plan["sites"]["site-a"]["splits"]["train"]["patients"] == 54


def test_the_plan_lies_in_the_runs_folder(toy):
    results = toy.run(rounds=1)
    assert json.loads((toy.out / "folds" / "planning.json").read_text()) == results["planning"]

"""One site of four answers badly about its test patients: what hangs on it is null with a reason, the rest is there."""

import dataclasses

import pytest
from flwr.app import Message
from planned import COMPARED, enlarge, with_plan

from fedescc.client import app
from fedescc.common import wire
from fedescc.common.wire import pack_reply
from fedescc.server.report.page import write_report

BAD = "site-a"


def tamper(monkeypatch, message_type, **changes):
    """Let one site's egress be replaced by an attacker's; a change is a value, or a function of the honest one."""
    honest = app.release

    def release(reply, message, request, minimum):
        if reply.site != BAD or message.metadata.message_type != message_type:
            return honest(reply, message, request, minimum)
        made = {key: change(reply.sums[key]) if callable(change) else change for key, change in changes.items()}
        sums = {key: value for key, value in (reply.sums | made).items() if value is not None}
        return Message(pack_reply(dataclasses.replace(reply, sums=sums)), reply_to=message)

    monkeypatch.setattr(app, "release", release)


def first_plus(amount):
    return lambda values: [values[0] + amount, *values[1:]]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"n": 10}, "patients-changed"),
        ({"sums": first_plus(2)}, "patients-changed"),  # not what its histograms give
        ({"products": first_plus(1)}, "patients-changed"),
        ({"products": lambda values: [values[0], values[0] * 4, *values[2:]]}, "patients-changed"),  # Cauchy-Schwarz
        ({"products": [1, 2]}, "malformed-message"),
        ({"sums": None}, "malformed-message"),
        ({"sums": [2**62 + 1] * 4}, "malformed-message"),
        ({"scores": [0.5] * 30}, "malformed-message"),
    ],
)
def test_placements_that_contradict_the_test_cost_the_paired_test_alone(toy, monkeypatch, changes, code):
    tamper(monkeypatch, wire.COMPARISON, **changes)
    results = with_plan(toy, **COMPARED).run(rounds=1)
    assert results["refused_in_evaluation"] == {wire.COMPARISON: {BAD: code}}
    [found] = results["final"]["comparisons"]
    assert (found["difference"], found["p"], found["suppressed"]) == (None, None, "contributors-changed")
    assert results["final"]["pooled"]["auc"] is not None
    assert results["comparators"]["clinical"]["pooled"]["auc"] is not None


def test_a_site_that_keeps_its_placements_leaves_no_paired_test(toy, monkeypatch):
    tamper(monkeypatch, wire.COMPARISON, n=None, n_pos=None, sums=None, products=None)
    results = with_plan(toy, **COMPARED).run(rounds=1)
    assert results["refused_in_evaluation"] == {}
    assert results["final"]["comparisons"][0]["suppressed"] == "contributors-changed"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"shown": [1]}, "malformed-message"),
        ({"n": first_plus(1)}, "inconsistent-sums"),
        ({"brier_sum": first_plus(-1e6)}, "malformed-message"),
        ({"brier_sum": first_plus(1.0)}, "patients-changed"),
        ({"negatives": lambda values: values[:-1]}, "malformed-message"),
        ({"negatives": lambda values: values[::-1]}, "malformed-message"),
        ({"names": 1}, "malformed-message"),
    ],
)
def test_a_bad_answer_about_subgroups_costs_its_site_alone(toy, monkeypatch, changes, code):
    tamper(monkeypatch, wire.SUBGROUPS, **changes)
    results = with_plan(enlarge(toy)).run(rounds=1)
    assert results["refused_in_evaluation"] == {wire.SUBGROUPS: {BAD: code}}
    levels = results["final"]["subgroups"]["sex"]
    assert levels["male"]["sites"] == levels["female"]["sites"] == 3
    assert results["final"]["pooled"]["n"] > levels["male"]["n"] + levels["female"]["n"]
    write_report(results, toy.out / "report.html")


def test_a_count_of_earlier_openings_that_is_none_counts_as_not_told(toy, monkeypatch):
    tamper(monkeypatch, wire.TEST, openings_before=None)
    opening = with_plan(toy).run(rounds=1)["opening"]
    assert opening["sites"] == {"site-a": None, "site-b": 0, "site-c": 0, "site-d": 0}

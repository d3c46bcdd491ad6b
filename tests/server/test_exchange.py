"""Attendance: who was invited, answered, accepted, refused or silent, and what a site's error may say."""

import copy

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message
from flwr.clientapp import ClientApp

from fedescc.common.errors import Refusal
from fedescc.common.wire import Reply, Request, pack_reply
from fedescc.server.exchange import Roster, exchange
from fedescc.simulations.engines.local_grid import LocalGrid, run_in_process

HOSTILE = b"\x93NUMPY\x01\x00v\x00" + b"(" * 118


class SilentGrid(LocalGrid):
    """A grid on which one site never answers."""

    silent = 101

    def pull_messages(self, message_ids):
        answering = [
            i for i in message_ids if i in self._pending and self._pending[i].metadata.dst_node_id != self.silent
        ]
        return super().pull_messages(answering)


def answering(reason=None):
    app = ClientApp()

    @app.query("statistics")
    def statistics(message, context):
        if reason is not None:
            return Message(Error(3, reason), reply_to=message)
        return Message(pack_reply(Reply(f"s{context.node_id}", "study", {"n_train": 1})), reply_to=message)

    return app


def ask(grid, roster=None, accept=lambda reply: None, seconds=5.0):
    result = []

    def serve(grid, context):
        asked = exchange(
            grid, roster or Roster(), "query.statistics", Request("study"), deadline_seconds=seconds, accept=accept
        )
        result.append(asked)

    run_in_process(serve, grid, {})
    return result[0]


def test_a_silent_site_is_noted_at_the_deadline():
    attendance = ask(SilentGrid(answering(), [{}] * 3, {}), seconds=0.3)
    assert attendance.accepted == ["s100", "s102"]
    assert attendance.refused == {"unnamed-101": "no-answer-in-time"}
    assert (attendance.invited, attendance.answered) == (3, 2)


def test_a_site_that_answered_before_is_noted_by_name():
    roster = Roster()
    ask(LocalGrid(answering(), [{}] * 3, {}), roster)
    attendance = ask(SilentGrid(answering(), [{}] * 3, {}), roster, seconds=0.3)
    assert attendance.refused == {"s101": "no-answer-in-time"}


@pytest.mark.parametrize("reason", ["empty-site", "training-diverged", "site-error:valueerror"])
def test_codes_are_passed_on(reason):
    assert set(ask(LocalGrid(answering(reason), [{}], {})).refused.values()) == {reason}


@pytest.mark.parametrize(
    "reason", ["could not read /data/DOE^JANE/1.dcm", "Jane Doe", "x" * 61, "", "ключ", "line\nbreak", "a=b"]
)
def test_anything_that_is_no_code_is_replaced(reason):
    assert set(ask(LocalGrid(answering(reason), [{}], {})).refused.values()) == {"site-error"}


def test_a_reply_refused_by_the_caller_counts_against_that_site_alone():
    def accept(reply):
        if reply.site == "s100":
            raise Refusal("not-good", "because", "do")

    attendance = ask(LocalGrid(answering(), [{}] * 2, {}), accept=accept)
    assert attendance.refused == {"s100": "not-good"}
    assert attendance.accepted == ["s101"]


def test_a_node_cannot_change_its_name():
    roster = Roster()
    roster.learn(1, "a")
    roster.learn(1, "a")
    with pytest.raises(Refusal, match="site-name-conflict"):
        roster.learn(1, "b")
    with pytest.raises(Refusal, match="site-name-conflict"):
        roster.learn(2, "a")
    assert roster.names == {1: "a"}


@pytest.mark.parametrize("name", ["unnamed-101", "unnamed-x"])
def test_a_site_cannot_be_called_like_one_that_has_not_answered(name):
    roster = Roster()
    with pytest.raises(Refusal, match="site-name-conflict"):
        roster.learn(1, name)
    assert roster.names == {}


class EchoingGrid(LocalGrid):
    """A grid that delivers what the first site says twice, and once more in a stranger's name."""

    def pull_messages(self, message_ids):
        found = super().pull_messages(message_ids)
        if found and found[0].metadata.src_node_id == 100:
            stranger = copy.deepcopy(found[0])
            stranger.metadata.__dict__["_src_node_id"] = 999
            return [*found, copy.deepcopy(found[0]), stranger]
        return found


def test_a_node_has_one_reply_and_a_stranger_none():
    taken = []
    attendance = ask(EchoingGrid(answering(), [{}] * 2, {}), accept=taken.append)
    assert [reply.site for reply in taken] == attendance.accepted == ["s100", "s101"]
    assert (attendance.answered, attendance.refused) == (2, {})


def raw(change):
    """Sites of which the first tampers with the records of its reply."""
    app = ClientApp()

    @app.query("statistics")
    def statistics(message, context):
        records = pack_reply(Reply(f"s{context.node_id}", "study", {"n_train": 1}))
        if context.node_id == 100:
            change(records)
        return Message(records, reply_to=message)

    return app


@pytest.mark.parametrize(
    "change",
    [
        lambda records: records.pop("sums"),
        lambda records: records.pop("site"),
        lambda records: records["site"].pop("version"),
        lambda records: records["site"].update({"site": 7}),
        lambda records: records["site"].update({"site": ["s100"]}),
        lambda records: records["site"].update({"reasons": "[" * 9000}),
        lambda records: records["site"].update({"reasons": '{"n_train": ' + "[" * 900 + "]" * 900 + "}"}),
        lambda records: records["site"].update({"reasons": '{"n_train": NaN}'}),
        lambda records: records["site"].update({"reasons": "x" * 10**6}),
        lambda records: records["sums"].update({"n_train": [1] * 10**5}),
        lambda records: records["sums"].update({f"k{i}": 1 for i in range(10**4)}),
        lambda records: records.update({"more": ConfigRecord({"names": ["x"]})}),
        lambda records: records.update({"delta": ArrayRecord({"flat": Array(np.zeros(3, np.float32))})}),
        lambda records: records.update({"delta": ArrayRecord({"flat": Array("f", (1,), "numpy.ndarray", HOSTILE)})}),
    ],
)
def test_a_malformed_reply_costs_its_own_site(change):
    attendance = ask(LocalGrid(raw(change), [{}] * 2, {}))
    assert attendance.accepted == ["s101"]
    assert attendance.refused == {"unnamed-100": "malformed-message"}


def test_no_site_at_all():
    attendance = ask(LocalGrid(answering(), [], {}))
    assert (attendance.invited, attendance.accepted) == (0, [])


def test_weights_are_sent_as_given():
    received = []
    app = ClientApp()

    @app.train()
    def train(message, context):
        received.append(message.content.array_records["weights"]["flat"].numpy())
        return Message(pack_reply(Reply("s", "study", {})), reply_to=message)

    def serve(grid, context):
        request = Request("study", {}, np.arange(3, dtype=np.float32))
        exchange(grid, Roster(), "train", request, deadline_seconds=1, accept=lambda reply: None)

    run_in_process(serve, LocalGrid(app, [{}], {}), {})
    assert received[0].tolist() == [0, 1, 2]

"""Attendance: who was invited, answered, accepted, refused or silent, and what a site's error may say."""

import numpy as np
import pytest
from flwr.app import Error, Message
from flwr.clientapp import ClientApp

from fedescc.common.errors import Refusal
from fedescc.common.wire import Reply, Request, pack_reply
from fedescc.server.exchange import Roster, exchange
from fedescc.simulations.engines.local_grid import LocalGrid, run_in_process


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

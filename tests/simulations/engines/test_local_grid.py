"""The in-process engine: Flower's interface, a real serialisation round trip, and one reply in memory at a time."""

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp

from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.wire import Reply, Request, pack_reply, pack_request, unpack_request
from fedescc.server.exchange import Roster
from fedescc.server.training.rounds import Rounds
from fedescc.simulations.engines.local_grid import LocalGrid, over_the_wire, run_in_process


def adding_app(seen=None, fail=()):
    """A ClientApp whose site i adds i to every weight and claims i patients."""
    app = ClientApp()

    @app.train()
    def train(message, context):
        number = context.node_id - 99
        if number in fail:
            raise RuntimeError("patient Jane Doe, MRN 123456")
        request = unpack_request(message.content)
        if seen is not None:
            seen.append(number)
        delta = np.full_like(request.weights, number)
        reply = Reply(f"site-{number}", request.study_sha256, {"n": number, "loss": float(number)}, delta=delta)
        return Message(pack_reply(reply), reply_to=message)

    return app


def run(app, sites=3, shuffle=None, **settings):
    records, states = [], []

    def serve(grid, context):
        def note(record, state):
            records.append(record)
            states.append(state)

        Rounds(grid, Roster(), Federation(**settings), Request("study")).run(np.zeros(4, np.float32), note)

    run_in_process(serve, LocalGrid(app, [{}] * sites, {}, shuffle), {})
    return records, states


def test_two_rounds_of_fedavg_by_hand():
    records, states = run(adding_app(), rounds=2)
    mean = (1 * 1 + 2 * 2 + 3 * 3) / 6
    assert np.allclose(states[-1].weights, 2 * mean, rtol=1e-6)
    assert [record.train_loss for record in records] == pytest.approx([mean, mean])
    assert records[0].attendance.accepted == ["site-1", "site-2", "site-3"]
    assert records[0].patients == 6


def test_any_order_of_answers_gives_the_same_bits():
    orders, finals = set(), set()
    for shuffle in range(8):
        seen = []
        _, states = run(adding_app(seen), sites=5, rounds=3, shuffle=shuffle)
        orders.add(tuple(seen))
        finals.add(states[-1].weights.tobytes())
    assert len(orders) > 1
    assert len(finals) == 1


def test_a_failing_site_is_lost_alone_and_its_words_stay_with_it():
    records, states = run(adding_app(fail={2}), rounds=1)
    attendance = records[0].attendance
    assert attendance.accepted == ["site-1", "site-3"]
    assert (attendance.registered, attendance.invited, attendance.answered) == (3, 3, 3)
    assert "Jane" not in repr(attendance)
    assert list(attendance.refused.values()) == ["client-app-failed"]
    assert np.allclose(states[-1].weights, (1 + 9) / 4)


def test_without_quorum_the_run_stops():
    with pytest.raises(Refusal, match="no-quorum") as refusal:
        run(adding_app(fail={1, 2}), rounds=1, min_sites=2)
    assert "1 of 3" in str(refusal.value)


def test_a_site_cannot_change_the_servers_weights():
    app = ClientApp()

    @app.train()
    def train(message, context):
        request = unpack_request(message.content)
        request.weights.flags.writeable = False
        message.content.array_records["weights"]["flat"].data = b""
        reply = Reply(f"s-{context.node_id}", "study", {"n": 1, "loss": 0.0}, delta=np.zeros(4, np.float32))
        return Message(pack_reply(reply), reply_to=message)

    _, states = run(app, rounds=2)
    assert states[-1].weights.tolist() == [0.0] * 4


def test_two_nodes_under_one_name_count_once():
    app = ClientApp()

    @app.train()
    def train(message, context):
        reply = Reply("same", "study", {"n": 1, "loss": 0.0}, delta=np.ones(4, np.float32))
        return Message(pack_reply(reply), reply_to=message)

    records, _ = run(app, rounds=1, min_sites=1)
    assert records[0].attendance.accepted == ["same"]
    assert list(records[0].attendance.refused.values()) == ["site-name-conflict"] * 2


def test_another_study_is_refused():
    app = ClientApp()

    @app.train()
    def train(message, context):
        reply = Reply(f"s-{context.node_id}", "other", {"n": 1, "loss": 0.0}, delta=np.ones(4, np.float32))
        return Message(pack_reply(reply), reply_to=message)

    with pytest.raises(Refusal, match="study-mismatch"):
        run(app, rounds=1)


def test_the_round_trip_makes_new_objects():
    grid = LocalGrid(adding_app(), [{}], {})
    weights = np.ones(3, np.float32)
    run_in_process(lambda grid, context: None, grid, {})
    message = grid.create_message(pack_request(Request("s", {}, weights)), "train", 100, "1")
    copy = over_the_wire(message)
    assert copy is not message
    assert copy.content is not message.content
    assert unpack_request(copy.content).weights.tobytes() == weights.tobytes()


def test_sites_run_only_when_their_answer_is_pulled():
    seen = []
    grid = LocalGrid(adding_app(seen), [{}] * 3, {})
    run_in_process(lambda grid, context: None, grid, {})
    records = pack_request(Request("s", {}, np.zeros(1, np.float32)))
    waiting = grid.push_messages([Message(records, node, "train") for node in grid.get_node_ids()])
    assert seen == []
    assert len(list(grid.pull_messages(waiting))) == 1
    assert seen == [1]
    assert list(grid.pull_messages(["unknown"])) == []


def test_send_and_receive_answers_everything():
    grid = LocalGrid(adding_app(), [{}] * 3, {})
    run_in_process(lambda grid, context: None, grid, {})
    records = pack_request(Request("s", {}, np.zeros(1, np.float32)))
    replies = list(grid.send_and_receive([Message(records, node, "train") for node in grid.get_node_ids()]))
    assert sorted(reply.metadata.src_node_id for reply in replies) == [100, 101, 102]


def test_an_unknown_message_type_is_an_error_reply():
    grid = LocalGrid(adding_app(), [{}], {})
    run_in_process(lambda grid, context: None, grid, {})
    [reply] = grid.send_and_receive([Message(RecordDict(), 100, "evaluate")])
    assert reply.has_error()

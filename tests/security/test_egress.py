"""Nothing leaves a site but what its message type may carry: attempts to get something else out."""

import ast
import json
import math

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from fedescc.client.app import make_client_app
from fedescc.client.egress import error_reply, release
from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.schema import ALLOWED
from fedescc.common.wire import Reply, Request, pack_request, unpack_reply
from fedescc.simulations.engines.local_grid import LocalGrid, run_in_process

WEIGHTS = np.zeros(4, np.float32)
MINIMUM = 5


@pytest.fixture
def message():
    """Builds a request message of a type, as it would reach the site."""
    run_in_process(lambda grid, context: None, LocalGrid(make_client_app(lambda context: None), [{}], {}), {})

    def build(message_type, weights=WEIGHTS):
        request = Request("study", {}, weights)
        return Message(pack_request(request), 100, message_type), request

    return build


def refused(message, sums=None, message_type=wire.TEST, kind="", **reply):
    sent, request = message(message_type)
    with pytest.raises(Refusal, match=f"egress-denied-{kind}"):
        release(Reply("site-a", "study", sums or {}, **reply), sent, request, MINIMUM)


def test_what_is_allowed_leaves_unchanged(message):
    sent, request = message(wire.TRAIN)
    reply = Reply("site-a", "study", {"n": 12, "updates": 3, "loss": 0.5}, WEIGHTS + 1, {"validation_n": "few"})
    assert unpack_reply(release(reply, sent, request, MINIMUM).content).sums == reply.sums


def test_unknown_message_types_have_no_schema(message):
    refused(message, message_type="query.anything", kind="message-type")


@pytest.mark.parametrize("key", ["patient_id", "scores", "N", "n ", "validation_n"])
def test_unknown_keys_stay(message, key):
    refused(message, {key: 1}, kind="key")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.1, 1.1])
def test_a_number_out_of_range_stays(message, value):
    refused(message, {"auc": value}, kind="range")


@pytest.mark.parametrize("value", [1.5, True, "12", None, np.int64(3)])
def test_a_count_is_a_plain_whole_number(message, value):
    refused(message, {"n": value}, kind="type")


def test_lists_are_bounded_and_scalars_are_no_lists(message):
    refused(message, {"negatives": [0] * 1002}, kind="length")
    refused(message, {"n": [1]}, kind="length")
    refused(message, {"negatives": 3}, kind="length")
    refused(message, {"negatives": [1, -1]}, kind="range")


@pytest.mark.parametrize("text", ["Jane Doe", "MRN 12345", "/data/doe/1.dcm", "a" * 61, "", "one-class\n"])
def test_reasons_are_codes_for_known_keys(message, text):
    refused(message, {}, reasons={"auc": text}, kind="reason")


def test_reasons_for_unknown_keys_stay(message):
    refused(message, {}, reasons={"jane-doe": "one-class"}, kind="reason")


@pytest.mark.parametrize(
    "delta",
    [
        None,
        np.zeros(5, np.float32),
        np.zeros(4, np.float64),
        np.full(4, np.nan, np.float32),
        np.zeros((4, 1), np.float32),
    ],
)
def test_an_update_has_the_shape_of_the_weights_and_is_finite(message, delta):
    refused(message, {"n": 10}, message_type=wire.TRAIN, delta=delta, kind="delta")


def test_an_update_leaves_with_training_only(message):
    refused(message, {}, message_type=wire.TEST, delta=WEIGHTS, kind="delta")


@pytest.mark.parametrize(
    ("message_type", "sums"),
    [
        (wire.TEST, {"n": 4}),
        (wire.TEST, {"n": 20, "n_pos": 4}),
        (wire.TEST, {"n": 20, "n_pos": 16}),
        (wire.STATISTICS, {"n_train": 1}),
        (wire.STATISTICS, {"covariate_counts": [20, 3]}),
        (wire.STATISTICS, {"flow_by_rule": [0, 7, 1]}),
        (wire.EXPLANATION, {"counts": [20, 1]}),
    ],
)
def test_a_count_of_too_few_patients_stays(message, message_type, sums):
    refused(message, sums, message_type=message_type, kind="count")


@pytest.mark.parametrize("name", ["pooled", "[/b]", "Jane Doe", "", "a" * 41])
def test_a_name_that_is_none_stays(message, name):
    sent, request = message(wire.TEST)
    with pytest.raises(Refusal, match="egress-denied-site"):
        release(Reply(name, "study", {}), sent, request, MINIMUM)


@given(st.text(max_size=80))
def test_an_error_leaves_as_a_code_or_not_at_all(text):
    run_in_process(lambda grid, context: None, LocalGrid(make_client_app(lambda context: None), [{}], {}), {})
    reason = error_reply(text, Message(RecordDict(), 100, "train")).error.reason
    assert reason == "site-error" or (reason == text and reason.isascii() and " " not in reason and "/" not in reason)


SECRET = "DOE^JANE 1961-02-03 /pacs/export/MRN0042"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refusal("empty-site", f"nothing eligible in {SECRET}", SECRET), "empty-site"),
        (Refusal(SECRET, SECRET, SECRET), "site-error"),
        (ValueError(SECRET), "site-error:valueerror"),
        (FileNotFoundError(2, "No such file", SECRET), "site-error:filenotfounderror"),
        (KeyError(SECRET), "site-error:keyerror"),
    ],
)
@pytest.mark.parametrize("message_type", sorted(ALLOWED))
def test_no_exception_text_leaves(error, code, message_type):
    def open_site(context):
        raise error

    app = make_client_app(open_site)
    run_in_process(lambda grid, context: None, LocalGrid(app, [{}], {}), {})
    reply = app(
        Message(pack_request(Request("s", {}, WEIGHTS)), 100, message_type), Context(1, 100, {}, RecordDict(), {})
    )
    assert reply.error.reason == code
    assert not any(part in repr(reply) for part in ("DOE", "1961", "MRN0042"))


def test_a_malformed_request_is_answered_by_a_code():
    app = make_client_app(lambda context: None)
    run_in_process(lambda grid, context: None, LocalGrid(app, [{}], {}), {})
    reply = app(Message(RecordDict(), 100, "train"), Context(1, 100, {}, RecordDict(), {}))
    assert reply.error.reason == "malformed-message"


def test_only_egress_builds_messages_on_the_clients_side(repository):
    """By construction: no other client module may call Flower's Message, so nothing can be sent around egress."""
    builders = []
    for path in (repository / "client").rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = {node.func.id for node in calls if isinstance(node.func, ast.Name)}
        if names & {"Message", "Error", "pack_reply", "RecordDict"}:
            builders.append(path.name)
    assert builders == ["egress.py"]


def imports(path):
    """Names of the modules that a file imports, in full."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_no_client_or_common_module_opens_a_connection(repository):
    """Flower's transport is the only one: no module but the PACS receiver, which listens, has a network library."""
    forbidden = {"socket", "http", "urllib", "requests", "httpx", "ftplib", "smtplib", "grpc", "aiohttp", "pynetdicom"}
    for role in ("client", "common"):
        for path in (repository / role).rglob("*.py"):
            if path.parent.name != "receiving":
                assert not {name.split(".")[0] for name in imports(path)} & forbidden, path


def test_the_receiver_only_listens_and_only_the_command_line_starts_it(repository):
    """It calls nobody: no connect, no association of its own; and nothing else in fedescc uses it."""
    calling = {"connect", "connect_ex", "create_connection", "associate", "send_c_store", "send_c_move", "sendto"}
    for path in (repository / "client" / "receiving").glob("*.py"):
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute | ast.Name)]
        assert not {getattr(node, "attr", getattr(node, "id", "")) for node in nodes} & calling, path
    users = {
        path.relative_to(repository).as_posix()
        for role in ("client", "common", "server", "simulations")
        for path in (repository / role).rglob("*.py")
        if path.parent.name != "receiving"
        and any(name.startswith("fedescc.client.receiving") for name in imports(path))
    }
    assert users == {"client/cli.py"}


def test_every_reply_of_a_real_run_passes_and_holds_no_key(toy_replies):
    """All replies of a whole run, seen on the wire: schema keys only, and no patient key anywhere."""
    replies, keys = toy_replies
    # Of runs with comparators, pretraining, subgroups or images.
    on_demand = {wire.SCREENING, wire.LOGISTIC, wire.PRETRAIN, wire.SUBGROUPS, wire.COMPARISON}
    on_demand |= {wire.ACQUISITION, wire.SHORTCUT}
    assert {message_type for message_type, _ in replies} | on_demand == set(ALLOWED)
    for message_type, reply in replies:
        assert set(reply.sums) <= set(ALLOWED[message_type])
        text = json.dumps([reply.site, reply.sums, reply.reasons])
        assert not any(key in text for key in keys)

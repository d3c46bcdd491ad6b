"""Requests and replies survive Flower's records unchanged, and anything malformed is refused in one line."""

import gc
import weakref

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fedescc.common.errors import Refusal
from fedescc.common.wire import (
    Reply,
    Request,
    installed_version,
    pack_reply,
    pack_request,
    unpack_reply,
    unpack_request,
)

WEIGHTS = np.array([1.5, -2.25, 3e-8], dtype=np.float32)


def test_request_round_trip():
    request = Request("abc", {"round": 3, "edges": [-1.5, 0.0], "nested": {"a": None}}, WEIGHTS)
    back = unpack_request(pack_request(request))
    assert back.study_sha256 == "abc"
    assert back.task == request.task
    assert back.weights is not None
    assert back.weights.tobytes() == WEIGHTS.tobytes()


def test_reply_round_trip():
    sums = {"n": 2**53 + 1, "loss": 0.1, "counts": [0, 2**40], "terms": [0.1, -1e300]}
    back = unpack_reply(pack_reply(Reply("site-a", "abc", sums, WEIGHTS, {"auc": "one-class"})))
    assert back.sums == sums
    assert back.reasons == {"auc": "one-class"}
    assert back.delta is not None
    assert back.delta.tobytes() == WEIGHTS.tobytes()


def test_what_was_read_is_freed_at_once():
    """Flower's typed views tie records into a cycle, so that megabytes would wait for the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        for pack, unpack in (
            (lambda: pack_request(Request("abc", {}, WEIGHTS)), unpack_request),
            (lambda: pack_reply(Reply("site-a", "abc", {"n": 1}, WEIGHTS)), unpack_reply),
        ):
            records = pack()
            unpack(records)
            watched = weakref.ref(records)
            del records
            assert watched() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("key", ["site", "sums"])
def test_a_record_of_another_kind_is_malformed(key):
    records = pack_reply(Reply("site-a", "abc", {"n": 1}))
    records[key] = ArrayRecord({"flat": Array(WEIGHTS)})
    with pytest.raises(Refusal, match="malformed-message"):
        unpack_reply(records)


def test_weights_travel_as_one_array():
    records = pack_request(Request("abc", {}, WEIGHTS))
    assert [list(record) for record in records.array_records.values()] == [["flat"]]


def test_nan_in_a_task_is_refused_before_it_travels():
    with pytest.raises(ValueError, match="not JSON compliant"):
        pack_request(Request("abc", {"threshold": float("nan")}))


@pytest.mark.parametrize("key", ["study", "version", "task"])
def test_request_without_a_key_is_malformed(key):
    records = pack_request(Request("abc"))
    del records.config_records["task"][key]
    with pytest.raises(Refusal, match="malformed-message"):
        unpack_request(records)


def test_other_versions_are_refused_on_both_sides():
    request = pack_request(Request("abc"))
    request.config_records["task"]["version"] = installed_version() + "9"
    with pytest.raises(Refusal, match="version-mismatch"):
        unpack_request(request)
    reply = pack_reply(Reply("site-a", "abc", {}))
    reply.config_records["site"]["version"] = "0"
    with pytest.raises(Refusal, match="version-mismatch"):
        unpack_reply(reply)


@pytest.mark.parametrize(
    "arrays",
    [
        {"flat": Array(np.zeros((2, 2), np.float32))},
        {"flat": Array(np.zeros(2, np.float64))},
        {"flat": Array(np.zeros(2, np.float32)), "more": Array(np.zeros(2, np.float32))},
        {"layer": Array(np.zeros(2, np.float32))},
        {"flat": Array("float32", (2,), "numpy.ndarray", b"\x80\x04no pickle is ever loaded")},
    ],
)
def test_foreign_arrays_are_refused(arrays):
    records = pack_reply(Reply("site-a", "abc", {}))
    records["delta"] = ArrayRecord(arrays)
    with pytest.raises(Refusal, match="malformed-message"):
        unpack_reply(records)


@pytest.mark.parametrize("reasons", ["[1]", "not json", '{"a"}'])
def test_malformed_reasons_are_refused(reasons):
    records = pack_reply(Reply("site-a", "abc", {}))
    records.config_records["site"]["reasons"] = reasons
    with pytest.raises(Refusal, match="malformed-message"):
        unpack_reply(records)


@pytest.mark.parametrize(
    "task", ["[]", "[1, 2]", "null", '{"threshold": NaN}', '{"edges": [1e999]}', "[" * 50_000, "x"]
)
def test_a_task_that_is_no_mapping_of_finite_numbers_is_malformed(task):
    records = pack_request(Request("abc"))
    records.config_records["task"]["task"] = task
    with pytest.raises(Refusal, match="malformed-message"):
        unpack_request(records)


@pytest.mark.parametrize("key", ["study", "version", "task"])
@pytest.mark.parametrize("value", [1, 1.5, True, b"abc", ["abc"]])
def test_what_should_be_text_and_is_not_is_malformed(key, value):
    records = pack_request(Request("abc"))
    records.config_records["task"][key] = value
    with pytest.raises(Refusal, match="malformed-message"):
        unpack_request(records)


def test_a_task_longer_than_any_is_malformed():
    with pytest.raises(Refusal, match="malformed-message"):
        unpack_request(pack_request(Request("abc", {"names": ["x" * 1000] * 16_000})))


def test_the_longest_task_that_is_sent_is_read():
    """A projection of 160 axes of two time points' embeddings, of the 1024 dimensions that a study can have."""
    axes = np.random.default_rng(0).normal(size=(160, 2048)).tolist()
    assert (
        unpack_request(pack_request(Request("abc", {"projection": {"axes": axes}}))).task["projection"]["axes"] == axes
    )


@pytest.mark.parametrize(
    "reasons", ["[" * 9000, '{"n": 3}', '{"n": ["few"]}', '{"n": null}', '{"n": "' + "x" * 10_000 + '"}']
)
def test_reasons_that_are_no_short_codes_are_malformed(reasons):
    records = pack_reply(Reply("site-a", "abc", {}))
    records.config_records["site"]["reasons"] = reasons
    with pytest.raises(Refusal, match="malformed-message"):
        unpack_reply(records)


def test_an_unknown_record_is_malformed():
    for records, unpack in (
        (pack_request(Request("abc")), unpack_request),
        (pack_reply(Reply("a", "b", {})), unpack_reply),
    ):
        records["patients"] = ConfigRecord({"names": ["x"]})
        with pytest.raises(Refusal, match="malformed-message"):
            unpack(records)


def test_an_update_of_another_size_than_the_weights_is_malformed():
    records = pack_reply(Reply("site-a", "abc", {}, WEIGHTS))
    assert unpack_reply(records, 3).delta is not None
    with pytest.raises(Refusal, match="malformed-message"):
        unpack_reply(records, 4)


def test_empty_records_are_refused():
    with pytest.raises(Refusal, match="malformed-message"):
        unpack_reply(RecordDict({"site": ConfigRecord(), "sums": MetricRecord()}))
    with pytest.raises(Refusal, match="malformed-message"):
        unpack_request(RecordDict())

"""Flower records of a stranger: whatever bytes and texts they hold, the end is a value or one refusal."""

import io
import json
import time
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import example, given
from hypothesis import strategies as st

from fedescc.common.errors import Refusal
from fedescc.common.records import read_array, read_mapping, read_record, read_text, require_only
from fedescc.common.wire import Reply, Request, pack_reply, pack_request, unpack_reply, unpack_request

VALUES = np.array([1.5, -2.25, 3e-8], dtype=np.float32)
TODO = "check the sender"


def flat(data: bytes) -> ArrayRecord:
    return ArrayRecord({"flat": Array("float32", (3,), "numpy.ndarray", data)})


def header_of(text: str, version: bytes = b"\x01\x00") -> bytes:
    """An npy file whose header is this text, followed by three values."""
    padded = text.encode() + b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + len(padded).to_bytes(2, "little") + padded + VALUES.tobytes()


def written(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def refused(read: Any, *arguments: Any) -> None:
    with pytest.raises(Refusal) as caught:
        read(*arguments)
    assert caught.value.code == "malformed-message"


def outcome(read: Any, *arguments: Any) -> Any:
    """What is read, or the refusal."""
    try:
        return read(*arguments)
    except Refusal as refusal:
        return refusal


@pytest.mark.parametrize("size", [0, 1, 3, 1000, 123_456])
def test_what_numpy_writes_is_read_back_bit_for_bit(size: int) -> None:
    values = np.random.default_rng(size).normal(size=size).astype(np.float32)
    found = read_array(flat(written(values)), size)
    assert found.tobytes() == values.tobytes()
    assert not found.flags.writeable
    assert found.flags.aligned


def test_a_header_in_numpys_words_is_read_whatever_its_padding() -> None:
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }"
    assert read_array(flat(header_of(text))).tobytes() == VALUES.tobytes()
    assert read_array(flat(header_of(text + " " * 21))).tobytes() == VALUES.tobytes()


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 1), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-3,), }",
        "{'descr': '<f4', 'fortran_order': True, 'shape': (3,), }",
        "{'descr': '>f4', 'fortran_order': False, 'shape': (3,), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,), }",
        "{'shape': (3,), 'descr': '<f4', 'fortran_order': False, }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), 'more': 1}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }; import os",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 80 + ",), }",
        "(" * 200,
        "[" * 3000 + "]" * 3000,
        "{'descr': '<f4'" + "+1" * 5000 + "}",
        "'unfinished",
        "9**9**9**9",
        "\x00" * 60,
        "é" * 40,
        "",
    ],
)
def test_a_header_that_is_not_numpys_own_is_refused_unread(header: str) -> None:
    start = time.process_time()
    refused(read_array, flat(header_of(header)))
    assert time.process_time() - start < 1


@pytest.mark.parametrize("version", [b"\x02\x00", b"\x03\x00", b"\x00\x00", b"\x01\x01"])
def test_another_version_of_the_format_is_refused(version: bytes) -> None:
    refused(read_array, flat(header_of("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", version)))


@pytest.mark.parametrize("cut", [1, 5, 9, 100, 127, 128, 129, 139])
def test_a_truncated_array_is_refused(cut: int) -> None:
    refused(read_array, flat(written(VALUES)[:cut]))


def test_more_or_other_values_than_asked_for_are_refused() -> None:
    refused(read_array, flat(written(VALUES)), 4)
    refused(read_array, flat(written(VALUES) + b"\x00"))
    refused(read_array, flat(written(VALUES) + bytes(4)))


def test_a_header_whose_stated_length_is_another_is_refused() -> None:
    data = bytearray(written(VALUES))
    data[8] += 64
    refused(read_array, flat(bytes(data)))
    data[8] -= 65
    refused(read_array, flat(bytes(data)))


@given(st.binary(max_size=400))
@example(b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 300)
def test_any_bytes_are_refused(data: bytes) -> None:
    refused(read_array, flat(data))


@given(st.integers(0, 139), st.binary(min_size=1, max_size=3))
def test_numpys_bytes_with_some_replaced_are_refused_or_hold_three_values(place: int, junk: bytes) -> None:
    data = bytearray(written(VALUES))
    data[place : place + len(junk)] = junk
    found = outcome(read_array, flat(bytes(data)))
    malformed = isinstance(found, Refusal) and found.code == "malformed-message"
    assert malformed or len(found) * 4 == len(data) - 128


@pytest.mark.parametrize(
    "text",
    [
        "[]", "[1]", "1", "null", "true", '"text"', "", " ", "{", '{"a":}', "{'a': 1}", '{"a": 1} x',
        '{"a": NaN}', '{"a": Infinity}', '{"a": [-Infinity]}', '{"a": 1e999}', '{"a": -1e999}',
        '{"a": ' + "9" * 5000 + "}",
        "[" * 100_000, '{"a":' * 2000 + "1" + "}" * 2000, '{"a": ' + "[" * 17 + "]" * 17 + "}",
        '{"a": "\\ud800"}', '{"\\udfff": 1}',
    ],
)  # fmt: skip
def test_a_text_that_is_no_plain_mapping_is_refused(text: str) -> None:
    refused(read_mapping, text, 10**6, TODO)


def test_a_plain_mapping_is_read() -> None:
    content = {"a": [1, 2.5, None, True, "é", {"b": {}}], "c": "😀", "deep": [[[[[[[[[[1]]]]]]]]]]}
    assert read_mapping(json.dumps(content), 1000, TODO) == content


def test_a_text_that_is_too_long_is_refused_before_it_is_parsed() -> None:
    text = json.dumps({"a": "x" * 100})
    assert read_mapping(text, len(text), TODO)
    refused(read_mapping, text, len(text) - 1, TODO)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    found = outcome(read_mapping, text, 1000, TODO)
    malformed = isinstance(found, Refusal) and found.code == "malformed-message"
    assert malformed or isinstance(found, dict)


def test_records_and_keys_of_another_kind_are_refused() -> None:
    records = RecordDict({"a": ConfigRecord({"text": "x", "number": 1, "list": ["x"], "bytes": b"x"})})
    assert read_text(read_record(records, "a", ConfigRecord, TODO), "text", TODO) == "x"
    for key in ("number", "list", "bytes", "missing"):
        refused(read_text, records["a"], key, TODO)
    for key, kind in (("a", MetricRecord), ("a", ArrayRecord), ("b", ConfigRecord)):
        refused(read_record, records, key, kind, TODO)
    require_only(records, {"a", "b"}, TODO)
    refused(require_only, records, {"b"}, TODO)


RECORD = st.one_of(
    st.builds(
        ConfigRecord,
        st.dictionaries(
            st.sampled_from(["task", "study", "version", "site", "reasons", "x"]),
            st.one_of(st.text(max_size=20), st.integers(-5, 5), st.binary(max_size=5), st.lists(st.text(max_size=3))),
        ),
    ),
    st.builds(MetricRecord, st.dictionaries(st.sampled_from(["n", "loss"]), st.floats(allow_nan=True) | st.integers())),
    st.builds(flat, st.binary(max_size=200)),
)


@given(st.dictionaries(st.sampled_from(["task", "weights", "site", "sums", "delta", "x"]), RECORD))
def test_any_records_are_a_request_or_a_reply_or_refused(others: dict[str, Any]) -> None:
    for whole, unpack in (
        (pack_request(Request("abc", {"a": 1}, VALUES)), unpack_request),
        (pack_reply(Reply("site-a", "abc", {"n": 1}, VALUES)), unpack_reply),
    ):
        for key, record in others.items():
            whole[key] = record
        found = outcome(unpack, whole)
        refused_so = isinstance(found, Refusal) and found.code in ("malformed-message", "version-mismatch")
        assert refused_so or isinstance(found, Request | Reply)

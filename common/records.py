"""Read Flower records without trusting them: whatever is not exactly what fedescc writes is refused.

``todo`` says in each error where its reader should look; nothing of what was sent is repeated.
"""

import json
import math
import re
from collections.abc import Collection
from typing import Any, TypeVar

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from fedescc.common.errors import Refusal

_DEEPEST = 16  # a category of a fused model of one of several looks is named 11 levels down
_FLOAT_BYTES = 4
# What numpy writes before a flat float32 array, and nothing else that its reader would try to understand.
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00([\x00-\xff]{2})\{'descr': '<f4', 'fortran_order': False, 'shape': \((\d{1,12}),\), \} *\n"
)
_HEADER_BYTES, _BEFORE_HEADER, _ALIGNED = 256, 10, 64

R = TypeVar("R", ArrayRecord, ConfigRecord, MetricRecord)


def require_only(records: RecordDict, known: Collection[str], todo: str) -> None:
    """Refuse a message that holds anything beside the records known.

    Raises:
        Refusal: ``malformed-message``, as everything here.

    """
    if not set(records) <= set(known):
        raise malformed("a message holds an unknown record", todo)


def read_record(records: RecordDict, key: str, kind: type[R], todo: str) -> R:
    """One record. Not by the typed views: they bind records into a cycle, and megabytes wait for the collector."""
    record = records.get(key)
    if not isinstance(record, kind):
        raise malformed(f"a message has no record {key!r} of the kind expected", todo)
    return record


def read_text(record: ConfigRecord, key: str, todo: str) -> str:
    """One text of a record."""
    value = record.get(key)
    if not isinstance(value, str):
        raise malformed(f"a message has no text {key!r}", todo)
    return value


def read_mapping(text: str, longest: int, todo: str) -> dict[str, Any]:
    """A JSON object of finite numbers and whole characters, at most ``longest`` characters and 16 levels of it."""
    if len(text) > longest:
        raise malformed(f"a message's text has {len(text)} characters, more than {longest}", todo)
    try:
        value = json.loads(text, parse_float=_finite, parse_constant=_finite)
        _require_plain(value)
    except (ValueError, RecursionError) as error:
        raise malformed("a message's text is not the JSON expected", todo) from error
    if not isinstance(value, dict):
        raise malformed("a message's text is no mapping of keys to values", todo)
    return value


def read_array(record: ArrayRecord, size: int | None = None) -> NDArray[np.float32]:
    """One flat float32 array (read-only) that has as many bytes as its header claims.

    The header is compared, never evaluated: numpy's reader would parse it as Python, and fail in a dozen ways.
    """
    if set(record) != {"flat"}:
        raise malformed("weights must be one array named flat", "check the sender")
    data = record["flat"].data
    header = _HEADER.match(data[:_HEADER_BYTES])
    if header is None or not _is_whole(header):
        raise malformed("weights are not in the expected format", "check the sender")
    values = int(header[2])
    if len(data) - header.end() != values * _FLOAT_BYTES or size not in (None, values):
        raise malformed("weights must be one flat float32 array of the model's size", "check versions")
    return np.frombuffer(data, dtype="<f4", offset=header.end(), count=values)


def malformed(what: str, todo: str) -> Refusal:
    """The refusal of a message that does not follow the wire format."""
    return Refusal("malformed-message", what, todo)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _require_plain(value: Any) -> None:
    """Level by level, because a walk that calls itself would meet the depth that it looks for."""
    level = [value]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, str):
                item.encode()  # half a surrogate pair is no text: UnicodeEncodeError is a ValueError
            elif isinstance(item, dict):
                inner += [*item.keys(), *item.values()]
            elif isinstance(item, list):
                inner += item
        if not inner:
            return
        level = inner
    msg = "nested too deeply"
    raise ValueError(msg)


def _is_whole(header: re.Match[bytes]) -> bool:
    """Whether the header's length is as stated and keeps the values aligned."""
    stated = int.from_bytes(header[1], "little")
    return header.end() == _BEFORE_HEADER + stated and header.end() % _ALIGNED == 0

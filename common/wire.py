"""What travels between server and site: message types, request and reply as Flower records.

A request holds ``task`` (configuration) and, where a model is involved, ``weights`` as one flat float32 array,
because Flower's cost grows with the number of arrays. A reply holds ``site`` (who answers, under which study),
``sums`` (numbers that add across sites) and, after training, ``delta`` (local minus received weights).
"""

import io
import json
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any, TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from fedescc.common.errors import Refusal

STATISTICS = "query.statistics"
SCREENING = "query.screening"
LOGISTIC = "query.logistic"
TRAIN = "train"
PRETRAIN = "train.pretraining"
TRAINING_SCORES = "evaluate.training_scores"
VALIDATION = "evaluate.validation"
TEST = "evaluate.test"
RECALIBRATION = "evaluate.recalibration"
EXPLANATION = "evaluate.explanation"
OF_TEST_PATIENTS = frozenset({TEST, RECALIBRATION, EXPLANATION})

_FLOAT_BYTES = 4
_LONGEST_REASONS = 10_000

R = TypeVar("R", ArrayRecord, ConfigRecord, MetricRecord)
Number = int | float | list[int] | list[float]
Sums = dict[str, Number]


@dataclass(frozen=True)
class Request:
    """What the server asks of a site. ``task`` holds JSON values only."""

    study_sha256: str
    task: dict[str, Any] = field(default_factory=dict)
    weights: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Reply:
    """What a site answers; ``reasons`` says by code why a value is absent from ``sums``."""

    site: str
    study_sha256: str
    sums: Sums
    delta: NDArray[np.float32] | None = None
    reasons: dict[str, str] = field(default_factory=dict)


@cache
def installed_version() -> str:
    """Version of fedescc on this machine; both sides must agree."""
    return version("fedescc")


def pack_request(request: Request) -> RecordDict:
    """A request as Flower records."""
    task = ConfigRecord()
    task["study"], task["version"] = request.study_sha256, installed_version()
    task["task"] = json.dumps(request.task, allow_nan=False)
    records = RecordDict({"task": task})
    if request.weights is not None:
        records["weights"] = _pack_array(request.weights)
    return records


def unpack_request(records: RecordDict) -> Request:
    """Flower records as a request.

    Raises:
        Refusal: another fedescc version sent it, or it is malformed.

    """
    try:
        task = _record(records, "task", ConfigRecord)
        if task["version"] != installed_version():
            raise Refusal("version-mismatch", "the server runs another fedescc version", "install the same version")
        weights = _unpack_array(_record(records, "weights", ArrayRecord)) if "weights" in records else None
        return Request(str(task["study"]), json.loads(str(task["task"])), weights)
    except (KeyError, ValueError, TypeError) as error:
        raise Refusal("malformed-message", "a request does not follow the wire format", "check the server") from error


def pack_reply(reply: Reply) -> RecordDict:
    """A reply as Flower records."""
    site = ConfigRecord()
    site["site"], site["study"], site["version"] = reply.site, reply.study_sha256, installed_version()
    site["reasons"] = json.dumps(reply.reasons, sort_keys=True)
    records = RecordDict({"site": site, "sums": MetricRecord(dict(reply.sums))})
    if reply.delta is not None:
        records["delta"] = _pack_array(reply.delta)
    return records


def unpack_reply(records: RecordDict, size: int | None = None) -> Reply:
    """Flower records as a reply; an update must hold ``size`` values, if given, before it is decoded.

    Raises:
        Refusal: it is malformed, or another fedescc version sent it.

    """
    try:
        site = _record(records, "site", ConfigRecord)
        if site["version"] != installed_version():
            raise Refusal("version-mismatch", "a site runs another fedescc version", "install the same version there")
        delta = _unpack_array(_record(records, "delta", ArrayRecord), size) if "delta" in records else None
        sums: Sums = dict(_record(records, "sums", MetricRecord))
        text = str(site["reasons"])
        if len(text) > _LONGEST_REASONS:
            raise Refusal("malformed-message", "a reply's reasons are too long", "check the site")
        reasons = {str(key): str(code) for key, code in json.loads(text).items()}
        return Reply(str(site["site"]), str(site["study"]), sums, delta, reasons)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise Refusal("malformed-message", "a reply does not follow the wire format", "check the site") from error


def _record(records: RecordDict, key: str, kind: type[R]) -> R:
    """One record. Not by the typed views: they bind records into a cycle, and megabytes wait for the collector."""
    record = records[key]
    if not isinstance(record, kind):
        raise TypeError(key)
    return record


def _pack_array(values: NDArray[np.float32]) -> ArrayRecord:
    return ArrayRecord({"flat": Array(np.ascontiguousarray(values, dtype=np.float32))})


def _unpack_array(record: ArrayRecord, size: int | None = None) -> NDArray[np.float32]:
    """One flat float32 array (read-only), decoded only if it has as many bytes as its header claims."""
    if set(record) != {"flat"}:
        raise Refusal("malformed-message", "weights must be one array named flat", "check the sender")
    data = record["flat"].data
    header = io.BytesIO(data)
    if np.lib.format.read_magic(header) != (1, 0):
        raise Refusal("malformed-message", "weights are not in the expected format", "check the sender")
    shape, _, dtype = np.lib.format.read_array_header_1_0(header)
    values = (len(data) - header.tell()) // _FLOAT_BYTES
    if dtype != np.dtype("<f4") or shape != (values,) or size not in (None, values):
        raise Refusal(
            "malformed-message", "weights must be one flat float32 array of the model's size", "check versions"
        )
    return np.frombuffer(data, dtype="<f4", offset=header.tell(), count=values)

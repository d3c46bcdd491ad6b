"""What travels between server and site: message types, request and reply as Flower records.

A request holds ``task`` (configuration) and, where a model is involved, ``weights`` as one flat float32 array,
because Flower's cost grows with the number of arrays. A reply holds ``site`` (who answers, under which study),
``sums`` (numbers that add across sites) and, after training, ``delta`` (local minus received weights).
"""

import json
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from fedescc.common.errors import Refusal
from fedescc.common.records import malformed, read_array, read_mapping, read_record, read_text, require_only

STATISTICS = "query.statistics"
SCREENING = "query.screening"
LOGISTIC = "query.logistic"
REFERENCE = "query.reference"
COUNTS = "query.counts"
ACQUISITION = "query.acquisition"
TRAIN = "train"
PRETRAIN = "train.pretraining"
TRAINING_SCORES = "evaluate.training_scores"
VALIDATION = "evaluate.validation"
TEST = "evaluate.test"
RECALIBRATION = "evaluate.recalibration"
EXPLANATION = "evaluate.explanation"
SUBGROUPS = "evaluate.subgroups"
COMPARISON = "evaluate.comparison"
SHORTCUT = "evaluate.shortcut"
OF_TEST_PATIENTS = frozenset({TEST, RECALIBRATION, EXPLANATION, SUBGROUPS, COMPARISON})

_LONGEST_REASONS = 10_000
_LONGEST_TASK = 16_000_000  # twice the most axes of embeddings of the most dimensions that a study can name

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
    sender = "check the server's version"
    require_only(records, {"task", "weights"}, sender)
    task = read_record(records, "task", ConfigRecord, sender)
    if read_text(task, "version", sender) != installed_version():
        raise Refusal("version-mismatch", "the server runs another fedescc version", "install the same version")
    content = read_mapping(read_text(task, "task", sender), _LONGEST_TASK, sender)
    weights = read_array(read_record(records, "weights", ArrayRecord, sender)) if "weights" in records else None
    return Request(read_text(task, "study", sender), content, weights)


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
    sender = "check the site's version"
    require_only(records, {"site", "sums", "delta"}, sender)
    site = read_record(records, "site", ConfigRecord, sender)
    if read_text(site, "version", sender) != installed_version():
        raise Refusal("version-mismatch", "a site runs another fedescc version", "install the same version there")
    delta = read_array(read_record(records, "delta", ArrayRecord, sender), size) if "delta" in records else None
    sums: Sums = dict(read_record(records, "sums", MetricRecord, sender))
    reasons = read_mapping(read_text(site, "reasons", sender), _LONGEST_REASONS, sender)
    if not all(isinstance(code, str) for code in reasons.values()):
        raise malformed("a reason is no code", sender)
    return Reply(read_text(site, "site", sender), read_text(site, "study", sender), sums, delta, reasons)


def _pack_array(values: NDArray[np.float32]) -> ArrayRecord:
    return ArrayRecord({"flat": Array(np.ascontiguousarray(values, dtype=np.float32))})

"""The one door out: every reply of this site is checked here last, against what its message type may carry.

Default deny: an unknown message type, record, key, length, range, NaN or a foreign shape is refused, and an error
leaves as a bare code. No other module builds a Flower message.
"""

import math
import re
from dataclasses import dataclass

import numpy as np
from flwr.app import Error, Message

from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.wire import Number, Reply, Request, pack_reply

_CODE = re.compile(r"[a-z][a-z0-9_:-]{0,59}")
_REFUSED_BY_SITE = 3  # below 100 are Flower's own codes; the reason carries ours


@dataclass(frozen=True)
class Allowed:
    """What one key may hold: whole or real numbers in [low, high], one or a list of at most ``length``."""

    whole: bool = True
    low: float = 0.0
    high: float = 2.0**62
    length: int | None = None


_COUNT = Allowed()
_LOSS = Allowed(whole=False)
_REAL = Allowed(whole=False, low=-1e12, high=1e12)
_UNIT = Allowed(whole=False, high=1.0)
_COUNTS = Allowed(length=1001)
_SPLIT_SUMS = {
    "n": _COUNT,
    "n_pos": _COUNT,
    "tp": _COUNT,
    "fp": _COUNT,
    "tn": _COUNT,
    "fn": _COUNT,
    "brier_sum": _LOSS,
    "log_loss_sum": _LOSS,
    "negatives": _COUNTS,
    "positives": _COUNTS,
}
_INTEGERS = Allowed(low=-(2.0**62), length=200)
_REALS = Allowed(whole=False, low=-1e12, high=1e12, length=16)

ALLOWED: dict[str, dict[str, Allowed]] = {
    wire.STATISTICS: {
        "n_train": _COUNT,
        "covariate_counts": Allowed(length=200),
        "covariate_totals": _INTEGERS,
        "covariate_squares": _INTEGERS,
        "flow_included": _COUNT,
        "flow_excluded": _COUNT,
        "flow_by_rule": Allowed(length=60),
    },
    wire.TRAIN: {
        "n": _COUNT,
        "updates": _COUNT,
        "loss": _LOSS,
        **{f"validation_{key}": allowed for key, allowed in _SPLIT_SUMS.items()},
    },
    wire.TRAINING_SCORES: {"counts": Allowed(length=4001)},
    wire.VALIDATION: _SPLIT_SUMS,
    wire.TEST: {
        **_SPLIT_SUMS,
        "auc": _UNIT,
        "auc_low": _UNIT,
        "auc_high": _UNIT,
        "calibration_intercept": _REAL,
        "calibration_slope": _REAL,
    },
    wire.RECALIBRATION: {
        "n": _COUNT,
        "n_pos": _COUNT,
        **{f"{model}_{key}": _REALS for model in ("large", "slope") for key in ("loss", "gradient", "hessian")},
    },
    wire.EXPLANATION: {
        "n": _COUNT,
        "counts": Allowed(length=16),
        **dict.fromkeys(("absolute", "total", "squares"), _REALS),
    },
}


def release(reply: Reply, message: Message, request: Request) -> Message:
    """The reply as a Flower message, if and only if everything in it may leave.

    Raises:
        Refusal: something in it may not; the code says which kind of thing.

    """
    message_type = message.metadata.message_type
    allowed = ALLOWED.get(message_type)
    if allowed is None:
        raise _denied("message-type", "this message type has no schema")
    for key, value in reply.sums.items():
        if key not in allowed:
            raise _denied("key", f"{key!r} is not in the schema of {message_type}")
        _check_number(key, value, allowed[key])
    if not all(key in allowed and _CODE.fullmatch(code) for key, code in reply.reasons.items()):
        raise _denied("reason", "a reason is not a code for a known key")
    _check_delta(reply, message_type, request)
    return Message(pack_reply(reply), reply_to=message)


def error_reply(code: str, message: Message) -> Message:
    """An error as a bare code; anything that does not look like one (it may quote data) is replaced."""
    return Message(Error(_REFUSED_BY_SITE, code if _CODE.fullmatch(code) else "site-error"), reply_to=message)


def _check_number(key: str, value: Number, allowed: Allowed) -> None:
    values = value if isinstance(value, list) else [value]
    if isinstance(value, list) != (allowed.length is not None) or len(values) > (allowed.length or 1):
        raise _denied("length", f"{key!r} has the wrong number of values")
    for item in values:
        if type(item) not in ((int,) if allowed.whole else (int, float)):
            raise _denied("type", f"{key!r} is not a {'whole' if allowed.whole else 'real'} number")
        if not math.isfinite(item) or not allowed.low <= item <= allowed.high:
            raise _denied("range", f"{key!r} is out of range")


def _check_delta(reply: Reply, message_type: str, request: Request) -> None:
    if (reply.delta is not None) != (message_type == wire.TRAIN):
        raise _denied("delta", "an update belongs to training replies, and only to them")
    if reply.delta is None:
        return
    if request.weights is None or reply.delta.shape != request.weights.shape or reply.delta.dtype != np.float32:
        raise _denied("delta", "an update must have the shape and type of the received weights")
    if not np.isfinite(reply.delta).all():
        raise _denied("delta", "an update holds NaN or infinity")


def _denied(kind: str, what: str) -> Refusal:
    return Refusal(f"egress-denied-{kind}", what, "nothing was sent; report this to the developers")

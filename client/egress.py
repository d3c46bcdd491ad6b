"""The one door out: every reply of this site is checked here last, against what its message type may carry.

The schema is `fedescc.common.schema`; on top come this site's minimum count and the shape of an update. An error
leaves as a bare code. No other module of the client builds a Flower message.
"""

import numpy as np
from flwr.app import Error, Message

from fedescc.common.disclosure.cells import small
from fedescc.common.errors import Refusal
from fedescc.common.names import CODE
from fedescc.common.schema import Allowed, SchemaViolationError, check_reply
from fedescc.common.wire import Number, Reply, Request, Sums, pack_reply

_REFUSED_BY_SITE = 3  # below 100 are Flower's own codes; the reason carries ours


def release(reply: Reply, message: Message, request: Request, minimum: int) -> Message:
    """The reply as a Flower message, if and only if everything in it may leave.

    Args:
        reply: what the site would answer.
        message: the message it answers.
        request: what that message asked.
        minimum: a count of patients below it (but not 0) stays here.

    Raises:
        Refusal: something in it may not leave; the code says which kind of thing.

    """
    require_releasable(message.metadata.message_type, reply, request, minimum)
    return Message(pack_reply(reply), reply_to=message)


def require_releasable(message_type: str, reply: Reply, request: Request, minimum: int) -> None:
    """Refuse a reply of which anything may not leave, whether in a message or in a file; `Refusal` as `release`."""
    try:
        allowed = check_reply(message_type, reply)
    except SchemaViolationError as violation:
        raise _denied(violation.kind, str(violation)) from violation
    _check_counts(reply.sums, allowed, minimum)
    _check_delta(reply, request)


def error_reply(code: str, message: Message) -> Message:
    """An error as a bare code; anything that does not look like one (it may quote data) is replaced."""
    return Message(Error(_REFUSED_BY_SITE, code if CODE.fullmatch(code) else "site-error"), reply_to=message)


def _check_counts(sums: Sums, allowed: dict[str, Allowed], minimum: int) -> None:
    counts = [count for key, value in sums.items() if allowed[key].patients for count in _numbers(value)]
    for prefix in ("", "validation_"):
        whole, positive = sums.get(f"{prefix}n"), sums.get(f"{prefix}n_pos")
        if isinstance(whole, int) and isinstance(positive, int):
            counts.append(whole - positive)
    if any(small(int(count), minimum) for count in counts):
        raise _denied("count", "a count of patients is below this site's minimum")


def _numbers(value: Number) -> list[int] | list[float]:
    return value if isinstance(value, list) else [value]


def _check_delta(reply: Reply, request: Request) -> None:
    if reply.delta is None:
        return
    if request.weights is None or reply.delta.shape != request.weights.shape or reply.delta.dtype != np.float32:
        raise _denied("delta", "an update must have the shape and type of the received weights")
    if not np.isfinite(reply.delta).all():
        raise _denied("delta", "an update holds NaN or infinity")


def _denied(kind: str, what: str) -> Refusal:
    return Refusal(f"egress-denied-{kind}", what, "nothing was sent; report this to the developers")

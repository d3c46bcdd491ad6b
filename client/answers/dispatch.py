"""From a message's type to the handler that answers it; every answer still passes egress."""

from collections.abc import Callable

from fedescc.client.answers.acquisition import acquisition
from fedescc.client.answers.comparison import comparison
from fedescc.client.answers.counts import counts
from fedescc.client.answers.evaluation import (
    recalibration,
    test,
    training_scores,
    validation,
)
from fedescc.client.answers.explanation import explanation
from fedescc.client.answers.logistic import logistic
from fedescc.client.answers.pretraining import pretrain
from fedescc.client.answers.reference import reference
from fedescc.client.answers.screening import screening
from fedescc.client.answers.shapes import require_shape
from fedescc.client.answers.shortcut import shortcut
from fedescc.client.answers.statistics import statistics
from fedescc.client.answers.subgroups import subgroups
from fedescc.client.answers.training import train
from fedescc.client.folds import require_part
from fedescc.client.local_site import LocalSite
from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.fold import read_fold
from fedescc.common.wire import Reply, Request

HANDLERS: dict[str, Callable[[LocalSite, Request], Reply]] = {
    wire.STATISTICS: statistics,
    wire.COUNTS: counts,
    wire.SCREENING: screening,
    wire.LOGISTIC: logistic,
    wire.REFERENCE: reference,
    wire.TRAIN: train,
    wire.PRETRAIN: pretrain,
    wire.TRAINING_SCORES: training_scores,
    wire.VALIDATION: validation,
    wire.TEST: test,
    wire.RECALIBRATION: recalibration,
    wire.EXPLANATION: explanation,
    wire.SUBGROUPS: subgroups,
    wire.COMPARISON: comparison,
    wire.ACQUISITION: acquisition,
    wire.SHORTCUT: shortcut,
}


def answer(site: LocalSite, message_type: str, request: Request) -> Reply:
    """The site's reply to one request.

    Raises:
        Refusal: another study, an unknown message type, a malformed task, or a request that cannot be served.

    """
    if request.study_sha256 != site.study.sha256:
        raise Refusal("study-mismatch", "the server follows another study", "use the study file of this run")
    handler = HANDLERS.get(message_type)
    if handler is None:
        raise Refusal("unknown-message-type", f"{message_type!r} is not served", "check the server's version")
    require_part(message_type, read_fold(request.task), site.name)
    require_shape(message_type, request.task)
    site.charge(message_type, request)
    return handler(site, request)

"""What a reply of each message type may hold; the site checks it before sending, the server on arrival.

Default deny: an unknown message type, key, length, kind or range of numbers, NaN or infinity is a violation.
"""

import math
from dataclasses import dataclass, replace

from fedescc.common import wire
from fedescc.common.acquisition import KINDS, NUMBERS, VENDORS
from fedescc.common.analysis import MAX_LEVELS
from fedescc.common.identity import MAX_DECLARED
from fedescc.common.names import CODE, POOLED, SITE_NAME
from fedescc.common.shortcut import FEW, MAX_EMBEDDING, MAX_PRODUCTS
from fedescc.common.statistics.logistic import MAX_COLUMNS, TERM_LIMIT
from fedescc.common.statistics.relevance import MAX_CANDIDATES, MAX_SCREENED
from fedescc.common.subgroups import COARSE_EDGES
from fedescc.common.tabular.harmonisation import LANDMARKS
from fedescc.common.tabular.quantiles import BINS
from fedescc.common.wire import Number, Reply

_MOST_PATIENTS = 10_000_000
_MOST = 2.0**62


class SchemaViolationError(Exception):
    """Something in a reply is not allowed; ``kind`` is a short code."""

    def __init__(self, kind: str, what: str) -> None:
        self.kind = kind
        super().__init__(what)


@dataclass(frozen=True)
class Allowed:
    """What one key may hold: whole or real numbers in [low, high], one or a list of at most ``length``.

    ``patients`` marks counts of patients, which a site's minimum count applies to.
    """

    whole: bool = True
    low: float = 0.0
    high: float = _MOST
    length: int | None = None
    patients: bool = False


_WHOLE = Allowed(high=_MOST_PATIENTS)
_PATIENTS = Allowed(high=_MOST_PATIENTS, patients=True)
_TOLD = replace(_PATIENTS, low=-1.0)  # -1 is kept by the site, see fedescc.common.counts
_LOSS = Allowed(whole=False)
_REAL = Allowed(whole=False, low=-1e12, high=1e12)
_UNIT = Allowed(whole=False, high=1.0)
_COLUMNS = 1000  # clinical and image features
_BINS = replace(_WHOLE, length=1001)
_REALS = replace(_REAL, length=16)
_TERMS = Allowed(low=-TERM_LIMIT, high=TERM_LIMIT)
_BY_CLASS = 2 * MAX_SCREENED
_PRODUCTS = MAX_PRODUCTS * (MAX_PRODUCTS + 1) // 2
_SPLIT_SUMS = {
    **dict.fromkeys(("n", "n_pos"), _PATIENTS),
    **dict.fromkeys(("tp", "fp", "tn", "fn"), _WHOLE),
    **dict.fromkeys(("brier_sum", "log_loss_sum"), _LOSS),
    **dict.fromkeys(("negatives", "positives"), _BINS),
}

ALLOWED: dict[str, dict[str, Allowed]] = {
    wire.STATISTICS: {
        **dict.fromkeys(("n_train", "flow_included", "flow_excluded"), _PATIENTS),
        "flow_by_rule": replace(_PATIENTS, length=60),
        "covariate_counts": replace(_PATIENTS, length=_COLUMNS),
        "covariate_totals": Allowed(length=_COLUMNS),
        "covariate_squares": Allowed(length=_COLUMNS),
        "level_counts": replace(_PATIENTS, length=_COLUMNS),
        "quantile_counts": replace(_PATIENTS, length=100 * BINS),
        "landmark_counts": replace(_PATIENTS, length=2),
        "landmark_totals": Allowed(length=2 * LANDMARKS),
    },
    wire.SCREENING: {
        "n": _PATIENTS,
        "counts": replace(_PATIENTS, length=_BY_CLASS),
        **dict.fromkeys(("totals", "squares"), Allowed(length=_BY_CLASS)),
        "products": Allowed(low=-_MOST, length=MAX_CANDIDATES * (MAX_CANDIDATES + 1) // 2),
    },
    wire.LOGISTIC: {
        **dict.fromkeys(("n", "n_pos"), _PATIENTS),
        "loss": replace(_TERMS, low=0.0),
        "gradient": replace(_TERMS, length=MAX_COLUMNS + 1),
        "hessian": replace(_TERMS, length=(MAX_COLUMNS + 1) * (MAX_COLUMNS + 2) // 2),
    },
    wire.TRAIN: {
        "n": _PATIENTS,
        "updates": _WHOLE,
        "loss": _LOSS,
        **{f"validation_{key}": allowed for key, allowed in _SPLIT_SUMS.items()},
    },
    wire.PRETRAIN: {"n": _PATIENTS, "loss": _LOSS},
    wire.TRAINING_SCORES: {"counts": replace(_WHOLE, length=4001)},
    wire.VALIDATION: _SPLIT_SUMS,
    wire.TEST: {
        **_SPLIT_SUMS,
        **dict.fromkeys(("auc", "auc_low", "auc_high"), _UNIT),
        **dict.fromkeys(("calibration_intercept", "calibration_slope"), _REAL),
        "openings_before": _WHOLE,
    },
    wire.RECALIBRATION: {
        **dict.fromkeys(("n", "n_pos"), _PATIENTS),
        **dict.fromkeys(("large_loss", "large_gradient", "large_hessian"), _REALS),
        **dict.fromkeys(("slope_loss", "slope_gradient", "slope_hessian"), _REALS),
    },
    wire.SUBGROUPS: {
        "shown": Allowed(high=1.0, length=MAX_LEVELS),
        **dict.fromkeys(("n", "n_pos"), replace(_PATIENTS, length=MAX_LEVELS)),
        **dict.fromkeys(("tp", "fp", "tn", "fn"), replace(_WHOLE, length=MAX_LEVELS)),
        "brier_sum": replace(_LOSS, length=MAX_LEVELS),
        **dict.fromkeys(("negatives", "positives"), replace(_WHOLE, length=MAX_LEVELS * (COARSE_EDGES + 1))),
    },
    wire.COMPARISON: {
        **dict.fromkeys(("n", "n_pos"), _PATIENTS),
        "sums": Allowed(length=2 * MAX_DECLARED),
        "products": Allowed(length=MAX_DECLARED * (MAX_DECLARED + 1)),
        "differences": Allowed(whole=False, low=-1.0, high=1.0, length=MAX_DECLARED),
        "standard_errors": Allowed(whole=False, high=1.0, length=MAX_DECLARED),
    },
    wire.EXPLANATION: {
        "n": _PATIENTS,
        **dict.fromkeys(("counts", "gate_counts"), replace(_PATIENTS, length=_COLUMNS)),
        **dict.fromkeys(("absolute", "squares", "fixed_absolute", "local_absolute"), replace(_LOSS, length=_COLUMNS)),
        "total": replace(_REAL, length=_COLUMNS),
        **dict.fromkeys(("rank_total", "rank_squares"), replace(_LOSS, length=_COLUMNS)),
        **dict.fromkeys(("additivity_error", "repeat_error"), _LOSS),
        "random_correlation": Allowed(whole=False, low=-1.0, high=1.0),
        "deletion_total": _REAL,
    },
    wire.REFERENCE: {"n": _PATIENTS, "totals": replace(_REAL, length=_COLUMNS)},
    wire.COUNTS: {
        **dict.fromkeys(("included", "positives"), _PATIENTS),
        **dict.fromkeys(("split_patients", "split_positives"), replace(_TOLD, length=3)),
        **dict.fromkeys(("level_patients", "level_positives"), replace(_TOLD, length=_COLUMNS)),
        "missing": replace(_TOLD, length=_COLUMNS),
    },
    wire.ACQUISITION: {
        "n": _PATIENTS,
        **{f"{kind}_counts": replace(_PATIENTS, length=2 * (len(levels) + 2)) for kind, levels in KINDS.items()},
        "number_counts": replace(_PATIENTS, length=2 * len(NUMBERS)),
        **dict.fromkeys(("number_totals", "number_squares"), Allowed(length=2 * len(NUMBERS))),
    },
    wire.SHORTCUT: {
        **dict.fromkeys(("n", "right"), _PATIENTS),
        **dict.fromkeys(("totals", "squares"), replace(_REAL, length=MAX_EMBEDDING)),
        "products": replace(_REAL, length=_PRODUCTS),
        "vendor_counts": replace(_PATIENTS, length=len(VENDORS) + 2),
        "vendor_totals": replace(_REAL, length=len(VENDORS) * MAX_EMBEDDING),
        "vendor_products": replace(_REAL, length=len(VENDORS) * _PRODUCTS),
        "vendor_right": replace(_PATIENTS, length=len(VENDORS)),
        "right_hidden": Allowed(high=FEW),
        "vendor_hidden": Allowed(high=FEW, length=len(VENDORS)),
        "minimum": _WHOLE,
    },
}


def check_reply(message_type: str, reply: Reply) -> dict[str, Allowed]:
    """The schema of the message type, if the reply keeps to it.

    Raises:
        SchemaViolationError: it does not; nothing of the value is repeated in the message.

    """
    allowed = ALLOWED.get(message_type)
    if allowed is None:
        raise SchemaViolationError("message-type", "this message type has no schema")
    if not SITE_NAME.fullmatch(reply.site) or reply.site == POOLED:
        raise SchemaViolationError("site", "the site's name does not follow the pattern for names")
    for key, value in reply.sums.items():
        if key not in allowed:
            raise SchemaViolationError("key", f"a key is not in the schema of {message_type}")
        _check_number(key, value, allowed[key])
    if not all(key in allowed and CODE.fullmatch(code) for key, code in reply.reasons.items()):
        raise SchemaViolationError("reason", "a reason is not a code for a known key")
    if (reply.delta is not None) != (message_type in {wire.TRAIN, wire.PRETRAIN}):
        raise SchemaViolationError("delta", "an update belongs to training replies, and only to them")
    return allowed


def _check_number(key: str, value: Number, allowed: Allowed) -> None:
    values = value if isinstance(value, list) else [value]
    if isinstance(value, list) != (allowed.length is not None) or len(values) > (allowed.length or 1):
        raise SchemaViolationError("length", f"{key!r} has the wrong number of values")
    for item in values:
        if type(item) not in ((int,) if allowed.whole else (int, float)):
            raise SchemaViolationError("type", f"{key!r} is not a {'whole' if allowed.whole else 'real'} number")
        if not math.isfinite(item) or not allowed.low <= item <= allowed.high:
            raise SchemaViolationError("range", f"{key!r} is out of range")

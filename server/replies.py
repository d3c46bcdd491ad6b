"""Replies as typed values, checked while the exchange still runs: a bad one counts against its own site alone."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.common.errors import Refusal
from fedescc.common.statistics.metrics import EvaluationSums
from fedescc.common.statistics.recalibration import RecalibrationTerms
from fedescc.common.statistics.roc import ClassHistogram, Estimate
from fedescc.common.wire import Reply, Sums

NOT_RELEASED = "not-released"

_SUMS = tuple(EvaluationSums.__dataclass_fields__)
_ROUNDING = 1e-9


@dataclass(frozen=True)
class SplitShare:
    """One site's sums over a split.

    Attributes:
        sums: counts and losses; None below the site's minimum counts.
        histogram: None unless the site's policy releases it.
        estimates: the site's own AUC and calibration, where asked for.
        reasons: why something is absent.
        openings_before: how often the site had opened these test patients for other runs, where it says so.

    """

    sums: EvaluationSums | None
    histogram: ClassHistogram | None
    estimates: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    openings_before: int | None = None

    def estimate(self, key: str) -> Estimate[float]:
        """One of the site's own estimates, or why there is none."""
        if key in self.estimates:
            return Estimate(self.estimates[key])
        return Estimate(None, self.reasons.get(key, NOT_RELEASED))


def split_share(sums: Sums, reasons: dict[str, str], bins: int, prefix: str = "") -> SplitShare:
    """A split's share out of a reply; keys start with ``prefix``.

    Raises:
        Refusal: sums or estimates that contradict each other, or a histogram of another number of bins.

    """
    own = {key.removeprefix(prefix): value for key, value in sums.items() if key.startswith(prefix)}
    own_reasons = {key.removeprefix(prefix): code for key, code in reasons.items() if key.startswith(prefix)}
    known: dict[str, Any] = {key: own[key] for key in _SUMS if key in own}
    complete = EvaluationSums(**known) if len(known) == len(_SUMS) else None
    histogram = _histogram(own, bins)
    if histogram is not None and (complete is None or not _agree(histogram, complete)):
        raise malformed("a histogram does not hold the patients it should")
    keys = ("auc", "auc_low", "auc_high", "calibration_intercept", "calibration_slope")
    estimates = {key: float(value) for key in keys if isinstance(value := own.get(key), int | float)}
    if not _ascend(estimates):
        raise malformed("an AUC lies outside its interval")
    before = own.get("openings_before")
    return SplitShare(complete, histogram, estimates, own_reasons, before if isinstance(before, int) else None)


def fine_histogram(reply: Reply, bins: int) -> NDArray[np.int64] | None:
    """The fine histogram of training scores, (bins,), or None where the site keeps it.

    Raises:
        Refusal: another number of bins.

    """
    if "counts" not in reply.sums:
        return None
    return whole_numbers(reply.sums, "counts", bins)


def recalibration_share(reply: Reply) -> dict[str, RecalibrationTerms] | None:
    """Terms of both recalibration models, or None where the site keeps them.

    Raises:
        Refusal: incomplete terms, or terms that no patients can have.

    """
    if "n" not in reply.sums:
        return None
    sizes = {"large": 1, "slope": 2}
    return {model: _terms(reply.sums, model, size) for model, size in sizes.items()}


def patients_and_loss(sums: Sums) -> tuple[int, float]:
    """Training patients and mean loss of a training reply.

    Raises:
        Refusal: one is absent.

    """
    n, loss = sums.get("n"), sums.get("loss")
    if type(n) is not int or not isinstance(loss, int | float):
        raise malformed("a training reply lacks its patients or its loss")
    return n, float(loss)


def whole_numbers(sums: Sums, key: str, length: int) -> NDArray[np.int64]:
    """A list of whole numbers out of a reply, (length,).

    Raises:
        Refusal: ``malformed-message``: it is missing, of another length, or holds something else.

    """
    values = _listed(sums, key, length)
    if not all(type(value) is int for value in values):
        raise malformed(f"{key} does not hold whole numbers")
    return np.array(values, dtype=np.int64)


def real_numbers(sums: Sums, key: str, length: int) -> NDArray[np.float64]:
    """A list of numbers out of a reply, (length,).

    Raises:
        Refusal: ``malformed-message``: it is missing or of another length.

    """
    return np.asarray(_listed(sums, key, length), dtype=np.float64)


def malformed(what: str) -> Refusal:
    """The refusal of a reply that contradicts itself."""
    return Refusal("malformed-message", what, "check the site's version")


def _listed(sums: Sums, key: str, length: int) -> list[int] | list[float]:
    value = sums.get(key)
    if not isinstance(value, list) or len(value) != length:
        raise malformed(f"{key} does not hold {length} values")
    return value


def _histogram(sums: Sums, bins: int) -> ClassHistogram | None:
    if "negatives" not in sums or "positives" not in sums:
        return None
    return ClassHistogram(*(whole_numbers(sums, key, bins) for key in ("negatives", "positives")))


def _agree(histogram: ClassHistogram, sums: EvaluationSums) -> bool:
    positives, negatives = int(histogram.positives.sum()), int(histogram.negatives.sum())
    return (positives, positives + negatives) == (sums.n_pos, sums.n)


def _ascend(estimates: dict[str, float]) -> bool:
    """Whether the AUC lies within its interval, as far as both are there."""
    found = [estimates[key] for key in ("auc_low", "auc", "auc_high") if key in estimates]
    return all(here <= above + _ROUNDING for here, above in pairwise(found))


def _terms(sums: Sums, model: str, size: int) -> RecalibrationTerms:
    n, n_pos = sums.get("n"), sums.get("n_pos")
    if type(n) is not int or type(n_pos) is not int:
        raise malformed("recalibration terms lack their patients")
    loss = float(real_numbers(sums, f"{model}_loss", 1)[0])
    hessian = real_numbers(sums, f"{model}_hessian", size * size).reshape(size, size)
    if not 0 <= n_pos <= n or loss < 0 or not _curved(hessian):
        raise malformed("recalibration terms are not those of patients")
    return RecalibrationTerms(n, n_pos, loss, real_numbers(sums, f"{model}_gradient", size), hessian)


def _curved(hessian: NDArray[np.float64]) -> bool:
    """Whether a Hessian of one or two coefficients is that of a convex loss."""
    diagonal = np.diag(hessian)
    bound = np.sqrt(np.outer(diagonal.clip(0), diagonal.clip(0))) * (1 + _ROUNDING)
    symmetric = np.abs(hessian - hessian.T) <= _ROUNDING * bound
    return bool((diagonal >= 0).all() and (np.abs(hessian) <= bound).all() and symmetric.all())

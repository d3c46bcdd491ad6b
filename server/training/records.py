"""A round's record as JSON and back, exactly: numbers are integers or doubles, which JSON text keeps to the bit."""

from dataclasses import asdict
from typing import Any

import numpy as np

from fedescc.common.statistics.metrics import EvaluationSums
from fedescc.common.statistics.roc import ClassHistogram
from fedescc.server.exchange import Attendance
from fedescc.server.replies import SplitShare
from fedescc.server.training.progress import RoundRecord

Entry = dict[str, Any]


def to_entry(record: RoundRecord) -> Entry:
    """A record as JSON values."""
    attendance, validation = asdict(record.attendance), {n: _share_entry(s) for n, s in record.validation.items()}
    return {**vars(record), "attendance": attendance, "validation": validation}


def from_entry(entry: Entry) -> RoundRecord:
    """The record of `to_entry`.

    Raises:
        KeyError, TypeError, ValueError: the entry is another document.

    """
    validation = {name: _share(share) for name, share in entry["validation"].items()}
    return RoundRecord(**{**entry, "attendance": Attendance(**entry["attendance"]), "validation": validation})


def _share_entry(share: SplitShare) -> Entry:
    histogram = share.histogram and {"negatives": share.histogram.negatives, "positives": share.histogram.positives}
    return {
        "sums": share.sums and asdict(share.sums),
        "histogram": histogram and {name: counts.tolist() for name, counts in histogram.items()},
        "estimates": share.estimates,
        "reasons": share.reasons,
    }


def _share(entry: Entry) -> SplitShare:
    sums, histogram = entry["sums"], entry["histogram"]
    return SplitShare(
        None if sums is None else EvaluationSums(**sums),
        None if histogram is None else ClassHistogram(**{n: np.array(c, np.int64) for n, c in histogram.items()}),
        entry["estimates"],
        entry["reasons"],
    )

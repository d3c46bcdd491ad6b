"""Parts of results that no pooled patients give once more, by name, so that the list of what was audited is whole."""

from collections.abc import Mapping
from typing import Any

from fedescc.simulations.audit.figures import Ledger

NOT_REPEATED = {
    "rounds": "training-is-not-repeated",
    "pretraining": "training-is-not-repeated",
    "selection": "training-is-not-repeated",
    "contribution": "training-is-not-repeated",
    "shortcuts": "not-of-the-evaluation",
    "planning": "expected-beforehand",
    "flow": "counted-by-the-sites",
}
"""Key of results -> why it is left out."""


def note_unaudited(ledger: Ledger, results: Mapping[str, Any]) -> None:
    """Name the parts that hold anything and are not recomputed."""
    for key, reason in NOT_REPEATED.items():
        if results.get(key):
            ledger.skip(key, reason)

"""How hospitals differ, one kind at a time: each is one well-defined change of the same synthetic patients.

Hospital ``k`` always treats the same patients. What changes is the scanner, how many of them it has, how often they
respond, or whether their second CT was taken; so a difference between two kinds is the kind's, not the patients'.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fedescc.common.errors import Refusal
from fedescc.simulations.patients.scanners import Scanner, scanner

_RATE_SHIFT = 1.6  # log odds
_TINY_SHARE = 0.2  # of the mean number of patients
_SMALLEST = 5
_MOST_SITES = 26


@dataclass(frozen=True)
class Hospital:
    """One hospital of a scenario.

    Attributes:
        protocol: its scanner and case mix.
        patients: how many it trains and validates with.
        baseline_only: none of its patients has the second CT.

    """

    protocol: Scanner
    patients: int
    baseline_only: bool = False


@dataclass(frozen=True)
class Heterogeneity:
    """A kind of difference between hospitals: in words, and as a change of equal hospitals."""

    text: str
    change: Callable[[list[Hospital]], list[Hospital]]


def hospitals(kind: str, sites: int, patients: int) -> list[Hospital]:
    """The hospitals of a scenario; ``sites * patients`` patients in all, whatever the kind.

    Raises:
        Refusal: unknown kind, or sizes out of range.

    """
    if kind not in HETEROGENEITIES:
        known = ", ".join(HETEROGENEITIES)
        raise Refusal("unknown-heterogeneity", f"no heterogeneity {kind!r}", f"choose among: {known}")
    if not 2 <= sites <= _MOST_SITES or not _SMALLEST <= patients <= 5000:
        what = f"{sites} sites of {patients} patients"
        raise Refusal("cohort-size", what, f"use 2 to {_MOST_SITES} sites of {_SMALLEST} to 5000 patients")
    equal = replace(scanner(0), stage_shift=0.0, rate_shift=0.0)
    return HETEROGENEITIES[kind].change([Hospital(equal, patients)] * sites)


def _none(equal: list[Hospital]) -> list[Hospital]:
    return equal


def _label_shift(equal: list[Hospital]) -> list[Hospital]:
    shifts = np.linspace(-_RATE_SHIFT, _RATE_SHIFT, len(equal))
    return [
        replace(one, protocol=replace(one.protocol, rate_shift=float(shift)))
        for one, shift in zip(equal, shifts, strict=True)
    ]


def _scanner_shift(equal: list[Hospital]) -> list[Hospital]:
    """The table's scanners and contrast phases without its case mix."""
    protocols = [replace(scanner(site), stage_shift=0.0, rate_shift=0.0) for site in range(len(equal))]
    return [replace(one, protocol=protocol) for one, protocol in zip(equal, protocols, strict=True)]


def _size_imbalance(equal: list[Hospital]) -> list[Hospital]:
    mean, others = equal[0].patients, len(equal) - 1
    tiny = max(_SMALLEST, round(_TINY_SHARE * mean))
    sizes = [mean + others * (mean - tiny), *[tiny] * others]
    return [replace(one, patients=size) for one, size in zip(equal, sizes, strict=True)]


def _missing_modality(equal: list[Hospital]) -> list[Hospital]:
    lacking = max(1, len(equal) // 3)
    return [replace(one, baseline_only=site >= len(equal) - lacking) for site, one in enumerate(equal)]


HETEROGENEITIES: dict[str, Heterogeneity] = {
    "none": Heterogeneity("equal hospitals: one scanner, one case mix, equal sizes", _none),
    "label_shift": Heterogeneity("pCR from about one in seven patients to about one in two", _label_shift),
    "scanner_shift": Heterogeneity("scanner, kernel, noise and contrast phase differ", _scanner_shift),
    "size_imbalance": Heterogeneity("one large hospital, the others a fifth of the mean", _size_imbalance),
    "missing_modality": Heterogeneity("a third of the hospitals have the baseline CT only", _missing_modality),
}

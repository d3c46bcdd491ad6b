"""How scans differ between sites before any model: vendors, kernels, phases, blood's HU, noise, slice thickness.

Outcome-blind: the sites' counts and sums are of all training patients, whatever became of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.common import wire
from fedescc.common.acquisition import KINDS, number_columns
from fedescc.common.fold import NOT_IN_K_FOLDS, KFold, read_fold
from fedescc.common.protocol import NumericVariable
from fedescc.common.statistics.roc import Estimate
from fedescc.common.sums import add_up
from fedescc.common.tabular.moments import mean_and_sd
from fedescc.server.evaluation.evaluator import Evaluator
from fedescc.server.shortcuts.differences import (
    Association,
    Moments,
    Test,
    adjusted,
    chi_square,
    standardised_difference,
    welch_anova,
)
from fedescc.server.shortcuts.replies import AcquisitionShare, acquisition_share

LARGEST_SMD = 0.5  # of an SD: from here on a difference is medium by Cohen (1988), and 0.1 is what trials call balanced
LARGEST_V = 0.3  # Cramér's: medium by Cohen (1988)
LEVEL = 0.05
FEW_PATIENTS = "too-few-patients"

Shares = Mapping[str, AcquisitionShare]


def drift(evaluator: Evaluator) -> dict[str, Any]:
    """Entries ``categories`` and ``numbers`` by kind and time point, and ``flags`` with why each was raised.

    A category is compared over the sites none of whose cells is merged, a number over the sites that told its sums.
    Adjusted p-values are Benjamini-Hochberg's over all tests that could be done.

    Args:
        evaluator: its task names run and fold; its model is not looked at.

    """
    if evaluator.study.imaging is None:
        return {"suppressed": "no-images"}
    if isinstance(read_fold(evaluator.task), KFold):
        return {"suppressed": NOT_IN_K_FOLDS}
    points = evaluator.study.imaging.time_points
    found, attendance = evaluator.ask(wire.ACQUISITION, lambda reply: acquisition_share(reply, points))
    categories = {
        f"{point}.{kind}": _category(found, kind, place) for kind in KINDS for place, point in enumerate(points)
    }
    variables = number_columns(points)
    numbers = {name: _number(found, variable, place) for place, (name, variable) in enumerate(variables.items())}
    entries = categories | numbers
    p_values = adjusted({name: entry["p"] for name, entry in entries.items() if entry["p"] is not None})
    for name, entry in entries.items():
        entry["p_adjusted"] = p_values.get(name)
    return {
        "patients": {site: share.n for site, share in found.items()},
        "categories": categories,
        "numbers": numbers,
        "tests": len(p_values),
        "flags": [*_category_flags(categories), *_number_flags(numbers)],
        "refused": dict(sorted(attendance.refused.items())),
    }


def _category(shares: Shares, kind: str, point: int) -> dict[str, Any]:
    levels = KINDS[kind]
    whole = [site for site, share in shares.items() if share.cells[kind][point, -1] == 0]
    table = np.array([shares[site].cells[kind][point, : len(levels)] for site in whole], np.int64)
    found = chi_square(table.reshape(len(whole), len(levels)))
    sites = {site: _cells(levels, share.cells[kind][point]) for site, share in shares.items()}
    return {"sites": sites, "compared": whole, **_association(found)}


def _cells(levels: Sequence[str], counts: NDArray[np.int64]) -> dict[str, int]:
    """Counts that were told, the unknown, and those that are merged because they are small."""
    names = (*levels, "unknown", "merged")
    return {name: int(count) for name, count in zip(names, counts, strict=True) if count}


def _association(found: Estimate[Association]) -> dict[str, Any]:
    if found.value is None:
        return {"chi2": None, "df": None, "p": None, "cramers_v": None, "sparse": None, "suppressed": found.reason}
    test = found.value.test
    return {
        "chi2": test.statistic,
        "df": test.df[0],
        "p": test.p,
        "cramers_v": found.value.v,
        "sparse": found.value.sparse,
    }


def _number(shares: Shares, variable: NumericVariable, column: int) -> dict[str, Any]:
    tables = {site: share.moments[:, column] for site, share in shares.items()}
    told = {site: table for site, table in tables.items() if table[0]}
    sites: dict[str, Any] = {site: {"n": None, "suppressed": FEW_PATIENTS} for site in tables if site not in told}
    for site, table in told.items():
        others = [other for name, other in told.items() if name != site]
        sites[site] = _site_entry(variable, table, others)
    found = welch_anova([_moments(variable, table) for table in told.values()])
    return {"unit": variable.unit, "sites": dict(sorted(sites.items())), **_welch(found)}


def _site_entry(
    variable: NumericVariable, table: NDArray[np.int64], others: Sequence[NDArray[np.int64]]
) -> dict[str, Any]:
    own = _moments(variable, table)
    entry: dict[str, Any] = {"n": own.n, "mean": own.mean, "sd": own.variance**0.5}
    if not others:
        return entry | {"smd": None, "suppressed": "fewer-than-two-sites"}
    rest = _moments(variable, add_up(others))
    smd = standardised_difference(own, rest)
    return entry | {"rest_mean": rest.mean, "smd": smd.value} | ({"suppressed": smd.reason} if smd.reason else {})


def _moments(variable: NumericVariable, table: NDArray[np.int64]) -> Moments:
    mean, sd = mean_and_sd(variable, table)
    return Moments(int(table[0]), mean, sd**2)


def _welch(found: Estimate[Test]) -> dict[str, Any]:
    if found.value is None:
        return {"f": None, "df": None, "p": None, "suppressed": found.reason}
    return {"f": found.value.statistic, "df": list(found.value.df), "p": found.value.p}


def _category_flags(categories: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    flags = []
    for name, entry in categories.items():
        v, p = entry["cramers_v"], entry["p_adjusted"]
        if v is not None and v > LARGEST_V and p < LEVEL:
            why = f"the sites' shares differ: Cramér's V {v:.2f} is above {LARGEST_V} (adjusted p {p:.2g})"
            flags.append({"what": name, "site": None, "value": v, "why": why})
    return flags


def _number_flags(numbers: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Sites whose mean differs from the rest's by more than half an SD, or at all where no value differs within.

    Means of small sites lie half an SD apart by chance: where the test does not tell the sites apart, none is flagged.
    """
    flags = []
    for name, entry in numbers.items():
        if entry["p_adjusted"] is not None and entry["p_adjusted"] >= LEVEL:
            continue
        for site, one in entry["sites"].items():
            if one["n"] is None or "rest_mean" not in one:
                continue
            smd, means = one["smd"], f"mean {one['mean']:.1f} {entry['unit']} against {one['rest_mean']:.1f} elsewhere"
            if smd is None:
                flags.append({"what": name, "site": site, "value": None, "why": f"{means}, and no spread within"})
            elif abs(smd) > LARGEST_SMD:
                p = "" if entry["p_adjusted"] is None else f" (adjusted p {entry['p_adjusted']:.2g})"
                why = f"{means}: {abs(smd):.2f} SD apart, above {LARGEST_SMD}{p}"
                flags.append({"what": name, "site": site, "value": smd, "why": why})
    return flags

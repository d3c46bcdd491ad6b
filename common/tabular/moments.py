"""Exact moments of numeric columns: integers, so that a total does not depend on the order in which sites answer."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fedescc.common.errors import Refusal
from fedescc.common.protocol import NumericVariable

# A value becomes this many steps of its declared range: squares of 8 million patients still fit an int64.
STEPS = 1 << 20
Numeric = Mapping[str, NDArray[np.float64]]
Rows = NDArray[np.intp]
Variables = Mapping[str, NumericVariable]


def moment_table(variables: Variables, numeric: Numeric, rows: Rows) -> NDArray[np.int64]:
    """Count, sum and sum of squares of every column over some rows, NaN = missing left out.

    Args:
        variables: k columns and their declared ranges.
        numeric: column -> (patients,) values.
        rows: which patients, usually a site's training patients.

    Returns:
        (3, k) int64; values count in steps of range / 2^20 above the low end of their declared range.

    Raises:
        Refusal: ``value-out-of-range`` when a value lies outside the range that is declared.

    """
    table = np.zeros((3, len(variables)), np.int64)
    for column, (name, variable) in enumerate(variables.items()):
        steps = in_steps(name, variable, numeric[name][rows])
        table[:, column] = len(steps), steps.sum(), (steps * steps).sum()
    return table


def hide_small(table: NDArray[np.int64], minimum: int) -> NDArray[np.int64]:
    """Sums over fewer patients than the minimum as 0: such a sum might be one patient's value.

    The first row of ``table`` (any, k) holds the patients.
    """
    return np.where(table[0] >= minimum, table, 0)


def in_steps(name: str, variable: NumericVariable, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Values that are not NaN, in steps of range / 2^20 above the low end of the declared range.

    Raises:
        Refusal: ``value-out-of-range``.

    """
    low, high = variable.range
    present = present_values(name, variable, values)
    return np.rint((present - low) / (high - low) * STEPS).astype(np.int64)


def present_values(name: str, variable: NumericVariable, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values that are not missing.

    Raises:
        Refusal: ``value-out-of-range``.

    """
    low, high = variable.range
    present = values[~np.isnan(values)]
    if present.size and not (low <= present.min() and present.max() <= high):
        raise Refusal(
            "value-out-of-range",
            f"{name}: a value lies outside {low:g}..{high:g} {variable.unit}",
            "correct the unit or the value in the clinical table and run intake again",
        )
    return present


def contradictory(table: NDArray[np.int64]) -> bool:
    """Whether no patients at all could have these moments, (3, k): not even the widest int64 ones overflow here."""
    counts, totals, squares = table.astype(object)  # Python integers
    return bool(
        (totals > counts * STEPS).any()
        or (squares > totals * STEPS).any()
        or (totals * totals > counts * squares).any()
    )


def mean_and_sd(variable: NumericVariable, moments: NDArray[np.int64]) -> tuple[float, float]:
    """Mean and population SD in the variable's unit, from (3,) moments of at least one patient."""
    n, total, squares = (int(moment) for moment in moments)
    low, high = variable.range
    step = (high - low) / STEPS
    variance = (n * squares - total * total) / (n * n)  # exact integers until this division
    return low + step * total / n, step * variance**0.5

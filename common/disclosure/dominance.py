"""Dominance: a sum to which one patient gives nearly everything tells that patient's value, however many take part.

The p% rule (Hundepool et al., Statistical Disclosure Control, Wiley 2012): a sum is unsafe if someone who knows it and
the second largest contribution, and takes that off, comes within p percent of the largest. With p = 10 the largest
stays unknown to a tenth of itself. It presumes contributions that are not negative: values are counted from the low end
of their declared range.
"""

import numpy as np
from numpy.typing import NDArray


def dominated(values: NDArray[np.integer] | NDArray[np.floating], percent: float) -> bool:
    """Whether one patient's share of the values' sum makes the sum tell that value.

    Args:
        values: (n,) contributions, none negative or NaN.
        percent: p of the rule, 0 to 100; 0 lifts it.

    """
    if not len(values) or not percent:
        return False
    largest = np.sort(values)[::-1][:2]
    rest = float(values.sum()) - float(largest.sum())
    return float(largest[0]) > 0 and rest < percent / 100 * float(largest[0])

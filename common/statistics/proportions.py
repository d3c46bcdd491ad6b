"""Intervals of proportions: shares of patients called right, or with the outcome in a group."""

import math
from operator import index

from fedescc.common.errors import Refusal
from fedescc.common.statistics.roc import Z95, Estimate, Interval


def wilson_interval(part: int, whole: int) -> Estimate[Interval]:
    """95 % score interval of part / whole (Wilson, J. Am. Stat. Assoc. 22 (1927) 209), without continuity correction.

    It stays inside [0, 1], has a width at 0 and at 1, and covers near 95 % in small samples, where the usual
    p ± 1.96 SE does not (Brown et al., Stat. Sci. 16 (2001) 101). Undefined over nobody.

    Raises:
        Refusal: "bad-proportion" unless 0 <= part <= whole.

    """
    hits, n = index(part), index(whole)
    if not 0 <= hits <= n:
        raise Refusal("bad-proportion", f"{hits} of {n} patients", "count the part among the whole")
    if n == 0:
        return Estimate(None, "no-patients")
    share, z2 = hits / n, Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # The ends at 0 and 1 are exact; in floats they would lie a rounding error beside.
    return Estimate((0.0 if hits == 0 else centre - half, 1.0 if hits == n else centre + half))

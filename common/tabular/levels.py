"""How many patients have each category, so told that no small group can be counted."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fedescc.common.disclosure.cells import small

Categorical = Mapping[str, NDArray[np.int16]]


def count_levels(codes: NDArray[np.int16], categories: int) -> NDArray[np.int64]:
    """Patients of each category, (categories,); codes (n,), -1 = missing, what is no category is not counted."""
    known = codes[(codes >= 0) & (codes < categories)].astype(np.intp)
    return np.bincount(known, minlength=categories)


def governed_levels(counts: NDArray[np.int64], minimum: int, missing: int = 0) -> NDArray[np.int64]:
    """For every category a lower bound of its patients, (categories,): what a site may tell.

    A category of fewer patients than the minimum counts 0, as one without any does. Whoever knows how many patients
    there are can subtract what is shown. Where that would leave fewer than the minimum, or as many as the categories
    told as 0 can hold at most, the first category that is shown is told as the minimum only, and if even that hides
    too little, as 0. So what is shown falls short of the patients, and of those with a value, by 0 or by at least the
    minimum, and from a minimum of 4 on no hidden count can be computed, not even by someone who knows this rule, as
    long as any category is shown (complementary suppression; Willenborg & de Waal, Elements of Statistical Disclosure
    Control, 2001). The first, not the largest: that a count is the largest tells how large it is at least. A lower
    bound, not a gap: the federation needs to know that a category is frequent enough, no more.

    Args:
        counts: (categories,) patients of one group; where sums of groups are subtracted, each is governed by itself.
        minimum: fewest patients that anything may be said of.
        missing: patients without a value, of whom a few may not be told either.

    """
    shown = np.where(counts >= minimum, counts, 0)
    hidden, most = counts.sum() - shown.sum(), (shown == 0).sum() * (minimum - 1)
    if shown.any() and (_few(hidden, minimum) or hidden == most > 0 or _few(hidden + missing, minimum)):
        first = int(np.flatnonzero(shown)[0])
        hidden += counts[first] - minimum
        shown[first] = minimum if hidden >= minimum else 0
    return shown


def _few(count: int, minimum: int) -> bool:
    return small(int(count), minimum)

"""Counts of scans by category, so told that no small group can be counted or subtracted."""

import numpy as np
from numpy.typing import NDArray

from fedescc.common.acquisition import UNKNOWN
from fedescc.common.disclosure.cells import small

Counts = NDArray[np.int64]


def category_cells(codes: NDArray[np.int8], levels: int, minimum: int) -> Counts:
    """Patients of each level, then of unknown level, then of all cells that must not be told apart, (levels + 2,).

    A cell of fewer patients than the minimum is told as 0 and its patients are counted in the last. Where that would
    hold too few itself, the smallest cell that is left joins it (complementary suppression; Willenborg & de Waal,
    Elements of Statistical Disclosure Control, 2001). So every entry is 0 or at least the minimum, and they sum to all
    patients; which cells the last one holds is not told, since one of no patient is 0 too.

    Args:
        codes: (n,) index of a level, -1 unknown; at least ``minimum`` patients.
        levels: how many there are.
        minimum: fewest patients that anything may be said of.

    """
    known = codes[(codes >= 0) & (codes < levels)].astype(np.intp)
    cells = np.append(np.bincount(known, minlength=levels), len(codes) - len(known)).astype(np.int64)
    shown = np.where(cells >= minimum, cells, 0)
    hidden = len(codes) - int(shown.sum())
    if small(hidden, minimum) and shown.any():
        joining = int(np.argmin(np.where(shown > 0, shown, shown.max() + 1)))
        hidden += int(shown[joining])
        shown[joining] = 0
    return np.append(shown, hidden)


def last_vendors(vendors: NDArray[np.int8] | None, rows: NDArray[np.intp]) -> NDArray[np.int8]:
    """Vendor of each row's scan at the last time point, (n,); unknown where the cohort says nothing of it."""
    if vendors is None or not vendors.shape[1]:
        return np.full(len(rows), UNKNOWN, np.int8)
    last: NDArray[np.int8] = vendors[rows, -1]
    return last

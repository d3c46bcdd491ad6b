"""Rules that bound what a few faulty or hostile sites can do; each sees every update by itself.

Every site counts once, whatever its number of patients, as in the papers: a weight would be a site's own claim.
"""

import numpy as np

from fedescc.common.strategy import Krum, MultiKrum, TrimmedMean
from fedescc.server.training.aggregate import Floats, Update
from fedescc.server.training.spill import Rows

FEWEST = 3  # of two updates the median is their mean, and none can be left out at either end


def trimmed_mean(settings: TrimmedMean, rows: Rows) -> Floats:
    """Coordinate by coordinate, the mean without the ⌊βn⌋ smallest and largest values, at least one of each.

    Yin et al., ICML 2018, definition 2. Expects at least `FEWEST` rows.
    """
    sites, size = rows.shape
    cut = max(1, int(settings.trim * sites + 1e-9))  # .29 of 100 is 28.999… in binary
    cut = min(cut, (sites - 1) // 2)  # a share of all but one half must not round up to everybody
    result = np.empty(size)
    for columns, block in rows.blocks():
        result[columns] = _ascending(block)[:, cut : sites - cut].mean(axis=1, dtype=np.float64)
    return result


def median(rows: Rows) -> Floats:
    """Coordinate by coordinate, the median; of an even number, the mean of the two in the middle.

    Yin et al., ICML 2018, definition 1. Expects at least `FEWEST` rows.
    """
    sites, size = rows.shape
    result = np.empty(size)
    for columns, block in rows.blocks():
        middle = _ascending(block)[:, (sites - 1) // 2 : sites // 2 + 1]
        result[columns] = middle.mean(axis=1, dtype=np.float64)
    return result


def krum(settings: Krum, rows: Rows) -> Floats:
    """The one update that is nearest to its neighbours (Blanchard et al., NeurIPS 2017, section 4).

    Expects `krum_fewest` rows. Of equals, the first by site's name.
    """
    return _mean_of(rows, krum_order(rows, settings.byzantine)[:1])


def multi_krum(settings: MultiKrum, rows: Rows) -> Floats:
    """The plain mean of the ``keep`` updates that Krum ranks first, at most sites - byzantine (the same, section 5).

    Expects `krum_fewest` rows.
    """
    honest = rows.shape[0] - settings.byzantine
    return _mean_of(rows, krum_order(rows, settings.byzantine)[: min(settings.keep or honest, honest)])


def krum_fewest(byzantine: int) -> int:
    """Sites needed for Krum's guarantee: n ≥ 2f + 3."""
    return 2 * byzantine + 3


def krum_order(rows: Rows, byzantine: int) -> list[int]:
    """Rows by rising score: the sum of squared distances to the n - f - 2 nearest other rows."""
    distances = _squared_distances(rows)
    np.fill_diagonal(distances, np.inf)
    nearest = np.sort(distances, axis=1)[:, : len(distances) - byzantine - 2]
    return [int(row) for row in np.argsort(nearest.sum(axis=1), kind="stable")]


def _ascending(block: Update) -> Update:
    """(columns, sites), every column in order: numpy sorts short contiguous rows five times faster than columns."""
    return np.sort(np.ascontiguousarray(block.T), axis=1)


def _squared_distances(rows: Rows) -> Floats:
    """(sites, sites). By differences: |a|² + |b|² - 2ab would lose the small distances between large updates."""
    sites = rows.shape[0]
    distances = np.zeros((sites, sites))
    for _, block in rows.blocks():
        values = block.astype(np.float64)
        for row in range(sites - 1):
            difference = values[row + 1 :] - values[row]
            distances[row, row + 1 :] += np.einsum("ij,ij->i", difference, difference)
    return distances + distances.T


def _mean_of(rows: Rows, chosen: list[int]) -> Floats:
    result = np.empty(rows.shape[1])
    for columns, block in rows.blocks():
        result[columns] = block[sorted(chosen)].mean(axis=0, dtype=np.float64)
    return result

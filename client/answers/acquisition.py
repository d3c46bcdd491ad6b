"""How the training patients' scans were acquired: governed counts and sums, blind to the outcome."""

from collections.abc import Sequence

import numpy as np

from fedescc.client.acquisition.cells import category_cells
from fedescc.client.acquisition.facts import Acquisition, acquisition_of
from fedescc.client.local_site import LocalSite
from fedescc.client.site import BELOW_MINIMUM
from fedescc.common import wire
from fedescc.common.acquisition import KINDS, NUMBERS, number_columns
from fedescc.common.disclosure.cells import enough
from fedescc.common.errors import Refusal
from fedescc.common.fold import NOT_IN_K_FOLDS, KFold, read_fold
from fedescc.common.tabular.moments import Rows, hide_small, moment_table
from fedescc.common.wire import Reply, Request


def acquisition(site: LocalSite, request: Request) -> Reply:
    """Vendors, kernels and phases by count, and moments of blood's HU, noise and slice thickness, by time point.

    Raises:
        Refusal: ``no-images``, ``not-in-k-folds``, or too few training patients.

    """
    require_one_division(request)
    if site.study.imaging is None:
        raise Refusal("no-images", "a study without images has no scans", "check the server's study")
    cohort, minimum = site.view(request), site.policy.min_class_count
    rows, time_points = cohort.rows("train"), site.study.imaging.time_points
    if len(rows) < minimum:
        raise Refusal(BELOW_MINIMUM, "too few training patients", "nothing: this site stays out")
    facts = acquisition_of(cohort, time_points)
    counts = _category_counts(facts, rows, minimum)
    return site.reply({"n": len(rows), **counts, **_moments(facts, rows, time_points, minimum)})


def require_one_division(request: Request) -> None:
    """Refuse a fold of k: cells of two folds could be subtracted from each other until few patients remain.

    Raises:
        Refusal: ``not-in-k-folds``.

    """
    if isinstance(read_fold(request.task), KFold):
        raise Refusal(NOT_IN_K_FOLDS, "scans are told of in one division of the patients", "ask in another run mode")


def _category_counts(facts: Acquisition, rows: Rows, minimum: int) -> wire.Sums:
    """Cells of every category at every time point, one time point after the other."""
    found: wire.Sums = {}
    for name, levels in KINDS.items():
        cells = [category_cells(codes, len(levels), minimum) for codes in facts[name][rows].T]
        found[f"{name}_counts"] = np.concatenate(cells).tolist()
    return found


def _moments(facts: Acquisition, rows: Rows, time_points: Sequence[str], minimum: int) -> wire.Sums:
    """Moments over the patients with a value, where neither they nor the others are few."""
    columns = number_columns(time_points)
    numeric = {f"{point}.{name}": facts[name][:, place] for place, point in enumerate(time_points) for name in NUMBERS}
    table = hide_small(moment_table(columns, numeric, rows), minimum)
    table[:, [not enough(int(count), len(rows), minimum) for count in table[0]]] = 0
    keys = ("number_counts", "number_totals", "number_squares")
    return {key: row.tolist() for key, row in zip(keys, table, strict=True)}

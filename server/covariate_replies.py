"""What a site said of its training patients, checked: sums that no patients could have cost that site its place."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedescc.common.study import Study
from fedescc.common.tabular.covariate_sums import CovariateSums, categorical_columns, numeric_columns, quantile_columns
from fedescc.common.tabular.harmonisation import LANDMARKS, LandmarkSums
from fedescc.common.tabular.moments import contradictory
from fedescc.common.tabular.quantiles import BINS, Runs, runs_of
from fedescc.common.wire import Sums
from fedescc.server.replies import malformed, whole_numbers

Whole = NDArray[np.int64]


def covariate_sums(study: Study, sums: Sums, features: Sequence[str]) -> CovariateSums:
    """One site's sums out of its reply, which keeps to the schema.

    Args:
        study: its covariates.
        sums: of the reply.
        features: image features that were asked for.

    Raises:
        Refusal: ``malformed-message``: something is missing, of another length, contradicts itself, or tells of
            fewer patients than the study allows.

    """
    patients, least = sums.get("n_train", 0), study.disclosure.min_class_count
    assert isinstance(patients, int)  # the schema says so
    columns = numeric_columns(study, features)
    rows = [whole_numbers(sums, f"covariate_{key}", len(columns)) for key in ("counts", "totals", "squares")]
    table = np.array(rows, np.int64).reshape(3, len(columns))
    if contradictory(table) or not _counts(table[0], patients, least):
        raise malformed("covariate sums contradict each other")
    counts = dict(zip(columns, table[0].tolist(), strict=True))
    return CovariateSums(
        tuple(columns),
        table,
        _levels(study, sums, patients),
        {
            name: _runs(cells, counts[name], least)
            for name, cells in _parts(sums, "quantile_counts", dict.fromkeys(quantile_columns(columns), BINS)).items()
        },
        _landmarks(study, sums, patients),
    )


def _levels(study: Study, sums: Sums, patients: int) -> dict[str, Whole]:
    sizes = {name: len(variable.categories) for name, variable in categorical_columns(study).items()}
    levels = _parts(sums, "level_counts", sizes)
    for counts in levels.values():
        if not _counts(counts, patients, study.disclosure.min_class_count) or counts.sum() > patients:
            raise malformed("categories do not hold the patients they should")
    return levels


def _runs(cells: Whole, patients: int, least: int) -> Runs:
    """Merged cells that hold every patient with a value, the last of them up to the grid's end."""
    if not _counts(cells, patients, least) or cells.sum() != patients or (patients and not cells[-1]):
        raise malformed("a histogram does not hold the patients it should")
    return runs_of(cells)


def _landmarks(study: Study, sums: Sums, patients: int) -> LandmarkSums | None:
    if study.imaging is None or study.imaging.harmonisation == "none":
        return None
    points = len(study.imaging.time_points)
    scans, totals = (
        whole_numbers(sums, "landmark_counts", points),
        whole_numbers(sums, "landmark_totals", LANDMARKS * points),
    )
    found = LandmarkSums(scans, totals.reshape(points, LANDMARKS))
    if not _counts(scans, patients, study.disclosure.min_class_count) or not found.possible:
        raise malformed("landmarks of scans contradict each other")
    return found


def _counts(counts: Whole, patients: int, least: int) -> bool:
    """Whether each is 0 or of at least ``least`` of the patients."""
    return bool((((counts >= least) | (counts == 0)) & (counts <= patients)).all())


def _parts(sums: Sums, key: str, sizes: dict[str, int]) -> dict[str, Whole]:
    """A vector cut into one piece a column."""
    whole = whole_numbers(sums, key, sum(sizes.values()))
    pieces = np.split(whole, np.cumsum(list(sizes.values()), dtype=np.intp))
    return dict(zip(sizes, pieces, strict=False))

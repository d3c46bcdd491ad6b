"""Which images of one series belong to one volume."""

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import combinations, pairwise
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from fedescc.client.imaging.headers.header import DicomRow
from fedescc.client.imaging.volumes.geometry import DUPLICATE_MM

# Slices of one series this far from parallel, or whose pixels differ this much in size, belong to different volumes.
_SPLIT_COSINE = 1e-2
_SPLIT_SPACING_MM = 1e-2
# Bolus tracking repeats one place, or a few on a wide detector, once or twice a second.
_TRACKED_PLACES, _TRACKED_PLACES_NAMED, _TRACKED_TIMES = 2, 4, 3
_TRACKING_NAME = re.compile(r"monitoring|bolus|smart ?prep|sure ?start|tracker|timing", re.IGNORECASE)

Key = Callable[[DicomRow], Hashable]
# What tells volumes apart that lie in one place. Cut by these wherever they differ, each half of a stack with a missing
# slice could look complete: acquisitions, say, may follow one another along the patient.
_TELLING: tuple[Key, ...] = (
    lambda row: row.acquisition_number,
    lambda row: row.image_type,
    lambda row: row.temporal_position,
)
_TELLING_IN_ONE_PLACE: tuple[Key, ...] = (*_TELLING, lambda row: row.slice_thickness_mm)


def series_in(rows: Iterable[DicomRow]) -> list[list[DicomRow]]:
    """Rows by the series they belong to, in order of their file names."""
    return _partition(sorted(rows, key=lambda row: (row.file, row.frame)), _series_key)


def alike_in(rows: Iterable[DicomRow]) -> list[list[DicomRow]]:
    """Rows of one series that can share a grid: of one kind, reconstruction and matrix, parallel, of one pixel size."""
    return [part for alike in _partition(rows, _volume_key) for part in _gathered(alike)]


def volumes_in(rows: list[DicomRow]) -> list[list[DicomRow]]:
    """Volumes among rows that can share a grid.

    They are told apart where two slices coincide, or where one acquisition, image type or time point lies between the
    slices of another: interleaved, two stacks can look like one evenly spaced one. Rows that cannot be told apart stay
    together.
    """
    along = _along(rows)
    if along is None or not _tangled(rows, along):
        return [rows]
    places = dict(zip(map(id, rows), along.tolist(), strict=True))
    for size in range(1, len(_TELLING_IN_ONE_PLACE) + 1):
        for keys in combinations(_TELLING_IN_ONE_PLACE, size):
            groups = _partition(rows, lambda row, keys=keys: tuple(key(row) for key in keys))  # type: ignore[misc]
            if len(groups) > 1 and not any(_tangled(g, np.array([places[id(row)] for row in g])) for g in groups):
                return groups
    return [rows]


def is_bolus_tracking(rows: Sequence[DicomRow]) -> bool:
    """Whether CT images repeat one place, or very few, over time, as acquisition or time point tell.

    Where Series Description (0008,103E) names bolus tracking, any repetition, or a single image, is enough.
    """
    along = _along(rows)
    if along is None or rows[0].modality != "CT":
        return False
    places = 1 + int((np.diff(np.sort(along)) >= DUPLICATE_MM).sum())
    if _TRACKING_NAME.search(rows[0].series_description):
        return places <= _TRACKED_PLACES_NAMED and (len(rows) > places or places == 1)
    times = len({(row.acquisition_number, row.temporal_position) for row in rows})
    return places <= _TRACKED_PLACES and min(times, len(rows) / places) >= _TRACKED_TIMES


def _partition(rows: Iterable[DicomRow], key: Key) -> list[list[DicomRow]]:
    groups: defaultdict[Hashable, list[DicomRow]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return list(groups.values())


def _series_key(row: DicomRow) -> Hashable:
    # Patient and study too: an anonymiser may give two patients the same series UID. Without UIDs, folders.
    fallback = () if row.series_uid else (row.series_number, PurePosixPath(row.file).parent)
    return row.series_uid, row.study_uid, row.patient, fallback


def _volume_key(row: DicomRow) -> Hashable:
    return (
        (row.modality, row.sop_class, row.image_type[:3], row.frame_of_reference_uid, row.kernel),
        (row.rows, row.columns, row.samples_per_pixel, row.has_pixels),
    )


def _gathered(rows: list[DicomRow]) -> list[list[DicomRow]]:
    groups: list[list[DicomRow]] = []
    for row in rows:
        for group in groups:
            if _near(row.orientation, group[0].orientation, _SPLIT_COSINE) and _near(
                row.pixel_spacing, group[0].pixel_spacing, _SPLIT_SPACING_MM
            ):
                group.append(row)
                break
        else:
            groups.append([row])
    return groups


def _near(one: tuple[float, ...] | None, other: tuple[float, ...] | None, tolerance: float) -> bool:
    """Whether values differ by less; numbers that are not finite are near everything, for the geometry to refuse."""
    if one is None or other is None:
        return one is other
    return one == other or not max(abs(a - b) for a, b in zip(one, other, strict=True)) >= tolerance


def _along(rows: Sequence[DicomRow]) -> NDArray[np.float64] | None:
    """Places of the slices along the normal, mm; None where they are not all known."""
    first = rows[0].orientation
    positions = [row.position for row in rows if row.position is not None]
    if first is None or len(positions) < len(rows):
        return None
    along: NDArray[np.float64] = np.asarray(positions, dtype=np.float64) @ np.cross(first[:3], first[3:])
    return along if np.isfinite(along).all() else None


def _tangled(rows: list[DicomRow], along: NDArray[np.float64]) -> bool:
    """Whether two slices coincide, or images that differ in a telling way lie between each other's slices."""
    if len(rows) > 1 and np.diff(np.sort(along)).min() < DUPLICATE_MM:
        return True
    return any(_interleaved([key(row) for row in rows], along.tolist()) for key in _TELLING)


def _interleaved(values: list[Hashable], along: list[float]) -> bool:
    reach: dict[Hashable, tuple[float, float]] = {}
    for value, place in zip(values, along, strict=True):
        low, high = reach.get(value, (place, place))
        reach[value] = min(low, place), max(high, place)
    ordered = sorted(reach.values())
    return any(following[0] < high for (_, high), following in pairwise(ordered))

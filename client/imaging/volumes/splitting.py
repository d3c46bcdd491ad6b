"""Which images of one series belong to one volume."""

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import combinations
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from fedescc.client.imaging.headers.header import DicomRow
from fedescc.client.imaging.volumes.geometry import DUPLICATE_MM
from fedescc.client.imaging.volumes.telling import (
    UNSTATED_SHARE,
    Labels,
    Places,
    along_normal,
    coincide,
    interleaved,
    telling_labels,
)

# Slices of one series this far from parallel, or whose pixels differ this much in size, belong to different volumes.
_SPLIT_COSINE = 1e-2
_SPLIT_SPACING_MM = 1e-2
# Bolus tracking repeats one place, or a few on a wide detector, once or twice a second.
_TRACKED_PLACES, _TRACKED_PLACES_NAMED, _TRACKED_TIMES = 2, 4, 3
_TRACKING_NAME = re.compile(r"monitoring|bolus|smart ?prep|sure ?start|tracker|timing", re.IGNORECASE)

Key = Callable[[DicomRow], Hashable]
# Two scans under one series UID have a date or number of their own: the export or an anonymiser is at fault. Of a
# kernel the second value is the strength of iterative reconstruction.
_FILLED_IN: tuple[Key, ...] = (
    lambda row: row.frame_of_reference_uid,
    lambda row: row.kernel.split("\\")[0],
    lambda row: row.study_date,
    lambda row: row.series_number,
)
_KEYS_AT_ONCE = 3  # that volumes are told apart by; more together single out stray images
_FRAMES_VARY = 3  # images, all with a frame of reference of their own


def series_in(rows: Iterable[DicomRow]) -> list[list[DicomRow]]:
    """Rows by the series they belong to, in order of their file names."""
    return _partition(sorted(rows, key=lambda row: (row.file, row.frame)), _series_key)


def alike_in(rows: Sequence[DicomRow]) -> list[list[DicomRow]]:
    """Rows of one series that can share a grid: of one kind, reconstruction and matrix, parallel, of one pixel size.

    The frame of reference counts too, unless ``frames_vary``.
    """
    framed = not frames_vary(rows)
    only = [_only_value(key(row) for row in rows) for key in _FILLED_IN]

    def whole_key(row: DicomRow) -> Hashable:
        # What a few images of a series do not state is what the others state.
        frame, *others = (key(row) or value for key, value in zip(_FILLED_IN, only, strict=True))
        return _volume_key(row), tuple(others), frame if framed else ""

    return [part for alike in _partition(rows, whole_key) for part in _gathered(alike)]


def frames_vary(rows: Sequence[DicomRow]) -> bool:
    """Whether every image has a frame of reference of its own, which only a faulty anonymiser gives."""
    frames = {row.frame_of_reference_uid for row in rows}
    return len(rows) == len(frames) >= _FRAMES_VARY and "" not in frames


def volumes_in(rows: list[DicomRow]) -> list[list[DicomRow]]:
    """Volumes among rows that can share a grid.

    They are told apart where two slices coincide, or where slices that differ in what belongs to a scan
    (``telling_labels``) lie between each other: interleaved, two stacks can look like one evenly spaced one. Cut by
    these wherever they differ, each half of a stack with a missing slice could look complete: acquisitions, say, may
    follow one another along the patient. Rows that cannot be told apart stay together.
    """
    along = along_normal(rows)
    if along is None:
        return [rows]
    telling = telling_labels(rows)
    everyone = np.arange(len(rows))
    if not _tangled(everyone, along, telling):
        return [rows]
    # Thickness to the last digit tells what lies in one place, and nothing elsewhere.
    keys = [*telling, [row.slice_thickness_mm for row in rows]]
    for size in range(1, _KEYS_AT_ONCE + 1):
        for chosen in combinations(keys, size):
            groups = _grouped(list(zip(*chosen, strict=True)))
            if len(groups) > 1 and not any(_tangled(group, along, telling) for group in groups):
                return [[rows[k] for k in group] for group in groups]
    return [rows]


def is_bolus_tracking(rows: Sequence[DicomRow]) -> bool:
    """Whether CT images repeat one place, or very few, over time, as acquisition or time point tell.

    Where Series Description (0008,103E) names bolus tracking, any repetition, or a single image, is enough.
    """
    along = along_normal(rows)
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
        (row.modality, row.sop_class, row.image_type[:3]),
        (row.rows, row.columns, row.samples_per_pixel, row.has_pixels),
    )


def _only_value(values: Iterable[Hashable]) -> Hashable:
    """The only value that is stated, by all but a few; None where there is no such value."""
    found = list(values)
    stated = [value for value in found if value not in {None, ""}]
    few = len(found) - len(stated) < UNSTATED_SHARE * len(found)
    return stated[0] if few and len(set(stated)) == 1 else None


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


def _grouped(labels: Labels) -> list[NDArray[np.intp]]:
    groups: defaultdict[Hashable, list[int]] = defaultdict(list)
    for k, label in enumerate(labels):
        groups[label].append(k)
    return [np.array(group) for group in groups.values()]


def _tangled(group: NDArray[np.intp], along: Places, telling: list[Labels]) -> bool:
    """Whether two slices of a group coincide, or some that differ in a telling way lie between each other."""
    places = along[group]
    return coincide(places) or any(interleaved([labels[k] for k in group], places.tolist()) for labels in telling)

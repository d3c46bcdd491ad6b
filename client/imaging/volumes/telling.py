"""What tells the scans of one series apart, and whether they lie between each other's slices."""

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fedescc.client.imaging.headers.header import DicomRow
from fedescc.client.imaging.volumes.geometry import DUPLICATE_MM

Labels = list[Hashable]
Places = NDArray[np.float64]
# Slices of one sweep follow each other within a rotation and a table step; thickness is rounded by a few percent.
_PAUSE_SECONDS = 5.0
_THICKNESS_RATIO = 1.1
# Rotations of a wide detector overlap at their ends; two scans of one place for at least this share of the slices.
_MINGLED_SHARE = 0.5
_TIME = re.compile(r"(\d\d):?(\d\d)(?::?(\d\d(?:\.\d+)?))?")

# What the tag says of a scan without contrast medium.
_NO_AGENT = frozenset({"", "none", "no", "n/a", "na", "w/o", "without"})
KV = 1.0  # tube voltages are stated to the kV
# Of a property that some images do not state, at least this share must be without for that to tell two scans apart.
UNSTATED_SHARE = 1 / 3


def agent(row: DicomRow) -> str:
    """Contrast medium in one spelling; "" for none."""
    text = words(row.contrast_agent)
    return "" if text in _NO_AGENT else text


def description(row: DicomRow) -> str:
    """Series Description (0008,103E) in one spelling."""
    return words(row.series_description)


def accession(row: DicomRow) -> str:
    """Accession number without leading zeros, which some systems drop."""
    return row.accession_number.strip().lstrip("0")


def acquired(row: DicomRow) -> str:
    """Acquisition Date as digits; old files have dots in it."""
    return re.sub(r"\D", "", row.acquisition_date)


def words(text: str) -> str:
    """A text in one spelling: lower case, single spaces."""
    return " ".join(text.casefold().split())


def _kind(row: DicomRow) -> Hashable:
    """Image Type without numbers, such as a mixing ratio for each slice."""
    return tuple(value for value in row.image_type if not _NUMBER.fullmatch(value))


_NUMBER = re.compile(r"[\d.]+")
_PROPERTIES: tuple[Callable[[DicomRow], Hashable], ...] = (
    lambda row: row.acquisition_number,
    _kind,
    lambda row: row.temporal_position,
    lambda row: row.phase_percent,
    lambda row: row.stack_id,
    description,
    agent,
    acquired,
    lambda row: words(row.manufacturer),
    accession,
)


def telling_labels(rows: Sequence[DicomRow]) -> list[Labels]:
    """What two scans of one place differ in, each property as one label a row; those that tell nothing are left out.

    A property that nearly every image has a value of its own for is a counter and says nothing of scans, nor does one
    that a few images do not state. Slices differ
    in thickness where it does by more than rounding. Times count where they form groups that lie between each other's
    slices: a scan that goes on from slice to slice has a time for each, too.
    """
    properties = [labels for labels in ([key(row) for row in rows] for key in _PROPERTIES) if _tells(labels)]
    properties.append(clusters([row.kvp or None for row in rows], gap=KV))
    properties.append(clusters([row.slice_thickness_mm or None for row in rows], ratio=_THICKNESS_RATIO))
    times = clusters([seconds(row) for row in rows], gap=_PAUSE_SECONDS)
    along = along_normal(rows)
    if along is not None and _mingled(times, along):
        properties.append(times)
    return [labels for labels in properties if 1 < len(set(labels)) <= max(2, len(rows) // 2)]


def seconds(row: DicomRow) -> float | None:
    """Acquisition time, in seconds of the day; None where it is not stated or no time."""
    match = _TIME.match(row.acquisition_time)
    if not match:
        return None
    hours, minutes, rest = match.groups()
    return 3600.0 * int(hours) + 60.0 * int(minutes) + float(rest or 0)


def clusters(values: Sequence[float | None], *, gap: float = 0.0, ratio: float = 1.0) -> Labels:
    """Number of each value's group: ascending values more than ``gap`` and ``ratio`` apart start another.

    All are one group where a value is not known: what some images state is no contradiction.
    """
    known = [value for value in values if value is not None and np.isfinite(value)]
    if len(known) < len(values):
        return [0] * len(values)
    ordered = sorted(set(known))
    starts = [following for value, following in pairwise(ordered) if following > max(value + gap, value * ratio)]
    return [int(number) for number in np.searchsorted(starts, known, side="right")]


def along_normal(rows: Sequence[DicomRow]) -> Places | None:
    """Places of the slices along the first one's normal, mm; None where they are not all known."""
    first = rows[0].orientation
    positions = [row.position for row in rows if row.position is not None]
    if first is None or len(positions) < len(rows):
        return None
    along: Places = np.asarray(positions, dtype=np.float64) @ np.cross(first[:3], first[3:])
    return along if np.isfinite(along).all() else None


def coincide(along: Places) -> bool:
    """Whether two slices lie in one place."""
    return len(along) > 1 and bool(np.diff(np.sort(along)).min() < DUPLICATE_MM)


def interleaved(labels: Iterable[Hashable], along: Iterable[float]) -> bool:
    """Whether slices of one label lie between those of another."""
    ordered = sorted(_reaches(labels, along).values())
    return any(following[0] < high for (_, high), following in pairwise(ordered))


def _tells(labels: Labels) -> bool:
    """Whether a property has two values, or one and is not stated by a good part of the images."""
    stated = [label for label in labels if label not in {None, "", ()}]
    rarer = min(len(stated), len(labels) - len(stated))
    return len(set(stated)) > 1 or rarer >= UNSTATED_SHARE * len(labels) > 0


def _mingled(labels: Labels, along: Places) -> bool:
    """Whether of two labels one has a good part of its slices between those of the other."""
    reaches, kinds = _reaches(labels, along.tolist()), np.asarray(labels)
    for label in reaches:
        own = along[kinds == label]
        for other, (low, high) in reaches.items():
            if other != label and ((own > low) & (own < high)).mean() >= _MINGLED_SHARE:
                return True
    return False


def _reaches(labels: Iterable[Hashable], along: Iterable[float]) -> dict[Hashable, tuple[float, float]]:
    """From where to where the slices of each label lie."""
    reach: dict[Hashable, tuple[float, float]] = {}
    for label, place in zip(labels, along, strict=True):
        low, high = reach.get(label, (place, place))
        reach[label] = min(low, place), max(high, place)
    return reach

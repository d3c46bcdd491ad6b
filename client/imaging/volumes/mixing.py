"""Whether slices that form one even stack are of one scan after all."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations, pairwise

import numpy as np

from fedescc.client.imaging.headers.header import DicomRow
from fedescc.client.imaging.volumes.telling import (
    Places,
    along_normal,
    clusters,
    coincide,
    interleaved,
    seconds,
)

_KV = 1.0  # tube voltages are stated to the kV
# A scan may go on past midnight, but not for so long.
_SCAN_SECONDS = 600.0
_DAY_SECONDS = 86400.0
# Pause between two scans of one examination; breath holds of one scan are shorter.
_PAUSE_SECONDS = 20.0
# Step-and-shoot scans number each rotation; so few runs may be scans of their own.
_FEW_RUNS = 4
_SHORTEST_RUN = 3  # slices
# Thickness is rounded: slices are apart when their gap exceeds it by more.
_THICKNESS_FRACTION = 1.1
# Two scans of one place, as of chest and abdomen, are apart by more than a slice or two that were lost.
_LOST_SLICES = 3
_MULTIPLE_TOLERANCE = 0.1


def mixing_reasons(rows: Sequence[DicomRow]) -> tuple[str, ...]:
    """Codes of why slices, ascending along the normal, are of several scans.

    mixed_volume: they differ in what a scan has once: date, contrast medium or none, tube voltage, manufacturer,
    accession number, series description or time point. What only some of them state is no difference.
    ambiguous_interleave: their Instance Numbers (0020,0013) count two stacks that lie between each other.
    """
    checks = {
        "mixed_volume": _differs_in_scan(rows),
        "ambiguous_interleave": _numbers_interleave(rows),
    }
    return tuple(code for code, applies in checks.items() if applies)


def mixing_warnings(rows: Sequence[DicomRow]) -> tuple[str, ...]:
    """Codes of what speaks for several scans that follow one another; rows ascend along the normal."""
    runs = [_runs((row.acquisition_number, row.stack_id) for row in rows)]
    runs.append(_runs(clusters([seconds(row) for row in rows], gap=_PAUSE_SECONDS)))
    checks = {
        "several_acquisitions": any(1 < len(run) <= _FEW_RUNS and min(run) >= _SHORTEST_RUN for run in runs),
        "instance_numbers_repeat": any(max(Counter(n).values()) > 1 for n in _numbers(rows)),
    }
    return tuple(code for code, applies in checks.items() if applies)


def halves_of_one(volumes: Sequence[list[DicomRow]]) -> bool:
    """Whether two of some volumes look like every other slice of one stack.

    They lie between each other, and their common Instance Numbers count on from slice to slice; or, where images are
    not numbered, the slices of neither touch and those of both together do.
    """
    return any(_halves(*pair) for pair in combinations([one for one in volumes if len(one) > 1], 2))


def apart(rows: Sequence[DicomRow]) -> bool:
    """Whether unevenly spaced rows are two scans with nothing between them.

    Two acquisitions, stacks or descriptions follow one another, each evenly spaced by the same gap, and what lies
    between is more than a few lost slices would leave, or no multiple of the gap.
    """
    along = along_normal(rows)
    if along is None:
        return False
    order = np.argsort(along, kind="stable")
    gaps = np.diff(along[order])
    widest, usual = int(np.argmax(gaps)), float(np.median(gaps))
    kinds = [(rows[k].acquisition_number, rows[k].stack_id, rows[k].series_description) for k in order]
    if len(set(kinds[: widest + 1])) != 1 or len(set(kinds[widest + 1 :])) != 1 or kinds[0] == kinds[-1]:
        return False
    rest = np.delete(gaps, widest)
    if not len(rest) or np.abs(rest - usual).max() > _MULTIPLE_TOLERANCE * usual:
        return False
    multiple = float(gaps[widest]) / usual
    return multiple > 1 + _LOST_SLICES or (multiple > 1 and abs(multiple - round(multiple)) > _MULTIPLE_TOLERANCE)


def _differs_in_scan(rows: Sequence[DicomRow]) -> bool:
    times = {row.temporal_position for row in rows if row.temporal_position is not None}
    stated = (
        len(set(clusters([row.kvp for row in rows if row.kvp], gap=_KV))),
        len({row.manufacturer.casefold() for row in rows} - {""}),
        len({row.accession_number for row in rows} - {""}),
        len({row.series_description for row in rows} - {""}),
        len({bool(row.contrast_agent) for row in rows}),
        len(times) if len(times) < len(rows) else 0,  # a time point for each slice is a counter
    )
    return max(stated) > 1 or _dates_differ(rows)


def _dates_differ(rows: Sequence[DicomRow]) -> bool:
    """Whether images were acquired on two dates, unless at midnight."""
    dates = sorted({row.acquisition_date for row in rows} - {""})
    if len(dates) != 2:
        return len(dates) > 2
    times: defaultdict[str, list[float | None]] = defaultdict(list)
    for row in rows:
        times[row.acquisition_date].append(seconds(row))
    before, after = ([time for time in times[date] if time is not None] for date in dates)
    if not before or not after or not _following(*dates):
        return True
    return _DAY_SECONDS - min(before) + max(after) > _SCAN_SECONDS


def _following(date: str, other: str) -> bool:
    try:
        return bool(np.datetime64(_iso(other)) - np.datetime64(_iso(date)) == np.timedelta64(1, "D"))
    except ValueError:
        return False


def _iso(date: str) -> str:
    return f"{date[:4]}-{date[4:6]}-{date[6:]}"


def _runs(values: Iterable[Hashable]) -> list[int]:
    """Lengths of the runs of equal values."""
    lengths: list[int] = []
    last: Hashable = object()
    for value in values:
        if value != last:
            lengths.append(0)
        lengths[-1] += 1
        last = value
    return lengths


def _numbers(rows: Iterable[DicomRow]) -> list[list[int]]:
    """Instance numbers of each stack, in the rows' order; of those of which all are numbered, and not all the same."""
    stacks: defaultdict[str, list[int | None]] = defaultdict(list)
    for row in rows:
        stacks[row.stack_id].append(row.instance_number)
    numbers = [[n for n in stack if n is not None] for stack in stacks.values() if None not in stack]
    return [stack for stack in numbers if len(set(stack)) > 1]


def _numbers_interleave(rows: Sequence[DicomRow]) -> bool:
    return any(_repeats_interleave(numbers) or _blocks_interleave(numbers) for numbers in _numbers(rows))


def _repeats_interleave(numbers: list[int]) -> bool:
    """Whether numbers that occur m times, in slice order, make more than m ascending or descending runs."""
    most = max(Counter(numbers).values())
    if most == 1:
        return False
    ascending = 1 + sum(following <= number for number, following in pairwise(numbers))
    descending = 1 + sum(following >= number for number, following in pairwise(numbers))
    return min(ascending, descending) > most


def _blocks_interleave(numbers: list[int]) -> bool:
    """Whether the slices, in order of their numbers, sweep a few times through one place: 1, 11, 2, 12, 3, 13."""
    if len(set(numbers)) < len(numbers):
        return False
    places = np.argsort(numbers)
    for sign in (1, -1):
        sweep = np.concatenate([[0], np.cumsum(np.diff(places) * sign < 0)])
        lengths = np.bincount(sweep)
        if 1 < len(lengths) <= _FEW_RUNS and lengths.min() >= _SHORTEST_RUN:
            return interleaved(sweep.tolist(), places.tolist())
    return False


def _halves(one: list[DicomRow], other: list[DicomRow]) -> bool:
    rows = [*one, *other]
    along = along_normal(rows)
    if along is None or coincide(along):
        return False
    half = np.repeat([0, 1], [len(one), len(other)])
    if not interleaved(half.tolist(), along.tolist()):
        return False
    numbers = [rows[k].instance_number for k in np.argsort(along)]
    known = [number for number in numbers if number is not None]
    if len(known) == len(rows):
        steps = np.diff(known)
        return bool((steps > 0).all() or (steps < 0).all())
    return _touch_only_together(rows, along, half)


def _touch_only_together(rows: Sequence[DicomRow], along: Places, half: Places) -> bool:
    thickness = [row.slice_thickness_mm or 0.0 for row in rows]
    if min(thickness) <= 0:
        return False
    reach = _THICKNESS_FRACTION * max(thickness)
    gaps = [np.diff(np.sort(along[half == k])) for k in (0, 1)]
    alone = all(len(gap) and gap.min() > reach for gap in gaps)
    return alone and bool(np.diff(np.sort(along)).max() <= reach)

"""Whether slices that form one even stack are of one scan after all."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations, pairwise

import numpy as np

from fedescc.client.imaging.headers.header import DicomRow
from fedescc.client.imaging.volumes.telling import (
    KV,
    Labels,
    Places,
    accession,
    acquired,
    agent,
    along_normal,
    clusters,
    coincide,
    description,
    interleaved,
    seconds,
    words,
)

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
# Of two halves some slices may be lost; the other steps are those of the whole.
_EVEN_SHARE = 0.75


def mixing_reasons(rows: Sequence[DicomRow]) -> tuple[str, ...]:
    """Codes of why slices, ascending along the normal, are of several scans.

    mixed_volume: they differ in what a scan has once: date, tube voltage or time point; or in contrast medium,
    manufacturer, accession number or series description, where another acquisition, or its count of images, begins
    just there. These four are also edited, or filled in, for some images of one scan: alone they are a warning.
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
        "scan_tags_vary": any(len(set(labels)) > 1 for labels in _edited_tags(rows)),
        "instance_numbers_repeat": any(max(Counter(n).values()) > 1 for n in _numbers(rows)),
    }
    return tuple(code for code, applies in checks.items() if applies)


def halves_of_one(volumes: Sequence[Sequence[DicomRow]], *, of_one_kind: bool = True) -> bool:
    """Whether two of some volumes look like every other slice of one stack.

    They lie between each other, and their common Instance Numbers count on from slice to slice; or, where images are
    not numbered, the slices of neither touch and those of both together do.

    Where a tag that says nothing of scans parted them (not ``of_one_kind``), they are halves unless something speaks
    against it: together they are no even stack on one line, the slices of each touch without the other's, or, where
    thickness is not stated, each has numbers of its own.
    """
    several = [one for one in volumes if len(one) > 1]
    return any(_halves(one, other, of_one_kind) for one, other in combinations(several, 2))


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
    if 1 < len(times) < len(rows):  # a time point for each slice is a counter
        return True
    volts = clusters([row.kvp for row in rows if row.kvp], gap=KV)
    return len(set(volts)) > 1 or _dates_differ(rows) or any(_begins_anew(rows, tags) for tags in _edited_tags(rows))


def _edited_tags(rows: Sequence[DicomRow]) -> list[Labels]:
    """What is the same for all of a scan, but may be edited for some images, as labels of the rows.

    What only some images state is no difference, but for contrast medium; a value for nearly every image is a counter.
    """
    stated: list[list[str]] = [
        [words(row.manufacturer) for row in rows],
        [accession(row) for row in rows],
        [description(row) for row in rows],
    ]
    tags: list[Labels] = [list(values) for values in stated if len(set(values) - {""}) > 1]
    tags.append([bool(agent(row)) for row in rows])
    return [labels for labels in tags if len(set(labels)) <= max(2, len(rows) // 2)]


def _begins_anew(rows: Sequence[DicomRow], labels: Labels) -> bool:
    """Whether rows of each label are an acquisition, or a group of times, of their own, or are numbered anew."""
    kinds = set(labels)
    if len(kinds) > 1 and _numbered_anew(rows, labels):
        return True
    others = (
        [(row.acquisition_number, row.stack_id) for row in rows],
        clusters([seconds(row) for row in rows], gap=_PAUSE_SECONDS),
    )
    for second in others:
        found = [{other for label, other in zip(labels, second, strict=True) if label == kind} for kind in kinds]
        if 1 < len(kinds) == len(set(second)) and sum(map(len, found)) == len(set(second)):
            return True
    return False


def _numbered_anew(rows: Sequence[DicomRow], labels: Labels) -> bool:
    """Whether images share their numbers with some of another label, and with none of their own."""
    numbers: defaultdict[Hashable, list[int | None]] = defaultdict(list)
    for row, label in zip(rows, labels, strict=True):
        numbers[label].append(row.instance_number)
    own = [set(found) - {None} for found in numbers.values()]
    distinct = all(len(one) == len(found) for one, found in zip(own, numbers.values(), strict=True))
    return distinct and any(one & other for one, other in combinations(own, 2))


def _dates_differ(rows: Sequence[DicomRow]) -> bool:
    """Whether images were acquired on two dates, unless at midnight."""
    dates = sorted({acquired(row) for row in rows} - {""})
    if len(dates) != 2:
        return len(dates) > 2
    if not _following(*dates):
        return True
    times: defaultdict[str, list[float | None]] = defaultdict(list)
    for row in rows:
        times[acquired(row)].append(seconds(row))
    before, after = ([time for time in times[date] if time is not None] for date in dates)
    if not before or not after:
        return not _one_sweep(rows)
    return _DAY_SECONDS - min(before) + max(after) > _SCAN_SECONDS


def _one_sweep(rows: Sequence[DicomRow]) -> bool:
    """Whether rows, ascending along the normal, go from one date to the other once and are numbered throughout."""
    numbers = [row.instance_number for row in rows if row.instance_number is not None]
    steps = np.diff(numbers)
    dates = _runs(acquired(row) for row in rows)
    return len(dates) == 2 and len(numbers) == len(rows) and bool((steps > 0).all() or (steps < 0).all())


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
    overlap = not _side_by_side(rows)
    return any(_repeats_interleave(one) or (overlap and _blocks_interleave(one)) for one in _numbers(rows))


def _side_by_side(rows: Sequence[DicomRow]) -> bool:
    """Whether slices do not overlap: of two scans that lie between each other, slices do."""
    along, thickness = along_normal(rows), [row.slice_thickness_mm or 0.0 for row in rows]
    if along is None or min(thickness) <= 0:
        return False
    return bool(np.diff(np.sort(along)).min() * _THICKNESS_FRACTION >= max(thickness))


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
    if len(set(numbers)) < len(numbers) or _by_file_name(numbers):
        return False
    places = np.argsort(numbers)
    for sign in (1, -1):
        sweep = np.concatenate([[0], np.cumsum(np.diff(places) * sign < 0)])
        lengths = np.bincount(sweep)
        if 1 < len(lengths) <= _FEW_RUNS and lengths.min() >= _SHORTEST_RUN:
            return interleaved(sweep.tolist(), places.tolist())
    return False


def _by_file_name(numbers: list[int]) -> bool:
    """Whether slices were numbered in the order of names like IM1, IM10, IM11, IM2."""
    names = sorted(range(1, len(numbers) + 1), key=str)
    rank = np.argsort(np.argsort(numbers))
    by_name = np.argsort(np.array(names) - 1)
    return bool((rank == by_name).all() or (rank[::-1] == by_name).all())


def _halves(one: Sequence[DicomRow], other: Sequence[DicomRow], of_one_kind: bool) -> bool:
    rows = [*one, *other]
    along = along_normal(rows)
    if along is None or coincide(along):
        return False
    half = np.repeat([0, 1], [len(one), len(other)])
    if not interleaved(half.tolist(), along.tolist()):
        return False
    order = np.argsort(along)
    ordered = [rows[k] for k in order]
    if _count_on(ordered):
        return True
    if of_one_kind:
        return None in {row.instance_number for row in rows} and _touch_only_together(rows, along, half)
    if all(row.slice_thickness_mm for row in rows):
        return _even_line(ordered) and _touch_only_together(rows, along, half)
    own_numbers = all(_count_on([rows[k] for k in order if half[k] == label]) for label in (0, 1))
    return _even_line(ordered) and not own_numbers


def _count_on(rows: Sequence[DicomRow]) -> bool:
    """Whether all are numbered, and the numbers ascend or descend from slice to slice."""
    numbers = [row.instance_number for row in rows if row.instance_number is not None]
    steps = np.diff(numbers)
    return len(numbers) == len(rows) and bool((steps > 0).all() or (steps < 0).all())


def _even_line(rows: Sequence[DicomRow]) -> bool:
    """Whether nearly all steps from slice to slice are the same, in length and direction."""
    steps = np.diff(np.array([row.position for row in rows], dtype=np.float64), axis=0)
    usual = np.median(steps, axis=0)
    off = np.linalg.norm(steps - usual, axis=1)
    return bool((off <= _MULTIPLE_TOLERANCE * np.linalg.norm(usual)).mean() >= _EVEN_SHARE)


def _touch_only_together(rows: Sequence[DicomRow], along: Places, half: Places) -> bool:
    thickness = [row.slice_thickness_mm or 0.0 for row in rows]
    if min(thickness) <= 0:
        return False
    reach = _THICKNESS_FRACTION * max(thickness)
    gaps = [np.diff(np.sort(along[half == k])) for k in (0, 1)]
    alone = all(len(gap) and gap.min() > reach for gap in gaps)
    return alone and bool(np.diff(np.sort(along)).max() <= reach)

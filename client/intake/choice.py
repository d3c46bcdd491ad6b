"""Of the CTs that may be a time point's, the one to use: one pair for both time points."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Literal, NamedTuple

from fedescc.client.imaging.volumes.series import Series
from fedescc.common.imaging import TimePoint

# A reconstruction of less than this part of the longest one is a detail of it.
_DETAIL_FRACTION = 0.5
_ENHANCED_FIRST = {"enhanced": 0, "unknown": 1, "plain": 2}
_SOFT_FIRST = {"soft": 0, "unknown": 1, "sharp": 2}
_NO_NUMBER = 2**31
# What decides between two pairs, in this order, and what is said of a series that lost by it.
_LOST_BY = (
    "less_enhanced",
    "kernel_unlike_other_ct",
    "enhancement_unlike_other_ct",
    "sharper_kernel",
    "thicker_slices",
    "shorter",
    "later_in_order",
    "later_in_order",
)


class Look(NamedTuple):
    """What a series shows beside its geometry.

    Attributes:
        enhancement: of heart and great vessels, by tags and image.
        enhancement_hu: their HU; None where they cannot be seen.
        kernel: class of the reconstruction kernel.

    """

    enhancement: Literal["enhanced", "plain", "unknown"]
    enhancement_hu: float | None
    kernel: Literal["soft", "sharp", "unknown"]


class Choice(NamedTuple):
    """The series of each time point, and the code for which each other candidate lost."""

    series: dict[TimePoint, Series]
    lost: tuple[tuple[TimePoint, Series, str], ...]


Drawn = Callable[[TimePoint, Series], bool]


def choose(
    candidates: Mapping[TimePoint, Sequence[Series]],
    drawn: Drawn,
    look: Callable[[Series], Look],
    max_enhancement_difference_hu: float,
) -> Choice:
    """The best series of each time point.

    Series with a drawn ROI are kept if a time point has any, then those that cover less than half of the longest are
    set aside. Of the pairs that remain the one is taken that is better in the first of these that differs: contrast
    enhancement, the same kernel class at both time points, enhancement alike within the study's bound, soft kernel,
    thin slices (to 0.1 mm), long coverage (to 1 mm), and last the lowest series number and UID.

    Codes of the others: not_drawn_on, part_of_the_scan, less_enhanced, kernel_unlike_other_ct,
    enhancement_unlike_other_ct, sharper_kernel, thicker_slices, shorter, later_in_order.

    Args:
        candidates: accepted series by time point, each with at least one.
        drawn: whether a mask file was drawn on a series; asked only where there is a choice.
        look: measures a series; asked only where there is a choice.
        max_enhancement_difference_hu: between the two CTs.

    """
    lost: list[tuple[TimePoint, Series, str]] = []
    kept: dict[TimePoint, list[Series]] = {}
    for time_point, series in candidates.items():
        kept[time_point], out = _shortlist(time_point, series, drawn)
        lost += out
    if all(len(series) == 1 for series in kept.values()):
        return Choice({time_point: series[0] for time_point, series in kept.items()}, tuple(lost))
    looks = {id(one): look(one) for series in kept.values() for one in series}

    def key(pair: Sequence[Series]) -> tuple[object, ...]:
        return _key(pair, [looks[id(one)] for one in pair], max_enhancement_difference_hu)

    best = min(product(*kept.values()), key=key)
    for place, (time_point, series) in enumerate(kept.items()):
        for one in (one for one in series if one is not best[place]):
            pair = (*best[:place], one, *best[place + 1 :])
            lost.append((time_point, one, _LOST_BY[_first_difference(key(best), key(pair))]))
    return Choice(dict(zip(kept, best, strict=True)), tuple(lost))


def _shortlist(
    time_point: TimePoint, series: Sequence[Series], drawn: Drawn
) -> tuple[list[Series], list[tuple[TimePoint, Series, str]]]:
    if len(series) == 1:
        return list(series), []
    with_roi = [one for one in series if drawn(time_point, one)] or list(series)
    longest = max(_coverage_mm(one) for one in with_roi)
    whole = [one for one in with_roi if _coverage_mm(one) >= _DETAIL_FRACTION * longest]
    shorter = [(time_point, one, "part_of_the_scan") for one in with_roi if not any(one is other for other in whole)]
    bare = [(time_point, one, "not_drawn_on") for one in series if not any(one is other for other in with_roi)]
    return whole, shorter + bare


def _key(pair: Sequence[Series], looks: Sequence[Look], most_hu: float) -> tuple[object, ...]:
    levels = [look.enhancement_hu for look in looks if look.enhancement_hu is not None]
    kernels = {look.kernel for look in looks}
    return (
        sum(_ENHANCED_FIRST[look.enhancement] for look in looks),
        len(kernels),
        len(levels) == len(pair) and max(levels) - min(levels) > most_hu,
        sum(_SOFT_FIRST[look.kernel] for look in looks),
        round(sum(_thickness_mm(one) for one in pair), 1),
        -sum(round(_coverage_mm(one)) for one in pair),
        tuple(_number(one) for one in pair),
        tuple(one.uid for one in pair),
    )


def _first_difference(one: Sequence[object], other: Sequence[object]) -> int:
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), len(one) - 1)


def _thickness_mm(series: Series) -> float:
    assert series.geometry is not None
    return round(series.geometry.spacing_zyx_mm[0], 1)


def _coverage_mm(series: Series) -> float:
    assert series.geometry is not None
    return series.geometry.shape_zyx[0] * series.geometry.spacing_zyx_mm[0]


def _number(series: Series) -> int:
    number = series.rows[0].series_number
    return _NO_NUMBER if number is None else number

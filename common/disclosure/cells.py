"""Minimum cells: what a count, and what a count leaves of its total, must reach before either may be told."""


def small(count: int, minimum: int) -> bool:
    """Whether a count speaks of too few patients; 0 speaks of none."""
    return 0 < count < minimum


def too_few(count: int, minimum: int) -> bool:
    """Whether something that is told of each patient's contribution, such as an update, has too few of them; 0 is."""
    return count < minimum


def enough(part: int, whole: int, minimum: int) -> bool:
    """Whether a part of the patients may be told beside the whole: neither it nor the rest is small."""
    return not small(part, minimum) and not small(whole - part, minimum)


def both_reach(positives: int, patients: int, minimum: int) -> bool:
    """Whether patients with the outcome, and those without it, are each at least the minimum."""
    return min(positives, patients - positives) >= minimum

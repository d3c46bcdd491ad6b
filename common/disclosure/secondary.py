"""Secondary suppression: a total less what is shown of it must not tell what is hidden.

Hundepool et al., Statistical Disclosure Control, Wiley 2012: one hidden part of a shown total is the total
less the other parts, so at least two are hidden, and together they are not small either.
"""

from collections.abc import Collection, Mapping, Sequence

from fedescc.common.disclosure.cells import small

FEWEST_HIDDEN = 2
FEWEST_POOLED = 3
"""Sites that a total must have to be shown where one of them is hidden: of two, each knows the other's share."""


def hidden_sites(counts: Mapping[str, Sequence[int]], primary: Collection[str], minimum: int) -> set[str]:
    """The parts to hide so that the total less the shown ones reveals none: those that must be, and as few more.

    More are taken from the smallest shown part on, ties in order of names, until two or more are hidden that together
    have none or at least the minimum of every kind of patient, or all are.

    Args:
        counts: site (or other part of a total) -> patients, by class for instance; all of one length.
        primary: sites that must be hidden; those without counts are not part of the total.
        minimum: fewest patients.

    """
    hidden = set(primary) & set(counts)
    shown = sorted(set(counts) - hidden, key=lambda site: (sum(counts[site]), site))
    while hidden and shown and not _covers([counts[site] for site in hidden], minimum):
        hidden.add(shown.pop(0))
    return hidden


def _covers(hidden: Sequence[Sequence[int]], minimum: int) -> bool:
    together = [sum(kind) for kind in zip(*hidden, strict=True)]
    return len(hidden) >= FEWEST_HIDDEN and not any(small(count, minimum) for count in together)

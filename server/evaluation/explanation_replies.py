"""A site's explanation as typed values; what patients cannot have is refused, at the cost of that site alone."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedescc.common.statistics.shapley import ShapleySums
from fedescc.common.wire import Reply, Sums
from fedescc.server.replies import malformed, real_numbers, whole_numbers

_ROUNDING = 1e-5  # sums come with six decimals

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RankSums:
    """Ranks of each player over a site's bootstrap samples: sums and sums of squares, each (players,)."""

    total: Floats
    squares: Floats


@dataclass(frozen=True, eq=False)
class Baselines:
    """Sums of |phi| over the gates' patients under both baselines, each (players,)."""

    counts: NDArray[np.int64]
    fixed: Floats
    local: Floats

    def __add__(self, other: "Baselines") -> "Baselines":
        return Baselines(self.counts + other.counts, self.fixed + other.fixed, self.local + other.local)


@dataclass(frozen=True, eq=False)
class ExplanationShare:
    """One site's share.

    Attributes:
        n: test patients.
        sums: by player; 0 of players that the site does not show.
        ranks: of the players shown, among themselves.
        figures: the gates' numbers by key; one that is absent has its reason in ``reasons``.
        baselines: of a study with images.
        reasons: why a figure is absent.

    """

    n: int
    sums: ShapleySums
    ranks: RankSums
    figures: dict[str, float]
    baselines: Baselines | None = None
    reasons: dict[str, str] = field(default_factory=dict)


FIGURES = ("additivity_error", "repeat_error", "random_correlation", "deletion_total")


def explanation_share(reply: Reply, players: int) -> ExplanationShare | None:
    """Sums by player with ranks and figures, or None where the site keeps them.

    Raises:
        Refusal: another number of players, or sums that no patients can have.

    """
    sums = reply.sums
    if "counts" not in sums:
        return None
    n = sums.get("n")
    counts = whole_numbers(sums, "counts", players)
    found = ShapleySums(counts, *(real_numbers(sums, key, players) for key in ("absolute", "total", "squares")))
    if type(n) is not int or not _possible(found, n):
        raise malformed("Shapley sums are not those of patients")
    ranks = RankSums(*(real_numbers(sums, key, players) for key in ("rank_total", "rank_squares")))
    figures = {key: float(value) for key in FIGURES if isinstance(value := sums.get(key), int | float)}
    return ExplanationShare(n, found, ranks, figures, _baselines(sums, counts), reply.reasons)


def reference_share(reply: Reply, columns: int) -> tuple[int, Floats] | None:
    """Training patients and the sum of each column, (columns,), or None where the site keeps them.

    Raises:
        Refusal: another number of columns, or nobody.

    """
    if "n" not in reply.sums:
        return None
    n = reply.sums["n"]
    if type(n) is not int or n < 1:
        raise malformed("sums of columns lack their patients")
    return n, real_numbers(reply.sums, "totals", columns)


def _baselines(sums: Sums, counts: NDArray[np.int64]) -> Baselines | None:
    if "gate_counts" not in sums:
        return None
    own = whole_numbers(sums, "gate_counts", len(counts))
    if (own > counts).any():
        raise malformed("more patients in the gates than in all")
    return Baselines(own, *(real_numbers(sums, key, len(counts)) for key in ("fixed_absolute", "local_absolute")))


def _possible(found: ShapleySums, n: int) -> bool:
    """Whether patients can have such sums: |Σφ| <= Σ|φ|, and (Σ|φ|)² <= n Σφ² (Cauchy-Schwarz)."""
    slack = _ROUNDING * (1 + found.absolute)
    inside = (found.n <= n).all() and (np.abs(found.total) <= found.absolute + slack).all()
    spread = found.absolute**2 <= found.n * (found.squares + slack) + slack
    return bool(inside and spread.all())

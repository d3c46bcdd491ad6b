"""Exact Shapley values of games with all coalitions evaluated, and the sums of them that may leave a site.

Shapley, Contributions to the Theory of Games II (1953) 307. Coalition ``mask`` holds player i when bit i is
set.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedescc.common.errors import Refusal

Floats = NDArray[np.float64]

MAX_PLAYERS = 16
BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class PlayerSummary:
    """One player over its n patients; means are None at n = 0 and the sample SD below n = 2."""

    n: int
    mean_absolute: float | None
    mean: float | None
    standard_deviation: float | None


@dataclass(frozen=True, eq=False)
class ShapleySums:
    """Per-player sums over patients, each of shape (players,); sums of sites add with ``+``.

    Attributes:
        n: patients who have the player, int64.
        absolute: sum of |phi|.
        total: sum of phi.
        squares: sum of phi².

    """

    n: NDArray[np.int64]
    absolute: Floats
    total: Floats
    squares: Floats

    def __add__(self, other: "ShapleySums") -> "ShapleySums":
        if self.n.shape != other.n.shape:
            what = f"sums of {self.n.size} and of {other.n.size} players"
            raise Refusal("players-differ", what, "explain the same players, in the study's order, at every site")
        return ShapleySums(
            self.n + other.n,
            self.absolute + other.absolute,
            self.total + other.total,
            self.squares + other.squares,
        )

    def players(self) -> list[PlayerSummary]:
        """One summary a player, in order."""
        columns = zip(self.n, self.absolute, self.total, self.squares, strict=True)
        return [_player(int(n), float(a), float(t), float(s)) for n, a, t, s in columns]


def coalition_masks(m: int) -> NDArray[np.bool_]:
    """Membership of m players in all coalitions, bool (2^m, m), row = mask.

    Raises:
        Refusal: "too-many-players" above 16.

    """
    _check_players(m)
    return (np.arange(2**m)[:, None] >> np.arange(m) & 1).astype(bool)


def shapley_values(values: ArrayLike) -> Floats:
    """Exact Shapley values.

    Args:
        values: worth of every coalition, shape (..., 2^m), m <= 16; leading axes are independent games.
            float32 is widened to float64 in blocks of 64 MiB, so the peak stays near the input's own size.

    Returns:
        phi, float64 (..., m); its sum over players is ``values[..., -1] - values[..., 0]``.

    Raises:
        Refusal: "too-many-players", "not-a-game" (last axis no power of two), "values-not-finite".

    """
    games = np.asarray(values)
    size = games.shape[-1] if games.ndim else 0
    m = size.bit_length() - 1
    if size == 0 or size != 2**m:
        raise Refusal("not-a-game", f"{size} coalition values", "give all 2^m values on the last axis")
    _check_players(m)
    weights = _weights(m)
    rows = games.reshape(-1, size)
    phi = np.empty((rows.shape[0], m))
    block = max(1, BLOCK_BYTES // (8 * size))
    for start in range(0, rows.shape[0], block):
        phi[start : start + block] = _finite(rows[start : start + block]) @ weights
    return phi.reshape(*games.shape[:-1], m)


def summarise(phi: ArrayLike, present: ArrayLike | None = None) -> ShapleySums:
    """What may leave a site: sums over patients.

    Args:
        phi: Shapley values (patients, players).
        present: bool (patients, players), False where a patient lacks the player (no second CT, say), so that
            their zeros do not dilute the means; None counts everybody.

    Raises:
        Refusal: "not-a-table" (shape), "values-not-finite".

    """
    table = np.asarray(phi)
    counted = np.ones(table.shape, dtype=bool) if present is None else np.asarray(present, dtype=bool)
    if table.ndim != 2 or counted.shape != table.shape:
        what = f"phi of shape {table.shape}, present of shape {counted.shape}"
        raise Refusal("not-a-table", what, "give both as (patients, players)")
    kept = _finite(np.where(counted, table, 0.0))
    return ShapleySums(
        counted.sum(axis=0, dtype=np.int64),
        np.abs(kept).sum(axis=0),
        kept.sum(axis=0),
        np.square(kept).sum(axis=0),
    )


def deletion_areas(values: ArrayLike, phi: ArrayLike) -> Floats:
    """Area between two deletion curves, (n,): how much earlier the worth moves than in random order.

    A curve says how far the worth has moved, step by step and whichever way, after 1, 2, … m - 1 players are removed
    (Samek et al., IEEE TNNLS 28 (2017) 2660, who perturb regions in the order of their relevance); the area is the mean
    over these. The way is counted, not the distance, because players of opposite signs take the worth back and forth.
    One curve removes players in the order of |phi|, the largest first; the other is the mean over all orders, exact,
    because every coalition's worth is known. In a game without interaction the area is never negative.

    Args:
        values: worth of every coalition, (n, 2^m).
        phi: what orders the players, (n, m).

    """
    worth, order = np.asarray(values, dtype=np.float64), _by_size(phi)
    n, m = order.shape
    if m < 2:
        return np.zeros(n)
    left = 2**m - 1 - np.cumsum(1 << order, axis=1)[:, :-1]
    visited = np.concatenate([worth[:, -1:], np.take_along_axis(worth, left, axis=1)], axis=1)
    return np.abs(np.diff(visited, axis=1)) @ _still_ahead(m) - _random_way(worth, m)


def additive_deletion_areas(phi: ArrayLike) -> Floats:
    """The same, (n,), of additive games of any number of players, of which ``phi`` (n, m) says everything."""
    sizes = np.abs(np.asarray(phi, dtype=np.float64))
    n, m = sizes.shape
    if m < 2:
        return np.zeros(n)
    ahead = _still_ahead(m)
    found: Floats = -np.sort(-sizes, axis=1)[:, :-1] @ ahead - sizes.mean(axis=1) * ahead.sum()
    return found


def _still_ahead(m: int) -> Floats:
    """Share of a curve's points that step 1, … m - 1 counts in, (m - 1,)."""
    return np.arange(m - 1, 0, -1) / (m - 1)


def _random_way(worth: Floats, m: int) -> Floats:
    """The mean over all orders, (n,): each removal of a player from a coalition of s is as likely as any other."""
    size = coalition_masks(m).sum(axis=1)
    chance = np.array([(s - 1) / ((m - 1) * math.comb(m, s) * s) if s else 0.0 for s in range(m + 1)])[size]
    found: Floats = np.zeros(len(worth))
    for player in range(m):
        pairs = worth.reshape(len(worth), -1, 2, 1 << player)
        weight = chance.reshape(-1, 2, 1 << player)[:, 1]
        found += np.einsum("nab,ab->n", np.abs(pairs[:, :, 1] - pairs[:, :, 0]), weight)
    return found


def _by_size(phi: ArrayLike) -> NDArray[np.intp]:
    """Players of each game by falling |phi|, ties in the players' order."""
    return np.argsort(-np.abs(np.asarray(phi, dtype=np.float64)), axis=1, kind="stable")


def _check_players(m: int) -> None:
    if m > MAX_PLAYERS:
        what = f"{m} players need 2^{m} evaluations a patient"
        raise Refusal("too-many-players", what, f"group variables into at most {MAX_PLAYERS} players")


@lru_cache(maxsize=4)
def _weights(m: int) -> Floats:
    """Coefficient of each coalition's worth in each player's value, (2^m, m); |column| sums to 2.

    One product with the worths instead of differences per player: no copies, and rounding stays near eps ·
    max|v|.
    """
    inside = coalition_masks(m)
    size = inside.sum(axis=1)
    joining = np.array([1.0 / (m * math.comb(m - 1, s)) for s in range(m)])
    gain = np.append(0.0, joining)[size]
    loss = np.append(joining, 0.0)[size]
    weights: Floats = np.where(inside, gain[:, None], -loss[:, None])
    return weights


def _finite(values: NDArray[np.generic]) -> Floats:
    numbers: Floats = values.astype(np.float64, copy=False)
    bad = int(np.sum(~np.isfinite(numbers)))
    if bad:
        what = f"{bad} of {numbers.size} values are NaN or infinite"
        raise Refusal("values-not-finite", what, "check the model's output on the reference input")
    return numbers


def _player(n: int, absolute: float, total: float, squares: float) -> PlayerSummary:
    if n == 0:
        return PlayerSummary(0, None, None, None)
    mean = total / n
    # Rounding may take the sum of squares of a constant below n · mean².
    variance = max(0.0, squares - n * mean**2) / (n - 1) if n > 1 else None
    return PlayerSummary(n, absolute / n, mean, None if variance is None else math.sqrt(variance))

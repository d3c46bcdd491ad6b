"""What may leave of an explanation: sums over patients, and the gates' figures. Nothing of a single patient.

A gate's largest error is one patient's, and weights can be chosen under which rounding makes it that patient's input:
so it is told by its power of ten. The deletion curves' area is one number of all players together, so it is told where
every player that moves a patient may be told.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fedescc.client.explanation.survey import Survey
from fedescc.common.disclosure.cells import enough
from fedescc.common.disclosure.dominance import dominated
from fedescc.common.statistics.ranks import bootstrap_ranks
from fedescc.common.statistics.shapley import ShapleySums, summarise
from fedescc.common.wire import Sums

DECIMALS = 6
PLAYERS_HIDDEN = "players-hidden"  # code: a figure that players who are not shown have a part in
_LEAST_ERROR, _LARGEST_ERROR = -9, 0  # powers of ten

Flags = NDArray[np.bool_]


def released_sums(survey: Survey, minimum: int, percent: float) -> tuple[Sums, dict[str, str]]:
    """Keys of `fedescc.common.wire.EXPLANATION` and why any of them is absent; 0 of players that are not shown.

    Args:
        survey: of one model.
        minimum: fewest patients that a sum may speak of.
        percent: of the rule against sums that one patient dominates, see `dominated`.

    """
    found, gates = survey.released, survey.gates
    sums = summarise(found.phi, found.present)
    shown = survey.shown & ~_dominated(found.phi, found.present, percent)
    values: Sums = {
        "n": len(found.phi),
        "counts": np.where(shown, sums.n, 0).tolist(),
        **{key: _short(getattr(sums, key), shown) for key in ("absolute", "total", "squares")},
        **_rank_sums(survey, shown),
        "additivity_error": _error(gates.additivity_error),
        "repeat_error": _error(gates.repeat_error),
    }
    reasons: dict[str, str] = {}
    moves = np.where(found.present, found.phi, 0.0).any(axis=0)
    if (moves & ~shown).any() or _gives_one_away(np.abs(found.areas), percent):
        reasons["deletion_total"] = PLAYERS_HIDDEN
    else:
        values["deletion_total"] = round(float(found.areas.sum()), DECIMALS)
    if gates.random_correlation.value is None:
        reasons["random_correlation"] = gates.random_correlation.reason or ""
    else:
        values["random_correlation"] = round(gates.random_correlation.value, DECIMALS)
    if gates.fixed is not None and gates.local is not None:
        values |= _baselines(survey, gates.fixed, gates.local, shown, sums.n, minimum, percent)
    return values, reasons


def _baselines(
    survey: Survey,
    fixed: ShapleySums,
    local: ShapleySums,
    shown: Flags,
    counts: NDArray[np.int64],
    minimum: int,
    percent: float,
) -> Sums:
    """Sums of some patients beside those of all: neither they nor the others may be few."""
    part = zip(fixed.n.tolist(), counts.tolist(), strict=True)
    told = shown & np.array(
        [n > 0 and enough(n, len(survey.rows), minimum) and enough(n, all_, minimum) for n, all_ in part]
    )
    told &= ~_dominated(survey.released.phi[survey.rows], survey.released.present[survey.rows], percent)
    return {
        "gate_counts": np.where(told, fixed.n, 0).tolist(),
        "fixed_absolute": _short(fixed.absolute, told),
        "local_absolute": _short(local.absolute, told),
    }


def _rank_sums(survey: Survey, shown: Flags) -> Sums:
    """Of the players shown, among themselves."""
    found = survey.released
    totals, squares = np.zeros(len(shown)), np.zeros(len(shown))
    totals[shown], squares[shown] = bootstrap_ranks(np.abs(found.phi[:, shown]), found.present[:, shown])
    return {"rank_total": totals.tolist(), "rank_squares": squares.tolist()}


def _dominated(phi: NDArray[np.float64], present: Flags, percent: float) -> Flags:
    """Players of whom one patient gives nearly the whole sum of |phi| or phi²."""
    sizes = [np.abs(phi[present[:, player], player]) for player in range(phi.shape[1])]
    return np.array([_gives_one_away(size, percent) for size in sizes], np.bool_)


def _gives_one_away(sizes: NDArray[np.float64], percent: float) -> bool:
    return any(dominated(sizes**power, percent) for power in (1, 2))


def _short(values: NDArray[np.float64], shown: Flags) -> list[float]:
    rounded: list[float] = np.where(shown, np.round(values, DECIMALS), 0.0).tolist()
    return rounded


def _error(value: float) -> float:
    """The power of ten that an error does not exceed, from 1e-9 to 1; 0 where there is none."""
    if value <= 0:
        return 0.0
    power = math.ceil(math.log10(value)) if math.isfinite(value) else _LARGEST_ERROR
    return 10.0 ** min(max(power, _LEAST_ERROR), _LARGEST_ERROR)

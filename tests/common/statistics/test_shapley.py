"""Exact Shapley values: axioms, the permutation definition, shap's exact explainer; sums over sites."""

import math
import tracemalloc
import warnings
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fedescc.common.errors import Refusal
from fedescc.common.statistics.shapley import coalition_masks, shapley_values, summarise

Floats = NDArray[np.float64]


def games(min_players: int = 1, max_players: int = 6) -> st.SearchStrategy[Floats]:
    worth = st.floats(-100, 100)
    return st.integers(min_players, max_players).flatmap(lambda m: hnp.arrays(np.float64, 2**m, elements=worth))


def players_of(game: Floats) -> int:
    return int(game.shape[-1]).bit_length() - 1


def by_permutations(game: Floats) -> Floats:
    """The definition: a player's mean gain over all orders of joining."""
    m = players_of(game)
    gains = np.zeros(m)
    for order in permutations(range(m)):
        mask = 0
        for player in order:
            gains[player] += game[mask | 1 << player] - game[mask]
            mask |= 1 << player
    return gains / math.factorial(m)


def swapped(game: Floats, i: int, j: int) -> Floats:
    """The game in which players i and j have changed names."""
    masks = coalition_masks(players_of(game))
    renamed = masks.copy()
    renamed[:, [i, j]] = masks[:, [j, i]]
    return game[renamed @ (1 << np.arange(masks.shape[1]))]


def test_masks_hold_player_i_where_bit_i_is_set() -> None:
    assert coalition_masks(2).tolist() == [[False, False], [True, False], [False, True], [True, True]]
    masks = coalition_masks(16)
    assert masks.shape == (65536, 16)
    assert masks.dtype == np.bool_
    assert (masks @ (1 << np.arange(16)) == np.arange(65536)).all()


def test_glove_game() -> None:
    """Textbook: one left glove, two right gloves, a pair is worth 1; values 2/3, 1/6, 1/6."""
    masks = coalition_masks(3)
    pair = masks[:, 0] & (masks[:, 1] | masks[:, 2])
    assert shapley_values(pair) == pytest.approx([2 / 3, 1 / 6, 1 / 6], abs=1e-15)


def test_united_nations_security_council_reduced() -> None:
    """Weighted majority [51; 50, 49, 1]: values 2/3, 1/6, 1/6 in spite of 49 against 1."""
    weight = coalition_masks(3) @ np.array([50, 49, 1])
    assert shapley_values(weight >= 51) == pytest.approx([2 / 3, 1 / 6, 1 / 6], abs=1e-15)


@given(games(max_players=5))
def test_values_are_mean_gains_over_all_orders(game: Floats) -> None:
    assert shapley_values(game) == pytest.approx(by_permutations(game), abs=1e-10)


@given(games(max_players=8))
def test_additivity(game: Floats) -> None:
    assert shapley_values(game).sum() == pytest.approx(game[-1] - game[0], abs=1e-9)


def test_additivity_with_sixteen_players() -> None:
    rng = np.random.default_rng(0)
    game = rng.normal(size=(5, 65536))
    assert shapley_values(game).sum(axis=1) == pytest.approx(game[:, -1] - game[:, 0], abs=1e-9)


@given(games(min_players=2), st.data())
def test_symmetry(game: Floats, data: st.DataObject) -> None:
    """Renaming two players swaps their values; players the game cannot tell apart get the same."""
    m = players_of(game)
    i, j = data.draw(st.permutations(range(m)))[:2]
    phi, renamed = shapley_values(game), shapley_values(swapped(game, i, j))
    assert renamed[[i, j]] == pytest.approx(phi[[j, i]], abs=1e-10)
    fair = shapley_values(game + swapped(game, i, j))
    assert fair[i] == pytest.approx(fair[j], abs=1e-10)


@given(games(max_players=5), st.data())
def test_dummy(game: Floats, data: st.DataObject) -> None:
    """A player who always adds the same gets just that, and changes nobody else's value."""
    m = players_of(game)
    place, worth = data.draw(st.integers(0, m)), data.draw(st.floats(-50, 50))
    masks = coalition_masks(m + 1)
    others = np.delete(masks, place, axis=1)
    phi = shapley_values(game[others @ (1 << np.arange(m))] + worth * masks[:, place])
    assert phi[place] == pytest.approx(worth, abs=1e-9)
    assert np.delete(phi, place) == pytest.approx(shapley_values(game), abs=1e-9)


@given(st.integers(1, 6), st.floats(-3, 3), st.floats(-3, 3), st.integers(0, 2**32 - 1))
def test_linearity(m: int, a: float, b: float, seed: int) -> None:
    first, second = np.random.default_rng(seed).normal(size=(2, 2**m))
    expected = a * shapley_values(first) + b * shapley_values(second)
    assert shapley_values(a * first + b * second) == pytest.approx(expected, abs=1e-9)


def test_additive_game_gives_each_player_its_own_worth() -> None:
    worth = np.arange(16) - 7.5
    assert shapley_values(coalition_masks(16) @ worth + 3.0) == pytest.approx(worth, abs=1e-9)


def test_equals_shaps_exact_explainer() -> None:
    with warnings.catch_warnings():
        # shap's colour maps use a Matplotlib function that is about to be deprecated.
        warnings.filterwarnings("ignore", "The set_bad function", PendingDeprecationWarning)
        warnings.filterwarnings("ignore", "The set_(over|under) function", PendingDeprecationWarning)
        import shap

    def model(x: Floats) -> Floats:
        return np.asarray(x[:, 0] * x[:, 1] + np.sin(x[:, 2]) * x[:, 3] ** 2 - 2 * x[:, 4] * (x[:, 0] > 0))

    rng = np.random.default_rng(2)
    patients, reference = rng.normal(size=(4, 5)), rng.normal(size=(1, 5))
    theirs = shap.explainers.Exact(model, shap.maskers.Independent(reference))(patients)
    masks = coalition_masks(5)
    values = np.stack([model(np.where(masks, patient, reference)) for patient in patients])
    assert shapley_values(values) == pytest.approx(theirs.values, abs=1e-9)


def test_leading_axes_are_independent_games() -> None:
    values = np.random.default_rng(3).normal(size=(2, 3, 16))
    phi = shapley_values(values)
    assert phi.shape == (2, 3, 4)
    for index in np.ndindex(2, 3):
        assert phi[index] == pytest.approx(shapley_values(values[index]), abs=1e-12)
    assert shapley_values(np.zeros((0, 8))).shape == (0, 3)
    assert shapley_values([5.0]).shape == (0,)


def test_single_precision_is_widened_without_a_full_copy() -> None:
    """512 patients x 2^16 coalitions of float32 are 128 MiB and would be 256 MiB widened at once."""
    values = np.random.default_rng(4).normal(size=(512, 65536)).astype(np.float32)
    tracemalloc.start()
    phi = shapley_values(values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert phi.dtype == np.float64
    assert peak < 110 * 2**20
    assert phi.sum(axis=1) == pytest.approx(values[:, -1].astype(float) - values[:, 0], abs=1e-9)


def test_bad_games_are_refused() -> None:
    attempts = {
        "too-many-players": [lambda: coalition_masks(17), lambda: shapley_values(np.zeros(2**17))],
        "not-a-game": [lambda: shapley_values(np.zeros((4, 6))), lambda: shapley_values(np.zeros((4, 0)))],
        "values-not-finite": [
            lambda: shapley_values([0.0, math.nan]),
            lambda: summarise([[1.0, math.inf]]),
        ],
        "not-a-table": [
            lambda: summarise([1.0, 2.0]),
            lambda: summarise([[1.0, 2.0]], present=[[True]]),
        ],
        "players-differ": [lambda: summarise([[1.0]]) + summarise([[1.0, 2.0]])],
    }
    for code, refused in attempts.items():
        for attempt in refused:
            with pytest.raises(Refusal) as caught:
                attempt()
            assert caught.value.code == code


def test_summary_of_two_sites_is_the_pooled_one() -> None:
    phi = np.random.default_rng(5).normal(loc=[2.0, 0.0, -1.0], scale=[1.0, 0.1, 3.0], size=(70, 3))
    players = (summarise(phi[:20]) + summarise(phi[20:])).players()
    assert [p.n for p in players] == [70, 70, 70]
    assert [p.mean_absolute for p in players] == pytest.approx(np.abs(phi).mean(axis=0))
    assert [p.mean for p in players] == pytest.approx(phi.mean(axis=0))
    assert [p.standard_deviation for p in players] == pytest.approx(phi.std(axis=0, ddof=1))


def test_patients_without_a_player_do_not_dilute_its_mean() -> None:
    phi = np.array([[1.0, 4.0], [3.0, 0.0], [-2.0, 8.0]])
    present = np.array([[True, True], [True, False], [True, True]])
    first, second = summarise(phi, present).players()
    assert (first.n, first.mean_absolute) == (3, pytest.approx(2.0))
    assert (second.n, second.mean, second.standard_deviation) == (2, 6.0, pytest.approx(math.sqrt(8.0)))


def test_summary_of_nobody_and_of_one() -> None:
    nobody = summarise(np.zeros((0, 2))).players()[0]
    assert (nobody.n, nobody.mean_absolute, nobody.mean, nobody.standard_deviation) == (0, None, None, None)
    one = summarise([[-3.0]]).players()[0]
    assert (one.n, one.mean_absolute, one.mean, one.standard_deviation) == (1, 3.0, -3.0, None)


@given(st.floats(-1e3, 1e3), st.integers(2, 50))
def test_spread_of_a_constant_is_zero_up_to_rounding(value: float, n: int) -> None:
    spread = summarise(np.full((n, 1), value)).players()[0].standard_deviation
    assert spread == pytest.approx(0.0, abs=1e-4)

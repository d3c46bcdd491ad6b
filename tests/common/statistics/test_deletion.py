"""Area between deletion curves: by all orders on small games, and of additive games."""

from itertools import permutations

import numpy as np
import pytest

from fedescc.common.statistics.shapley import (
    additive_deletion_areas,
    coalition_masks,
    deletion_areas,
    shapley_values,
)


def curve(game: np.ndarray, order: tuple[int, ...]) -> float:
    left, way, total = len(game) - 1, 0.0, 0.0
    for player in order[:-1]:
        way += abs(game[left] - game[left & ~(1 << player)])
        left &= ~(1 << player)
        total += way
    return total / (len(order) - 1)


@pytest.mark.parametrize("m", [2, 3, 5])
def test_equals_the_mean_over_all_orders(m: int) -> None:
    games = np.random.default_rng(m).normal(size=(4, 2**m))
    phi = shapley_values(games)
    for game, values, found in zip(games, phi, deletion_areas(games, phi), strict=True):
        best = tuple(np.argsort(-np.abs(values), kind="stable"))
        random = np.mean([curve(game, order) for order in permutations(range(m))])
        assert found == pytest.approx(curve(game, best) - random)


def test_values_of_one_sign_in_a_wrong_order_have_a_negative_area() -> None:
    worth = coalition_masks(4) @ np.array([4.0, 3, 2, 1])
    assert deletion_areas(worth[None], np.array([[4.0, 3, 2, 1]]))[0] > 0
    assert deletion_areas(worth[None], np.array([[1.0, 2, 3, 4]]))[0] < 0


def test_one_player_has_no_order() -> None:
    assert deletion_areas(np.array([[0.0, 1.0]]), np.array([[1.0]])).tolist() == [0.0]
    assert additive_deletion_areas(np.array([[1.0]])).tolist() == [0.0]


def test_additive_games_are_told_by_their_values_alone() -> None:
    phi = np.random.default_rng(0).normal(size=(5, 6))
    exact = deletion_areas(phi @ coalition_masks(6).T, phi)
    assert additive_deletion_areas(phi) == pytest.approx(exact)
    assert (exact > 0).all()
    assert additive_deletion_areas(np.ones((1, 6)))[0] == pytest.approx(0)

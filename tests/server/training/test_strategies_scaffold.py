"""SCAFFOLD: the server's step by hand, and what it is for: it reaches the optimum where FedAvg's sites drift apart."""

import numpy as np
import pytest

from fedescc.common.strategy import FedAvg, Scaffold
from fedescc.server.strategies.algorithm import algorithm_of
from fedescc.server.strategies.state import Gathered, ServerState
from fedescc.server.training.aggregate import Fold


def test_the_step_by_hand():
    state = ServerState(np.array([1.0, 2.0], np.float32), {"c": np.array([0.5, -0.5])}, round=3)
    gathered = Gathered(np.array([0.2, -0.4, 1.0, 3.0]), participation=0.25)
    after = algorithm_of(Scaffold(server_learning_rate=0.5)).step(state, gathered)
    assert after.weights.tolist() == pytest.approx([1.1, 1.8])
    assert after.slots["c"].tolist() == pytest.approx([0.75, 0.25])
    assert after.round == 4


def test_weights_then_control_are_sent():
    algorithm = algorithm_of(Scaffold())
    first = algorithm.init(np.array([1.0, 2.0], np.float32))
    assert algorithm.outgoing(first).tolist() == [1.0, 2.0, 0.0, 0.0]
    later = ServerState(first.weights, {"c": np.array([0.5, 1 / 3])})
    sent = algorithm.outgoing(later)
    assert sent.dtype == np.float32
    assert sent.tolist() == [1.0, 2.0, 0.5, float(np.float32(1 / 3))]


class Quadratic:
    """A site with the loss ½ Σ a (y - target)² and ``patients``; its control as option II has it."""

    def __init__(self, curvature, target, patients):
        self.curvature, self.target, self.patients = np.array(curvature), np.array(target), patients
        self.control = np.zeros(len(curvature))

    def train(self, x, c, steps, rate, use_control):
        y = x.astype(np.float64)
        for _ in range(steps):
            drift = c - self.control if use_control else 0.0
            y = y - rate * (self.curvature * (y - self.target) + drift)
        new = self.control - c + (x - y) / (steps * rate)
        delta, change = y - x, new - self.control
        self.control = new
        return np.concatenate([delta, change] if use_control else [delta]).astype(np.float32)


def sites():
    return [
        Quadratic([4.0, 0.2], [1.0, -3.0], 30),
        Quadratic([0.3, 3.0], [-5.0, 2.0], 50),
        Quadratic([1.0, 1.0], [2.0, 6.0], 20),
    ]


def optimum():
    a = sum(site.patients * site.curvature for site in sites())
    return sum(site.patients * site.curvature * site.target for site in sites()) / a


def train(strategy, rounds, absent=lambda number: None):
    algorithm, everybody = algorithm_of(strategy), sites()
    state = algorithm.init(np.zeros(2, np.float32))
    scaffold = isinstance(strategy, Scaffold)
    for number in range(rounds):
        sent = algorithm.outgoing(state)
        x, c = sent[:2], sent[2:] if scaffold else np.zeros(2)
        present = [site for index, site in enumerate(everybody) if index != absent(number)]
        fold = Fold(len(sent), len(everybody))
        for index, site in enumerate(present):
            fold.add(str(index), site.train(x, c, steps=20, rate=0.05, use_control=scaffold), site.patients)
        share = fold.weight / sum(site.patients for site in everybody)
        state = algorithm.step(state, Gathered(fold.combine(), share))
    return state, everybody


def test_scaffold_reaches_the_optimum_that_fedavg_misses():
    ours, _ = train(Scaffold(), rounds=120)
    drifted, _ = train(FedAvg(), rounds=120)
    settled, _ = train(FedAvg(), rounds=240)
    assert np.abs(ours.weights - optimum()).max() < 1e-5
    assert np.abs(drifted.weights - optimum()).max() > 0.5
    assert drifted.weights == pytest.approx(settled.weights, abs=1e-5)  # more rounds do not help it


def test_it_still_does_when_sites_miss_rounds():
    state, _ = train(Scaffold(), rounds=600, absent=lambda number: number % 3 if number % 2 else None)
    assert np.abs(state.weights - optimum()).max() < 1e-3


def test_the_servers_control_stays_the_patient_weighted_mean_of_the_sites():
    state, everybody = train(Scaffold(), rounds=25, absent=lambda number: number % 3 if number % 2 else None)
    patients = np.array([site.patients for site in everybody])
    mean = patients @ np.array([site.control for site in everybody]) / patients.sum()
    assert state.slots["c"] == pytest.approx(mean, abs=1e-5)
    assert np.abs(mean).max() < 10

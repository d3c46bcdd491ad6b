"""The strategies that move by the mean: hand-computed steps, an independent loop, and Flower 1.41's own where right.

What differs in Flower, each shown by a test here: FedAdam, FedYogi and FedAdagrad start v at 0 and not at τ²; FedAdam
multiplies η by Adam's bias correction, with an exponent of one round too many; FedAdagrad has no β₁. With these undone
the two agree. FedAvgM agrees as it is. Flower sums in the order of arrival, and in the precision of the arrays it is
given (float64 here, so that only the algorithm is compared).
"""

import math

import numpy as np
import pytest
from pydantic import TypeAdapter

from fedescc.common.strategy import (
    ROBUST,
    STRATEGIES,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedProx,
    FedYogi,
    Median,
    Strategy,
)
from fedescc.server.strategies.algorithm import algorithm_of
from fedescc.server.strategies.state import Gathered, ServerState
from fedescc.server.training.aggregate import Fold
from fedescc.server.training.spill import Spill
from fedescc.simulations.engines.local_grid import LocalGrid, run_in_process

START = np.array([1.0, -2.0, 0.5, 0.0], np.float32)
UPDATES = np.array([[0.5, -0.25, 1e-5, 0.0], [0.25, 0.5, -1e-5, 0.0], [-0.125, 0.0, 1e-3, 2.0]])
ADAPTIVE = [
    FedAdam(server_learning_rate=0.1, beta_1=0.9, beta_2=0.99, tau=1e-2),
    FedYogi(server_learning_rate=0.1, beta_1=0.9, beta_2=0.9, tau=1e-2),
    FedAdagrad(server_learning_rate=0.1, beta_1=0.5, tau=1e-2),
]


def named(name):
    return TypeAdapter(Strategy).validate_python({"name": name})


def run(strategy, updates=UPDATES, start=START):
    algorithm = algorithm_of(strategy)
    states = [algorithm.init(start)]
    for update in updates:
        states.append(algorithm.step(states[-1], Gathered(update)))
    return states


@pytest.mark.parametrize("strategy", [FedAvg(), FedProx(mu=0.1), Median()])
def test_the_update_is_added_in_double_precision(strategy):
    start = ServerState(np.array([1.0, 1e8], np.float32), round=4)
    end = algorithm_of(strategy).step(start, Gathered(np.array([0.5, 1e-9])))
    assert end.round == 5
    assert end.weights.dtype == np.float32
    assert end.weights.tolist() == [1.5, 1e8]
    assert start.weights.tolist() == [1.0, 1e8]
    third = algorithm_of(strategy).step(ServerState(np.ones(1, np.float32)), Gathered(np.array([1 / 3])))
    assert third.weights[0] == np.float32(1 + 1 / 3)


def test_fedavgm_by_hand():
    states = run(FedAvgM(server_learning_rate=0.5, momentum=0.8), [np.array([1.0]), np.array([2.0])], np.zeros(1, "f4"))
    # m = 1, x = 0.5; m = 0.8 + 2 = 2.8, x = 0.5 + 1.4
    assert [state.weights[0] for state in states] == pytest.approx([0.0, 0.5, 1.9])
    assert states[-1].slots["m"].tolist() == pytest.approx([2.8])


def test_fedavgm_without_momentum_is_fedavg():
    ours = run(FedAvgM(server_learning_rate=1.0, momentum=0.0))[-1]
    assert ours.weights.tobytes() == run(FedAvg())[-1].weights.tobytes()


@pytest.mark.parametrize(
    ("strategy", "m", "v"),
    [
        (FedAdam(server_learning_rate=0.1, beta_1=0.9, beta_2=0.99, tau=0.1), 0.2, 0.99 * 0.01 + 0.01 * 4),
        (FedYogi(server_learning_rate=0.1, beta_1=0.9, beta_2=0.99, tau=0.1), 0.2, 0.01 + 0.01 * 4),
        (FedAdagrad(server_learning_rate=0.1, beta_1=0.0, tau=0.1), 2.0, 0.01 + 4),
    ],
)
def test_the_first_adaptive_step_by_hand(strategy, m, v):
    """Δ = 2, τ = 0.1: v starts at τ² = 0.01, no bias is corrected."""
    first, after = run(strategy, [np.array([2.0])], np.zeros(1, np.float32))
    assert first.slots["v"].tolist() == pytest.approx([0.01])
    assert first.slots["m"].tolist() == [0.0]
    assert after.slots["m"].tolist() == pytest.approx([m])
    assert after.slots["v"].tolist() == pytest.approx([v])
    assert after.weights[0] == pytest.approx(0.1 * m / (math.sqrt(v) + 0.1), rel=1e-6)


def test_yogi_lets_v_fall_only_slowly():
    """v = 4.01 after Δ = 20 with β₂ = .99; then Δ = 0.1: v falls by .01 · Δ² where Adam's falls by .01 · v."""
    strategy = FedYogi(server_learning_rate=0.1, beta_1=0.0, beta_2=0.99, tau=0.1)
    states = run(strategy, [np.array([20.0]), np.array([0.1])], np.zeros(1, np.float32))
    assert states[1].slots["v"][0] == pytest.approx(0.01 + 0.01 * 400)
    assert states[2].slots["v"][0] == pytest.approx(4.01 - 0.01 * 0.01)


def independent(strategy, start, updates):
    """Algorithm 2 of Reddi et al., weight by weight, in Python's own floats."""
    ends = []
    for first, column in zip(start.tolist(), np.asarray(updates).T.tolist(), strict=True):
        x, m, v = first, 0.0, strategy.tau**2
        for delta in column:
            m = strategy.beta_1 * m + (1 - strategy.beta_1) * delta
            if isinstance(strategy, FedAdagrad):
                v += delta**2
            elif isinstance(strategy, FedAdam):
                v = strategy.beta_2 * v + (1 - strategy.beta_2) * delta**2
            else:
                v -= (1 - strategy.beta_2) * delta**2 * ((v > delta**2) - (v < delta**2))
            x = float(np.float32(x + strategy.server_learning_rate * m / (math.sqrt(v) + strategy.tau)))
        ends.append(x)
    return ends


@pytest.mark.parametrize("strategy", ADAPTIVE, ids=lambda s: s.name)
def test_many_rounds_equal_an_independent_loop(strategy):
    updates = np.random.default_rng(1).standard_normal((40, 4)) * [1, 1e-3, 10, 0]
    end = run(strategy, updates)[-1]
    assert end.weights.tolist() == pytest.approx(independent(strategy, START, updates), rel=1e-6)
    assert end.round == 40


def flower(strategy, updates, before=lambda strategy, number: None):
    """Flower's strategy over sites that all return the same float64 update; ``before`` each round, a correction."""
    from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp

    run_in_process(lambda grid, context: None, LocalGrid(ClientApp(), [], {}), {})  # messages need a run
    weights = START.astype(np.float64)
    for number, update in enumerate(updates, start=1):
        if number == 1 or not hasattr(strategy, "momentum_vector"):
            record = ArrayRecord({"w": Array(weights)})
            strategy.current_arrays = record if hasattr(strategy, "momentum_vector") else {"w": weights}
        before(strategy, number)
        replies = [
            Message(
                RecordDict(
                    {"arrays": ArrayRecord({"w": Array(weights + part)}), "metrics": MetricRecord({"num-examples": n})}
                ),
                node,
                "train",
            )
            for node, (part, n) in enumerate([(update + 0.3, 10), (update - 0.1, 30)], start=1)
        ]
        arrays, _ = strategy.aggregate_train(number, replies)
        weights = arrays["w"].numpy()
    return weights


def flowers(strategy):
    from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedYogi

    kinds = {"fedadam": FedAdam, "fedyogi": FedYogi, "fedadagrad": FedAdagrad}
    settings = {"eta": strategy.server_learning_rate, "tau": strategy.tau}
    if strategy.name != "fedadagrad":
        settings |= {"beta_1": strategy.beta_1, "beta_2": strategy.beta_2}
    return kinds[strategy.name](**settings)


def as_the_paper_has_it(settings):
    """Start Flower's v at τ² and take its FedAdam's bias correction out of η again."""

    def before(strategy, number):
        if number == 1:
            strategy.v_t = {"w": np.full(4, settings.tau**2)}
        if settings.name == "fedadam":
            correction = math.sqrt(1 - settings.beta_2 ** (number + 1)) / (1 - settings.beta_1 ** (number + 1))
            strategy.eta = settings.server_learning_rate / correction
        if settings.name == "fedadagrad":
            strategy.beta_1 = settings.beta_1

    return before


def test_fedavgm_equals_flowers():
    from flwr.serverapp.strategy import FedAvgM as FlowersFedAvgM

    theirs = flower(FlowersFedAvgM(server_learning_rate=0.7, server_momentum=0.9), UPDATES)
    ours = run(FedAvgM(server_learning_rate=0.7, momentum=0.9))[-1].weights
    assert ours.tolist() == pytest.approx(theirs.tolist(), rel=1e-6)


@pytest.mark.parametrize("strategy", ADAPTIVE, ids=lambda s: s.name)
def test_the_adaptive_ones_equal_flowers_once_it_starts_as_the_paper_does(strategy):
    theirs = flower(flowers(strategy), UPDATES, as_the_paper_has_it(strategy))
    assert run(strategy)[-1].weights.tolist() == pytest.approx(theirs.tolist(), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("strategy", ADAPTIVE, ids=lambda s: s.name)
def test_flowers_first_step_is_as_long_for_a_tiny_update(strategy):
    """v = 0 at the start: Δ = 10⁻³ τ moves nothing here and, with Flower, about a tenth of what Δ = 1 does or more."""
    tiny = strategy.tau * 1e-3
    same = strategy.model_copy(update={"tau": 1e-9})  # Flower's τ guards against 0 / 0 and no more
    theirs = flower(flowers(same), [np.array([tiny, 1.0, tiny, 1.0])]) - START
    ours = run(strategy, [np.array([tiny, 1.0, tiny, 1.0])])[-1].weights - START
    assert abs(theirs[0]) > 0.9 * abs(theirs[1])
    assert abs(ours[0]) < 0.03 * abs(ours[1])


def test_a_step_changes_no_array_of_its_state():
    for name in STRATEGIES:
        algorithm = algorithm_of(named(name))
        state = algorithm.init(START)
        before = {key: slot.copy() for key, slot in state.slots.items()}
        update = np.ones(len(algorithm.outgoing(state)))
        after = algorithm.step(state, Gathered(update))
        assert state.weights.tolist() == START.tolist()
        assert all(np.array_equal(state.slots[key], slot) for key, slot in before.items())
        assert after.weights.dtype == np.float32
        assert set(after.slots) == set(state.slots)
        assert np.array_equal(update, np.ones(len(update)))


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_robust_ones_see_every_update_and_the_others_only_a_sum(name):
    algorithm = algorithm_of(named(name))
    with algorithm.gather(4, 5) as gather:
        assert isinstance(gather, Spill if name in ROBUST else Fold)
    assert algorithm.fewest_sites == {"krum": 5, "multi_krum": 5, "median": 3, "trimmed_mean": 3}.get(name, 1)

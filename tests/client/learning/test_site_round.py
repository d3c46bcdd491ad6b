"""A site's round against independent arithmetic: SCAFFOLD's fixed point, Ditto's steps, and what stays at the site."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from torch import nn

from fedescc.client.learning.dataset import SiteTensors
from fedescc.client.learning.personal import own_places, weights_here
from fedescc.client.learning.schedule import Turn, learning_rate
from fedescc.client.learning.site_round import SiteRound
from fedescc.client.learning.train import train_round
from fedescc.client.state import SiteState
from fedescc.common.arrays import flatten_parameters, load_parameters
from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation
from fedescc.common.network.model import LinearModel, build_model
from fedescc.common.study import Study
from fedescc.common.wire import Request

Floats = np.ndarray
SIZE = 3
PLAIN = {
    "optimizer": "sgd", "learning_rate": 0.5, "schedule": "constant", "weight_decay": 0, "batch_size": 512,
    "local_updates": 5, "class_weight": "none", "gradient_clip": None,
}  # fmt: skip
N_CLINICAL = 5


def federation(strategy: str = "fedavg", **changes: Any) -> Federation:
    training = {**PLAIN, **changes.pop("training", {})}
    return Federation.model_validate({"strategy": {"name": strategy}, "rounds": 400, "training": training, **changes})


def patients(seed: int, count: int, centre: float, slope: float) -> SiteTensors:
    """A site whose two covariates and whose labels follow a law of its own."""
    rng = np.random.default_rng(seed)
    x = rng.normal([centre, -centre], 1.0, (count, 2))
    y = rng.random(count) < expit(slope * x[:, 0] + x[:, 1])
    return SiteTensors(
        np.arange(count), None, None, torch.zeros(count, 0),
        torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.float32)),
    )  # fmt: skip


SITES = {"a": patients(1, 60, 1.5, 2.0), "b": patients(2, 30, -1.5, -1.0)}


class Sites:
    """Sites with a linear model, each with a memory of its own."""

    def __init__(self, settings: Federation, sites: dict[str, SiteTensors] = SITES) -> None:
        self.settings, self.sites = settings, sites
        self.states = {name: SiteState() for name in sites}

    def ask(
        self, name: str, number: int, weights: Floats, control: Floats | None = None, **task: Any
    ) -> tuple[Floats, float]:
        weights = np.asarray(weights, np.float32)
        task |= {"run": "ab" * 8, "round": number, "federation": self.settings.model_dump(mode="json")}
        request = Request("0" * 64, task, weights)
        model = LinearModel(SIZE - 1)
        load_parameters(model, weights_here(self.states[name], request, model))
        work = SiteRound(name, self.states[name], request, self.settings)
        server = None if control is None else np.asarray(control, np.float32)
        update, result = work.train(model, self.sites[name], server)
        return update, result.rates

    def share(self, name: str) -> float:
        return len(self.sites[name]) / sum(len(tensors) for tensors in self.sites.values())

    def run(self, rounds: int) -> Floats:
        """Rounds of SCAFFOLD (or FedAvg) with every site in each; the server's weights."""
        scaffold = self.settings.strategy.name == "scaffold"
        x, c = np.zeros(SIZE), np.zeros(SIZE)
        for number in range(1, rounds + 1):
            updates = {name: self.ask(name, number, x, c if scaffold else None)[0] for name in self.sites}
            mean = sum(self.share(name) * update.astype(np.float64) for name, update in updates.items())
            x = x + mean[:SIZE]
            if scaffold:
                c = c + mean[SIZE:]
        return x


def gradient(tensors: SiteTensors, w: Floats) -> Floats:
    """Of the mean logistic loss, bias first, as the flat parameters are ordered."""
    x, y = tensors.clinical.numpy().astype(np.float64), tensors.labels.numpy().astype(np.float64)
    residual = (expit(w[0] + x @ w[1:]) - y) / len(y)
    return np.concatenate([[residual.sum()], residual @ x])


def pooled_optimum() -> Floats:
    x = np.concatenate([tensors.clinical.numpy() for tensors in SITES.values()])
    y = np.concatenate([tensors.labels.numpy() for tensors in SITES.values()])
    fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x.astype(np.float64), y)
    return np.concatenate([fit.intercept_, fit.coef_[0]])


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_scaffold_follows_an_independent_implementation(schedule: str) -> None:
    rounds, training = 6, {"schedule": schedule, "weight_decay": 0.05, "warmup": 0.3}
    settings = federation("scaffold", rounds=rounds, training=training)
    sites, x, c = Sites(settings), np.zeros(SIZE), np.zeros(SIZE)
    own = {name: np.zeros(SIZE) for name in SITES}
    for number in range(1, rounds + 1):
        moves, changes = [], []
        for name, tensors in SITES.items():
            y, rates = x.copy(), []
            for step in range(5):
                done, width = (number - 1 + step / 5) / rounds, 1 / (5 * rounds)
                rates.append(learning_rate(settings.training, done, width))
                y = y - rates[-1] * (gradient(tensors, y) + 0.05 * y + c - own[name])
            after = own[name] - c + (x - y) / sum(rates)
            update, summed = sites.ask(name, number, x, c)
            assert update == pytest.approx(np.concatenate([y - x, after - own[name]]), abs=2e-5)
            assert summed == pytest.approx(sum(rates))
            moves.append(sites.share(name) * (y - x))
            changes.append(sites.share(name) * (after - own[name]))
            own[name] = after
        x, c = x + sum(moves), c + sum(changes)
    assert np.abs(x).max() > 0.1


def test_scaffold_ends_at_the_pooled_optimum_where_fedavg_does_not() -> None:
    optimum = pooled_optimum()
    averaged, corrected = Sites(federation("fedavg")).run(40), Sites(federation("scaffold")).run(80)
    assert corrected == pytest.approx(optimum, abs=1e-3)
    assert np.abs(averaged - optimum).max() > 0.05


def test_a_clip_below_the_sites_own_gradients_leaves_the_optimum_where_it_is() -> None:
    optimum = pooled_optimum()
    at_optimum = [float(np.linalg.norm(gradient(tensors, optimum))) for tensors in SITES.values()]
    found = Sites(federation("scaffold", training={"gradient_clip": min(at_optimum) / 2})).run(90)
    assert found == pytest.approx(optimum, abs=2e-3)


def test_a_round_asked_for_again_gets_the_same_answer_and_counts_once() -> None:
    sites, x, c = Sites(federation("scaffold")), np.full(SIZE, 0.1), np.full(SIZE, 0.02)
    first, _ = sites.ask("a", 1, x, c)
    again, _ = sites.ask("a", 1, x, c)
    assert np.array_equal(first, again)
    second, _ = sites.ask("a", 2, x + 0.1, c)
    repeated, _ = sites.ask("a", 2, x + 0.1, c)
    assert np.array_equal(second, repeated)
    once = Sites(federation("scaffold"))
    once.ask("a", 1, x, c)
    assert np.array_equal(once.ask("a", 2, x + 0.1, c)[0], second)
    assert not np.array_equal(Sites(federation("scaffold")).ask("a", 2, x + 0.1, c)[0], second)


def test_a_reply_that_the_server_never_counted_is_forgotten() -> None:
    x, c = np.full(SIZE, 0.1), np.full(SIZE, 0.02)
    lost, missed = Sites(federation("scaffold")), Sites(federation("scaffold"))
    for sites in (lost, missed):
        sites.ask("a", 1, x, c)
    lost.ask("a", 2, x + 0.1, c)
    told, _ = lost.ask("a", 3, x + 0.2, c, counted={"a": 1, "b": 2})
    assert np.array_equal(told, missed.ask("a", 3, x + 0.2, c)[0])
    assert not np.array_equal(told, lost.ask("a", 3, x + 0.2, c)[0])


def test_a_counted_round_that_is_not_here_is_refused() -> None:
    sites = Sites(federation("scaffold"))
    with pytest.raises(Refusal, match="state-lost"):
        sites.ask("a", 3, np.zeros(SIZE), np.zeros(SIZE), counted={"a": 2})
    sites.ask("a", 3, np.zeros(SIZE), np.zeros(SIZE), counted={"b": 2})


@pytest.mark.parametrize("counted", [["a"], {"a": "1"}, {"a": 3}, {"a": -1}, {"a": True}])
def test_counted_rounds_that_make_no_sense_are_refused(counted: Any) -> None:
    with pytest.raises(Refusal, match="malformed-message"):
        Sites(federation("scaffold")).ask("a", 3, np.zeros(SIZE), np.zeros(SIZE), counted=counted)


def test_a_control_of_another_size_is_refused() -> None:
    with pytest.raises(Refusal, match="wrong-parameters"):
        Sites(federation("scaffold")).ask("a", 1, np.zeros(SIZE), np.zeros(SIZE + 1))


def test_training_that_diverges_leaves_the_state_as_it_was() -> None:
    sites = Sites(federation("scaffold", personalisation={"kind": "ditto"}))
    sites.ask("a", 1, np.zeros(SIZE), np.zeros(SIZE))
    with pytest.raises(Refusal, match="training-diverged"):
        sites.ask("a", 2, np.full(SIZE, 3e38), np.zeros(SIZE))
    fresh = Sites(federation("scaffold", personalisation={"kind": "ditto"}))
    fresh.ask("a", 1, np.zeros(SIZE), np.zeros(SIZE))
    ahead = [one.ask("a", 3, np.ones(SIZE), np.zeros(SIZE))[0] for one in (sites, fresh)]
    assert np.array_equal(*ahead)


def evaluated(sites: Sites, name: str, weights: Floats, **task: Any) -> Floats:
    """The parameters that a site evaluates when it is sent some weights."""
    settings = sites.settings.model_dump(mode="json")
    request = Request("0" * 64, {"run": "ab" * 8, "federation": settings, **task}, np.asarray(weights, np.float32))
    return weights_here(sites.states[name], request, LinearModel(SIZE - 1))


def test_ditto_follows_its_closed_form_and_leaves_the_shared_update_alone() -> None:
    attraction, rate = 0.8, 0.5
    settings = federation("fedavg", personalisation={"kind": "ditto", "attraction": attraction})
    sites, plain = Sites(settings), Sites(federation("fedavg"))
    received = [np.zeros(SIZE), np.array([0.3, -0.2, 0.5]), np.array([0.1, 0.4, -0.3])]
    v = received[0]
    for number, w in enumerate(received, start=1):
        for _ in range(5):
            v = v - rate * (gradient(SITES["a"], v) + attraction * (v - w))
        update, _ = sites.ask("a", number, w)
        assert np.array_equal(update, plain.ask("a", number, w)[0])
        assert evaluated(sites, "a", np.ones(SIZE)) == pytest.approx(v, abs=1e-5)
    assert np.abs(v - received[-1]).max() > 0.05


def test_a_shared_model_is_evaluated_with_what_its_round_started_from() -> None:
    settings = federation("fedavg", personalisation={"kind": "ditto"}, selection={"keep": "best"})
    sites, models = Sites(settings), [np.full(SIZE, 0.1 * number) for number in range(4)]
    owns = []
    for number, model in enumerate(models, start=1):
        sites.ask("a", number, model)
        owns.append(evaluated(sites, "a", np.full(SIZE, 9)))
    assert np.array_equal(evaluated(sites, "a", models[0]), models[0].astype(np.float32))
    for model, own in zip(models[1:], owns, strict=False):
        assert np.array_equal(evaluated(sites, "a", model), own)
    assert np.array_equal(evaluated(sites, "a", np.zeros(SIZE), round=3), owns[1])


def test_a_site_that_never_trained_evaluates_dittos_shared_model() -> None:
    sites = Sites(federation("fedavg", personalisation={"kind": "ditto"}))
    assert np.array_equal(evaluated(sites, "b", np.ones(SIZE)), np.ones(SIZE, np.float32))


def test_a_comparators_model_is_evaluated_as_it_is() -> None:
    sites = Sites(federation("fedavg", personalisation={"kind": "ditto"}))
    sites.ask("a", 1, np.zeros(SIZE))
    assert np.array_equal(evaluated(sites, "a", np.ones(SIZE), model="linear"), np.ones(SIZE, np.float32))


class Images:
    """One site with the paired network."""

    def __init__(self, study: Study, tensors: SiteTensors, kind: str, strategy: str = "fedavg") -> None:
        training = {"batch_size": 4, "local_updates": 2}
        self.settings = federation(strategy, training=training, personalisation={"kind": kind})
        self.state, self.tensors = SiteState(), tensors
        self.model: nn.Module = build_model(study, N_CLINICAL, seed=0)
        self.places = own_places(self.model, self.settings.personalisation.kind)

    def here(self, weights: Floats, **task: Any) -> Floats:
        full = {"run": "ab" * 8, "federation": self.settings.model_dump(mode="json"), **task}
        return weights_here(self.state, Request("0" * 64, full, weights), self.model)

    def ask(self, number: int, weights: Floats, control: Floats | None = None) -> Floats:
        request = Request("0" * 64, {"run": "ab" * 8, "round": number}, weights)
        load_parameters(self.model, self.here(weights, round=number))
        return SiteRound("a", self.state, request, self.settings).train(self.model, self.tensors, control)[0]


@pytest.fixture(params=["local_head", "local_norm"])
def images(request: pytest.FixtureRequest, imaging_study: Study, make_tensors: Callable[..., SiteTensors]) -> Images:
    return Images(imaging_study, make_tensors(imaging_study, 6), request.param)


def test_a_sites_own_part_never_leaves_and_goes_on_from_round_to_round(images: Images) -> None:
    first, own = flatten_parameters(images.model), images.places
    update = images.ask(1, first)
    assert not update[own].any()
    assert np.abs(update[~own]).min(initial=0) == 0
    assert np.abs(update[~own]).max() > 0
    kept = flatten_parameters(images.model)[own]
    assert not np.array_equal(kept, first[own])
    other = np.full_like(first, 0.01)
    here = images.here(other)
    assert np.array_equal(here[own], kept)
    assert np.array_equal(here[~own], other[~own])


def test_the_update_is_that_of_training_from_the_own_part(images: Images) -> None:
    first = flatten_parameters(images.model)
    images.ask(1, first)
    mixed = images.here(first + np.float32(0.01), round=2)
    update = images.ask(2, first + np.float32(0.01))
    load_parameters(images.model, mixed)
    turn = Turn(0, 2, images.settings.rounds, "a")
    plain = train_round(images.model, images.tensors, images.settings.training, turn)
    assert np.array_equal(update, np.where(images.places, 0, plain.delta))


def test_a_round_with_an_own_part_repeats_bit_for_bit(images: Images) -> None:
    first = flatten_parameters(images.model)
    images.ask(1, first)
    second, again = images.ask(2, first), images.ask(2, first)
    assert np.array_equal(second, again)


def test_a_site_that_never_trained_its_part_refuses_to_evaluate(images: Images) -> None:
    with pytest.raises(Refusal, match="never-trained-here"):
        images.here(flatten_parameters(images.model))


def test_weights_of_another_size_are_refused_where_a_site_has_its_own_part(images: Images) -> None:
    first = flatten_parameters(images.model)
    images.ask(1, first)
    with pytest.raises(Refusal, match="wrong-parameters"):
        images.here(first[:-1])


@pytest.mark.parametrize("kind", ["local_head", "local_norm"])
def test_scaffold_has_no_control_of_what_stays(
    imaging_study: Study, make_tensors: Callable[..., SiteTensors], kind: str
) -> None:
    images = Images(imaging_study, make_tensors(imaging_study, 6), kind, "scaffold")
    first = flatten_parameters(images.model)
    update = images.ask(1, first, np.zeros_like(first))
    delta, control = np.split(update, 2)
    assert not delta[images.places].any()
    assert not control[images.places].any()
    assert np.abs(control[~images.places]).max() > 0


def test_rotations_know_the_grid(imaging_study: Study, make_tensors: Callable[..., SiteTensors]) -> None:
    tensors = make_tensors(imaging_study, 6)
    affine = {"flips": False, "shift_voxels": 0, "intensity": 0, "affine": {"probability": 1.0}}
    settings = federation(training={"augmentation": affine, "local_updates": 1}).training
    deltas = []
    for spacing in ((1.0, 1.0, 1.0), (3.0, 3.0, 3.0), (3.0, 1.0, 1.0)):
        model = build_model(imaging_study, N_CLINICAL, seed=0)
        turn = Turn(0, 1, 1, "a")
        deltas.append(train_round(model, tensors, settings, turn, spacing_zyx_mm=spacing).delta)
    assert np.allclose(deltas[0], deltas[1], atol=1e-6)
    assert not np.allclose(deltas[0], deltas[2], atol=1e-6)

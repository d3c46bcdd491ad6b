"""The federation file and its overrides."""

from typing import Any

import pytest

from fedescc.common.errors import Refusal
from fedescc.common.federation import Federation, read_federation, require_fit
from fedescc.common.strategy import STRATEGIES, FedAdam, FedAvg


def test_empty_text_gives_the_defaults() -> None:
    settings = read_federation("", "f")
    assert settings == Federation()
    assert (settings.rounds, settings.strategy.name, settings.training.local_epochs) == (12, "fedavg", 2)


def test_yaml_round_trip() -> None:
    text = "rounds: 5\ntraining: {local_updates: 7, learning_rate: 0.1}"
    settings = read_federation(text, "f")
    assert read_federation(settings.to_yaml(), "g") == settings
    assert settings.training.local_epochs is None


def test_overrides_win_over_the_file() -> None:
    overrides = ("rounds=3", "training.learning_rate=1e-2", "strategy.name=fedprox", "strategy.mu=0.01")
    settings = read_federation("rounds: 5\nseed: 4", "f", overrides)
    assert (settings.rounds, settings.seed, settings.strategy.mu) == (3, 4, 0.01)
    assert settings.training.learning_rate == 0.01


@pytest.mark.parametrize(
    ("text", "override", "expected"),
    [
        ("training: {local_epochs: 2}", "training.local_updates=9", (None, 9)),
        ("training: {local_updates: 9}", "training.local_epochs=2", (2, None)),
    ],
)
def test_work_is_given_in_one_unit_and_an_override_changes_it(
    text: str, override: str, expected: tuple[Any, Any]
) -> None:
    training = read_federation(text, "f", (override,)).training
    assert (training.local_epochs, training.local_updates) == expected


@pytest.mark.parametrize(
    ("text", "override", "part"),
    [
        ("", "rounds", "is not KEY=VALUE"),
        ("", "=3", "is not KEY=VALUE"),
        ("", "rounds.more=3", "rounds: Input should be"),
        ("rounds: 3", "rounds.more=3", "holds a value, not keys"),
        ("", "round=3", "round: unknown key"),
        ("", "rounds=0", "rounds"),
        ("", "rounds=[", "not valid YAML"),
        ("", "strategy.name=fedsomething", "no such strategy; choose one of: fedavg, fedprox"),
        ("strategy: {name: fedprox, mu: 0}", "rounds=3", "strategy.fedprox.mu: Input should be greater than 0"),
        ("", "strategy.mu=0.1", "strategy.fedavg.mu: unknown key"),
        ("", "deadline_seconds=.inf", "deadline_seconds"),
        ("", "training.learning_rate=-1", "training.learning_rate"),
        ("training: {local_epochs: 1, local_updates: 2}", "seed=1", "not both"),
        ("training: {local_epochs: null}", "seed=1", "local_epochs or local_updates"),
    ],
)
def test_faults_are_refused(text: str, override: str, part: str) -> None:
    with pytest.raises(Refusal) as caught:
        read_federation(text, "f", (override,))
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_choosing_another_strategy_drops_the_settings_of_the_files_own() -> None:
    text = "strategy: {name: fedadam, tau: 0.1}"
    assert read_federation(text, "file", ("strategy.name=fedavg",)).strategy == FedAvg()
    assert read_federation(text, "file", ("strategy.name=fedadam",)).strategy == FedAdam(tau=0.1)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_can_be_named(name: str) -> None:
    overrides = ("training.optimizer=sgd", f"strategy.name={name}")
    assert read_federation("", "file", overrides).strategy.name == name


@pytest.mark.parametrize(("text", "mu"), [("", 0.01), ("strategy: {name: fedprox, mu: 0.1}", 0.1)])
def test_choosing_fedprox_keeps_the_files_mu(text: str, mu: float) -> None:
    assert read_federation(text, "file", ("strategy.name=fedprox",)).strategy.mu == mu


@pytest.mark.parametrize("training", ["{}", "{optimizer: adamw}", "{optimizer: sgd, momentum: 0.9}"])
def test_scaffold_without_plain_sgd_is_refused_with_what_to_set(training: str) -> None:
    with pytest.raises(Refusal, match=r"set training\.optimizer to sgd and momentum to 0"):
        read_federation(f"strategy: {{name: scaffold}}\ntraining: {training}", "f")


@pytest.mark.parametrize("kind", ["local_head", "local_norm"])
def test_a_linear_model_cannot_keep_a_part_of_itself(kind: str) -> None:
    settings = Federation.model_validate({"personalisation": {"kind": kind}})
    require_fit(settings, "paired_cnn")
    with pytest.raises(Refusal, match=f"{kind}: a linear model has no part.*set it to ditto or none"):
        require_fit(settings, "linear")


@pytest.mark.parametrize("kind", ["none", "ditto"])
def test_a_linear_model_can_be_shared_or_held_near_the_shared_one(kind: str) -> None:
    require_fit(Federation.model_validate({"personalisation": {"kind": kind}}), "linear")

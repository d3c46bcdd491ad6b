"""Under which settings each strategy runs in a sweep: sensible ones, not tuned ones, and why they differ."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fedescc.common.federation import Federation
from fedescc.common.yamlfile import check_model

Settings = dict[str, Any]


def cell_federation(strategy: str, sites: int, rounds: int, seed: int) -> Federation:
    """The federation file of a strategy: `TRAINING` and its own settings from `CHOSEN`."""
    chosen = CHOSEN[strategy]
    return check_model(
        {
            "strategy": {"name": strategy} | chosen.strategy(sites),
            "rounds": rounds,
            "seed": seed,
            "training": TRAINING | chosen.training,
        },
        Federation,
        f"the sweep's settings for {strategy}",
    )


@dataclass(frozen=True)
class Chosen:
    """A strategy's own settings: what differs from the defaults, and why.

    Attributes:
        why: in one sentence.
        strategy: settings of the strategy itself, for a number of sites.
        training: settings of local training over `TRAINING`.

    """

    why: str
    strategy: Callable[[int], Settings] = lambda _: {}
    training: Settings = field(default_factory=dict)


def _byzantine(sites: int) -> Settings:
    return {"byzantine": max(0, min(1, (sites - 3) // 2))}


TRAINING: Settings = {"optimizer": "adamw", "learning_rate": 0.01, "local_epochs": 2, "schedule": "cosine"}
_SGD: Settings = {"optimizer": "sgd", "learning_rate": 1.0, "weight_decay": 0.0, "gradient_clip": 1.0}

CHOSEN: dict[str, Chosen] = {
    "fedavg": Chosen("the reference: AdamW at the sites, the plain mean at the server"),
    "fedprox": Chosen("as fedavg, with a mu at which the proximal term is felt", lambda _: {"mu": 0.1}),
    "fedavgm": Chosen(
        "momentum .9 makes a lasting step ten times as long, so the server's rate is a third",
        lambda _: {"server_learning_rate": 0.3},
    ),
    "fedadam": Chosen("as fedavg, the server's rate as shipped"),
    "fedyogi": Chosen("as fedadam"),
    "fedadagrad": Chosen(
        "its first steps are as long as its rate, and .1 throws the weights about",
        lambda _: {"server_learning_rate": 0.03},
    ),
    "scaffold": Chosen(
        "its controls correct plain SGD and no other optimiser; clipped to length 1, few steps need a high rate",
        training=_SGD,
    ),
    "trimmed_mean": Chosen("as fedavg; one site is cut at either end"),
    "median": Chosen("as fedavg"),
    "krum": Chosen("as fedavg; one faulty site assumed where there are five (2f + 3)", _byzantine),
    "multi_krum": Chosen("as krum", _byzantine),
}

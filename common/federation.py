"""The federation file: how the rounds run. The study says what is learned, this says how."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedescc.common.errors import Refusal
from fedescc.common.strategy import FedAvg, FedProx, Strategy
from fedescc.common.yamlfile import Strict, check_model, parse_mapping

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=100_000)]
# What a server may ask of a site in one round: beyond these it is a mistake, or an attack on the site's time.
Rate = Annotated[float, Field(gt=0, le=1e3)]
Epochs = Annotated[int, Field(ge=1, le=1000)]
Updates = Annotated[int, Field(ge=1, le=10_000)]


def proximal_weight(strategy: Strategy) -> float:
    """FedProx's mu, which acts at the site; 0 under every other strategy."""
    return strategy.mu if isinstance(strategy, FedProx) else 0.0


class Affine(Strict):
    """Random rotation (degrees, about each axis), scaling (share) of a training batch, by MONAI."""

    degrees: Annotated[float, Field(ge=0, le=45)] = 10.0
    scale: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    probability: Share = 0.5


class Augmentation(Strict):
    """Random changes of training images: flips, integer shifts (voxels), intensity jitter, optionally affine."""

    flips: bool = True
    shift_voxels: Annotated[int, Field(ge=0, le=16)] = 3
    intensity: Annotated[float, Field(ge=0, le=0.5)] = 0.03
    affine: Affine | None = None


class Training(Strict):
    """What a site does in one round; either passes over its data or a fixed number of updates."""

    optimizer: Literal["sgd", "adamw"] = "adamw"
    learning_rate: Rate = 1e-2
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of all steps over which the rate rises from 0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0, le=1e3)] = 1e-2
    batch_size: Annotated[int, Field(ge=2, le=1024)] = 8
    micro_batch: Annotated[int, Field(ge=2, le=1024)] | None = None  # gradients of a batch gather in pieces this large
    local_epochs: Epochs | None = 2
    local_updates: Updates | None = None
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    class_weight: Literal["none", "balanced"] = "balanced"
    gradient_clip: Positive | None = 1.0
    mixed_precision: bool = True
    augmentation: Augmentation = Augmentation()

    @model_validator(mode="before")
    @classmethod
    def _updates_replace_epochs(cls, data: object) -> object:
        if isinstance(data, dict) and data.get("local_updates") is not None:
            if data.get("local_epochs") is not None:
                msg = "give local_epochs or local_updates, not both"
                raise ValueError(msg)
            return {**data, "local_epochs": None}
        return data

    @model_validator(mode="after")
    def _some_work(self) -> Self:
        if self.local_epochs is None and self.local_updates is None:
            msg = "give local_epochs or local_updates"
            raise ValueError(msg)
        return self


class Personalisation(Strict):
    """What stays at a site.

    ``ditto``: each site also trains a model of its own, held near the shared one (Li et al., ICML 2021);
    ``local_head``: the fusion head never leaves (FedPer, Arivazhagan et al. 2019); ``local_norm``: the affine
    parameters of the normalisation layers never leave (FedBN, Li et al., ICLR 2021).
    """

    kind: Literal["none", "ditto", "local_head", "local_norm"] = "none"
    attraction: Positive = 0.1  # of Ditto's own model to the shared one


class Selection(Strict):
    """Which round's model is kept, by the federation's validation patients; never by test patients."""

    keep: Literal["last", "best"] = "last"
    patience: Count | None = None  # rounds without a better one after which training stops


class Pretraining(Strict):
    """Rounds of self-supervised training of the encoder before the first round; no label is used."""

    rounds: Annotated[int, Field(ge=0, le=100_000)] = 0
    learning_rate: Rate = 3e-3
    local_epochs: Epochs = 2


class Federation(Strict):
    """A federation file, checked. See configs/federation.example.yaml."""

    strategy: Strategy = FedAvg()
    rounds: Count = 12
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    min_sites: Count = 2
    deadline_seconds: Positive = 3600.0
    selection: Selection = Selection()
    pretraining: Pretraining = Pretraining()
    personalisation: Personalisation = Personalisation()
    training: Training = Training()

    @model_validator(mode="after")
    def _scaffold_corrects_plain_steps(self) -> Self:
        plain = self.training.optimizer == "sgd" and not self.training.momentum
        if self.strategy.name == "scaffold" and not plain:
            msg = "strategy scaffold corrects plain gradient steps: set training.optimizer to sgd and momentum to 0"
            raise ValueError(msg)
        return self

    def to_yaml(self) -> str:
        """The settings as YAML text with every default filled in."""
        import yaml

        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def require_fit(federation: Federation, model_kind: str) -> None:
    """Refuse settings that the study's kind of model cannot follow.

    Raises:
        Refusal: ``nothing-personal``, a linear model has neither a head of its own nor normalisation layers.

    """
    kind = federation.personalisation.kind
    if model_kind == "linear" and kind in ("local_head", "local_norm"):
        raise Refusal(
            "nothing-personal",
            f"personalisation.kind {kind}: a linear model has no part that could stay at a site",
            "set it to ditto or none",
        )


def read_federation(text: str, name: str, overrides: tuple[str, ...] = ()) -> Federation:
    """Settings out of YAML text, with ``KEY=VALUE`` overrides (dotted keys, YAML values) laid over it.

    Raises:
        Refusal: bad YAML, an unknown key or strategy, a value out of range, or an override without ``=``.

    """
    data = parse_mapping(text, name) if text.strip() else {}
    for override in overrides:
        _lay_over(data, override)
    return check_model(data, Federation, name)


def _lay_over(data: dict[str, object], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise Refusal(
            "invalid-override",
            f"--set {override!r} is not KEY=VALUE",
            "for example --set training.learning_rate=0.01",
        )
    *parents, last = key.strip().split(".")
    for parent in parents:
        branch = data.setdefault(parent, {})
        if not isinstance(branch, dict):
            raise Refusal(
                "invalid-override",
                f"--set {key}: {parent!r} holds a value, not keys",
                "see configs/federation.example.yaml",
            )
        data = branch
    chosen = parse_mapping(f"value: {value}", f"--set {key}")["value"]
    if (parents, last) == (["strategy"], "name") and data.get("name", chosen) != chosen:
        data.clear()  # another strategy has other settings
    data[last] = chosen
    instead = {"local_updates": "local_epochs", "local_epochs": "local_updates"}
    if last in instead:
        data.pop(instead[last], None)

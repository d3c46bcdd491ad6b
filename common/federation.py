"""The federation file: how the rounds run. The study says what is learned, this says how."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedescc.common.errors import Refusal
from fedescc.common.yamlfile import Strict, check_model, parse_mapping

Positive = Annotated[float, Field(gt=0)]
DEFAULT_MU = 0.01
Count = Annotated[int, Field(ge=1, le=100_000)]


class Strategy(Strict):
    """Aggregation rule: FedAvg (McMahan 2017) or FedProx (Li 2020, proximal weight ``mu``, 0.01 if not given)."""

    name: Literal["fedavg", "fedprox"] = "fedavg"
    mu: Annotated[float, Field(ge=0, le=100)] = 0.0

    @model_validator(mode="before")
    @classmethod
    def _fedprox_has_a_default(cls, data: object) -> object:
        if isinstance(data, dict) and data.get("name") == "fedprox":
            return {"mu": DEFAULT_MU, **data}
        return data

    @model_validator(mode="after")
    def _mu_belongs_to_fedprox(self) -> Self:
        if self.name == "fedprox" and self.mu == 0:
            msg = "fedprox needs mu > 0 (try 0.01)"
            raise ValueError(msg)
        if self.name == "fedavg" and self.mu != 0:
            msg = "mu is FedProx's proximal weight; fedavg has none"
            raise ValueError(msg)
        return self


class Augmentation(Strict):
    """Random changes of training images: flips, integer shifts (voxels) and intensity jitter."""

    flips: bool = True
    shift_voxels: Annotated[int, Field(ge=0, le=16)] = 3
    intensity: Annotated[float, Field(ge=0, le=0.5)] = 0.03


class Training(Strict):
    """What a site does in one round; either passes over its data or a fixed number of updates."""

    optimizer: Literal["sgd", "adamw"] = "adamw"
    learning_rate: Positive = 1e-2
    schedule: Literal["constant", "cosine"] = "cosine"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    batch_size: Annotated[int, Field(ge=2, le=1024)] = 8
    local_epochs: Count | None = 2
    local_updates: Count | None = None
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


class Federation(Strict):
    """A federation file, checked. See configs/federation.example.yaml."""

    strategy: Strategy = Strategy()
    rounds: Count = 12
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    min_sites: Count = 2
    deadline_seconds: Positive = 3600.0
    training: Training = Training()

    def to_yaml(self) -> str:
        """The settings as YAML text with every default filled in."""
        import yaml

        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


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
    data[last] = parse_mapping(f"value: {value}", f"--set {key}")["value"]
    instead = {"local_updates": "local_epochs", "local_epochs": "local_updates"}
    if last in instead:
        data.pop(instead[last], None)

"""The strategies a federation file can name, each with its own settings and no others."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from fedescc.common.yamlfile import Strict

Rate = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class FedAvg(Strict):
    """The patient-weighted mean of the sites' updates (McMahan et al., AISTATS 2017)."""

    name: Literal["fedavg"] = "fedavg"


class FedProx(Strict):
    """FedAvg with a proximal term of weight ``mu`` in every site's loss (Li et al., MLSys 2020)."""

    name: Literal["fedprox"] = "fedprox"
    mu: Annotated[float, Field(gt=0, le=100)] = 0.01


class FedAvgM(Strict):
    """Server momentum (Hsu et al. 2019, arXiv:1909.06335)."""

    name: Literal["fedavgm"] = "fedavgm"
    server_learning_rate: Rate = 1.0
    momentum: Decay = 0.9


class FedAdam(Strict):
    """Adam at the server (Reddi et al., ICLR 2021, algorithm 2)."""

    name: Literal["fedadam"] = "fedadam"
    server_learning_rate: Rate = 0.01
    beta_1: Decay = 0.9
    beta_2: Decay = 0.99
    tau: Rate = 1e-3


class FedYogi(Strict):
    """Yogi at the server (Reddi et al., ICLR 2021, algorithm 2)."""

    name: Literal["fedyogi"] = "fedyogi"
    server_learning_rate: Rate = 0.01
    beta_1: Decay = 0.9
    beta_2: Decay = 0.99
    tau: Rate = 1e-3


class FedAdagrad(Strict):
    """Adagrad at the server (Reddi et al., ICLR 2021, algorithm 2)."""

    name: Literal["fedadagrad"] = "fedadagrad"
    server_learning_rate: Rate = 0.1
    beta_1: Decay = 0.0
    tau: Rate = 1e-3


class Scaffold(Strict):
    """Control variates against client drift (Karimireddy et al., ICML 2020); sites train with plain SGD."""

    name: Literal["scaffold"] = "scaffold"
    server_learning_rate: Rate = 1.0


class TrimmedMean(Strict):
    """Coordinate-wise mean without the ``trim`` share of sites, at least one, at either end (Yin et al., ICML 2018)."""

    name: Literal["trimmed_mean"] = "trimmed_mean"
    trim: Annotated[float, Field(gt=0, lt=0.5)] = 0.2


class Median(Strict):
    """Coordinate-wise median over the sites (Yin et al., ICML 2018)."""

    name: Literal["median"] = "median"


class Krum(Strict):
    """The update nearest to its neighbours; ``byzantine`` faulty sites of ``2 * byzantine + 3`` or more are borne.

    Blanchard et al., NeurIPS 2017.
    """

    name: Literal["krum"] = "krum"
    byzantine: Annotated[int, Field(ge=0, le=1000)] = 1


class MultiKrum(Strict):
    """The mean of the ``keep`` updates that Krum ranks first (Blanchard et al., NeurIPS 2017)."""

    name: Literal["multi_krum"] = "multi_krum"
    byzantine: Annotated[int, Field(ge=0, le=1000)] = 1
    keep: Annotated[int, Field(ge=1, le=1000)] | None = None  # at most accepted sites - byzantine; that if not given


_KINDS = (
    FedAvg, FedProx, FedAvgM, FedAdam, FedYogi, FedAdagrad, Scaffold, TrimmedMean, Median, Krum, MultiKrum,
)  # fmt: skip
STRATEGIES: tuple[str, ...] = tuple(str(kind.model_fields["name"].default) for kind in _KINDS)
ROBUST = ("trimmed_mean", "median", "krum", "multi_krum")
"""Strategies that need every site's update by itself: they cannot work on a sum."""


def _name(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("name", "fedavg"))
    return str(getattr(value, "name", "fedavg"))


Strategy = Annotated[
    Annotated[FedAvg, Tag("fedavg")]
    | Annotated[FedProx, Tag("fedprox")]
    | Annotated[FedAvgM, Tag("fedavgm")]
    | Annotated[FedAdam, Tag("fedadam")]
    | Annotated[FedYogi, Tag("fedyogi")]
    | Annotated[FedAdagrad, Tag("fedadagrad")]
    | Annotated[Scaffold, Tag("scaffold")]
    | Annotated[TrimmedMean, Tag("trimmed_mean")]
    | Annotated[Median, Tag("median")]
    | Annotated[Krum, Tag("krum")]
    | Annotated[MultiKrum, Tag("multi_krum")],
    Discriminator(
        _name,
        custom_error_type="unknown_strategy",
        custom_error_message=f"no such strategy; choose one of: {', '.join(STRATEGIES)}",
    ),
]
